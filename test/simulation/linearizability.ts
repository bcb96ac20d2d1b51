// Whether a history of calls on one register could have been produced by a register that handles one call at a time, each
// somewhere between its beginning and its end. The search of Wing and Gong with the memory of Lowe: which calls are
// placed and what the value then is need to be tried only once.

import { Random } from "./random.js";
import { Timeline } from "./timeline.js";

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

const MAX_STEPS = 1_000_000;

export function checkRegister(calls: readonly HistoryCall[], maxSteps = MAX_STEPS): Verdict {
  return new Search(withDeadlines(withoutUnseen(calls)), maxSteps).run();
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
  return calls.flatMap((call) => {
    const { operation, ended } = call;
    if (ended !== undefined) return call;
    if (operation.kind === "read") return [];
    if (seen.has(operation.value)) return call;
    return somethingFailed ? { ...call, isUnseen: true } : [];
  });
}

/** A write of unknown outcome whose value somebody saw did happen, and before the first that saw it had ended. */
function withDeadlines(calls: readonly RelevantCall[]): readonly RelevantCall[] {
  const writers = new Map<string, number>();
  const firstSeen = new Map<string, number>();
  for (const { operation, ended } of calls) {
    if (operation.kind !== "read" && operation.value !== undefined)
      writers.set(operation.value, (writers.get(operation.value) ?? 0) + 1);
    const saw = sawOf(operation);
    if (saw !== undefined && ended !== undefined)
      firstSeen.set(saw, Math.min(ended, firstSeen.get(saw) ?? ended));
  }
  return calls.map((call) => {
    const { operation, begun, ended } = call;
    if (ended !== undefined || operation.kind === "read" || operation.value === undefined) return call;
    const deadline = firstSeen.get(operation.value);
    // Two writers of one value: whose it is that was seen remains open.
    if (deadline === undefined || deadline < begun || writers.get(operation.value) !== 1) return call;
    const succeeded: Operation = operation.kind === "write" ? operation : { ...operation, succeeded: true };
    return { ...call, operation: succeeded, ended: deadline };
  });
}

function sawOf(operation: Operation): string | undefined {
  if (operation.kind === "read") return operation.saw;
  return operation.kind === "compareAndSet" && operation.succeeded === true ? operation.expected : undefined;
}

interface RelevantCall extends HistoryCall {
  /** Nobody saw what it wrote: it can only be what made a compare-and-set fail. */
  readonly isUnseen?: boolean;
}

interface Placed {
  readonly call: number;
  readonly before: string | undefined;
  /** Nothing else needs to be tried in its place. */
  readonly isForced: boolean;
}

class Search {
  readonly #calls: readonly RelevantCall[];
  /** Beginnings and ends of the calls that are not placed, in the order of time, as a linked list. */
  readonly #timeline: Timeline;
  readonly #codes: readonly (readonly [number, number])[];
  /** Sets of placed calls by what their codes add up to, with the value they lead to. */
  readonly #memory = new Set<string>();
  readonly #isPlaced: boolean[];
  /** Of the same effect, equally free to happen, begun earlier: that one goes first. */
  readonly #twins: readonly (number | undefined)[];
  readonly #stack: Placed[] = [];
  #codeHigh = 0;
  #codeLow = 0;
  #open: number;
  #value: string | undefined;
  #longest: readonly Placed[] = [];

  constructor(
    calls: readonly RelevantCall[],
    private readonly maxSteps: number,
  ) {
    // Calls that may never have happened are tried when nothing else goes.
    this.#calls = [...calls].sort((a, b) => a.begun - b.begun);
    this.#timeline = new Timeline(this.#calls);
    const random = new Random(this.#calls.length);
    this.#codes = this.#calls.map(() => [random.int(0, 2 ** 32) | 0, random.int(0, 2 ** 32) | 0] as const);
    this.#isPlaced = this.#calls.map(() => false);
    this.#twins = twinsOf(this.#calls);
    this.#open = this.#calls.filter(({ ended }) => ended !== undefined).length;
  }

  run(): Verdict {
    let tried = BEFORE_ALL;
    for (let steps = 0; this.#open > 0; steps += 1) {
      if (steps >= this.maxSteps) return { kind: "undecided" };
      const next = this.#nextPlaceable(tried);
      tried = BEFORE_ALL;
      if (next !== undefined) {
        this.#place(next);
        continue;
      }
      const last = this.#backtrack();
      if (last === undefined) return this.#violation();
      tried = last;
    }
    return { kind: "linearizable" };
  }

  /** What can come next and leads to something that was not tried yet; after this call, if one is given. */
  #nextPlaceable(afterCall: number): Omit<Placed, "before"> | undefined {
    const candidates = this.#timeline.mayComeNext();
    if (afterCall === BEFORE_ALL) {
      // What changes nothing and fits now fits here as well as anywhere later.
      const call = candidates.find((at) => this.#isIdle(at));
      if (call !== undefined) return { call, isForced: true };
    }
    for (const call of candidates) {
      if (call > afterCall && this.#isWorthTrying(call, candidates)) return { call, isForced: false };
    }
    return undefined;
  }

  #isIdle(at: number): boolean {
    const call = this.#calls[at];
    if (call === undefined || call.ended === undefined || !fits(call.operation, this.#value)) return false;
    const { operation } = call;
    return operation.kind === "read" || (operation.kind === "compareAndSet" && operation.succeeded === false);
  }

  #isWorthTrying(at: number, candidates: readonly number[]): boolean {
    const call = this.#calls[at];
    if (call === undefined || !fits(call.operation, this.#value)) return false;
    const value = after(call.operation, this.#value);
    if (call.ended === undefined) {
      // A call of unknown outcome that changes nothing need not happen.
      if (value === this.#value) return false;
      const twin = this.#twins[at];
      if (twin !== undefined && this.#isPlaced[twin] !== true) return false;
      if (call.isUnseen === true && !candidates.some((other) => this.#failsBut(other))) return false;
    }
    return this.#remember(at, value);
  }

  /** A failed compare-and-set that would have succeeded now. */
  #failsBut(at: number): boolean {
    const operation = this.#calls[at]?.operation;
    return (
      operation?.kind === "compareAndSet" &&
      operation.succeeded === false &&
      operation.expected === this.#value
    );
  }

  #remember(at: number, value: string | undefined): boolean {
    const [high, low] = this.#codes[at] ?? [0, 0];
    const key = `${this.#codeHigh ^ high} ${this.#codeLow ^ low} ${value === undefined ? "" : `=${value}`}`;
    if (this.#memory.has(key)) return false;
    this.#memory.add(key);
    return true;
  }

  #place({ call: at, isForced }: Omit<Placed, "before">): void {
    this.#stack.push({ call: at, before: this.#value, isForced });
    this.#timeline.takeOut(at);
    this.#toggle(at, true);
    const call = this.#calls[at];
    if (call !== undefined) this.#value = after(call.operation, this.#value);
  }

  /** Takes back as much as leaves something else to try; the call that it was tried with. */
  #backtrack(): number | undefined {
    if (this.#stack.length > this.#longest.length) this.#longest = [...this.#stack];
    for (let last = this.#stack.pop(); last !== undefined; last = this.#stack.pop()) {
      this.#toggle(last.call, false);
      this.#timeline.putBack(last.call);
      this.#value = last.before;
      if (!last.isForced) return last.call;
    }
    return undefined;
  }

  #toggle(at: number, isPlaced: boolean): void {
    const [high, low] = this.#codes[at] ?? [0, 0];
    this.#codeHigh ^= high;
    this.#codeLow ^= low;
    this.#isPlaced[at] = isPlaced;
    if (this.#calls[at]?.ended !== undefined) this.#open += isPlaced ? -1 : 1;
  }

  #violation(): Verdict {
    const placed = new Set(this.#longest.map(({ call }) => call));
    const stuck = this.#calls.filter(({ ended }, at) => ended !== undefined && !placed.has(at)).slice(0, 5);
    const longest = this.#longest.flatMap(({ call }) => this.#calls[call] ?? []).slice(-10);
    return { kind: "violation", longest, stuck };
  }
}

const BEFORE_ALL = -1;

function twinsOf(calls: readonly RelevantCall[]): (number | undefined)[] {
  const last = new Map<string, number>();
  return calls.map(({ operation, ended, isUnseen }, at) => {
    if (ended !== undefined || operation.kind !== "write") return undefined;
    const effect =
      isUnseen === true ? "unseen" : `wrote ${operation.value === undefined ? "" : `=${operation.value}`}`;
    const twin = last.get(effect);
    last.set(effect, at);
    return twin;
  });
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
