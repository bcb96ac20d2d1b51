// The tail of the log that has not been handed to the storage yet, and a snapshot that replaces the whole log.
// The array is this file's own and grows in place; whatever leaves is a copy of it, and entries are frozen.

import type { Entry, Snapshot } from "../../gen/eraftpb_pb.js";
import { InvariantViolation, invariant } from "../errors.js";
import { snapshotPosition } from "../messages.js";
import type { LogIndex, Term } from "../types.js";

export class Unstable {
  /** A snapshot that waits to be installed before `entries`. */
  snapshot: Snapshot | undefined;
  /** `entries[i]` has index `offset + i`. */
  entries: Entry[] = [];
  /** The index of the first entry that the storage does not hold. */
  offset: LogIndex;

  constructor(offset: LogIndex) {
    this.offset = offset;
  }

  /** Where the log begins because of the pending snapshot; undefined when the storage knows. */
  maybeFirstIndex(): LogIndex | undefined {
    return this.snapshot === undefined ? undefined : snapshotPosition(this.snapshot).index + 1n;
  }

  /** The last index, if anything in here decides it. */
  maybeLastIndex(): LogIndex | undefined {
    if (this.entries.length > 0) return this.offset + BigInt(this.entries.length) - 1n;
    return this.snapshot === undefined ? undefined : snapshotPosition(this.snapshot).index;
  }

  /** The term at `index`, if it is known here. */
  maybeTerm(index: LogIndex): Term | undefined {
    if (index < this.offset) {
      if (this.snapshot === undefined) return undefined;
      const position = snapshotPosition(this.snapshot);
      return position.index === index ? position.term : undefined;
    }
    return this.entries[Number(index - this.offset)]?.term;
  }

  /**
   * The storage now serves everything up to (index, term). Ignored when something else has taken that place
   * meanwhile: an acknowledgement of entries since overwritten must not drop their successors (etcd: ABA).
   */
  stableTo(index: LogIndex, term: Term): void {
    if (index < this.offset || this.maybeTerm(index) !== term) return;
    this.entries = this.entries.slice(Number(index + 1n - this.offset));
    this.offset = index + 1n;
  }

  /** The storage now serves the snapshot that ends at `index`. */
  stableSnapshot(index: LogIndex): void {
    if (this.snapshot !== undefined && snapshotPosition(this.snapshot).index === index)
      this.snapshot = undefined;
  }

  /** The log is to become this snapshot. */
  restore(snapshot: Snapshot): void {
    this.entries = [];
    this.offset = snapshotPosition(snapshot).index + 1n;
    this.snapshot = snapshot;
  }

  /** Appends entries; from the first one's index on, what stood there is replaced. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const after = first.index;
    const end = this.offset + BigInt(this.entries.length);
    if (after === end) {
      this.#push(entries);
    } else if (after <= this.offset) {
      // Reaches back into what the storage holds: the storage will truncate when it is handed these.
      this.offset = after;
      this.entries = [...entries];
    } else {
      invariant(after < end, () => `append at ${after} leaves a gap behind ${end - 1n}`);
      this.entries.length = Number(after - this.offset);
      this.#push(entries);
    }
  }

  /** A copy of the entries of `[low, high)`, all of which must be in here. */
  slice(low: LogIndex, high: LogIndex): Entry[] {
    const end = this.offset + BigInt(this.entries.length);
    if (low > high || low < this.offset || high > end) {
      throw new InvariantViolation(`unstable slice [${low}, ${high}) outside of [${this.offset}, ${end})`);
    }
    return this.entries.slice(Number(low - this.offset), Number(high - this.offset));
  }

  #push(entries: readonly Entry[]): void {
    for (const entry of entries) this.entries.push(entry);
  }
}
