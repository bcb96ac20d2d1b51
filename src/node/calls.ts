// Calls that wait: each ends exactly once, by an answer, an error, its deadline or its caller's signal.

import { RaftNodeError } from "./errors.js";
import type { Cancel, Clock } from "./ports.js";

/** How long a call may take. */
export interface CallOptions {
  /** Gives the call up; what may be concluded then is written at `RaftNodeErrorCode`. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds from now; greater than 0. Default: `NodeLimits.defaultDeadlineMs`. */
  readonly deadlineMs?: number | undefined;
}

export type CallKind = "proposal" | "membership" | "read" | "transfer" | "wait";

/** Deadlines that lie closer together than this share a timer. */
const GRAIN_MS = 5;

export class Call<T> {
  readonly promise: Promise<T>;
  #resolve: (value: T) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #settled = false;

  constructor(
    readonly kind: CallKind,
    readonly startedMs: number,
    readonly deadlineAtMs: number,
    private readonly whenSettled: (call: Call<T>) => void,
  ) {
    this.promise = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get settled(): boolean {
    return this.#settled;
  }

  resolve(value: T): void {
    if (this.#settle()) this.#resolve(value);
  }

  reject(error: Error): void {
    if (this.#settle()) this.#reject(error);
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.whenSettled(this);
    return true;
  }
}

export interface CallHooks {
  /** The error of a call whose deadline has passed. */
  readonly expired: () => RaftNodeError;
  /** The error of a call whose caller gave it up. */
  readonly aborted: () => RaftNodeError;
  /** Runs when the call has ended, whatever ended it. */
  readonly ended?: () => void;
}

interface OpenCall {
  readonly kind: CallKind;
  readonly deadlineAtMs: number;
  readonly fail: (error: Error) => void;
  readonly expired: () => RaftNodeError;
}

/** All calls of a node that have not ended, and the one timer that watches their deadlines. */
export class Calls {
  readonly #open = new Set<OpenCall>();
  #cancelTimer: Cancel | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(
    private readonly clock: Clock,
    private readonly defaultDeadlineMs: number,
  ) {}

  /** @throws RaftNodeError `aborted` or `invalidArgument` when the call cannot even begin. */
  open<T>(kind: CallKind, options: CallOptions | undefined, hooks: CallHooks): Call<T> {
    const deadlineMs = options?.deadlineMs ?? this.defaultDeadlineMs;
    if (!(deadlineMs > 0)) {
      throw new RaftNodeError("invalidArgument", `deadlineMs must be greater than 0, is ${deadlineMs}`);
    }
    const signal = options?.signal;
    if (signal?.aborted === true) {
      throw new RaftNodeError("aborted", "the signal had fired before the call; nothing was done", {
        cause: signal.reason,
      });
    }
    const startedMs = this.clock.nowMs();
    const onAbort = () => call.reject(hooks.aborted());
    const call: Call<T> = new Call(kind, startedMs, startedMs + deadlineMs, () => {
      this.#open.delete(open);
      signal?.removeEventListener("abort", onAbort);
      hooks.ended?.();
    });
    const open: OpenCall = {
      kind,
      deadlineAtMs: call.deadlineAtMs,
      fail: (error) => call.reject(error),
      expired: hooks.expired,
    };
    this.#open.add(open);
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#watch(open.deadlineAtMs);
    return call;
  }

  /** Ends every open call. */
  failAll(errorOf: (kind: CallKind) => RaftNodeError): void {
    for (const call of [...this.#open]) call.fail(errorOf(call.kind));
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
      if (call.deadlineAtMs <= nowMs) call.fail(call.expired());
      else earliestMs = Math.min(earliestMs, call.deadlineAtMs);
    }
    this.#watch(earliestMs);
  }
}
