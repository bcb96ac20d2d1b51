// A Storage in memory, for tests and for driving RawNodes by hand. It keeps the whole contract, the term before
// the first entry included.

import type { ConfState, Entry, HardState, Snapshot } from "../../gen/eraftpb_pb.js";
import { InvariantViolation, StorageError } from "../errors.js";
import {
  copyConfState,
  copySnapshot,
  frozenEntry,
  limitSize,
  newConfState,
  newHardState,
  newSnapshot,
  ownBytes,
  snapshotPosition,
} from "../messages.js";
import { type LogIndex, maxOf, type NodeId, type Term } from "../types.js";
import type { GetEntriesContext, InitialState, Storage } from "./storage.js";

export class MemoryStorage implements Storage {
  #hardState: HardState = newHardState(0n, 0n, 0n);
  #confState: ConfState = newConfState();
  /** The position before the first entry. */
  #boundary: { index: LogIndex; term: Term } = { index: 0n, term: 0n };
  #entries: Entry[] = [];
  #applied: LogIndex | undefined;
  #snapshotData: Uint8Array = new Uint8Array(0);
  #snapshotUnavailableOnce = false;
  #logUnavailable = false;
  #pendingFetch: GetEntriesContext | undefined;

  /**
   * A storage whose group is born with these members: as if a snapshot at (1, 1) had been installed, so that a
   * member added later cannot take the log for complete and miss the membership it began with (R10).
   */
  static withConfState(confState: Partial<Pick<ConfState, "voters" | "learners">>): MemoryStorage {
    const storage = new MemoryStorage();
    storage.applySnapshot(newSnapshot(1n, 1n, newConfState(confState)));
    return storage;
  }

  initialState(): InitialState {
    return { hardState: { ...this.#hardState }, confState: copyConfState(this.#confState) };
  }

  entries(low: LogIndex, high: LogIndex, maxBytes: number, context: GetEntriesContext): readonly Entry[] {
    if (low < this.firstIndex()) throw new StorageError("compacted");
    if (high > this.lastIndex() + 1n) throw new StorageError("unavailable");
    if (this.#logUnavailable && context.canAsync) {
      this.#pendingFetch = context;
      throw new StorageError("logTemporarilyUnavailable");
    }
    return limitSize(this.#entries.slice(this.#position(low), this.#position(high)), maxBytes);
  }

  term(index: LogIndex): Term {
    if (index === this.#boundary.index) return this.#boundary.term;
    if (index < this.#boundary.index) throw new StorageError("compacted");
    const entry = this.#entries[this.#position(index)];
    if (entry === undefined) throw new StorageError("unavailable");
    return entry.term;
  }

  firstIndex(): LogIndex {
    return this.#boundary.index + 1n;
  }

  lastIndex(): LogIndex {
    return this.#boundary.index + BigInt(this.#entries.length);
  }

  /**
   * A snapshot with the membership last set. It ends at the commit index, which is right for an embedder that
   * applies at once; others say how far they are with {@link setApplied}.
   */
  snapshot(requestIndex: LogIndex, _to: NodeId): Snapshot {
    if (this.#snapshotUnavailableOnce) {
      this.#snapshotUnavailableOnce = false;
      throw new StorageError("snapshotTemporarilyUnavailable");
    }
    const index = maxOf(this.#applied ?? this.#hardState.commit, this.#boundary.index);
    if (index < requestIndex) throw new StorageError("snapshotTemporarilyUnavailable");
    return newSnapshot(index, this.term(index), copyConfState(this.#confState), ownBytes(this.#snapshotData));
  }

  setHardState(hardState: HardState): void {
    this.#hardState = newHardState(hardState.term, hardState.vote, hardState.commit);
  }

  /** The membership as of what is applied. */
  setConfState(confState: ConfState): void {
    this.#confState = copyConfState(confState);
  }

  /** How far the state machine is: from now on snapshots end here. */
  setApplied(index: LogIndex): void {
    this.#applied = index;
  }

  /** What the next snapshots carry as their body. */
  setSnapshotData(data: Uint8Array): void {
    this.#snapshotData = ownBytes(data);
  }

  /** Moves the commit index of the hard state forward. */
  commitTo(index: LogIndex): void {
    if (index > this.#hardState.commit) {
      this.#hardState = newHardState(this.#hardState.term, this.#hardState.vote, index);
    }
  }

  /** Appends; from the first entry's index on, what stood there is replaced. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    if (first.index < this.firstIndex() || first.index > this.lastIndex() + 1n) {
      throw new InvariantViolation(
        `append at ${first.index} does not follow on [${this.firstIndex()}, ${this.lastIndex()}]`,
      );
    }
    this.#entries.length = this.#position(first.index);
    for (const entry of entries) this.#entries.push(frozenEntry(entry));
  }

  /**
   * Replaces the whole log by a snapshot.
   * @throws StorageError `snapshotOutOfDate` if it ends before what is compacted already.
   */
  applySnapshot(snapshot: Snapshot): void {
    const { index, term } = snapshotPosition(snapshot);
    if (index < this.#boundary.index) throw new StorageError("snapshotOutOfDate");
    const own = copySnapshot(snapshot);
    this.#boundary = { index, term };
    this.#entries = [];
    this.#snapshotData = own.data;
    if (own.metadata?.confState !== undefined) this.#confState = own.metadata.confState;
    const { vote, term: ownTerm, commit } = this.#hardState;
    this.#hardState = newHardState(maxOf(ownTerm, term), ownTerm < term ? 0n : vote, maxOf(commit, index));
  }

  /** Forgets entries up to and including `index`, but not the term there. */
  compact(index: LogIndex): void {
    if (index <= this.#boundary.index) return;
    const term = this.term(index);
    this.#entries = this.#entries.slice(this.#position(index + 1n));
    this.#boundary = { index, term };
  }

  /** The next `snapshot()` answers that there is none yet. */
  triggerSnapshotUnavailable(): void {
    this.#snapshotUnavailableOnce = true;
  }

  /** While true, reads that may wait are told to. */
  triggerLogUnavailable(unavailable: boolean): void {
    this.#logUnavailable = unavailable;
  }

  /** The context of the last read that was told to wait, once. */
  takeGetEntriesContext(): GetEntriesContext | undefined {
    const context = this.#pendingFetch;
    this.#pendingFetch = undefined;
    return context;
  }

  #position(index: LogIndex): number {
    return Number(index - this.#boundary.index - 1n);
  }
}
