// Spreads bytes over time: one for all snapshots that are being sent, so that together they keep to one rate.

import type { Clock } from "../node/ports.js";

export class Pace {
  #dueAtMs: number;

  /** @param bytesPerSecond Infinity: never waits. */
  constructor(
    private readonly clock: Clock,
    private readonly bytesPerSecond: number,
  ) {
    this.#dueAtMs = clock.nowMs();
  }

  /** The largest piece that is due within `withinMs`: larger ones would look like a stall. At least 1 KiB. */
  pieceBytes(withinMs: number, mostBytes: number): number {
    return Math.min(mostBytes, Math.max(1024, Math.floor((this.bytesPerSecond * withinMs) / 1000)));
  }

  /** Resolves when so many more bytes may go; callers are served in the order in which they ask. Rejects on abort. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (!Number.isFinite(this.bytesPerSecond)) return;
    const nowMs = this.clock.nowMs();
    const waitMs = this.#dueAtMs - nowMs;
    this.#dueAtMs = Math.max(this.#dueAtMs, nowMs) + (bytes / this.bytesPerSecond) * 1000;
    if (waitMs <= 0) return;
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        cancel();
        reject(signal.reason);
      };
      const cancel = this.clock.after(waitMs, () => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      });
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
