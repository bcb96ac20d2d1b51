// One step of logical time. Nothing in the core knows how long a tick lasts.

import { assertNever } from "../errors.js";
import { startElection } from "./election.js";
import { maybeLeaveJoint } from "./proposal.js";
import { checkQuorum } from "./quorum-check.js";
import { broadcastHeartbeat } from "./replication.js";
import type { LeaderRole, RaftState } from "./state.js";
import { abortTransfer } from "./transfer.js";

/** @returns whether there is probably something to do now. raft-rs: `tick`. */
export function tick(raft: RaftState): boolean {
  raft.ticksSinceStart += 1;
  const { role } = raft;
  switch (role.kind) {
    case "leader":
      return tickLeader(raft, role);
    case "follower":
    case "candidate":
    case "preCandidate":
      return tickElection(raft);
    default:
      return assertNever(role);
  }
}

/** The randomised timeout decides only here; lease, quorum check and transfer deadline use `electionTick`. */
function tickElection(raft: RaftState): boolean {
  raft.electionElapsed += 1;
  if (raft.electionElapsed < raft.randomizedElectionTimeout || !raft.promotable) return false;
  // Also when the campaign is refused: the node waits for another full timeout.
  raft.electionElapsed = 0;
  startElection(raft, false);
  return true;
}

function tickLeader(raft: RaftState, leader: LeaderRole): boolean {
  leader.heartbeatElapsed += 1;
  leader.ticks += 1;
  raft.electionElapsed += 1;
  let hasWork = false;
  if (raft.electionElapsed >= raft.settings.electionTick) {
    raft.electionElapsed = 0;
    if (raft.settings.checkQuorum) {
      hasWork = true;
      checkQuorum(raft);
      if (raft.role !== leader) return true;
    }
    abortTransfer(raft, leader);
  }
  if (leader.heartbeatElapsed >= raft.settings.heartbeatTick) {
    leader.heartbeatElapsed = 0;
    broadcastHeartbeat(raft, leader);
    maybeLeaveJoint(raft, leader);
    hasWork = true;
  }
  return hasWork;
}
