// What lies between the nodes: it delays, loses, doubles and reorders what it carries, and can be cut, both ways or one.

import type { Random } from "../random.js";
import type { Scheduler } from "../scheduler.js";
import type { Trace } from "../trace.js";

export interface NetworkWeather {
  fastestMs: number;
  slowestMs: number;
  lossProbability: number;
  doubleProbability: number;
}

export class Network {
  readonly weather: NetworkWeather = {
    fastestMs: 0.2,
    slowestMs: 5,
    lossProbability: 0,
    doubleProbability: 0,
  };
  /** `from>to` of each direction that is cut. */
  readonly #cut = new Set<string>();
  readonly #slow = new Map<string, number>();

  constructor(
    readonly scheduler: Scheduler,
    private readonly random: Random,
    private readonly trace: Trace,
  ) {}

  cut(from: bigint, to: bigint): void {
    this.#cut.add(`${from}>${to}`);
  }

  slowDown(from: bigint, to: bigint, byMs: number): void {
    this.#slow.set(`${from}>${to}`, byMs);
  }

  heal(): void {
    this.#cut.clear();
    this.#slow.clear();
  }

  isCut(from: bigint, to: bigint): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  /** `arrive` runs once, twice, or, with `lose` in its place, never. */
  carry(from: bigint, to: bigint, arrive: () => void, lose: () => void): void {
    const { lossProbability, doubleProbability } = this.weather;
    if (this.isCut(from, to) || this.random.chance(lossProbability)) {
      lose();
      return;
    }
    this.#deliver(from, to, arrive);
    if (this.random.chance(doubleProbability)) this.#deliver(from, to, arrive);
  }

  note(from: bigint, to: bigint, what: string): void {
    this.trace.add(`${from}>${to}`, what);
  }

  #deliver(from: bigint, to: bigint, arrive: () => void): void {
    const { fastestMs, slowestMs } = this.weather;
    const delayMs = this.random.skewed(fastestMs, slowestMs) + (this.#slow.get(`${from}>${to}`) ?? 0);
    this.scheduler.after(delayMs, undefined, () => {
      // A cut also stops what is on its way.
      if (!this.isCut(from, to)) arrive();
    });
  }
}
