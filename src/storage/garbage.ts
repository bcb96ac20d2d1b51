// Keys of entries that no longer belong to the log and still wait to be deleted, a bounded number at a time.

import type { LogIndex } from "../core/types.js";

export class Garbage {
  /** Inclusive ranges, oldest first; they may overlap with what the log has grown into since. */
  readonly #ranges: { from: LogIndex; to: LogIndex }[] = [];

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  /** Keys still to be looked at; those that have come to life again count too. */
  get size(): number {
    let size = 0n;
    for (const { from, to } of this.#ranges) size += to - from + 1n;
    return Number(size);
  }

  /** What was to be deleted is not there any more. */
  clear(): void {
    this.#ranges.length = 0;
  }

  /** Nothing if `from` is greater than `to`. */
  add(from: LogIndex, to: LogIndex): void {
    if (from > to) return;
    const newest = this.#ranges[this.#ranges.length - 1];
    if (newest !== undefined && newest.to + 1n === from) newest.to = to;
    else this.#ranges.push({ from, to });
  }

  /**
   * Up to `limit` indexes to delete now. What lies in the log, `[first, last]`, is no garbage any more: it has been
   * written anew.
   */
  take(limit: number, first: LogIndex, last: LogIndex): LogIndex[] {
    const taken: LogIndex[] = [];
    for (let range = this.#ranges[0]; range !== undefined; range = this.#ranges[0]) {
      while (range.from <= range.to && taken.length < limit) {
        if (range.from >= first && range.from <= last) {
          range.from = last + 1n;
        } else {
          taken.push(range.from);
          range.from += 1n;
        }
      }
      if (range.from <= range.to) break;
      this.#ranges.shift();
    }
    return taken;
  }
}
