// A closed loop of proposals: so many at once, the next one as soon as one is answered.

import type { RaftNode } from "../../src/node/raft-node.js";
import type { Latencies } from "./calls.js";

export class Load {
  readonly #startedMs = performance.now();
  readonly #tookMs: number[] = [];
  readonly #workers: Promise<void>[];
  #failures = 0;
  #ended = false;

  constructor(
    private readonly node: RaftNode,
    inFlight: number,
    bytes: number,
  ) {
    const data = new Uint8Array(bytes).fill(1);
    this.#workers = Array.from({ length: inFlight }, () => this.#work(data));
  }

  async end(): Promise<Latencies> {
    const seconds = (performance.now() - this.#startedMs) / 1_000;
    const ops = this.#tookMs.length;
    const sorted = Float64Array.from(this.#tookMs).sort();
    this.#ended = true;
    await Promise.all(this.#workers);
    return {
      ops,
      failures: this.#failures,
      seconds,
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
      maxMs: sorted.at(-1) ?? Number.NaN,
    };
  }

  async #work(data: Uint8Array): Promise<void> {
    while (!this.#ended) {
      const startedMs = performance.now();
      try {
        await this.node.propose(data);
        this.#tookMs.push(performance.now() - startedMs);
      } catch {
        this.#failures += 1;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
  }
}

/** The smallest value that is not exceeded by this part of all; of sorted values. */
export function quantile(sorted: Float64Array, part: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
