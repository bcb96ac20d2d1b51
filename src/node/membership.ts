// Who belongs to the group, in which part, and where each is reached: the ConfState of raft together with the
// addresses that raft does not know.

import { create } from "@bufbuild/protobuf";
import { inIdOrder, type LogIndex, type NodeId } from "../core/types.js";
import type { ConfState } from "../gen/eraftpb_pb.js";
import { ConfStateSchema } from "../gen/eraftpb_pb.js";
import type { MemberAddress, MembershipRecord } from "../gen/records_pb.js";
import { MemberAddressSchema, MembershipRecordSchema } from "../gen/records_pb.js";

/** A membership that was applied. Never changes: a change makes another one. */
export interface Membership {
  /** The entry or the snapshot that brought it about. */
  readonly index: LogIndex;
  /** In id order, as all lists here. */
  readonly voters: readonly NodeId[];
  /** The voters of the configuration that is being left. Not empty: joint consensus is under way. */
  readonly votersOutgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** Voters of the outgoing configuration that become learners when it is left. */
  readonly learnersNext: readonly NodeId[];
  /** Raft leaves the joint configuration by itself. */
  readonly autoLeave: boolean;
  /** `host:port` of each member; a member whose address nobody ever named is not in here. */
  readonly addresses: ReadonlyMap<NodeId, string>;
}

/** Where the log of a new cluster begins; there is no snapshot of it, and no state in it. */
export const BIRTH_INDEX: LogIndex = 1n;

/** Of a node that has not been told of any member yet. */
export const NO_MEMBERSHIP: Membership = membershipOf(create(ConfStateSchema), 0n, new Map());

/** Puts together what raft and the proposer of a change each know. Addresses of strangers are left out. */
export function membershipOf(
  confState: ConfState,
  index: LogIndex,
  addresses: ReadonlyMap<NodeId, string>,
): Membership {
  const membership = {
    index,
    voters: inIdOrder(confState.voters),
    votersOutgoing: inIdOrder(confState.votersOutgoing),
    learners: inIdOrder(confState.learners),
    learnersNext: inIdOrder(confState.learnersNext),
    autoLeave: confState.autoLeave,
  };
  const ids = memberIds(membership);
  const known = new Map<NodeId, string>();
  for (const id of ids) {
    const address = addresses.get(id);
    if (address !== undefined) known.set(id, address);
  }
  return { ...membership, addresses: known };
}

export function fromRecord(record: MembershipRecord): Membership {
  const confState = record.confState ?? create(ConfStateSchema);
  return membershipOf(confState, record.index, addressMap(record.addresses));
}

export function toRecord(membership: Membership): MembershipRecord {
  return create(MembershipRecordSchema, {
    confState: confStateOf(membership),
    index: membership.index,
    addresses: addressList(membership.addresses),
  });
}

export function confStateOf(membership: Membership): ConfState {
  return create(ConfStateSchema, {
    voters: [...membership.voters],
    votersOutgoing: [...membership.votersOutgoing],
    learners: [...membership.learners],
    learnersNext: [...membership.learnersNext],
    autoLeave: membership.autoLeave,
  });
}

/** Everybody, in id order: voters of both configurations and learners. */
export function memberIds(membership: Omit<Membership, "addresses">): readonly NodeId[] {
  return inIdOrder(
    new Set([
      ...membership.voters,
      ...membership.votersOutgoing,
      ...membership.learners,
      ...membership.learnersNext,
    ]),
  );
}

export function isMember(membership: Membership, id: NodeId): boolean {
  return isVoter(membership, id) || isLearner(membership, id);
}

/** A voter of the new or of the outgoing configuration. */
export function isVoter(membership: Membership, id: NodeId): boolean {
  return membership.voters.includes(id) || membership.votersOutgoing.includes(id);
}

export function isLearner(membership: Membership, id: NodeId): boolean {
  return membership.learners.includes(id) || membership.learnersNext.includes(id);
}

/**
 * This node was a member once. What a node saves last before it leaves is a membership without it: that is its
 * tombstone. One that waits to be added has none, and the one that a cluster is born with removes nobody.
 */
export function wasRemoved(membership: Membership, id: NodeId): boolean {
  return membership.index > BIRTH_INDEX && !isMember(membership, id);
}

export function isJoint(membership: Membership): boolean {
  return membership.votersOutgoing.length > 0;
}

export function addressMap(list: readonly MemberAddress[]): Map<NodeId, string> {
  return new Map(list.map(({ id, address }) => [id, address]));
}

export function addressList(addresses: ReadonlyMap<NodeId, string>): MemberAddress[] {
  return inIdOrder(addresses.keys()).map((id) =>
    create(MemberAddressSchema, { id, address: addresses.get(id) ?? "" }),
  );
}
