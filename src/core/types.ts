// The words that the whole core shares: ids, indexes, and what an input may come to.
// Every uint64 of the protocol is a bigint, as protobuf-es generates it.

/** A member of the group. Never 0 for a real node. */
export type NodeId = bigint;
/** An election term. 0 before the first election; on a message, 0 means "of no term". */
export type Term = bigint;
/** A position in the log. 0 is the position before the first entry ever. */
export type LogIndex = bigint;

/** "Nobody": no vote, no leader, no sender. raft-rs: `INVALID_ID`. */
export const NO_NODE: NodeId = 0n;
/** "Nowhere". raft-rs: `INVALID_INDEX`. */
export const NO_INDEX: LogIndex = 0n;
/** For every size and count in `Config`: no limit. raft-rs: `NO_LIMIT`. */
export const NO_LIMIT = Number.POSITIVE_INFINITY;

/** What a node is at the moment. A learner is a follower that is no voter. */
export type StateRole = "follower" | "preCandidate" | "candidate" | "leader";

/** How a leader feeds a peer: finding out where the logs agree, streaming, or waiting for a snapshot to arrive. */
export type ProgressStateName = "Probe" | "Replicate" | "Snapshot";

/** The volatile part of the state, for logs and for routing; needs no disk. */
export interface SoftState {
  /** {@link NO_NODE} when no leader is known. */
  readonly leaderId: NodeId;
  readonly raftState: StateRole;
}

/**
 * Why an input was not taken in. In every case nothing about the node has changed (a message of a later term has
 * still made it enter that term), and a proposal is certain never to be applied because of this attempt.
 *
 * - `noLeader`: nobody to hand it to; wait for an election.
 * - `forwardingDisabled`: this node is no leader and `disableProposalForwarding` is on; go to the leader.
 * - `notMember`: the leader is no longer in its own configuration.
 * - `transferInProgress`: leadership is being handed over; retry shortly.
 * - `uncommittedLimit`: `maxUncommittedSize` is reached; retry when something has been committed.
 * - `readLimit`: `maxPendingReads` is reached; retry when some have been answered.
 * - `malformedConfChange`: the entry's data is no ConfChange / ConfChangeV2.
 * - `localMessage`: a message type that never travels was handed to `step` (raft-rs `StepLocalMsg`).
 * - `unknownPeer`: a response from a node that this one tracks no progress of (raft-rs `StepPeerNotFound`).
 * - `notPromotable`: this node cannot campaign: no voter, removed, or a snapshot is waiting to be applied.
 * - `pendingConfChange`: a committed configuration change has to be applied before this node may campaign.
 * - `requestSnapshotDropped`: a snapshot cannot be asked for now: leader, no leader known, one already on its
 *   way, or the log does not yet reach into the current term.
 */
export type DropReason =
  | "noLeader"
  | "forwardingDisabled"
  | "notMember"
  | "transferInProgress"
  | "uncommittedLimit"
  | "readLimit"
  | "malformedConfChange"
  | "localMessage"
  | "unknownPeer"
  | "notPromotable"
  | "pendingConfChange"
  | "requestSnapshotDropped";

/** What became of an input: an expected outcome is a value, never an exception. */
export type StepOutcome =
  | {
      readonly accepted: true;
      /** Where the last proposed entry was put, when this node is the leader. */
      readonly appended?: { readonly index: LogIndex; readonly term: Term };
    }
  | { readonly accepted: false; readonly reason: DropReason };

export const ACCEPTED: StepOutcome = Object.freeze({ accepted: true });

/** The outcome of an input that changed nothing. */
export function dropped(reason: DropReason): StepOutcome {
  return { accepted: false, reason };
}

/** Larger and smaller of two bigints: `Math.max` does not take them. */
export function maxOf(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

export function minOf(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** The only order in which ids are ever walked when that can be seen from outside. */
export function inIdOrder(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}
