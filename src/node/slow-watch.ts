// Tells what takes too long, once while it does and once when it has ended: a disk that hangs for good would otherwise
// never be told of.

import type { Clock } from "./ports.js";

export interface SlowWatchOptions {
  readonly clock: Clock;
  /** What takes as long is slow. */
  readonly slowMs: number;
  /** Called once for whatever is slow. */
  readonly count: () => void;
  readonly tell: (durationMs: number, state: "goes on" | "has ended") => void;
}

/** Something that was begun. */
export interface Lap {
  readonly startedMs: number;
}

export class SlowWatch {
  /** In the order in which they began. */
  readonly #running = new Set<Lap>();
  readonly #told = new WeakSet<Lap>();

  constructor(private readonly options: SlowWatchOptions) {}

  begin(): Lap {
    const lap: Lap = { startedMs: this.options.clock.nowMs() };
    this.#running.add(lap);
    return lap;
  }

  /** Returns how long it took, in milliseconds. */
  end(lap: Lap): number {
    const { clock, slowMs, tell } = this.options;
    this.#running.delete(lap);
    const durationMs = clock.nowMs() - lap.startedMs;
    if (durationMs >= slowMs) {
      this.#countOnce(lap);
      tell(durationMs, "has ended");
    }
    return durationMs;
  }

  /** To be called from time to time. Tells of the oldest only: those behind it wait for it. */
  look(): void {
    const { clock, slowMs, tell } = this.options;
    const [oldest] = this.#running;
    if (oldest === undefined || this.#told.has(oldest)) return;
    const durationMs = clock.nowMs() - oldest.startedMs;
    if (durationMs < slowMs) return;
    this.#countOnce(oldest);
    tell(durationMs, "goes on");
  }

  #countOnce(lap: Lap): void {
    if (this.#told.has(lap)) return;
    this.#told.add(lap);
    this.options.count();
  }
}
