// How much of the committed log is with the embedder: handed out already, and not yet applied.

import type { Entry } from "../gen/eraftpb_pb.js";
import { entriesSize } from "./messages.js";
import type { RaftState } from "./raft/state.js";
import { type LogIndex, NO_LIMIT } from "./types.js";

/** Committed entries that were handed out together. */
interface Batch {
  readonly lastIndex: LogIndex;
  readonly bytes: number;
}

export class ApplyQueue {
  readonly #raft: RaftState;
  /** Up to here committed entries (or the snapshot) were handed out. */
  #handedOut: LogIndex;
  /** Entries behind a snapshot wait until the snapshot is applied. */
  #gate: LogIndex = 0n;
  /** What the apply budget counts, oldest first. Without a limit nobody counts. */
  readonly #applying: Batch[] = [];
  #applyingBytes = 0;

  constructor(raft: RaftState) {
    this.#raft = raft;
    this.#handedOut = raft.log.applied;
  }

  /** The last index that the embedder has, as an entry or in a snapshot. */
  get handedOut(): LogIndex {
    return this.#handedOut;
  }

  /** The embedder was handed a snapshot that ends at `index`. */
  handOutSnapshot(index: LogIndex): void {
    this.#handedOut = index;
    this.#gate = index;
  }

  /** There are entries to apply, and the budget leaves room for some. */
  canHandOut(): boolean {
    const { log } = this.#raft;
    return (
      log.applied >= this.#gate &&
      log.unstable.snapshot === undefined &&
      !this.#isBudgetSpent() &&
      log.hasNextEntriesSince(this.#handedOut)
    );
  }

  /** Entries to apply, within what the budget leaves: entries that were handed out and not applied count (E10). */
  handOut(): readonly Entry[] {
    if (!this.canHandOut()) return [];
    const { log, role, settings } = this.#raft;
    const entries = log.nextEntriesSince(
      this.#handedOut,
      settings.maxCommittedSizePerReady - this.#applyingBytes,
    );
    const last = entries.at(-1);
    if (last === undefined) return [];
    this.#handedOut = last.index;
    if (settings.maxCommittedSizePerReady !== NO_LIMIT) {
      const bytes = entriesSize(entries);
      this.#applying.push({ lastIndex: last.index, bytes });
      this.#applyingBytes += bytes;
    }
    if (role.kind === "leader") role.uncommitted.giveBack(entries);
    // The array may be one that the storage keeps.
    return [...entries];
  }

  /** The embedder has applied everything up to `index`. */
  applied(index: LogIndex): void {
    for (let first = this.#applying[0]; first && first.lastIndex <= index; first = this.#applying[0]) {
      this.#applyingBytes -= first.bytes;
      this.#applying.shift();
    }
  }

  #isBudgetSpent(): boolean {
    return this.#applyingBytes > 0 && this.#applyingBytes >= this.#raft.settings.maxCommittedSizePerReady;
  }
}
