// Simulated time: events in the order of their time, and of their making where that is equal. After each one every
// promise that it settled has run its course before the next begins.

import type { Random } from "./random.js";

/** One run of one node. What belongs to it does not happen while it is frozen, and never after its end. */
export class Process {
  alive = true;
  #frozen = false;
  #parked: Event[] = [];

  constructor(
    readonly name: string,
    private readonly scheduler: Scheduler,
  ) {}

  get frozen(): boolean {
    return this.#frozen;
  }

  freeze(): void {
    this.#frozen = true;
  }

  /** Everything that was due meanwhile happens now, in order. */
  resume(): void {
    this.#frozen = false;
    for (const event of this.#parked.splice(0)) this.scheduler.requeue(event);
  }

  end(): void {
    this.alive = false;
    this.#parked = [];
  }

  park(event: Event): void {
    this.#parked.push(event);
  }
}

export interface Event {
  atMs: number;
  order: number;
  readonly owner: Process | undefined;
  readonly run: () => void;
  cancelled: boolean;
}

export class Scheduler {
  #nowMs = 0;
  #orders = 0;
  #events = 0;
  readonly #heap: Event[] = [];
  /** Whose event ran last. */
  current: Process | undefined;

  constructor(private readonly random: Random) {}

  get nowMs(): number {
    return this.#nowMs;
  }

  get eventCount(): number {
    return this.#events;
  }

  at(atMs: number, owner: Process | undefined, run: () => void): Event {
    const event = {
      atMs: Math.max(atMs, this.#nowMs),
      order: this.#nextOrder(),
      owner,
      run,
      cancelled: false,
    };
    this.#push(event);
    return event;
  }

  after(delayMs: number, owner: Process | undefined, run: () => void): Event {
    return this.at(this.#nowMs + delayMs, owner, run);
  }

  /** Very soon; how soon is a matter of chance, so that what is ready at once happens in every order. */
  soon(owner: Process | undefined, run: () => void): void {
    this.after(this.random.between(0, 0.05), owner, run);
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, undefined, resolve));
  }

  requeue(event: Event): void {
    event.atMs = this.#nowMs;
    event.order = this.#nextOrder();
    this.#push(event);
  }

  /** The next event, and all that follows from it at once. False: there is none before `untilMs`. */
  async step(untilMs: number): Promise<boolean> {
    for (let event = this.#heap[0]; event !== undefined; event = this.#heap[0]) {
      if (event.atMs > untilMs) break;
      this.#pop();
      const { owner } = event;
      if (event.cancelled || owner?.alive === false) continue;
      if (owner?.frozen === true) {
        owner.park(event);
        continue;
      }
      this.#nowMs = Math.max(this.#nowMs, event.atMs);
      this.#events += 1;
      this.current = owner;
      event.run();
      await settled();
      return true;
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
    return false;
  }

  #nextOrder(): number {
    this.#orders += 1;
    return this.#orders;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const right = heap[child + 1];
      const left = heap[child];
      if (left === undefined) break;
      if (right !== undefined && isBefore(right, left)) child += 1;
      const least = heap[child];
      if (least === undefined || !isBefore(least, last)) break;
      heap[at] = least;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A macrotask of the real event loop runs only when no promise has anything left to do. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
