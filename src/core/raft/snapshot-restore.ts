// A follower whose log the leader cannot mend takes over a snapshot (paper §7), or asks for one.

import { type ConfState, type Message, MessageType, type Snapshot } from "../../gen/eraftpb_pb.js";
import { restore as restoreConf } from "../confchange/restore.js";
import { ConfChangeError, InvariantViolation } from "../errors.js";
import { copySnapshot, newConfState, newMessage, snapshotPosition } from "../messages.js";
import { ProgressTracker } from "../tracker/progress-tracker.js";
import { ACCEPTED, dropped, NO_NODE, type NodeId, type StepOutcome } from "../types.js";
import { refreshPromotable } from "./membership.js";
import { send } from "./outbox.js";
import { leaderOf, type RaftState, tell } from "./state.js";

/** Follower: the leader has sent a snapshot. Answered like an append. raft-rs: `handle_snapshot`. */
export function handleSnapshot(raft: RaftState, message: Message): StepOutcome {
  const { snapshot } = message;
  if (snapshot === undefined)
    throw new InvariantViolation("a snapshot message without a snapshot was let in");
  const response = newMessage(MessageType.MsgAppendResponse, message.from);
  response.index = restore(raft, snapshot) ? raft.log.lastIndex() : raft.log.committed;
  response.commit = raft.log.committed;
  send(raft, response);
  return ACCEPTED;
}

/** @returns whether the snapshot is to replace this node's log. raft-rs: `restore`. */
export function restore(raft: RaftState, received: Snapshot): boolean {
  const { log } = raft;
  const { index, term } = snapshotPosition(received);
  const confState = received.metadata?.confState ?? newConfState();
  // Equality passes: this node may have asked for a snapshot of just what it has.
  if (index < log.committed) {
    tell(raft, { type: "snapshotIgnored", index, because: "behindCommit" });
    return false;
  }
  if (raft.role.kind !== "follower") {
    tell(raft, { type: "snapshotIgnored", index, because: "notAFollower" });
    return false;
  }
  const members = [...confState.voters, ...confState.learners, ...confState.votersOutgoing];
  if (!members.includes(raft.id)) {
    tell(raft, { type: "snapshotIgnored", index, because: "notAMember" });
    return false;
  }
  // One that was under way before the request ends before this log does: taking it would drop acknowledged entries.
  // raft-rs does.
  const wasAskedFor = raft.pendingRequestSnapshot !== 0n && index >= raft.pendingRequestSnapshot;
  if (!wasAskedFor && log.matchTerm(index, term)) {
    // The log holds all that the snapshot stands for; only the news that it is committed is of use.
    log.commitTo(index);
    tell(raft, { type: "snapshotIgnored", index, because: "alreadyInLog" });
    return false;
  }
  if (!isMembership(confState)) {
    tell(raft, { type: "snapshotIgnored", index, because: "malformedMembership" });
    return false;
  }
  log.restore(copySnapshot(received));
  raft.tracker.clear();
  restoreConf(raft.tracker, log.lastIndex() + 1n, confState);
  refreshPromotable(raft);
  raft.pendingRequestSnapshot = 0n;
  raft.wantsSnapshot = false;
  tell(raft, { type: "snapshotRestored", index, term });
  return true;
}

/** Tried out beside the real tracker: a peer's mistake must not leave this node half changed. */
function isMembership(confState: ConfState): boolean {
  try {
    restoreConf(new ProgressTracker(1, 1), 1n, confState);
    return true;
  } catch (error) {
    if (error instanceof ConfChangeError) return false;
    throw error;
  }
}

/**
 * Asks the leader for a snapshot at or beyond the end of this log, because the state machine is damaged or lost.
 * Until it comes, appends are refused. raft-rs: `request_snapshot`.
 */
export function requestSnapshot(raft: RaftState): StepOutcome {
  const { log } = raft;
  const leader = leaderOf(raft);
  const mayAsk =
    raft.role.kind === "follower" &&
    leader !== NO_NODE &&
    log.unstable.snapshot === undefined &&
    raft.pendingRequestSnapshot === 0n &&
    // Only then does the leader's log surely reach as far (R4).
    log.lastTerm() === raft.term;
  if (!mayAsk) return dropped("requestSnapshotDropped");
  raft.pendingRequestSnapshot = log.lastIndex();
  raft.wantsSnapshot = false;
  sendSnapshotRequest(raft, leader);
  return ACCEPTED;
}

export function sendSnapshotRequest(raft: RaftState, leader: NodeId): void {
  const { log } = raft;
  send(
    raft,
    newMessage(MessageType.MsgAppendResponse, leader, {
      index: log.committed,
      reject: true,
      rejectHint: log.lastIndex(),
      logTerm: log.lastTerm(),
      requestSnapshot: raft.pendingRequestSnapshot,
      commit: log.committed,
    }),
  );
}
