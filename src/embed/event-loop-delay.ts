// How late this process comes to what is due: a timer that ought to fire every 50 ms, and how much later it does.
// Everything on the event loop waits as long, elections and heartbeats too.

import { Histogram, type HistogramView } from "../node/metrics.js";
import type { Cancel, Clock } from "../node/ports.js";

const SAMPLE_INTERVAL_MS = 50;

export class EventLoopDelay {
  readonly #delay = new Histogram();
  readonly #cancel: Cancel;
  #lastMs: number;

  constructor(clock: Clock) {
    this.#lastMs = clock.nowMs();
    this.#cancel = clock.every(SAMPLE_INTERVAL_MS, () => {
      const nowMs = clock.nowMs();
      this.#delay.record(Math.max(0, nowMs - this.#lastMs - SAMPLE_INTERVAL_MS));
      this.#lastMs = nowMs;
    });
  }

  view(): HistogramView {
    return this.#delay.view();
  }

  stop(): void {
    this.#cancel();
  }
}
