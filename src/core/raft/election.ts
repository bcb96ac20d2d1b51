// Elections (paper §5.2, §5.4.1; thesis §9.6): who asks for votes, who grants them, who wins.

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { newMessage, ownBytes } from "../messages.js";
import { ACCEPTED, dropped, maxOf, NO_NODE, type NodeId, type StepOutcome } from "../types.js";
import { send } from "./outbox.js";
import { broadcastAppend } from "./replication.js";
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate } from "./roles.js";
import { type CandidateRole, leaderOf, type RaftState, tell } from "./state.js";

/**
 * In the context of a vote request: the leader itself has asked for this election, so its lease does not count.
 * The bytes are raft-rs's and etcd's.
 */
const CAMPAIGN_TRANSFER = new TextEncoder().encode("CampaignTransfer");

export function isTransferCampaign(message: Message): boolean {
  const { context } = message;
  return (
    context.length === CAMPAIGN_TRANSFER.length &&
    CAMPAIGN_TRANSFER.every((byte, position) => byte === context[position])
  );
}

/**
 * Starts an election unless this node must not. raft-rs: `hup`, with the guards of etcd/raft (U8).
 * @param transfer the leader has asked for it: no pre-vote, and the lease is overridden.
 */
export function startElection(raft: RaftState, transfer: boolean): StepOutcome {
  if (raft.role.kind === "leader") return ACCEPTED;
  if (!raft.promotable || raft.log.unstable.snapshot !== undefined) return refuse(raft, "notPromotable");
  // A committed change that is not applied may have taken this node's vote away, or given others one.
  if (hasUnappliedConfChange(raft)) return refuse(raft, "pendingConfChange");
  if (raft.settings.preVote && !transfer) campaignForPreVotes(raft);
  else campaign(raft, transfer);
  return ACCEPTED;
}

function refuse(raft: RaftState, reason: "notPromotable" | "pendingConfChange"): StepOutcome {
  tell(raft, { type: "campaignRefused", reason });
  return dropped(reason);
}

function hasUnappliedConfChange(raft: RaftState): boolean {
  const { log, settings } = raft;
  return log.hasConfChange(log.applied + 1n, log.committed + 1n, settings.maxCommittedSizePerReady, {
    canAsync: false,
    purpose: "confChangeScan",
  });
}

/** A pre-vote changes nothing, so this node's own counts at once. */
function campaignForPreVotes(raft: RaftState): void {
  const candidate = becomePreCandidate(raft);
  // Asked first: alone in its group, its own answer makes it a candidate at once.
  requestVotes(raft, MessageType.MsgRequestPreVote, raft.term + 1n, false);
  poll(raft, candidate, raft.id, true);
}

/** The own vote counts when it is durable: see `countSelfVote`. */
function campaign(raft: RaftState, transfer: boolean): void {
  becomeCandidate(raft);
  requestVotes(raft, MessageType.MsgRequestVote, raft.term, transfer);
}

function requestVotes(
  raft: RaftState,
  msgType: MessageType.MsgRequestVote | MessageType.MsgRequestPreVote,
  term: bigint,
  transfer: boolean,
): void {
  const { log, settings } = raft;
  const { index: commit, term: commitTerm } = log.commitInfo();
  for (const id of raft.tracker.conf.voters.ids()) {
    if (id === raft.id) continue;
    const message = newMessage(msgType, id, { term, index: log.lastIndex(), logTerm: log.lastTerm() });
    message.commit = commit;
    message.commitTerm = commitTerm;
    message.priority = settings.priority;
    message.deprecatedPriority = maxOf(settings.priority, 0n);
    if (transfer) message.context = ownBytes(CAMPAIGN_TRANSFER);
    send(raft, message);
  }
}

/** The vote that this node gave itself in `term` is on its disk. */
export function countSelfVote(raft: RaftState, term: bigint): void {
  if (raft.role.kind === "candidate" && raft.term === term) poll(raft, raft.role, raft.id, true);
}

/** Counts an answer, and draws the consequence if it decides the election. */
function poll(raft: RaftState, candidate: CandidateRole, from: NodeId, granted: boolean): void {
  raft.tracker.recordVote(from, granted);
  switch (raft.tracker.tallyVotes().result) {
    case "won":
      if (candidate.kind === "preCandidate") {
        campaign(raft, false);
      } else {
        becomeLeader(raft);
        broadcastAppend(raft);
      }
      return;
    case "lost":
      // At the same term: a lost pre-vote round has not entered the next one.
      becomeFollower(raft, raft.term, NO_NODE);
      return;
    case "pending":
  }
}

/** Candidate: somebody has answered. */
export function handleVoteResponse(raft: RaftState, candidate: CandidateRole, message: Message): StepOutcome {
  const answersPreVote = message.msgType === MessageType.MsgRequestPreVoteResponse;
  if (answersPreVote !== (candidate.kind === "preCandidate")) {
    tell(raft, {
      type: "messageIgnored",
      msgType: message.msgType,
      from: message.from,
      reason: "otherPhase",
    });
    return ACCEPTED;
  }
  poll(raft, candidate, message.from, !message.reject);
  maybeCommitByVote(raft, message);
  return ACCEPTED;
}

/** Any role: somebody asks for a vote, or whether it would get one. */
export function handleVoteRequest(raft: RaftState, message: Message): StepOutcome {
  const preVote = message.msgType === MessageType.MsgRequestPreVote;
  const responseType = preVote ? MessageType.MsgRequestPreVoteResponse : MessageType.MsgRequestVoteResponse;
  const mayVote =
    raft.vote === message.from ||
    (raft.vote === NO_NODE && leaderOf(raft) === NO_NODE) ||
    (preVote && message.term > raft.term);
  const granted = mayVote && isElectable(raft, message);
  tell(raft, {
    type: granted ? "voteGranted" : "voteRefused",
    to: message.from,
    term: message.term,
    preVote,
  });
  if (granted) {
    // A granted pre-vote names the term that was asked for, as the asker has not entered it yet either.
    send(raft, newMessage(responseType, message.from, { term: message.term }));
    if (!preVote) {
      raft.electionElapsed = 0;
      raft.vote = message.from;
    }
    return ACCEPTED;
  }
  const { index: commit, term: commitTerm } = raft.log.commitInfo();
  send(raft, newMessage(responseType, message.from, { term: raft.term, reject: true, commit, commitTerm }));
  maybeCommitByVote(raft, message);
  return ACCEPTED;
}

/**
 * The candidate's log is at least as complete as ours and, unless it is strictly more so, its priority is not lower.
 * raft-rs compares only the index there, so that two survivors of equal length can refuse each other for ever (U10).
 */
function isElectable(raft: RaftState, message: Message): boolean {
  const { log, settings } = raft;
  if (!log.isUpToDate(message.index, message.logTerm)) return false;
  const isAhead = message.logTerm > log.lastTerm() || message.index > log.lastIndex();
  return isAhead || settings.priority <= priorityOf(message);
}

/** raft-rs: `get_priority`. Older nodes set only the unsigned field. */
function priorityOf(message: Message): bigint {
  return message.priority !== 0n ? message.priority : message.deprecatedPriority;
}

/**
 * Votes and refusals tell what their sender knows to be committed. That frees a node that lags behind a membership
 * change nobody else can tell it about, because it is needed for any quorum (R20, etcd-io/etcd#12359).
 */
function maybeCommitByVote(raft: RaftState, message: Message): void {
  const { commit, commitTerm } = message;
  if (raft.role.kind === "leader") return;
  const before = raft.log.committed;
  if (!raft.log.maybeCommit(commit, commitTerm)) return;
  tell(raft, { type: "committed", index: commit });
  if (raft.role.kind === "follower") return;
  const found = raft.log.hasConfChange(before + 1n, commit + 1n, raft.settings.maxCommittedSizePerReady, {
    canAsync: false,
    purpose: "commitByVote",
  });
  // This campaign counts votes by a membership that is out of date.
  if (found) becomeFollower(raft, raft.term, NO_NODE);
}
