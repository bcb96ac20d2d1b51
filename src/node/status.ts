// The report of what a node knows about itself and, when it leads, about its peers.

import type { ProgressStatus } from "../core/status.js";
import type { LogIndex, NodeId, StateRole, Term } from "../core/types.js";
import type { Membership } from "./membership.js";
import type { SpaceState } from "./ports.js";

/** What a node is at the moment; `learner` is a follower that has no vote. */
export type NodeRole = StateRole | "learner";

/**
 * - `running`: working.
 * - `stopping`: handing over; takes nothing new.
 * - `stopped`: the files are closed.
 * - `failed`: a disk write failed, the state machine threw or an invariant broke; see `fatal`.
 */
export type NodeState = "running" | "stopping" | "stopped" | "failed";

/** A copy: keeping it never shows a later state. */
export interface NodeStatus {
  readonly id: NodeId;
  readonly clusterId: string;
  readonly state: NodeState;
  readonly role: NodeRole;
  readonly term: Term;
  /** Whom this node voted for in this term, if anybody. */
  readonly vote: NodeId | undefined;
  readonly leaderId: NodeId | undefined;
  readonly leaderAddress: string | undefined;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** The last index that is durable here. */
  readonly persisted: LogIndex;
  readonly commit: LogIndex;
  /** The last index that the state machine contains. */
  readonly applied: LogIndex;
  /** Of the newest snapshot body that is kept here; 0 when there is none. */
  readonly snapshotIndex: LogIndex;
  readonly membership: Membership;
  /** This node is a member of `membership`. */
  readonly member: boolean;
  /** This node has a vote and may campaign. */
  readonly promotable: boolean;
  /** Who is being handed the leadership. */
  readonly transferringTo: NodeId | undefined;
  /** One per peer and one for the leader itself, in id order; empty on other nodes. */
  readonly progress: readonly ProgressStatus[];
  readonly pendingProposals: number;
  readonly pendingReads: number;
  readonly inboxMessages: number;
  /** Readys that were handed to the disk and are not durable yet. */
  readonly readysInFlight: number;
  /** Whether there is room for more in the log. */
  readonly space: SpaceState;
}
