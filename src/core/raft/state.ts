// One node's whole state, as plain data. The functions beside this file work on it; who may write what:
//
// | field | written by |
// | --- | --- |
// | term, role | roles.ts |
// | vote | roles.ts, election.ts (a vote granted to another) |
// | electionElapsed | roles.ts, tick.ts, election.ts, following.ts, transfer.ts |
// | randomizedElectionTimeout | roles.ts |
// | pendingRequestSnapshot, wantsSnapshot | roles.ts, snapshot-restore.ts |
// | promotable | membership.ts |
// | readStates, outbox | filled anywhere through their functions, emptied by raw-node.ts |

import type { HardState } from "../../gen/eraftpb_pb.js";
import type { Config } from "../config.js";
import type { RaftLog } from "../log/raft-log.js";
import { newHardState } from "../messages.js";
import type { ReadState } from "../ready.js";
import type { TraceEvent } from "../trace.js";
import type { ProgressTracker } from "../tracker/progress-tracker.js";
import { type LogIndex, NO_NODE, type NodeId, type SoftState, type Term } from "../types.js";
import type { Outbox } from "./outbox.js";
import type { ReadQueue } from "./read-queue.js";
import type { UncommittedBudget } from "./uncommitted-budget.js";

export interface FollowerRole {
  readonly kind: "follower";
  /** Whose log this node follows; NO_NODE until it hears from a leader of its term. */
  leader: NodeId;
}

/** Asks for votes (candidate), or whether it would get them (pre-candidate). The answers are in the tracker. */
export interface CandidateRole {
  readonly kind: "candidate" | "preCandidate";
}

export interface LeaderRole {
  readonly kind: "leader";
  heartbeatElapsed: number;
  /** Ticks since the election; what the read lease is measured in. */
  ticks: number;
  /** No membership change is accepted until everything up to here is applied (thesis §4.1). */
  pendingConfIndex: LogIndex;
  /** Who is to take over (thesis §3.10). While set, proposals are refused. */
  transferTarget: NodeId | undefined;
  /**
   * A MsgTimeoutNow is or was on its way: its receiver may win an election in spite of the lease at any later time,
   * so lease reads are over for this leadership.
   */
  leaseForfeited: boolean;
  readonly uncommitted: UncommittedBudget;
  readonly reads: ReadQueue;
}

export type Role = FollowerRole | CandidateRole | LeaderRole;

/** `Config` with the fields that may be changed while running. */
export type Settings = { -readonly [Field in keyof Config]: Config[Field] };

export interface RaftState {
  readonly id: NodeId;
  readonly settings: Settings;
  readonly log: RaftLog;
  /** Membership outlives roles, so it is not the leader's. */
  readonly tracker: ProgressTracker;
  readonly outbox: Outbox;
  /** Confirmed reads of this node's own clients, waiting for the next Ready. */
  readStates: ReadState[];
  term: Term;
  /** Whom this node voted for in `term`; NO_NODE if it has not. */
  vote: NodeId;
  role: Role;
  /** Ticks since this node heard from a leader, granted a vote, or (leader) last checked its quorum. */
  electionElapsed: number;
  randomizedElectionTimeout: number;
  /** Ticks since construction. */
  ticksSinceStart: number;
  /** The lowest snapshot index this node asks its leader for; 0 when it does not. */
  pendingRequestSnapshot: LogIndex;
  /**
   * The term changed while a snapshot was asked for. It is asked for again once this log reaches into the new term;
   * until then appends are taken, because the new leader may need this node to commit anything at all.
   */
  wantsSnapshot: boolean;
  /** This node is a voter of its own configuration. */
  promotable: boolean;
}

/** The leader of this term as far as this node knows. */
export function leaderOf(raft: RaftState): NodeId {
  switch (raft.role.kind) {
    case "leader":
      return raft.id;
    case "follower":
      return raft.role.leader;
    case "candidate":
    case "preCandidate":
      return NO_NODE;
  }
}

export function softStateOf(raft: RaftState): SoftState {
  return { leaderId: leaderOf(raft), raftState: raft.role.kind };
}

export function hardStateOf(raft: RaftState): HardState {
  return newHardState(raft.term, raft.vote, raft.log.committed);
}

/** The leader has committed an entry of its own term, so its commit index is the group's (paper §8). */
export function hasCommittedInTerm(raft: RaftState): boolean {
  return raft.log.maybeTerm(raft.log.committed) === raft.term;
}

export function tell(raft: RaftState, event: TraceEvent): void {
  raft.settings.trace?.(event);
}
