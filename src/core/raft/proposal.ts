// What becomes of proposals: appended by a leader, passed on by a follower, or dropped with a reason.

import { type Entry, EntryType, type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { decodeConfChange, encodeConfChange, leavesJoint } from "../confchange/conf-change.js";
import { ConfChangeError } from "../errors.js";
import { NO_BYTES, newEntry, newMessage, newNormalEntry } from "../messages.js";
import { ACCEPTED, type DropReason, dropped, NO_NODE, type StepOutcome } from "../types.js";
import { appendToOwnLog } from "./append.js";
import { LEAVE_JOINT } from "./membership.js";
import { send } from "./outbox.js";
import { broadcastAppend, hasPendingConfChange } from "./replication.js";
import { type FollowerRole, type LeaderRole, type RaftState, tell } from "./state.js";

/** Leader: takes all entries of the message or none. */
export function handleProposal(raft: RaftState, leader: LeaderRole, message: Message): StepOutcome {
  if (message.entries.length === 0) return ACCEPTED;
  if (raft.tracker.get(raft.id) === undefined) return drop(raft, "notMember");
  if (leader.transferTarget !== undefined) return drop(raft, "transferInProgress");
  const admitted = admitConfChanges(raft, leader, message.entries);
  if (admitted === undefined) return drop(raft, "malformedConfChange");
  const index = appendToOwnLog(raft, leader, admitted.entries);
  if (index === undefined) return drop(raft, "uncommittedLimit");
  // Only now: a refused proposal must not block later changes (2.32).
  leader.pendingConfIndex = admitted.pendingConfIndex;
  broadcastAppend(raft);
  return { accepted: true, appended: { index, term: raft.term } };
}

/**
 * Lets one membership change pass at a time, and only one that fits the present configuration. Others become empty
 * entries: the group has agreed on nothing, and their proposer sees that when the entry is applied.
 * @returns undefined when an entry's data is no membership change.
 */
function admitConfChanges(
  raft: RaftState,
  leader: LeaderRole,
  proposals: readonly Entry[],
): { readonly entries: readonly Entry[]; readonly pendingConfIndex: bigint } | undefined {
  if (proposals.every((entry) => entry.entryType === EntryType.EntryNormal)) {
    return { entries: proposals, pendingConfIndex: leader.pendingConfIndex };
  }
  let pendingConfIndex = leader.pendingConfIndex;
  let index = raft.log.lastIndex();
  const entries: Entry[] = [];
  for (const entry of proposals) {
    index += 1n;
    if (entry.entryType === EntryType.EntryNormal) {
      entries.push(entry);
      continue;
    }
    const pending = pendingConfIndex > raft.log.applied;
    const because = refusal(raft, entry, pending);
    if (because === "malformed") return undefined;
    if (because === undefined) {
      pendingConfIndex = index;
      entries.push(entry);
    } else {
      tell(raft, { type: "confChangeRefused", index, because });
      entries.push(newNormalEntry(0n, 0n));
    }
  }
  return { entries, pendingConfIndex };
}

function refusal(raft: RaftState, entry: Entry, pending: boolean): string | undefined {
  let leaves: boolean;
  try {
    leaves = leavesJoint(decodeConfChange(entry.entryType, entry.data));
  } catch (error) {
    if (error instanceof ConfChangeError) return "malformed";
    throw error;
  }
  if (pending) return "another change is not applied yet";
  const joint = raft.tracker.toConfState().votersOutgoing.length > 0;
  if (joint && !leaves) return "the joint configuration has to be left first";
  if (!joint && leaves) return "there is no joint configuration to leave";
  return undefined;
}

/** Follower: hands the proposal to its leader. */
export function forwardProposal(raft: RaftState, follower: FollowerRole, message: Message): StepOutcome {
  if (follower.leader === NO_NODE) return drop(raft, "noLeader");
  if (raft.settings.disableProposalForwarding) return drop(raft, "forwardingDisabled");
  send(
    raft,
    newMessage(MessageType.MsgPropose, follower.leader, {
      from: message.from,
      entries: message.entries.map((entry) =>
        Object.freeze(newEntry(entry.entryType, 0n, 0n, entry.data, entry.context)),
      ),
    }),
  );
  return ACCEPTED;
}

export function drop(raft: RaftState, reason: DropReason): StepOutcome {
  tell(raft, { type: "proposalDropped", reason });
  return dropped(reason);
}

/**
 * Leaves a joint configuration that is to be left automatically, once the entry that entered it is applied. Called
 * whenever something is applied and with every heartbeat round: a refusal (a transfer under way) is made up for
 * later, and a new leader takes over the duty (U3, E4).
 */
export function maybeLeaveJoint(raft: RaftState, leader: LeaderRole): void {
  if (!raft.tracker.conf.autoLeave || hasPendingConfChange(raft, leader)) return;
  const { entryType, data } = encodeConfChange(LEAVE_JOINT);
  handleProposal(
    raft,
    leader,
    newMessage(MessageType.MsgPropose, raft.id, {
      from: raft.id,
      entries: [newEntry(entryType, 0n, 0n, data, NO_BYTES)],
    }),
  );
}
