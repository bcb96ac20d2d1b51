// Where a leader finds out that more is committed, and what that sets free.

import type { Term } from "../types.js";
import { releaseEarlyReads } from "./read-index.js";
import { type LeaderRole, type RaftState, tell } from "./state.js";

/**
 * Commits what a quorum holds, if the newest such entry is of the own term (paper §5.4.2).
 * raft-rs: `maybe_commit`. @returns whether the commit index moved.
 */
export function maybeCommit(raft: RaftState, leader: LeaderRole): boolean {
  const { index } = raft.tracker.maximalCommittedIndex();
  if (!commitUpTo(raft, index, raft.term)) return false;
  // A removed leader that keeps leading has no progress of its own any more (U2).
  raft.tracker.get(raft.id)?.updateCommitted(raft.log.committed);
  releaseEarlyReads(raft, leader);
  return true;
}

function commitUpTo(raft: RaftState, index: bigint, term: Term): boolean {
  if (!raft.log.maybeCommit(index, term)) return false;
  tell(raft, { type: "committed", index });
  return true;
}
