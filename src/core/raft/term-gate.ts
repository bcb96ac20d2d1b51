// What a message's term does to this node before anything else is looked at (paper §5.1).

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { newMessage } from "../messages.js";
import { NO_NODE } from "../types.js";
import { isTransferCampaign } from "./election.js";
import { send } from "./outbox.js";
import { becomeFollower } from "./roles.js";
import { leaderOf, type RaftState, tell } from "./state.js";

/** @returns `finished` when the message has been dealt with, `proceed` when its term is settled. */
export function settleTerm(raft: RaftState, message: Message): "finished" | "proceed" {
  if (message.term === 0n || message.term === raft.term) return "proceed";
  return message.term > raft.term ? settleHigher(raft, message) : settleLower(raft, message);
}

function settleHigher(raft: RaftState, message: Message): "finished" | "proceed" {
  switch (message.msgType) {
    case MessageType.MsgRequestVote:
    case MessageType.MsgRequestPreVote:
      if (honoursLease(raft) && !isTransferCampaign(message)) {
        tell(raft, {
          type: "messageIgnored",
          msgType: message.msgType,
          from: message.from,
          reason: "leaderLease",
        });
        return "finished";
      }
      // Asking for pre-votes raises nobody's term.
      if (message.msgType === MessageType.MsgRequestVote) becomeFollower(raft, message.term, NO_NODE);
      return "proceed";
    case MessageType.MsgRequestPreVoteResponse:
      // A grant names a term that its sender has not entered; only a refusal tells of a real one.
      if (message.reject) becomeFollower(raft, message.term, NO_NODE);
      return "proceed";
    case MessageType.MsgAppend:
    case MessageType.MsgHeartbeat:
    case MessageType.MsgSnapshot:
      becomeFollower(raft, message.term, message.from);
      return "proceed";
    default:
      becomeFollower(raft, message.term, NO_NODE);
      return "proceed";
  }
}

/**
 * This node has heard from a leader within an election timeout and will not help to depose it (thesis §6.4.1). With
 * lease reads a restarted node cannot know that it has not, so it waits as long as the lease may last.
 */
function honoursLease(raft: RaftState): boolean {
  const { checkQuorum, electionTick, readOnlyOption } = raft.settings;
  if (!checkQuorum) return false;
  if (leaderOf(raft) !== NO_NODE && raft.electionElapsed < electionTick) return true;
  return readOnlyOption === "leaseBased" && raft.ticksSinceStart < electionTick && raft.term > 1n;
}

function settleLower(raft: RaftState, message: Message): "finished" {
  switch (message.msgType) {
    case MessageType.MsgAppend:
    case MessageType.MsgHeartbeat:
      if (raft.settings.checkQuorum || raft.settings.preVote) {
        // A node that came back with a higher term ignores this leader, and under these options cannot get elected
        // itself. The answer at the higher term deposes the leader and sets both free.
        send(raft, newMessage(MessageType.MsgAppendResponse, message.from));
      } else {
        ignoreStale(raft, message);
      }
      return "finished";
    case MessageType.MsgRequestPreVote:
      // Silence would let nodes of different versions wait for each other for ever while pre-vote is rolled out.
      send(
        raft,
        newMessage(MessageType.MsgRequestPreVoteResponse, message.from, { term: raft.term, reject: true }),
      );
      return "finished";
    default:
      ignoreStale(raft, message);
      return "finished";
  }
}

function ignoreStale(raft: RaftState, message: Message): void {
  tell(raft, {
    type: "messageIgnored",
    msgType: message.msgType,
    from: message.from,
    reason: "staleTerm",
  });
}
