// Whether a history of calls on one register could have been produced by a register that handles one call at a time, each
// somewhere between its beginning and its end. The search of Wing and Gong with the memory of Lowe: which calls are
// placed and what the value then is need to be tried only once.

/** A call on one key. `undefined` is the value of a key that does not exist. */
export type Operation =
  | { readonly kind: "read"; readonly saw: string | undefined }
  | { readonly kind: "write"; readonly value: string | undefined }
  /** Writes `value` if the key holds `expected`. `succeeded` is undefined when nobody knows. */
  | {
      readonly kind: "compareAndSet";
      readonly expected: string | undefined;
      readonly value: string | undefined;
      readonly succeeded: boolean | undefined;
    };

export interface HistoryCall {
  readonly operation: Operation;
  /** Points in time, all different. */
  readonly begun: number;
  /** Undefined: it may take effect at any time from `begun` on, or never. */
  readonly ended: number | undefined;
  readonly who: string;
}

export type Verdict =
  | { readonly kind: "linearizable" }
  | {
      readonly kind: "violation";
      readonly longest: readonly HistoryCall[];
      readonly stuck: readonly HistoryCall[];
    }
  /** The search was given up. */
  | { readonly kind: "undecided" };

const MAX_STEPS = 2_000_000;

export function checkRegister(calls: readonly HistoryCall[], maxSteps = MAX_STEPS): Verdict {
  const relevant = withoutUnseen(calls);
  // Calls that certainly happened come first: what may never have happened is tried when nothing else goes.
  const inOrder = [...relevant].sort((a, b) => a.begun - b.begun);
  return new Search(inOrder, maxSteps).run();
}

/**
 * A write of unknown outcome that nobody saw can be left out, since it may never have happened; unless a
 * compare-and-set failed, which may be all that shows of it.
 */
function withoutUnseen(calls: readonly HistoryCall[]): readonly HistoryCall[] {
  const seen = new Set<string | undefined>();
  let somethingFailed = false;
  for (const { operation } of calls) {
    if (operation.kind === "read") seen.add(operation.saw);
    if (operation.kind !== "compareAndSet") continue;
    seen.add(operation.expected);
    if (operation.succeeded === false) somethingFailed = true;
  }
  return calls.filter(({ operation, ended }) => {
    if (ended !== undefined) return true;
    if (operation.kind === "read") return false;
    return somethingFailed || seen.has(operation.value);
  });
}

interface Frame {
  readonly call: number;
  readonly before: string | undefined;
}

class Search {
  readonly #placed: boolean[];
  readonly #memory = new Set<string>();
  #value: string | undefined;
  #steps = 0;
  #longest: readonly Frame[] = [];

  constructor(
    private readonly calls: readonly HistoryCall[],
    private readonly maxSteps: number,
  ) {
    this.#placed = calls.map(() => false);
  }

  run(): Verdict {
    const stack: Frame[] = [];
    let from = 0;
    for (;;) {
      if (this.#isComplete()) return { kind: "linearizable" };
      const next = this.#nextPlaceable(from);
      this.#steps += 1;
      if (this.#steps > this.maxSteps) return { kind: "undecided" };
      if (next !== undefined) {
        stack.push({ call: next, before: this.#value });
        this.#place(next);
        if (stack.length > this.#longest.length) this.#longest = [...stack];
        from = 0;
        continue;
      }
      const last = stack.pop();
      if (last === undefined) return this.#violation();
      this.#placed[last.call] = false;
      this.#value = last.before;
      from = last.call + 1;
    }
  }

  #isComplete(): boolean {
    return this.calls.every(({ ended }, at) => ended === undefined || this.#placed[at] === true);
  }

  /** The first call from `from` on that may come next and leads to something that was not tried yet. */
  #nextPlaceable(from: number): number | undefined {
    let earliestEnd = Number.POSITIVE_INFINITY;
    this.calls.forEach(({ ended }, at) => {
      if (this.#placed[at] !== true && ended !== undefined) earliestEnd = Math.min(earliestEnd, ended);
    });
    for (let at = from; at < this.calls.length; at += 1) {
      const call = this.calls[at];
      if (call === undefined || call.begun > earliestEnd) return undefined;
      if (this.#placed[at] === true || !fits(call.operation, this.#value)) continue;
      const value = after(call.operation, this.#value);
      // A call of unknown outcome that changes nothing need not happen.
      if (call.ended === undefined && value === this.#value) continue;
      if (this.#remember(at, value)) return at;
    }
    return undefined;
  }

  #remember(at: number, value: string | undefined): boolean {
    const key = `${this.#placed.map((placed, index) => (placed || index === at ? "1" : "0")).join("")} ${value}`;
    if (this.#memory.has(key)) return false;
    this.#memory.add(key);
    return true;
  }

  #place(at: number): void {
    const call = this.calls[at];
    if (call === undefined) return;
    this.#placed[at] = true;
    this.#value = after(call.operation, this.#value);
  }

  #violation(): Verdict {
    const placed = new Set(this.#longest.map(({ call }) => call));
    const stuck = this.calls.filter(({ ended }, at) => ended !== undefined && !placed.has(at)).slice(0, 5);
    const longest = this.#longest.flatMap(({ call }) => this.calls[call] ?? []).slice(-10);
    return { kind: "violation", longest, stuck };
  }
}

function fits(operation: Operation, value: string | undefined): boolean {
  switch (operation.kind) {
    case "read":
      return operation.saw === value;
    case "write":
      return true;
    case "compareAndSet":
      if (operation.succeeded === undefined) return true;
      return operation.succeeded === (operation.expected === value);
  }
}

function after(operation: Operation, value: string | undefined): string | undefined {
  switch (operation.kind) {
    case "read":
      return value;
    case "write":
      return operation.value;
    case "compareAndSet":
      return operation.expected === value ? operation.value : value;
  }
}

export function describeCall({ operation, begun, ended, who }: HistoryCall): string {
  const when = `[${begun}, ${ended ?? "?"}] ${who}`;
  switch (operation.kind) {
    case "read":
      return `${when} read ${operation.saw}`;
    case "write":
      return `${when} wrote ${operation.value}`;
    case "compareAndSet": {
      const { expected, value, succeeded } = operation;
      return `${when} compared with ${expected} to set ${value}: ${succeeded ?? "unknown"}`;
    }
  }
}
