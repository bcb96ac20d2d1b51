// Real time. The only file of the runtime that touches timers.

import type { Cancel, Clock } from "./ports.js";

/** Node fires a timer with a longer delay at once, so longer waits are cut to this (24.8 days). */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  nowMs: () => performance.now(),

  after(delayMs: number, run: () => void): Cancel {
    const timer = setTimeout(run, Math.min(Math.max(delayMs, 0), LONGEST_DELAY_MS));
    return () => clearTimeout(timer);
  },

  every(periodMs: number, run: () => void): Cancel {
    const timer = setInterval(run, periodMs);
    return () => clearInterval(timer);
  },

  soon(run: () => void): void {
    setImmediate(run);
  },
};
