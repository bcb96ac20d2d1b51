// What a candidate or pre-candidate does with each message type: a table of contents.

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { assertNever } from "../errors.js";
import { ACCEPTED, dropped, type StepOutcome } from "../types.js";
import { handleVoteResponse } from "./election.js";
import { handleAppendEntries, handleHeartbeat } from "./following.js";
import { drop } from "./proposal.js";
import { becomeFollower } from "./roles.js";
import { handleSnapshot } from "./snapshot-restore.js";
import { type CandidateRole, type RaftState, tell } from "./state.js";

export function stepCandidate(raft: RaftState, candidate: CandidateRole, message: Message): StepOutcome {
  switch (message.msgType) {
    case MessageType.MsgRequestVoteResponse:
    case MessageType.MsgRequestPreVoteResponse:
      return handleVoteResponse(raft, candidate, message);
    // Somebody else has won this term (paper §5.2).
    case MessageType.MsgAppend:
      becomeFollower(raft, message.term, message.from);
      return handleAppendEntries(raft, message);
    case MessageType.MsgHeartbeat:
      becomeFollower(raft, message.term, message.from);
      return handleHeartbeat(raft, message);
    case MessageType.MsgSnapshot:
      becomeFollower(raft, message.term, message.from);
      return handleSnapshot(raft, message);
    case MessageType.MsgPropose:
      return drop(raft, "noLeader");
    case MessageType.MsgReadIndex:
    case MessageType.MsgTransferLeader:
      return dropped("noLeader");
    case MessageType.MsgHup:
    case MessageType.MsgRequestVote:
    case MessageType.MsgRequestPreVote:
    // Only a leader's.
    case MessageType.MsgBeat:
    case MessageType.MsgCheckQuorum:
    case MessageType.MsgUnreachable:
    case MessageType.MsgSnapStatus:
    case MessageType.MsgAppendResponse:
    case MessageType.MsgHeartbeatResponse:
    // Already campaigning.
    case MessageType.MsgTimeoutNow:
    case MessageType.MsgReadIndexResp:
      tell(raft, {
        type: "messageIgnored",
        msgType: message.msgType,
        from: message.from,
        reason: "notForThisRole",
      });
      return ACCEPTED;
    default:
      return assertNever(message.msgType);
  }
}
