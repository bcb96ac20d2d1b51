// The life of a message: its term, then votes, which every role answers alike, then the role.

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { assertNever } from "../errors.js";
import type { StepOutcome } from "../types.js";
import { ACCEPTED } from "../types.js";
import { handleVoteRequest, startElection } from "./election.js";
import type { RaftState } from "./state.js";
import { stepCandidate } from "./step-candidate.js";
import { stepFollower } from "./step-follower.js";
import { stepLeader } from "./step-leader.js";
import { settleTerm } from "./term-gate.js";

/**
 * Takes one message in: from a peer, or local (term 0). What it leads to is in the outbox, the log and the role.
 * raft-rs: `Raft::step`.
 */
export function step(raft: RaftState, message: Message): StepOutcome {
  if (settleTerm(raft, message) === "finished") return ACCEPTED;
  switch (message.msgType) {
    case MessageType.MsgHup:
      return startElection(raft, false);
    case MessageType.MsgRequestVote:
    case MessageType.MsgRequestPreVote:
      return handleVoteRequest(raft, message);
    default:
      return stepAs(raft, message);
  }
}

function stepAs(raft: RaftState, message: Message): StepOutcome {
  const { role } = raft;
  switch (role.kind) {
    case "leader":
      return stepLeader(raft, role, message);
    case "candidate":
    case "preCandidate":
      return stepCandidate(raft, role, message);
    case "follower":
      return stepFollower(raft, role, message);
    default:
      return assertNever(role);
  }
}
