// Notices a write that does not come back. Writes are many and none of them should pay for a timer of its own: one timer
// looks at the write that is under way when it fires.

import type { Cancel, Clock } from "../node/ports.js";

export class WriteWatchdog {
  readonly #clock: Pick<Clock, "nowMs" | "after">;
  readonly #limitMs: number;
  readonly #onStalled: () => void;
  #begunMs: number | undefined;
  #cancel: Cancel | undefined;

  /** `onStalled` is called when a write is under way for `limitMs`. */
  constructor(clock: Pick<Clock, "nowMs" | "after">, limitMs: number, onStalled: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#onStalled = onStalled;
  }

  /** One write at a time. */
  begin(): void {
    this.#begunMs = this.#clock.nowMs();
    if (this.#cancel === undefined) this.#lookIn(this.#limitMs);
  }

  end(): void {
    this.#begunMs = undefined;
  }

  /** Whatever is under way is not watched any more. */
  stop(): void {
    this.#begunMs = undefined;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #lookIn(delayMs: number): void {
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = undefined;
      if (this.#begunMs === undefined) return;
      const remainingMs = this.#begunMs + this.#limitMs - this.#clock.nowMs();
      // Timers may fire a little early by the clock.
      if (remainingMs >= 1) this.#lookIn(remainingMs);
      else this.#onStalled();
    });
  }
}
