// What a follower does with each message type: a table of contents.

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { assertNever } from "../errors.js";
import { ACCEPTED, type StepOutcome } from "../types.js";
import { startElection } from "./election.js";
import { handleAppendEntries, handleHeartbeat, hearLeader } from "./following.js";
import { forwardProposal } from "./proposal.js";
import { forwardReadIndex, handleReadIndexResponse } from "./read-index.js";
import { handleSnapshot } from "./snapshot-restore.js";
import { type FollowerRole, type RaftState, tell } from "./state.js";
import { forwardTransferLeader } from "./transfer.js";

export function stepFollower(raft: RaftState, follower: FollowerRole, message: Message): StepOutcome {
  switch (message.msgType) {
    case MessageType.MsgAppend:
      hearLeader(raft, follower, message.from);
      return handleAppendEntries(raft, message);
    case MessageType.MsgHeartbeat:
      hearLeader(raft, follower, message.from);
      return handleHeartbeat(raft, message);
    case MessageType.MsgSnapshot:
      hearLeader(raft, follower, message.from);
      return handleSnapshot(raft, message);
    case MessageType.MsgPropose:
      return forwardProposal(raft, follower, message);
    case MessageType.MsgReadIndex:
      return forwardReadIndex(raft, follower, message);
    case MessageType.MsgReadIndexResp:
      return handleReadIndexResponse(raft, message);
    case MessageType.MsgTransferLeader:
      return forwardTransferLeader(raft, follower, message);
    case MessageType.MsgTimeoutNow:
      return startElection(raft, true);
    case MessageType.MsgHup:
    case MessageType.MsgRequestVote:
    case MessageType.MsgRequestPreVote:
    // Answers to a campaign that this node has given up.
    case MessageType.MsgRequestVoteResponse:
    case MessageType.MsgRequestPreVoteResponse:
    // Only a leader's.
    case MessageType.MsgBeat:
    case MessageType.MsgCheckQuorum:
    case MessageType.MsgUnreachable:
    case MessageType.MsgSnapStatus:
    case MessageType.MsgAppendResponse:
    case MessageType.MsgHeartbeatResponse:
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
