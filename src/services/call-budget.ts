// How long a call may still take, from the client's deadline or the default.

import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import type { CallOptions } from "../node/calls.js";
import { RaftNodeError } from "../node/errors.js";
import type { CallEnding, Clock } from "../node/ports.js";
import { leanPartsOf } from "./lean-parts.js";

export interface CallBudgetLimits {
  /** For clients that name no deadline. Default 5 s. */
  readonly defaultDeadlineMs: number;
  /** The longest deadline that is honoured. Default 60 s. */
  readonly maxDeadlineMs: number;
}

export const DEFAULT_CALL_BUDGET: CallBudgetLimits = { defaultDeadlineMs: 5_000, maxDeadlineMs: 60_000 };

/** The answer must be on its way before the client stops listening: this share of its deadline, at most. */
const MARGIN_SHARE = 0.1;
const MAX_MARGIN_MS = 100;

export class CallBudget {
  readonly deadlineMs: number;
  readonly #context: Pick<HandlerContext, "signal">;
  readonly #ending: CallEnding | undefined;
  readonly #deadlineAtMs: number;

  constructor(
    context: Pick<HandlerContext, "signal" | "timeoutMs">,
    private readonly clock: Clock,
    limits: CallBudgetLimits,
  ) {
    const asked = context.timeoutMs();
    const margin = asked === undefined ? 0 : Math.min(MAX_MARGIN_MS, asked * MARGIN_SHARE);
    this.deadlineMs = Math.min((asked ?? limits.defaultDeadlineMs) - margin, limits.maxDeadlineMs);
    this.#context = context;
    this.#ending = leanPartsOf(context)?.ending;
    this.#deadlineAtMs = clock.nowMs() + this.deadlineMs;
  }

  /** Asked for late: making it costs, and a call that waits for nothing has no need of it. */
  get signal(): AbortSignal {
    return this.#context.signal;
  }

  get remainingMs(): number {
    return this.#deadlineAtMs - this.clock.nowMs();
  }

  /**
   * For one call of the node.
   * @throws RaftNodeError `deadlineExceeded` or `aborted` when nothing is left; the call has not begun.
   */
  options(): { readonly signal: AbortSignal; readonly deadlineMs: number } {
    const deadlineMs = this.#beginning();
    return { signal: this.signal, deadlineMs };
  }

  /** As `options`, for calls of this project's own node alone: without a signal, where the call can do without. */
  leanOptions(): CallOptions {
    const deadlineMs = this.#beginning();
    return this.#ending === undefined
      ? { signal: this.signal, deadlineMs }
      : { ending: this.#ending, deadlineMs };
  }

  #beginning(): number {
    if (this.#ending?.hasEnded ?? this.signal.aborted) {
      throw new RaftNodeError("aborted", "the call was given up before it began");
    }
    const deadlineMs = this.remainingMs;
    if (deadlineMs <= 0)
      throw new RaftNodeError("deadlineExceeded", `no answer within ${this.deadlineMs} ms`);
    return deadlineMs;
  }

  /** Puts the reason into the place of `aborted`: who has given the call up, the client, its deadline or this node? */
  explain(error: unknown): unknown {
    if (!(error instanceof RaftNodeError) || error.code !== "aborted" || !this.signal.aborted) return error;
    const detail = { cause: error };
    switch (ConnectError.from(this.signal.reason).code) {
      case Code.DeadlineExceeded:
        return new RaftNodeError("deadlineExceeded", "the client's deadline passed", detail);
      case Code.Unavailable:
        return new RaftNodeError("nodeStopped", "this node stopped while the call was under way", detail);
      default:
        return new RaftNodeError("aborted", "the client gave the call up", detail);
    }
  }
}
