// Failures with one peer: counted by class, the last one kept, and logged without flooding: the first of a kind at
// once, then at most one line per interval with the number that it stands for.

import type { NodeId } from "../core/types.js";
import type { Clock, Logger } from "../node/ports.js";
import { classifyFailure, describeError, type FailureClass } from "./transport-errors.js";

export interface FailureLogOptions {
  readonly peer: NodeId;
  readonly address: string;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly logIntervalMs: number;
}

export class FailureLog {
  readonly #options: FailureLogOptions;
  readonly #counts = new Map<FailureClass, number>();
  readonly #loggedAtMs = new Map<FailureClass, number>();
  readonly #unlogged = new Map<FailureClass, number>();
  #lastError: string | undefined;
  #failing = false;

  constructor(options: FailureLogOptions) {
    this.#options = options;
  }

  record(error: unknown): void {
    const { peer, address, logger, clock, logIntervalMs } = this.#options;
    const failure = classifyFailure(error);
    this.#counts.set(failure, (this.#counts.get(failure) ?? 0) + 1);
    this.#lastError = describeError(error);
    if (failure === "stopped") return;
    this.#failing = true;
    const nowMs = clock.nowMs();
    const loggedAtMs = this.#loggedAtMs.get(failure);
    if (loggedAtMs !== undefined && nowMs - loggedAtMs < logIntervalMs) {
      this.#unlogged.set(failure, (this.#unlogged.get(failure) ?? 0) + 1);
      return;
    }
    const more = this.#unlogged.get(failure) ?? 0;
    this.#unlogged.delete(failure);
    this.#loggedAtMs.set(failure, nowMs);
    logger.warn(
      { peer: peer.toString(), address, failure, error: this.#lastError, unlogged: more },
      "could not reach a peer",
    );
  }

  /** A call got through. */
  recovered(): void {
    if (!this.#failing) return;
    this.#failing = false;
    this.#loggedAtMs.clear();
    this.#unlogged.clear();
    const { peer, address, logger } = this.#options;
    logger.info({ peer: peer.toString(), address }, "a peer is reached again");
  }

  get lastError(): string | undefined {
    return this.#lastError;
  }

  counts(): Partial<Record<FailureClass, number>> {
    return Object.fromEntries(this.#counts);
  }
}
