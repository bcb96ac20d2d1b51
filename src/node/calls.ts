// Calls that wait: each ends exactly once, by an answer, an error, its deadline or its caller's signal.

import { RaftNodeError } from "./errors.js";
import type { NodeMetrics } from "./metrics.js";
import type { CallEnding, Cancel, Clock } from "./ports.js";

/** How long a call may take. */
export interface CallOptions {
  /** Gives the call up; what may be concluded then is written at `RaftNodeErrorCode`. */
  readonly signal?: AbortSignal | undefined;
  /** In the place of `signal`, which is not looked at then: for callers who make very many calls. */
  readonly ending?: CallEnding | undefined;
  /** Milliseconds from now; greater than 0. Default: `NodeLimits.defaultDeadlineMs`. */
  readonly deadlineMs?: number | undefined;
}

export type CallKind = "proposal" | "membership" | "read" | "transfer" | "wait";

/** Deadlines that lie closer together than this share a timer. */
const GRAIN_MS = 5;

export interface CallHooks {
  /** The error of a call whose deadline has passed. */
  expired(): RaftNodeError;
  /** The error of a call whose caller gave it up. */
  aborted(): RaftNodeError;
  /** Runs when the call has ended, whatever ended it. */
  ended?(): void;
}

/** What a list of calls of any kind needs of each. */
interface OpenCall {
  readonly kind: CallKind;
  readonly deadlineAtMs: number;
  reject(error: Error): void;
  expire(): void;
}

// One object per call, and closures only where somebody may fire: a busy node opens tens of thousands a second.
export class Call<T> implements OpenCall {
  readonly promise: Promise<T>;
  #resolve: (value: T) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #settled = false;
  readonly #unlink: Cancel | undefined;

  constructor(
    readonly kind: CallKind,
    readonly startedMs: number,
    readonly deadlineAtMs: number,
    private readonly hooks: CallHooks,
    options: CallOptions | undefined,
    private readonly calls: Calls,
  ) {
    this.promise = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const onAbort = () => this.reject(this.hooks.aborted());
    if (options?.ending !== undefined) {
      this.#unlink = options.ending.onEnd(onAbort);
      return;
    }
    const signal = options?.signal;
    if (signal === undefined) return;
    signal.addEventListener("abort", onAbort, { once: true });
    this.#unlink = () => signal.removeEventListener("abort", onAbort);
  }

  get settled(): boolean {
    return this.#settled;
  }

  resolve(value: T): void {
    if (this.#settle(true)) this.#resolve(value);
  }

  reject(error: Error): void {
    if (this.#settle(false)) this.#reject(error);
  }

  expire(): void {
    this.reject(this.hooks.expired());
  }

  #settle(well: boolean): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.calls.ended(this, well);
    this.#unlink?.();
    this.hooks.ended?.();
    return true;
  }
}

/** All calls of a node that have not ended, and the one timer that watches their deadlines. */
export class Calls {
  readonly #open = new Set<OpenCall>();
  #cancelTimer: Cancel | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(
    private readonly clock: Clock,
    private readonly defaultDeadlineMs: number,
    private readonly metrics: Pick<NodeMetrics, "count">,
  ) {}

  /** @throws RaftNodeError `aborted` or `invalidArgument` when the call cannot even begin. */
  open<T>(kind: CallKind, options: CallOptions | undefined, hooks: CallHooks): Call<T> {
    const deadlineMs = options?.deadlineMs ?? this.defaultDeadlineMs;
    if (!(deadlineMs > 0)) {
      throw new RaftNodeError("invalidArgument", `deadlineMs must be greater than 0, is ${deadlineMs}`);
    }
    const { ending } = options ?? {};
    if (ending !== undefined ? ending.hasEnded : options?.signal?.aborted === true) {
      throw new RaftNodeError("aborted", "the signal had fired before the call; nothing was done", {
        cause: ending === undefined ? options?.signal?.reason : undefined,
      });
    }
    const startedMs = this.clock.nowMs();
    const call = new Call<T>(kind, startedMs, startedMs + deadlineMs, hooks, options, this);
    this.#open.add(call);
    this.#watch(call.deadlineAtMs);
    return call;
  }

  /** Called by the call itself. */
  ended(call: OpenCall, well: boolean): void {
    this.#open.delete(call);
    if (well) return;
    if (call.kind === "proposal") this.metrics.count("proposalsFailed");
    else if (call.kind === "read") this.metrics.count("readsFailed");
  }

  /** Ends every open call. */
  failAll(errorOf: (kind: CallKind) => RaftNodeError): void {
    for (const call of [...this.#open]) call.reject(errorOf(call.kind));
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  /** Keeps the timer at the earliest deadline that was seen since it fired last; a later one waits for its turn. */
  #watch(deadlineAtMs: number): void {
    if (deadlineAtMs >= this.#timerAtMs || deadlineAtMs === Number.POSITIVE_INFINITY) return;
    this.#cancelTimer?.();
    this.#timerAtMs = deadlineAtMs;
    const delayMs = Math.ceil(Math.max(deadlineAtMs - this.clock.nowMs(), 0) / GRAIN_MS) * GRAIN_MS;
    this.#cancelTimer = this.clock.after(delayMs, () => this.#expire());
  }

  #expire(): void {
    this.#cancelTimer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.clock.nowMs();
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const call of [...this.#open]) {
      if (call.deadlineAtMs <= nowMs) call.expire();
      else earliestMs = Math.min(earliestMs, call.deadlineAtMs);
    }
    this.#watch(earliestMs);
  }
}
