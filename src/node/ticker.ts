// Turns real time into raft's ticks. When the event loop stood still, the ticks that are due do not all come at
// once: the heartbeats that arrived meanwhile are still unread, and a burst of ticks would elect a new leader for
// no reason. Time that was skipped makes elections later, never earlier.

import type { Cancel, Clock } from "./ports.js";

export interface TickerOptions {
  readonly clock: Clock;
  readonly tickIntervalMs: number;
  /** Ticks that may be counted at once after a stall; the rest is forgotten. */
  readonly maxTicksAtOnce: number;
  /** Ticks are due; `take` them in the node's own turn. */
  readonly wake: () => void;
  readonly stalled: (stalledMs: number, skippedTicks: number) => void;
}

export class Ticker {
  #lastMs = 0;
  #due = 0;
  #cancel: Cancel | undefined;

  constructor(private readonly options: TickerOptions) {}

  start(): void {
    const { clock, tickIntervalMs } = this.options;
    this.#lastMs = clock.nowMs();
    this.#cancel = clock.every(tickIntervalMs, () => this.#fire());
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#due = 0;
  }

  /** How many ticks to count now. Ticks that were not taken, because the disk held the node up, do not pile up. */
  take(): number {
    const due = Math.min(this.#due, this.options.maxTicksAtOnce);
    this.#due = 0;
    return due;
  }

  #fire(): void {
    const { clock, tickIntervalMs, maxTicksAtOnce } = this.options;
    const nowMs = clock.nowMs();
    // Timers jitter around their period: rounding keeps an early one from losing a tick and a late one from two.
    const elapsed = Math.max(Math.round((nowMs - this.#lastMs) / tickIntervalMs), 0);
    if (elapsed === 0) return;
    const skipped = Math.max(elapsed - maxTicksAtOnce, 0);
    if (elapsed > 1) this.options.stalled(nowMs - this.#lastMs - tickIntervalMs, skipped);
    this.#lastMs = skipped > 0 ? nowMs : this.#lastMs + elapsed * tickIntervalMs;
    this.#due += elapsed - skipped;
    this.options.wake();
  }
}
