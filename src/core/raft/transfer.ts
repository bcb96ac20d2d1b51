// Handing leadership to a chosen voter (thesis §3.10).

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { newMessage } from "../messages.js";
import { ACCEPTED, dropped, NO_NODE, type NodeId, type StepOutcome } from "../types.js";
import { send } from "./outbox.js";
import { sendAppend } from "./replication.js";
import { type FollowerRole, type LeaderRole, type RaftState, tell } from "./state.js";

/** Leader: `message.from` is to lead. raft-rs: `handle_transfer_leader`. */
export function handleTransferLeader(raft: RaftState, leader: LeaderRole, message: Message): StepOutcome {
  const target = message.from;
  const progress = raft.tracker.get(target);
  if (progress === undefined || !raft.tracker.isVoter(target)) return ignore(raft, message, "notAVoter");
  // Asking again for the same target does not extend its deadline.
  if (leader.transferTarget === target) return ignore(raft, message, "alreadyThere");
  abortTransfer(raft, leader);
  if (target === raft.id) return ignore(raft, message, "alreadyThere");
  raft.electionElapsed = 0;
  leader.transferTarget = target;
  tell(raft, { type: "transferStarted", to: target });
  if (progress.matched === raft.log.lastIndex()) sendTimeoutNow(raft, leader, target);
  else sendAppend(raft, target);
  return ACCEPTED;
}

/** The target has everything: it may campaign at once. */
export function sendTimeoutNow(raft: RaftState, leader: LeaderRole, target: NodeId): void {
  leader.leaseForfeited = true;
  send(raft, newMessage(MessageType.MsgTimeoutNow, target));
}

/** Does nothing when none is under way. */
export function abortTransfer(raft: RaftState, leader: LeaderRole): void {
  if (leader.transferTarget === undefined) return;
  tell(raft, { type: "transferAborted", to: leader.transferTarget });
  leader.transferTarget = undefined;
}

/** Follower: passes the wish on to its leader. */
export function forwardTransferLeader(
  raft: RaftState,
  follower: FollowerRole,
  message: Message,
): StepOutcome {
  if (follower.leader === NO_NODE) return dropped("noLeader");
  // Passed on without a name, it would be taken for a wish of this node to lead.
  if (message.from === NO_NODE) return ignore(raft, message, "notAVoter");
  send(raft, newMessage(MessageType.MsgTransferLeader, follower.leader, { from: message.from }));
  return ACCEPTED;
}

function ignore(raft: RaftState, message: Message, reason: "notAVoter" | "alreadyThere"): StepOutcome {
  tell(raft, { type: "messageIgnored", msgType: message.msgType, from: message.from, reason });
  return ACCEPTED;
}
