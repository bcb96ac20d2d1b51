// A wait that ends early when nobody waits any more.

import type { Clock } from "../node/ports.js";

/** Resolves when the time has passed or the signal has fired; never rejects, and leaves nothing behind. */
export function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(delayMs, done);
    signal.addEventListener("abort", done, { once: true });
  });
}
