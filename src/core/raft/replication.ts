// What a leader sends on its own account: appends, snapshots for those the log cannot help, heartbeats.

import { type Entry, MessageType } from "../../gen/eraftpb_pb.js";
import { InvariantViolation, StorageError } from "../errors.js";
import type { GetEntriesContext } from "../log/storage.js";
import { copySnapshot, entriesSize, NO_BYTES, newMessage, snapshotPosition } from "../messages.js";
import type { Progress } from "../tracker/progress.js";
import { minOf, type NodeId } from "../types.js";
import { send } from "./outbox.js";
import { encodeToken } from "./read-queue.js";
import { type LeaderRole, type RaftState, tell } from "./state.js";

/** Sends what `to` lacks, or an empty append if it lacks nothing: that still carries the commit index. */
export function sendAppend(raft: RaftState, to: NodeId): void {
  const progress = raft.tracker.get(to);
  if (progress !== undefined) maybeSendAppend(raft, to, progress, true, false);
}

/** Sends appends with entries until the peer's window is full or it has everything. */
export function sendAppendAggressively(raft: RaftState, to: NodeId): void {
  const progress = raft.tracker.get(to);
  if (progress === undefined) return;
  while (maybeSendAppend(raft, to, progress, false, true));
}

export function broadcastAppend(raft: RaftState): void {
  for (const id of raft.tracker.ids()) if (id !== raft.id) sendAppend(raft, id);
}

/** Lets every peer know of entries it lacks, without empty appends. raft-rs: the probe of `post_conf_change`. */
export function broadcastEntries(raft: RaftState): void {
  for (const id of raft.tracker.ids()) {
    const progress = raft.tracker.get(id);
    if (id !== raft.id && progress !== undefined) maybeSendAppend(raft, id, progress, false, false);
  }
}

/**
 * Sends one append or snapshot, if the peer's flow allows it. raft-rs: `maybe_send_append`.
 * @returns whether something was sent.
 */
function maybeSendAppend(
  raft: RaftState,
  to: NodeId,
  progress: Progress,
  allowEmpty: boolean,
  aggressively: boolean,
): boolean {
  if (progress.isPaused()) return false;
  if (progress.pendingRequestSnapshot !== 0n) return sendSnapshot(raft, to, progress);
  const previousIndex = progress.nextIdx - 1n;
  const previousTerm = raft.log.maybeTerm(previousIndex);
  // Only what is compacted has no term: a next index beyond the log does not exist.
  if (previousTerm === undefined) return sendSnapshot(raft, to, progress);
  // To a full window an empty append still gets through: its answer shows what was lost on the way (E6).
  const entries = progress.inflights.full() ? NO_ENTRIES : readEntries(raft, to, progress, aggressively);
  if (entries === undefined) return false;
  if (entries === "compacted") return sendSnapshot(raft, to, progress);
  if (entries.length === 0 && !allowEmpty) return false;
  const bytes = entriesSize(entries);
  if (raft.settings.batchAppend && addToOpenAppend(raft, to, progress, entries, bytes)) return true;
  const message = newMessage(MessageType.MsgAppend, to);
  message.index = previousIndex;
  message.logTerm = previousTerm;
  message.commit = raft.log.committed;
  message.entries = [...entries];
  progress.sentEntries(entries.length, bytes);
  send(raft, message);
  if (raft.settings.batchAppend) raft.outbox.keepOpen({ message, bytes });
  return true;
}

const NO_ENTRIES: readonly Entry[] = [];

/** Undefined: the storage is fetching them; `onEntriesFetched` continues. */
function readEntries(
  raft: RaftState,
  to: NodeId,
  progress: Progress,
  aggressively: boolean,
): readonly Entry[] | undefined | "compacted" {
  const { log, settings, term } = raft;
  if (progress.nextIdx > log.lastIndex()) return NO_ENTRIES;
  const context: GetEntriesContext = { canAsync: true, purpose: "sendAppend", to, term, aggressively };
  try {
    return log.entriesFrom(progress.nextIdx, settings.maxSizePerMsg, context);
  } catch (error) {
    if (error instanceof StorageError && error.code === "logTemporarilyUnavailable") return undefined;
    if (error instanceof StorageError && error.code === "compacted") return "compacted";
    throw error;
  }
}

/**
 * Adds entries to a MsgAppend that waits in the outbox, if they follow on it and fit. raft-rs: `try_batching`,
 * which ignores the size limit.
 */
function addToOpenAppend(
  raft: RaftState,
  to: NodeId,
  progress: Progress,
  entries: readonly Entry[],
  bytes: number,
): boolean {
  const open = raft.outbox.openAppend(to);
  if (open === undefined) return false;
  const { message } = open;
  const follows = message.index + BigInt(message.entries.length) === progress.nextIdx - 1n;
  if (!follows || open.bytes + bytes > raft.settings.maxSizePerMsg) return false;
  for (const entry of entries) message.entries.push(entry);
  open.bytes += bytes;
  message.commit = raft.log.committed;
  if (open.bytes === bytes) progress.sentEntries(entries.length, bytes);
  else progress.addedToLastAppend(entries.length, bytes);
  return true;
}

function sendSnapshot(raft: RaftState, to: NodeId, progress: Progress): boolean {
  // A peer that does not answer would only make the leader build and ship a snapshot for nothing.
  if (!progress.recentActive) return false;
  let snapshot: ReturnType<typeof raft.log.snapshot>;
  try {
    snapshot = raft.log.snapshot(progress.pendingRequestSnapshot, to);
  } catch (error) {
    if (error instanceof StorageError && error.code === "snapshotTemporarilyUnavailable") return false;
    throw error;
  }
  const { index, term } = snapshotPosition(snapshot);
  if (index === 0n) throw new InvariantViolation("the storage returned an empty snapshot");
  progress.becomeSnapshot(index);
  tell(raft, { type: "snapshotSent", to, index, term });
  send(raft, newMessage(MessageType.MsgSnapshot, to, { snapshot: copySnapshot(snapshot) }));
  return true;
}

/** Tells every peer that the leader lives; with reads or a lease to confirm, under a token to be echoed. */
export function broadcastHeartbeat(raft: RaftState, leader: LeaderRole): void {
  const token =
    raft.settings.readOnlyOption === "leaseBased"
      ? leader.reads.beginLeaseRound(leader.ticks, 2 * raft.settings.electionTick)
      : leader.reads.roundToken();
  for (const id of raft.tracker.ids()) {
    const progress = raft.tracker.get(id);
    if (id === raft.id || progress === undefined) continue;
    const message = newMessage(MessageType.MsgHeartbeat, id);
    // Never beyond what the peer is known to hold: it could not commit that, nor must it try.
    message.commit = minOf(progress.matched, raft.log.committed);
    message.context = token === undefined ? NO_BYTES : encodeToken(token);
    send(raft, message);
  }
}

/** Whether a moved commit index is worth messages of its own. */
export function shouldBroadcastCommit(raft: RaftState, leader: LeaderRole): boolean {
  return !raft.settings.skipBcastCommit || hasPendingConfChange(raft, leader);
}

/** A membership change may be in the log and not yet applied. May be true for nothing, never false for something. */
export function hasPendingConfChange(raft: RaftState, leader: LeaderRole): boolean {
  return leader.pendingConfIndex > raft.log.applied;
}
