// Linearizable reads without writing to the log (thesis §6.4): the leader notes its commit index, makes sure that it
// still led after the request had come, and answers; the asker serves the read once it has applied that index.

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { newMessage, newNormalEntry } from "../messages.js";
import { ACCEPTED, dropped, type LogIndex, NO_NODE, type StepOutcome } from "../types.js";
import { send } from "./outbox.js";
import { decodeToken, type ReadRequest } from "./read-queue.js";
import { broadcastHeartbeat } from "./replication.js";
import { type FollowerRole, hasCommittedInTerm, type LeaderRole, type RaftState, tell } from "./state.js";

/** Leader: a read of a client of this node, or of a follower. */
export function handleReadIndex(raft: RaftState, leader: LeaderRole, message: Message): StepOutcome {
  const asked = message.entries[0];
  if (asked === undefined) return ignore(raft, message);
  if (leader.reads.size >= raft.settings.maxPendingReads) return dropped("readLimit");
  const request: ReadRequest = { from: message.from, context: asked.data };
  if (!hasCommittedInTerm(raft)) {
    // Until then the commit index may lag behind what an earlier leader acknowledged; raft-rs drops these (U13).
    leader.reads.addEarly(request);
    return ACCEPTED;
  }
  confirm(raft, leader, [request]);
  return ACCEPTED;
}

/** Something of this term is committed: the reads that came before can be confirmed now. */
export function releaseEarlyReads(raft: RaftState, leader: LeaderRole): void {
  const early = leader.reads.takeEarly();
  if (early.length > 0) confirm(raft, leader, early);
}

function confirm(raft: RaftState, leader: LeaderRole, requests: readonly ReadRequest[]): void {
  const index = raft.log.committed;
  const alone = raft.tracker.isSingleton() && raft.tracker.isVoter(raft.id);
  if (alone || holdsLease(raft, leader)) {
    for (const request of requests) answer(raft, request, index);
    return;
  }
  for (const request of requests) leader.reads.add(request, index);
  broadcastHeartbeat(raft, leader);
}

/**
 * Whether no other leader can have been elected yet: a quorum has answered a round of heartbeats that was sent less
 * than an election timeout ago, and refuses votes for that long after receiving it. Two ticks are left for the
 * rounding of both clocks. raft-rs and etcd do not check: they answer lease reads for up to another election timeout.
 */
function holdsLease(raft: RaftState, leader: LeaderRole): boolean {
  const { readOnlyOption, checkQuorum, electionTick } = raft.settings;
  if (readOnlyOption !== "leaseBased" || !checkQuorum || leader.leaseForfeited) return false;
  const start = leader.reads.leaseStartTick;
  return start !== undefined && leader.ticks - start < electionTick - 2;
}

/** Leader: a follower has answered a heartbeat. Releases the reads that a quorum has now confirmed. */
export function confirmReads(raft: RaftState, leader: LeaderRole, message: Message): void {
  const token = decodeToken(message.context);
  if (token === undefined) return;
  leader.reads.echo(message.from, token);
  releaseConfirmedReads(raft, leader);
}

/** Also called when the membership changes: a smaller quorum may have answered already (R15). */
export function releaseConfirmedReads(raft: RaftState, leader: LeaderRole): void {
  for (const read of leader.reads.takeConfirmed(raft.id, raft.tracker.conf.voters)) {
    answer(raft, read.request, read.index);
  }
}

function answer(raft: RaftState, request: ReadRequest, index: LogIndex): void {
  if (request.from === NO_NODE || request.from === raft.id) {
    raft.readStates.push({ index, requestCtx: request.context });
    return;
  }
  send(
    raft,
    newMessage(MessageType.MsgReadIndexResp, request.from, {
      index,
      entries: [Object.freeze(newNormalEntry(0n, 0n, request.context))],
    }),
  );
}

/** Follower: passes a read on to its leader, keeping the asker. */
export function forwardReadIndex(raft: RaftState, follower: FollowerRole, message: Message): StepOutcome {
  if (follower.leader === NO_NODE) return dropped("noLeader");
  send(
    raft,
    newMessage(MessageType.MsgReadIndex, follower.leader, {
      from: message.from,
      entries: [...message.entries],
    }),
  );
  return ACCEPTED;
}

/** Follower: the leader has confirmed a read of this node. */
export function handleReadIndexResponse(raft: RaftState, message: Message): StepOutcome {
  const asked = message.entries[0];
  if (asked === undefined || message.entries.length !== 1) return ignore(raft, message);
  raft.readStates.push({ index: message.index, requestCtx: asked.data });
  // The leader's commit index is of its own term, or it would not have answered: the same entry here is committed.
  if (raft.log.maybeCommit(message.index, message.term)) {
    tell(raft, { type: "committed", index: message.index });
  }
  return ACCEPTED;
}

function ignore(raft: RaftState, message: Message): StepOutcome {
  tell(raft, { type: "messageIgnored", msgType: message.msgType, from: message.from, reason: "malformed" });
  return ACCEPTED;
}
