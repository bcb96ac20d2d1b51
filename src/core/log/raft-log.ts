// The log as raft sees it: what the storage serves, with the unstable tail on top, and three positions in it:
// applied ≤ committed ≤ last, and persisted, up to which this node's own disk holds the log.

import { type Entry, EntryType, type Snapshot } from "../../gen/eraftpb_pb.js";
import { InvariantViolation, invariant, StorageError } from "../errors.js";
import { frozenEntry, limitSize, snapshotPosition } from "../messages.js";
import { type LogIndex, maxOf, minOf, NO_LIMIT, type NodeId, type Term } from "../types.js";
import type { GetEntriesContext, Storage } from "./storage.js";
import { Unstable } from "./unstable.js";

const FOR_READY: GetEntriesContext = Object.freeze({ canAsync: false, purpose: "ready" });

/** A position that identifies the whole log up to it (paper §5.3, log matching). */
export interface EntryId {
  readonly index: LogIndex;
  readonly term: Term;
}

export class RaftLog {
  readonly unstable: Unstable;
  /** Known to be on a quorum. Never goes back. */
  committed: LogIndex;
  /** This node's disk holds the log up to here. Goes back when a suffix is replaced. */
  persisted: LogIndex;
  /** The state machine holds everything up to here. Never goes back; ≤ committed, except just after a restart. */
  applied: LogIndex;
  /** How far applying may run ahead of `persisted`, in entries. Only ever above 0 on a leader. */
  maxApplyUnpersistedLogLimit = 0;

  constructor(
    readonly storage: Storage,
    applied: LogIndex,
  ) {
    const firstIndex = storage.firstIndex();
    const lastIndex = storage.lastIndex();
    this.committed = firstIndex - 1n;
    this.applied = maxOf(firstIndex - 1n, applied);
    this.persisted = lastIndex;
    this.unstable = new Unstable(lastIndex + 1n);
  }

  firstIndex(): LogIndex {
    return this.unstable.maybeFirstIndex() ?? this.storage.firstIndex();
  }

  lastIndex(): LogIndex {
    return this.unstable.maybeLastIndex() ?? this.storage.lastIndex();
  }

  lastTerm(): Term {
    return this.term(this.lastIndex());
  }

  /**
   * The term at `index`. Unlike raft-rs's, which answers 0 when it does not know (U7), it throws.
   * @throws StorageError `compacted` or `unavailable`.
   */
  term(index: LogIndex): Term {
    const known = this.unstable.maybeTerm(index);
    if (known !== undefined) return known;
    if (index + 1n < this.firstIndex()) throw new StorageError("compacted");
    if (index > this.lastIndex()) throw new StorageError("unavailable");
    return this.storage.term(index);
  }

  /** Like {@link term}, with undefined for an index outside of the log. */
  maybeTerm(index: LogIndex): Term | undefined {
    const known = this.unstable.maybeTerm(index);
    if (known !== undefined) return known;
    if (index + 1n < this.firstIndex() || index > this.lastIndex()) return undefined;
    return this.storage.term(index);
  }

  /** The log contains exactly this entry, and so, by log matching, the sender's whole log up to it. */
  matchTerm(index: LogIndex, term: Term): boolean {
    return this.maybeTerm(index) === term;
  }

  /** Whether a log that ends like this is at least as complete as ours (paper §5.4.1). */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    const ownTerm = this.lastTerm();
    return lastTerm > ownTerm || (lastTerm === ownTerm && lastIndex >= this.lastIndex());
  }

  /**
   * Appends what a leader sent, if the entry before it matches. Only from the first conflict on is anything
   * replaced: a late duplicate of an old append must not truncate what followed it.
   * @returns the last index that is now known to match the leader's log, or undefined on a mismatch.
   */
  maybeAppend(previous: EntryId, leaderCommit: LogIndex, entries: readonly Entry[]): LogIndex | undefined {
    if (!this.matchTerm(previous.index, previous.term)) return undefined;
    const lastNew = previous.index + BigInt(entries.length);
    const conflict = this.findConflict(entries);
    if (conflict !== undefined) {
      const known = Number(conflict - previous.index - 1n);
      this.append(known === 0 ? entries : entries.slice(known));
      this.persisted = minOf(this.persisted, conflict - 1n);
    }
    this.commitTo(minOf(leaderCommit, lastNew));
    return lastNew;
  }

  /** Appends entries that follow on the log or replace its uncommitted end. @returns the new last index. */
  append(entries: readonly Entry[]): LogIndex {
    const first = entries[0];
    if (first === undefined) return this.lastIndex();
    invariant(
      first.index > this.committed,
      () => `append at ${first.index} would replace committed entries (committed ${this.committed})`,
    );
    this.unstable.truncateAndAppend(entries.map(frozenEntry));
    return this.lastIndex();
  }

  /** The index of the first entry that is not in the log as it is given; undefined if all of them are. */
  findConflict(entries: readonly Entry[]): LogIndex | undefined {
    for (const entry of entries) if (!this.matchTerm(entry.index, entry.term)) return entry.index;
    return undefined;
  }

  /**
   * The largest index up to `index` whose term is at most `term`: below it the two logs may agree, so a leader
   * and a follower that both jump there need one probe per term, not per entry (raft-rs:
   * `find_conflict_by_term`). Terms never fall along a log: steps back that double find a place that is low enough,
   * and a binary search the last one such. The cost grows with how far back that is, not with the log.
   * The term is undefined when the answer lies before what is kept.
   */
  findConflictByTerm(index: LogIndex, term: Term): { index: LogIndex; term: Term | undefined } {
    const lastIndex = this.lastIndex();
    if (index > lastIndex) return { index, term: undefined };
    const lowest = this.firstIndex() - 1n;
    if (index < lowest) return { index, term: undefined };
    // Not at 0, whose term is 0.
    if (this.term(lowest) > term) return { index: lowest - 1n, term: undefined };
    let low = index;
    let high = index;
    for (let stride = 1n; this.term(low) > term; stride *= 2n) {
      high = low;
      low = maxOf(low - stride, lowest);
    }
    while (low < high) {
      const middle = (low + high + 1n) / 2n;
      if (this.term(middle) <= term) low = middle;
      else high = middle - 1n;
    }
    return { index: low, term: this.term(low) };
  }

  /** Moves the commit index forward; an index that is already covered is ignored. */
  commitTo(index: LogIndex): void {
    if (index <= this.committed) return;
    invariant(
      index <= this.lastIndex(),
      () =>
        `told to commit ${index}, but the log ends at ${this.lastIndex()}: entries that this node acknowledged ` +
        "are gone. Its disk lost data, or its data folder is another node's. Remove the node, wipe it, add it again",
    );
    this.committed = index;
  }

  /** Commits `index` if the entry there is of `term`: only entries of the own term are counted (paper §5.4.2). */
  maybeCommit(index: LogIndex, term: Term): boolean {
    if (index <= this.committed || !this.matchTerm(index, term)) return false;
    this.commitTo(index);
    return true;
  }

  /**
   * The disk now holds the log up to `index`. Ignored unless the entry is still the one that was written: since
   * then the suffix may have been replaced, even by the same length of entries (raft-rs: `maybe_persist`).
   */
  maybePersist(index: LogIndex, term: Term): boolean {
    const { snapshot, offset } = this.unstable;
    const firstUnwritten = snapshot === undefined ? offset : snapshotPosition(snapshot).index;
    if (index <= this.persisted || index >= firstUnwritten) return false;
    // A snapshot that was handed over meanwhile may have taken the entries away again.
    if (index > this.storage.lastIndex()) return false;
    // Compaction may have passed the entry by now; then it was applied, hence durable and never replaced.
    if (index + 1n >= this.storage.firstIndex() && this.storage.term(index) !== term) return false;
    this.persisted = index;
    return true;
  }

  /** The disk now holds the snapshot that ends at `index`. */
  maybePersistSnapshot(index: LogIndex): boolean {
    if (index <= this.persisted) return false;
    invariant(
      index <= this.committed,
      () => `persisted snapshot ${index} is beyond committed ${this.committed}`,
    );
    invariant(index < this.unstable.offset, () => `persisted snapshot ${index} is beyond what was written`);
    this.persisted = index;
    return true;
  }

  /** The state machine now holds everything up to `index`. */
  appliedTo(index: LogIndex): void {
    invariant(
      index >= this.applied && index <= this.committed,
      () => `applied ${index} is out of range [${this.applied}, ${this.committed}]`,
    );
    this.applied = index;
  }

  /** Up to here entries may be handed out to be applied. */
  appliedIndexUpperBound(): LogIndex {
    const limit = this.maxApplyUnpersistedLogLimit;
    if (limit === NO_LIMIT) return this.committed;
    return minOf(this.committed, this.persisted + BigInt(limit));
  }

  hasNextEntriesSince(since: LogIndex): boolean {
    return this.appliedIndexUpperBound() >= maxOf(since + 1n, this.firstIndex());
  }

  /** Entries after `since` that may be applied, as many as fit into `maxBytes` but at least one. */
  nextEntriesSince(since: LogIndex, maxBytes: number): readonly Entry[] {
    const low = maxOf(since + 1n, this.firstIndex());
    const high = this.appliedIndexUpperBound() + 1n;
    return this.slice(low, high, maxBytes, FOR_READY);
  }

  /** Entries from `low` on, as many as fit into `maxBytes` but at least one if there is any. */
  entriesFrom(low: LogIndex, maxBytes: number, context: GetEntriesContext): readonly Entry[] {
    return this.slice(low, this.lastIndex() + 1n, maxBytes, context);
  }

  /**
   * The entries of `[low, high)` from storage and tail, as many as fit but at least one. When the storage returns
   * fewer than asked, the tail is not glued behind the gap.
   */
  slice(low: LogIndex, high: LogIndex, maxBytes: number, context: GetEntriesContext): readonly Entry[] {
    if (low >= high) return [];
    if (low < this.firstIndex()) throw new StorageError("compacted");
    if (high > this.lastIndex() + 1n) throw new StorageError("unavailable");
    const { offset } = this.unstable;
    if (low >= offset) return limitSize(this.unstable.slice(low, high), maxBytes);
    const storedEnd = minOf(high, offset);
    const stored = limitSize(this.storage.entries(low, storedEnd, maxBytes, context), maxBytes);
    if (high <= offset || BigInt(stored.length) < storedEnd - low) return stored;
    return limitSize([...stored, ...this.unstable.slice(offset, high)], maxBytes);
  }

  /** Whether `[low, high)` holds a membership change. Reads page by page: the range may be large (R5). */
  hasConfChange(low: LogIndex, high: LogIndex, pageBytes: number, context: GetEntriesContext): boolean {
    let next = maxOf(low, this.firstIndex());
    while (next < high) {
      const page = this.slice(next, high, pageBytes, context);
      if (page.some((entry) => entry.entryType !== EntryType.EntryNormal)) return true;
      if (page.length === 0)
        throw new InvariantViolation(`the storage returned nothing for [${next}, ${high})`);
      next += BigInt(page.length);
    }
    return false;
  }

  /** A snapshot for `to` that covers `requestIndex`. @throws StorageError `snapshotTemporarilyUnavailable`. */
  snapshot(requestIndex: LogIndex, to: NodeId): Snapshot {
    return this.storage.snapshot(requestIndex, to);
  }

  /** The log becomes this snapshot. What was persisted beyond the old commit index is no longer trusted (R21). */
  restore(snapshot: Snapshot): void {
    const { index } = snapshotPosition(snapshot);
    invariant(index >= this.committed, () => `restoring ${index} would undo committed ${this.committed}`);
    this.persisted = minOf(this.persisted, this.committed);
    this.committed = index;
    this.unstable.restore(snapshot);
  }

  /** What a vote message tells about the commit index: (index, term), or (0, 0) if the term is not known. */
  commitInfo(): EntryId {
    const term = this.maybeTerm(this.committed);
    return term === undefined ? { index: 0n, term: 0n } : { index: this.committed, term };
  }
}
