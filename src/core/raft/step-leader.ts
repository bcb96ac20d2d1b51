// What a leader does with each message type: a table of contents.

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { assertNever } from "../errors.js";
import { ACCEPTED, type StepOutcome } from "../types.js";
import {
  handleAppendResponse,
  handleHeartbeatResponse,
  handleSnapshotStatus,
  handleUnreachable,
  withProgress,
} from "./acknowledgement.js";
import { handleProposal } from "./proposal.js";
import { checkQuorum } from "./quorum-check.js";
import { handleReadIndex } from "./read-index.js";
import { broadcastHeartbeat } from "./replication.js";
import { type LeaderRole, type RaftState, tell } from "./state.js";
import { handleTransferLeader } from "./transfer.js";

export function stepLeader(raft: RaftState, leader: LeaderRole, message: Message): StepOutcome {
  switch (message.msgType) {
    case MessageType.MsgBeat:
      broadcastHeartbeat(raft, leader);
      return ACCEPTED;
    case MessageType.MsgCheckQuorum:
      checkQuorum(raft);
      return ACCEPTED;
    case MessageType.MsgPropose:
      return handleProposal(raft, leader, message);
    case MessageType.MsgReadIndex:
      return handleReadIndex(raft, leader, message);
    case MessageType.MsgAppendResponse:
      return withProgress(raft, leader, message, handleAppendResponse);
    case MessageType.MsgHeartbeatResponse:
      return withProgress(raft, leader, message, handleHeartbeatResponse);
    case MessageType.MsgSnapStatus:
      return withProgress(raft, leader, message, handleSnapshotStatus);
    case MessageType.MsgUnreachable:
      return withProgress(raft, leader, message, handleUnreachable);
    case MessageType.MsgTransferLeader:
      return handleTransferLeader(raft, leader, message);
    case MessageType.MsgAppend:
    case MessageType.MsgHeartbeat:
    case MessageType.MsgSnapshot:
      // Its term equals ours, so its sender claims the term that this node has won.
      tell(raft, { type: "secondLeader", from: message.from, term: message.term });
      return ACCEPTED;
    case MessageType.MsgHup:
    case MessageType.MsgRequestVote:
    case MessageType.MsgRequestPreVote:
    // Late answers of an election that is decided.
    case MessageType.MsgRequestVoteResponse:
    case MessageType.MsgRequestPreVoteResponse:
    // Meant for a follower.
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
