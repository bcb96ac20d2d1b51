// Time for tests of the runtime: it moves only when a test moves it, and everything that is due runs in order.

import type { Cancel, Clock } from "../node/ports.js";

interface Timer {
  atMs: number;
  readonly periodMs: number | undefined;
  readonly run: () => void;
}

export class ManualClock implements Clock {
  #nowMs = 1_000;
  #soon: (() => void)[] = [];
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Cancel {
    return this.#add({ atMs: this.#nowMs + Math.max(delayMs, 0), periodMs: undefined, run });
  }

  every(periodMs: number, run: () => void): Cancel {
    return this.#add({ atMs: this.#nowMs + periodMs, periodMs, run });
  }

  soon(run: () => void): void {
    this.#soon.push(run);
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  /** Lets everything happen that needs no time: turns of nodes, deliveries, disk writes, promises. */
  async settle(): Promise<void> {
    for (let rounds = 0; rounds < 10_000; rounds += 1) {
      await drainMicrotasks();
      const due = this.#soon;
      if (due.length === 0) return;
      this.#soon = [];
      for (const run of due) run();
    }
    throw new Error("the nodes never come to rest");
  }

  /** Lets `durationMs` pass, timer by timer. */
  async advance(durationMs: number): Promise<void> {
    const endMs = this.#nowMs + durationMs;
    await this.settle();
    for (let next = this.#earliest(endMs); next !== undefined; next = this.#earliest(endMs)) {
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      this.#fire(next);
      await this.settle();
    }
    this.#nowMs = endMs;
  }

  /** Time that a call takes that does not wait. */
  jump(durationMs: number): void {
    this.#nowMs += durationMs;
  }

  /** The event loop stands still: time passes, and afterwards each timer that was missed fires once. */
  async stall(durationMs: number): Promise<void> {
    await this.settle();
    this.#nowMs += durationMs;
    for (const timer of [...this.#timers]) if (timer.atMs <= this.#nowMs) this.#fire(timer);
    await this.settle();
  }

  #fire(timer: Timer): void {
    if (timer.periodMs === undefined) this.#timers.delete(timer);
    else timer.atMs = this.#nowMs + timer.periodMs;
    timer.run();
  }

  #earliest(untilMs: number): Timer | undefined {
    let earliest: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs <= untilMs && (earliest === undefined || timer.atMs < earliest.atMs)) earliest = timer;
    }
    return earliest;
  }

  #add(timer: Timer): Cancel {
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }
}

/** A macrotask of the real event loop runs only when no promise has anything left to do. */
function drainMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
