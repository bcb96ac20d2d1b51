// What a follower does with its leader's appends and heartbeats (paper §5.3).

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { newMessage } from "../messages.js";
import { ACCEPTED, minOf, type NodeId, type StepOutcome } from "../types.js";
import { send } from "./outbox.js";
import { requestSnapshot, sendSnapshotRequest } from "./snapshot-restore.js";
import { type FollowerRole, type RaftState, tell } from "./state.js";

/** The sender leads this term: its election clock starts again. */
export function hearLeader(raft: RaftState, follower: FollowerRole, leader: NodeId): void {
  raft.electionElapsed = 0;
  follower.leader = leader;
}

/** raft-rs: `handle_append_entries`. */
export function handleAppendEntries(raft: RaftState, message: Message): StepOutcome {
  const { log } = raft;
  if (raft.pendingRequestSnapshot !== 0n) {
    sendSnapshotRequest(raft, message.from);
    return ACCEPTED;
  }
  const response = newMessage(MessageType.MsgAppendResponse, message.from);
  if (message.index < log.committed) {
    // What is committed here agrees with any leader's log. Tell it how far that is.
    response.index = log.committed;
    response.commit = log.committed;
    send(raft, response);
    return ACCEPTED;
  }
  const committedBefore = log.committed;
  const previous = { index: message.index, term: message.logTerm };
  const lastMatched = log.maybeAppend(previous, message.commit, message.entries);
  if (lastMatched === undefined) {
    const hint = log.findConflictByTerm(minOf(message.index, log.lastIndex()), message.logTerm);
    response.reject = true;
    response.index = message.index;
    response.rejectHint = hint.index;
    response.logTerm = hint.term ?? 0n;
  } else {
    response.index = lastMatched;
    if (log.committed > committedBefore) tell(raft, { type: "committed", index: log.committed });
  }
  response.commit = log.committed;
  send(raft, response);
  if (raft.wantsSnapshot) requestSnapshot(raft);
  return ACCEPTED;
}

/** raft-rs: `handle_heartbeat`. */
export function handleHeartbeat(raft: RaftState, message: Message): StepOutcome {
  const committedBefore = raft.log.committed;
  raft.log.commitTo(message.commit);
  if (raft.log.committed > committedBefore) tell(raft, { type: "committed", index: raft.log.committed });
  if (raft.pendingRequestSnapshot !== 0n) {
    sendSnapshotRequest(raft, message.from);
    return ACCEPTED;
  }
  const response = newMessage(MessageType.MsgHeartbeatResponse, message.from);
  response.context = message.context;
  response.commit = raft.log.committed;
  send(raft, response);
  return ACCEPTED;
}
