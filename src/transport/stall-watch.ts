// Aborts something long that stops moving. A deadline would not do: a snapshot may honestly take an hour.

import type { Cancel, Clock } from "../node/ports.js";
import { TransportError } from "./transport-errors.js";

export class StallWatch {
  readonly #controller = new AbortController();
  readonly #cancelInterval: Cancel;
  readonly #outer: AbortSignal | undefined;
  readonly #onOuterAbort: () => void;
  #movedAtMs: number;

  constructor(
    private readonly clock: Clock,
    limitMs: number,
    outer?: AbortSignal,
  ) {
    this.#movedAtMs = clock.nowMs();
    this.#outer = outer;
    this.#onOuterAbort = () => this.#controller.abort(outer?.reason);
    if (outer?.aborted === true) this.#onOuterAbort();
    outer?.addEventListener("abort", this.#onOuterAbort, { once: true });
    this.#cancelInterval = clock.every(Math.max(1, limitMs / 4), () => {
      if (clock.nowMs() - this.#movedAtMs < limitMs) return;
      this.#controller.abort(new TransportError("frozen", `nothing moved for ${limitMs} ms`));
    });
  }

  /** Fires when nothing moved for too long, or when the outer signal does. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  moved(): void {
    this.#movedAtMs = this.clock.nowMs();
  }

  /** Gives up for another reason. */
  abort(reason: TransportError): void {
    this.#controller.abort(reason);
  }

  /** Settles as `work` does, or rejects with the reason as soon as the signal fires. */
  async guard<T>(work: Promise<T>): Promise<T> {
    const signal = this.signal;
    if (signal.aborted) {
      work.catch(() => {});
      throw signal.reason;
    }
    let onAbort: () => void = () => {};
    const aborted = new Promise<never>((_resolve, reject) => {
      onAbort = () => reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
    });
    try {
      return await Promise.race([work, aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  stop(): void {
    this.#cancelInterval();
    this.#outer?.removeEventListener("abort", this.#onOuterAbort);
  }
}
