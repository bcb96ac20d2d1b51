// What was handed out by Readys that are not known to be durable yet, and what becomes known when they are.

import type { EntryId } from "./log/raft-log.js";
import type { LogIndex, Term } from "./types.js";

/** What one Ready has handed out. */
export interface ReadyRecord {
  readonly number: number;
  /** Where its entries begin. */
  readonly firstIndex: LogIndex | undefined;
  readonly lastEntry: EntryId | undefined;
  readonly snapshotIndex: LogIndex | undefined;
  /** The term of a vote for itself in its hard state. */
  readonly selfVote: Term | undefined;
}

/** What several Readys have made durable together. */
export type Persisted = Pick<ReadyRecord, "lastEntry" | "snapshotIndex" | "selfVote">;

export class ReadyRecords {
  /** Oldest first. */
  readonly #records: ReadyRecord[] = [];

  push(record: ReadyRecord): void {
    this.#records.push(record);
  }

  find(number: number): ReadyRecord | undefined {
    return this.#records.find((record) => record.number === number);
  }

  /**
   * Takes out all up to this number, which are durable now. If a snapshot comes after the last entry, it may have taken
   * that entry away: `RaftLog.maybePersist` sees that it is not there any more.
   */
  takeDurable(number: number): Persisted {
    let lastEntry: EntryId | undefined;
    let snapshotIndex: LogIndex | undefined;
    let selfVote: Term | undefined;
    for (let first = this.#records[0]; first && first.number <= number; first = this.#records[0]) {
      this.#records.shift();
      lastEntry = first.lastEntry ?? lastEntry;
      snapshotIndex = first.snapshotIndex ?? snapshotIndex;
      selfVote = first.selfVote ?? selfVote;
    }
    if (lastEntry !== undefined && this.#isBeingReplaced(lastEntry.index)) lastEntry = undefined;
    return { lastEntry, snapshotIndex, selfVote };
  }

  /**
   * A later Ready that is not durable yet writes over this place. Even if the log has the same entry there again, the
   * disk has or will have another one in between (A, B, A), so the earlier write counts for nothing. raft-rs counts it.
   */
  #isBeingReplaced(index: LogIndex): boolean {
    return this.#records.some(({ firstIndex }) => firstIndex !== undefined && firstIndex <= index);
  }
}
