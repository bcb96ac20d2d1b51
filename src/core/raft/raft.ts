// Brings a node to life from what its storage holds, and tells it what has become durable and applied.

import { restore as restoreConf } from "../confchange/restore.js";
import type { Config } from "../config.js";
import { InvariantViolation } from "../errors.js";
import { type EntryId, RaftLog } from "../log/raft-log.js";
import type { GetEntriesContext, InitialState, Storage } from "../log/storage.js";
import { ProgressTracker } from "../tracker/progress-tracker.js";
import { type LogIndex, maxOf, minOf, NO_NODE } from "../types.js";
import { maybeCommit } from "./commit.js";
import { refreshPromotable } from "./membership.js";
import { Outbox } from "./outbox.js";
import { maybeLeaveJoint } from "./proposal.js";
import { broadcastAppend, sendAppend, sendAppendAggressively, shouldBroadcastCommit } from "./replication.js";
import { becomeFollower } from "./roles.js";
import type { RaftState } from "./state.js";

/**
 * A follower of nobody, in the term that its storage remembers.
 * @throws InvariantViolation when the storage contradicts itself.
 */
export function createRaft(config: Config, storage: Storage, initial: InitialState): RaftState {
  const { hardState, confState } = initial;
  const log = new RaftLog(storage, config.applied);
  if (hardState.commit > log.lastIndex()) {
    throw new InvariantViolation(
      `the hard state's commit ${hardState.commit} is beyond the end of the log, ${log.lastIndex()}: the storage ` +
        "has lost entries, or mixes two nodes' files",
    );
  }
  // What is compacted or in the state machine was committed, even if the hard state heard of that too late.
  const knownCommitted = maxOf(log.committed, minOf(config.applied, log.lastIndex()));
  log.committed = maxOf(hardState.commit, knownCommitted);
  const raft: RaftState = {
    id: config.id,
    settings: { ...config },
    log,
    tracker: new ProgressTracker(config.maxInflightMsgs, config.maxInflightBytes),
    outbox: new Outbox(),
    readStates: [],
    term: hardState.term,
    vote: hardState.vote,
    role: { kind: "follower", leader: NO_NODE },
    electionElapsed: 0,
    randomizedElectionTimeout: 0,
    ticksSinceStart: 0,
    pendingRequestSnapshot: 0n,
    wantsSnapshot: false,
    promotable: false,
  };
  restoreConf(raft.tracker, maxOf(log.lastIndex(), 1n), confState);
  refreshPromotable(raft);
  becomeFollower(raft, raft.term, NO_NODE);
  return raft;
}

/** The disk holds the log up to this entry, unless it has been replaced since. raft-rs: `on_persist_entries`. */
export function entriesPersisted(raft: RaftState, last: EntryId): void {
  if (!raft.log.maybePersist(last.index, last.term) || raft.role.kind !== "leader") return;
  const own = raft.tracker.get(raft.id);
  if (own?.maybeUpdate(last.index) !== true) return;
  if (maybeCommit(raft, raft.role) && shouldBroadcastCommit(raft, raft.role)) broadcastAppend(raft);
}

/** The disk holds the snapshot. raft-rs: `on_persist_snap`. */
export function snapshotPersisted(raft: RaftState, index: LogIndex): void {
  raft.log.maybePersistSnapshot(index);
}

/** The state machine holds everything up to `index`. raft-rs: `commit_apply`. */
export function applied(raft: RaftState, index: LogIndex): void {
  raft.log.appliedTo(index);
  if (raft.role.kind === "leader") maybeLeaveJoint(raft, raft.role);
}

/**
 * Entries that a storage was fetching can be read now. Ignored when this leadership is over or the peer is gone
 * (R2, R3). raft-rs: `on_entries_fetched`.
 */
export function entriesFetched(raft: RaftState, context: GetEntriesContext): void {
  if (!context.canAsync) throw new InvariantViolation(`a read for ${context.purpose} was never asynchronous`);
  if (raft.role.kind !== "leader" || raft.term !== context.term) return;
  if (context.aggressively) sendAppendAggressively(raft, context.to);
  else sendAppend(raft, context.to);
}
