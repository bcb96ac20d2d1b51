// The four roles and the ways between them. A transition builds the new role's data; what belonged to the old one
// (votes, reads, transfer, pending change) is gone with it. Callers continue with what a transition returns.

import { maxElectionTick, minElectionTick } from "../config.js";
import { InvariantViolation } from "../errors.js";
import { NO_BYTES, newNormalEntry } from "../messages.js";
import { NO_NODE, type NodeId, type Term } from "../types.js";
import { appendToOwnLog } from "./append.js";
import { ReadQueue } from "./read-queue.js";
import { type CandidateRole, type FollowerRole, type LeaderRole, type RaftState, tell } from "./state.js";
import { UncommittedBudget } from "./uncommitted-budget.js";

/** Follows `leader` (or nobody yet) in `term`. At the same term the vote stays given. */
export function becomeFollower(raft: RaftState, term: Term, leader: NodeId): FollowerRole {
  if (raft.term !== term && raft.pendingRequestSnapshot !== 0n) {
    raft.pendingRequestSnapshot = 0n;
    raft.wantsSnapshot = true;
  }
  reset(raft, term);
  // Applying ahead of the disk is a leader's privilege: a follower's entries may still be replaced (R8).
  raft.log.maxApplyUnpersistedLogLimit = 0;
  const role: FollowerRole = { kind: "follower", leader };
  raft.role = role;
  tell(raft, { type: "becameFollower", term, leader });
  return role;
}

/** Asks around before disturbing anybody: term, vote and election clock stay as they are (thesis §9.6). */
export function becomePreCandidate(raft: RaftState): CandidateRole {
  if (raft.role.kind === "leader") throw new InvariantViolation("a leader cannot become a pre-candidate");
  raft.tracker.resetVotes();
  const role: CandidateRole = { kind: "preCandidate" };
  // Forgetting the leader is what lets this node grant others a vote under check-quorum.
  raft.role = role;
  tell(raft, { type: "becamePreCandidate", term: raft.term });
  return role;
}

/** Enters the next term and votes for itself. The vote counts once it is durable. */
export function becomeCandidate(raft: RaftState): CandidateRole {
  if (raft.role.kind === "leader") throw new InvariantViolation("a leader cannot become a candidate");
  reset(raft, raft.term + 1n);
  // A node that can lead has a log that needs no mending.
  raft.pendingRequestSnapshot = 0n;
  raft.wantsSnapshot = false;
  raft.vote = raft.id;
  raft.outbox.voteForSelf(raft.term);
  const role: CandidateRole = { kind: "candidate" };
  raft.role = role;
  tell(raft, { type: "becameCandidate", term: raft.term });
  return role;
}

/** Leads the term that it has just won, and appends the empty entry that lets older ones commit (paper §8). */
export function becomeLeader(raft: RaftState): LeaderRole {
  if (raft.role.kind === "follower")
    throw new InvariantViolation("a follower cannot become leader without votes");
  reset(raft, raft.term);
  const lastIndex = raft.log.lastIndex();
  const role: LeaderRole = {
    kind: "leader",
    heartbeatElapsed: 0,
    ticks: 0,
    // Entries of earlier terms may hold a membership change: none is accepted until all of them are applied.
    pendingConfIndex: lastIndex,
    transferTarget: undefined,
    leaseForfeited: false,
    uncommitted: new UncommittedBudget(raft.settings.maxUncommittedSize, lastIndex),
    reads: new ReadQueue(),
  };
  raft.role = role;
  raft.log.maxApplyUnpersistedLogLimit = raft.settings.maxApplyUnpersistedLogLimit;
  for (const id of raft.tracker.ids()) {
    const progress = raft.tracker.get(id);
    progress?.reset(lastIndex + 1n, progress.inflights.capacity, raft.settings.maxInflightBytes);
  }
  const own = raft.tracker.get(raft.id);
  if (own !== undefined) {
    own.maybeUpdate(raft.log.persisted);
    own.becomeReplicate();
    own.recentActive = true;
    own.updateCommitted(raft.log.committed);
  }
  tell(raft, { type: "becameLeader", term: raft.term, lastIndex });
  appendToOwnLog(raft, role, [newNormalEntry(0n, 0n, NO_BYTES)]);
  return role;
}

/** What every entry into a role but pre-candidate does. raft-rs: `reset`. */
function reset(raft: RaftState, term: Term): void {
  if (raft.term !== term) {
    raft.term = term;
    raft.vote = NO_NODE;
  }
  raft.electionElapsed = 0;
  raft.randomizedElectionTimeout = raft.settings.randomInt(
    minElectionTick(raft.settings),
    maxElectionTick(raft.settings),
  );
  raft.tracker.resetVotes();
}
