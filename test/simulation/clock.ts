// The clock of one process: it may run fast, slow, or stand still.

import type { Cancel, Clock } from "../../src/node/ports.js";
import type { Event, Process, Scheduler } from "./scheduler.js";

interface Timer {
  dueMs: number;
  readonly periodMs: number | undefined;
  readonly run: () => void;
  event: Event | undefined;
}

export class ProcessClock implements Clock {
  #rate = 1;
  /** What this clock showed when the true time was `#trueMs`. */
  #shownMs: number;
  #trueMs: number;
  readonly #timers = new Set<Timer>();

  constructor(
    private readonly scheduler: Scheduler,
    private readonly process: Process,
    startMs: number,
  ) {
    this.#shownMs = startMs;
    this.#trueMs = scheduler.nowMs;
  }

  nowMs(): number {
    return this.#shownMs + (this.scheduler.nowMs - this.#trueMs) * this.#rate;
  }

  /** How fast it runs from now on; 0 stops it. */
  setRate(rate: number): void {
    this.#shownMs = this.nowMs();
    this.#trueMs = this.scheduler.nowMs;
    this.#rate = rate;
    for (const timer of this.#timers) this.#schedule(timer);
  }

  after(delayMs: number, run: () => void): Cancel {
    return this.#add({
      dueMs: this.nowMs() + Math.max(delayMs, 0),
      periodMs: undefined,
      run,
      event: undefined,
    });
  }

  every(periodMs: number, run: () => void): Cancel {
    return this.#add({ dueMs: this.nowMs() + periodMs, periodMs, run, event: undefined });
  }

  soon(run: () => void): void {
    this.scheduler.soon(this.process, run);
  }

  #add(timer: Timer): Cancel {
    this.#timers.add(timer);
    this.#schedule(timer);
    return () => {
      this.#timers.delete(timer);
      if (timer.event !== undefined) timer.event.cancelled = true;
    };
  }

  #schedule(timer: Timer): void {
    if (timer.event !== undefined) timer.event.cancelled = true;
    timer.event = undefined;
    if (this.#rate === 0) return;
    const waitMs = Math.max(timer.dueMs - this.nowMs(), 0) / this.#rate;
    timer.event = this.scheduler.after(waitMs, this.process, () => this.#fire(timer));
  }

  #fire(timer: Timer): void {
    if (!this.#timers.has(timer)) return;
    if (timer.periodMs === undefined) {
      this.#timers.delete(timer);
    } else {
      timer.dueMs = this.nowMs() + timer.periodMs;
      this.#schedule(timer);
    }
    timer.run();
  }
}
