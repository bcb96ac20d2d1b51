// The log as the core sees it: everything that was appended, on disk or not. Keeps in memory what is not durable
// yet and, up to a limit, the entries before that; asks the disk for the rest.

import { InvariantViolation, StorageError } from "../core/errors.js";
import { entrySize } from "../core/messages.js";
import { type LogIndex, maxOf, minOf, type Term } from "../core/types.js";
import type { Entry } from "../gen/eraftpb_pb.js";
import { entryRecordBytes } from "./record-codec.js";
import type { TermRuns } from "./term-runs.js";

/** Reads entries of `[low, high)` that are on disk: as many as fit into `maxBytes`, at least one. */
export type EntryReader = (low: LogIndex, high: LogIndex, maxBytes: number) => Entry[];

/** Evicted entries at the front of the array are cut off when they are this many. */
const CUT_AFTER = 1024;

export class LogView {
  #boundary: { readonly index: LogIndex; readonly term: Term };
  #last: LogIndex;
  readonly #terms: TermRuns;
  /** The entries from `#tailFirst` on; the first `#evicted` elements are gone. */
  #tail: (Entry | undefined)[] = [];
  #evicted = 0;
  #tailFirst: LogIndex;
  #tailBytes = 0;
  /** Entries up to here are on disk as they are in memory. */
  #durable: LogIndex;
  readonly #read: EntryReader;
  readonly #cacheBytes: number;

  /** Begins as what is on disk: entries after `boundary` up to `last`, with these terms. */
  constructor(
    boundary: { readonly index: LogIndex; readonly term: Term },
    last: LogIndex,
    terms: TermRuns,
    read: EntryReader,
    cacheBytes: number,
  ) {
    this.#boundary = boundary;
    this.#last = last;
    this.#terms = terms;
    this.#tailFirst = last + 1n;
    this.#durable = last;
    this.#read = read;
    this.#cacheBytes = cacheBytes;
  }

  get firstIndex(): LogIndex {
    return this.#boundary.index + 1n;
  }

  get lastIndex(): LogIndex {
    return this.#last;
  }

  /** The position just before the first entry. */
  get boundary(): { readonly index: LogIndex; readonly term: Term } {
    return this.#boundary;
  }

  /** Record bytes of the entries held in memory. */
  get cachedBytes(): number {
    return this.#tailBytes;
  }

  /** As `Storage.term`. */
  term(index: LogIndex): Term {
    if (index === this.#boundary.index) return this.#boundary.term;
    if (index < this.#boundary.index) throw new StorageError("compacted");
    if (index > this.#last) throw new StorageError("unavailable");
    const term = this.#terms.at(index);
    if (term === undefined) throw new InvariantViolation(`no term is known for entry ${index}`);
    return term;
  }

  /** As `Storage.entries`. */
  entries(low: LogIndex, high: LogIndex, maxBytes: number): Entry[] {
    if (low < this.firstIndex) throw new StorageError("compacted");
    if (high > this.#last + 1n) throw new StorageError("unavailable");
    if (low >= high) return [];
    let result: Entry[] = [];
    let bytes = 0;
    let next = low;
    if (low < this.#tailFirst) {
      const diskHigh = minOf(high, this.#tailFirst);
      result = this.#read(low, diskHigh, maxBytes);
      next = low + BigInt(result.length);
      if (next < diskHigh) return result;
      for (const entry of result) bytes += entrySize(entry);
    }
    const end = this.#evicted + Number(high - this.#tailFirst);
    for (let at = this.#evicted + Number(next - this.#tailFirst); at < end; at += 1) {
      const entry = this.#tail[at];
      if (entry === undefined) throw new InvariantViolation(`entry ${next} is not in memory`);
      bytes += entrySize(entry);
      if (bytes > maxBytes && result.length > 0) break;
      result.push(entry);
    }
    return result;
  }

  /**
   * Replaces everything from the first given entry on.
   * @throws InvariantViolation, with nothing changed, unless the entries follow on what is kept, one by one,
   *   with terms that never fall.
   */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    this.#requireFollowing(first, entries);
    if (first.index <= this.#last) this.#truncateFrom(first.index);
    for (const entry of entries) {
      this.#tail.push(entry);
      this.#tailBytes += entryRecordBytes(entry);
      this.#terms.append(entry.index, entry.term);
    }
    this.#last += BigInt(entries.length);
  }

  /** Replaces the whole log by a snapshot that ends at this position. */
  reset(index: LogIndex, term: Term): void {
    this.#boundary = { index, term };
    this.#last = index;
    this.#durable = index;
    this.#terms.clear();
    this.#clearTail();
  }

  /** Forgets entries up to and including `index`, which must be in the log, but not the term there. */
  compact(index: LogIndex): void {
    this.#boundary = { index, term: this.term(index) };
    this.#terms.dropBefore(index + 1n);
    if (index >= this.#last) this.#terms.clear();
    this.#evictUpTo(index, 0);
  }

  /** Entries up to `index` are on disk, unless they were replaced meanwhile: that is the caller's to know. */
  markDurable(index: LogIndex): void {
    this.#durable = maxOf(this.#durable, minOf(index, this.#last));
    this.#evictUpTo(this.#durable, this.#cacheBytes);
  }

  #requireFollowing(first: Entry, entries: readonly Entry[]): void {
    if (first.index < this.firstIndex || first.index > this.#last + 1n) {
      throw new InvariantViolation(
        `append at ${first.index} does not follow on the log [${this.firstIndex}, ${this.#last}]`,
      );
    }
    let index = first.index;
    let term = this.term(first.index - 1n);
    for (const entry of entries) {
      if (entry.index !== index || entry.term < term) {
        throw new InvariantViolation(
          `entry (index ${entry.index}, term ${entry.term}) cannot follow on (index ${index - 1n}, term ${term})`,
        );
      }
      index += 1n;
      term = entry.term;
    }
  }

  #truncateFrom(index: LogIndex): void {
    this.#terms.truncateFrom(index);
    this.#durable = minOf(this.#durable, index - 1n);
    this.#last = index - 1n;
    if (index <= this.#tailFirst) {
      this.#clearTail();
      return;
    }
    const keep = this.#evicted + Number(index - this.#tailFirst);
    for (const entry of this.#tail.splice(keep)) {
      if (entry !== undefined) this.#tailBytes -= entryRecordBytes(entry);
    }
  }

  #clearTail(): void {
    this.#tail = [];
    this.#evicted = 0;
    this.#tailBytes = 0;
    this.#tailFirst = this.#last + 1n;
  }

  /** Evicts from the front, nothing behind `index`, until no more than `keepBytes` are left. */
  #evictUpTo(index: LogIndex, keepBytes: number): void {
    const before = this.#evicted;
    const end = Math.min(this.#tail.length, before + Number(index - this.#tailFirst) + 1);
    while (this.#evicted < end && this.#tailBytes > keepBytes) {
      const entry = this.#tail[this.#evicted];
      if (entry === undefined) throw new InvariantViolation("evicted twice");
      this.#tailBytes -= entryRecordBytes(entry);
      this.#tail[this.#evicted] = undefined;
      this.#evicted += 1;
    }
    this.#tailFirst += BigInt(this.#evicted - before);
    this.#cut();
  }

  #cut(): void {
    if (this.#evicted < CUT_AFTER && this.#evicted < this.#tail.length) return;
    this.#tail.splice(0, this.#evicted);
    this.#evicted = 0;
  }
}
