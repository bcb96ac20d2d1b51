// What a leader learns from its peers' answers, and from the transport about them.

import type { Message } from "../../gen/eraftpb_pb.js";
import type { Progress } from "../tracker/progress.js";
import { ACCEPTED, type StepOutcome } from "../types.js";
import { maybeCommit } from "./commit.js";
import { confirmReads } from "./read-index.js";
import { broadcastAppend, sendAppend, sendAppendAggressively, shouldBroadcastCommit } from "./replication.js";
import { type LeaderRole, type RaftState, tell } from "./state.js";
import { sendTimeoutNow } from "./transfer.js";

/** A handler of answers that say something about one tracked peer. */
type ProgressHandler = (
  raft: RaftState,
  leader: LeaderRole,
  progress: Progress,
  message: Message,
) => StepOutcome;

/** Calls `handle` with the sender's progress; an answer of a stranger is ignored. */
export function withProgress(
  raft: RaftState,
  leader: LeaderRole,
  message: Message,
  handle: ProgressHandler,
): StepOutcome {
  const progress = raft.tracker.get(message.from);
  if (progress !== undefined) return handle(raft, leader, progress, message);
  tell(raft, {
    type: "messageIgnored",
    msgType: message.msgType,
    from: message.from,
    reason: "unknownPeer",
  });
  return ACCEPTED;
}

/** A peer has taken an append or snapshot, refused one, or asks for a snapshot. raft-rs: `handle_append_response`. */
export function handleAppendResponse(
  raft: RaftState,
  leader: LeaderRole,
  progress: Progress,
  message: Message,
): StepOutcome {
  const { from } = message;
  progress.recentActive = true;
  progress.updateCommitted(message.commit);
  if (message.reject) {
    if (message.requestSnapshot !== 0n) creditSnapshotRequest(raft, leader, progress, message);
    handleRejection(raft, progress, message);
    return ACCEPTED;
  }
  const wasPaused = progress.isPaused();
  const provesMatch = message.index === progress.matched && progress.state === "Probe";
  // A caught-up peer that was reported unreachable acknowledges nothing new, but it does answer (U4, E12).
  if (!progress.maybeUpdate(message.index) && !provesMatch) return ACCEPTED;
  leaveStateReached(raft, progress, message);
  if (maybeCommit(raft, leader)) {
    if (shouldBroadcastCommit(raft, leader)) broadcastAppend(raft);
  } else if (wasPaused) {
    sendAppend(raft, from);
  }
  sendAppendAggressively(raft, from);
  if (leader.transferTarget === from && progress.matched === raft.log.lastIndex()) {
    sendTimeoutNow(raft, leader, from);
  }
  return ACCEPTED;
}

function leaveStateReached(raft: RaftState, progress: Progress, message: Message): void {
  switch (progress.state) {
    case "Probe":
      progress.becomeReplicate();
      return;
    case "Snapshot":
      // Any snapshot will do that lets the log take over, whoever sent it (U6, E16).
      if (progress.matched + 1n >= raft.log.firstIndex()) {
        if (progress.matched >= progress.pendingRequestSnapshot) progress.pendingRequestSnapshot = 0n;
        progress.becomeReplicate();
      }
      return;
    case "Replicate":
      progress.inflights.freeTo(message.index);
      return;
  }
}

/**
 * The peer's log does not contain the entry before the append. Its hint names the last index at which it has a term
 * not above ours; where we have a term not above that one is the next place the logs can agree, so each probe skips
 * a whole term (raft-rs: fast log rejection).
 */
function handleRejection(raft: RaftState, progress: Progress, message: Message): void {
  const nextProbe =
    message.logTerm > 0n
      ? raft.log.findConflictByTerm(message.rejectHint, message.logTerm).index
      : message.rejectHint;
  if (!progress.maybeDecrTo(message.index, nextProbe, message.requestSnapshot)) return;
  if (progress.state === "Replicate") progress.becomeProbe();
  sendAppend(raft, message.from);
}

/**
 * A peer that asks for a snapshot takes no appends, but it says how its log ends. If ours has that entry, all up to
 * it counts: otherwise a group that needs the peer for its quorum could never commit, and so never take the very
 * snapshot that the peer waits for. raft-rs stands still there.
 */
function creditSnapshotRequest(
  raft: RaftState,
  leader: LeaderRole,
  progress: Progress,
  message: Message,
): void {
  if (!raft.log.matchTerm(message.rejectHint, message.logTerm)) return;
  if (!progress.maybeUpdate(message.rejectHint)) return;
  progress.inflights.freeTo(message.rejectHint);
  if (maybeCommit(raft, leader)) broadcastAppend(raft);
}

/** A peer lives. raft-rs: `handle_heartbeat_response`. */
export function handleHeartbeatResponse(
  raft: RaftState,
  leader: LeaderRole,
  progress: Progress,
  message: Message,
): StepOutcome {
  progress.recentActive = true;
  progress.updateCommitted(message.commit);
  progress.resume();
  const lacksSomething = progress.matched < raft.log.lastIndex() || progress.pendingRequestSnapshot !== 0n;
  if (lacksSomething || progress.state === "Probe") sendAppend(raft, message.from);
  confirmReads(raft, leader, message);
  return ACCEPTED;
}

/** The transport tells how a snapshot fared. raft-rs: `handle_snapshot_status`. */
export function handleSnapshotStatus(
  _raft: RaftState,
  _leader: LeaderRole,
  progress: Progress,
  message: Message,
): StepOutcome {
  if (progress.state !== "Snapshot") return ACCEPTED;
  if (message.reject) progress.snapshotFailure();
  progress.becomeProbe();
  // Delivered: its acknowledgement is to come. Failed: a heartbeat's answer shows that trying again makes sense.
  progress.pause();
  progress.pendingRequestSnapshot = 0n;
  return ACCEPTED;
}

/** The transport could not deliver: what was sent optimistically is likely lost. raft-rs: `handle_unreachable`. */
export function handleUnreachable(
  _raft: RaftState,
  _leader: LeaderRole,
  progress: Progress,
  _message: Message,
): StepOutcome {
  if (progress.state === "Replicate") progress.becomeProbe();
  return ACCEPTED;
}
