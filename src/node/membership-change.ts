// Changes of membership as callers say them: what is refused before it is proposed, and what is proposed.

import { create, toBinary } from "@bufbuild/protobuf";
import { assertNever } from "../core/errors.js";
import type { ProgressStatus } from "../core/status.js";
import type { LogIndex, NodeId } from "../core/types.js";
import {
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  ConfChangeV2Schema,
} from "../gen/eraftpb_pb.js";
import { MembershipContextSchema } from "../gen/records_pb.js";
import type { CallOptions } from "./calls.js";
import { RaftNodeError } from "./errors.js";
import { addressList, isJoint, isLearner, isMember, isVoter, type Membership } from "./membership.js";

export type MembershipStep =
  | { readonly type: "addVoter"; readonly id: NodeId; readonly address: string }
  | { readonly type: "addLearner"; readonly id: NodeId; readonly address: string }
  /** Makes a learner a voter; with an address, it is reached there from then on. */
  | { readonly type: "promote"; readonly id: NodeId; readonly address?: string | undefined }
  /** Makes a voter a learner; likewise. */
  | { readonly type: "demote"; readonly id: NodeId; readonly address?: string | undefined }
  | { readonly type: "remove"; readonly id: NodeId }
  /** The member is reached elsewhere from now on. */
  | { readonly type: "updateAddress"; readonly id: NodeId; readonly address: string };

/** One step is taken directly, several at once through joint consensus. */
export type MembershipChange = readonly MembershipStep[];

export interface MembershipOptions extends CallOptions {
  /** Also change what would leave too few reachable voters, or promote a learner that lags. */
  readonly force?: boolean | undefined;
}

const MAX_STEPS = 64;
const MAX_ID = 2n ** 64n - 1n;

/** What the leader knows when it judges a change. */
export interface MembershipFacts {
  readonly membership: Membership;
  readonly lastIndex: LogIndex;
  readonly progress: readonly ProgressStatus[];
  /** Whether a member was heard from lately. */
  readonly isActive: (id: NodeId) => boolean;
  /** A learner that lacks more entries than this has not caught up. */
  readonly maxLagEntries: number;
  readonly force: boolean;
}

/** @throws RaftNodeError `invalidArgument` for what makes no sense, `membershipRefused` for what must not be now. */
export function checkMembershipChange(change: MembershipChange, facts: MembershipFacts): void {
  if (change.length === 0) throw invalid("a membership change needs at least one step");
  if (change.length > MAX_STEPS) throw invalid(`a membership change may have ${MAX_STEPS} steps`);
  if (new Set(change.map(({ id }) => id)).size < change.length) {
    throw invalid("a node may appear only once in a membership change");
  }
  if (isJoint(facts.membership)) throw refused("another change is pending: joint consensus is under way");
  for (const step of change) checkStep(step, change, facts);
  checkQuorum(change, facts);
}

function checkStep(step: MembershipStep, change: MembershipChange, facts: MembershipFacts): void {
  const { membership } = facts;
  if (step.id <= 0n || step.id > MAX_ID) throw invalid(`${step.id} is no node id: ids lie in [1, ${MAX_ID}]`);
  switch (step.type) {
    case "addVoter":
    case "addLearner":
      if (isMember(membership, step.id)) throw refused(`node ${step.id} is a member already`);
      checkAddress(step.id, step.address, change, membership);
      return;
    case "promote":
      if (isVoter(membership, step.id)) throw refused(`node ${step.id} is a voter already`);
      if (!isLearner(membership, step.id))
        throw refused(`node ${step.id} is no learner: add it as one first`);
      if (step.address !== undefined) checkAddress(step.id, step.address, change, membership);
      checkCaughtUp(step.id, facts);
      return;
    case "demote":
      if (!isMember(membership, step.id)) throw refused(`node ${step.id} is not a member`);
      if (isLearner(membership, step.id)) throw refused(`node ${step.id} is a learner already`);
      if (step.address !== undefined) checkAddress(step.id, step.address, change, membership);
      return;
    case "remove":
      if (!isMember(membership, step.id)) throw refused(`node ${step.id} is not a member`);
      return;
    case "updateAddress":
      if (!isMember(membership, step.id)) throw refused(`node ${step.id} is not a member`);
      checkAddress(step.id, step.address, change, membership);
      return;
    default:
      assertNever(step);
  }
}

function checkAddress(id: NodeId, address: string, change: MembershipChange, membership: Membership): void {
  if (address.length === 0) throw invalid(`node ${id} needs an address, host:port`);
  for (const [owner, used] of membership.addresses) {
    if (used === address && owner !== id && !givesUpAddress(owner, address, change)) {
      throw refused(`address ${address} belongs to node ${owner}`);
    }
  }
  const twice = change.find((step) => step.id !== id && newAddressOf(step) === address);
  if (twice !== undefined) throw invalid(`nodes ${id} and ${twice.id} have the same address ${address}`);
}

/** The owner leaves, or is reached elsewhere from then on. */
function givesUpAddress(owner: NodeId, address: string, change: MembershipChange): boolean {
  const step = change.find(({ id }) => id === owner);
  if (step === undefined) return false;
  const next = newAddressOf(step);
  return step.type === "remove" || (next !== undefined && next !== address);
}

function newAddressOf(step: MembershipStep): string | undefined {
  return "address" in step ? step.address : undefined;
}

function checkCaughtUp(id: NodeId, facts: MembershipFacts): void {
  if (facts.force) return;
  const matched = facts.progress.find((peer) => peer.id === id)?.matched ?? 0n;
  const lag = facts.lastIndex - matched;
  if (matched === 0n || lag > BigInt(facts.maxLagEntries)) {
    throw refused(
      `learner ${id} has not caught up: it holds the log up to ${matched} of ${facts.lastIndex}; ` +
        "wait, or force it",
    );
  }
}

/** After the change, those that answer now must be a majority: otherwise nothing could be committed any more. */
function checkQuorum(change: MembershipChange, facts: MembershipFacts): void {
  const voters = votersAfter(change, facts.membership);
  if (voters.size === 0) throw refused("a group needs at least one voter");
  const unchanged = change.every(({ type }) => type === "updateAddress" || type === "addLearner");
  if (facts.force || unchanged) return;
  const active = [...voters].filter((id) => facts.isActive(id));
  const needed = Math.floor(voters.size / 2) + 1;
  if (active.length < needed) {
    throw refused(
      `of the ${voters.size} voters after the change only ${active.length} answer now, and ${needed} are needed; ` +
        "bring the others up first, add new ones as learners, or force it",
    );
  }
}

function votersAfter(change: MembershipChange, membership: Membership): ReadonlySet<NodeId> {
  const voters = new Set(membership.voters);
  for (const { type, id } of change) {
    if (type === "addVoter" || type === "promote") voters.add(id);
    if (type === "remove" || type === "demote") voters.delete(id);
  }
  return voters;
}

/** What is proposed. The context carries the new addresses, and the id that makes this request different from any other. */
export function encodeMembershipChange(
  change: MembershipChange,
  membership: Membership,
  requestId: Uint8Array,
): ConfChangeV2 {
  const addresses = new Map<NodeId, string>();
  for (const step of change) {
    const address = newAddressOf(step);
    if (address !== undefined) addresses.set(step.id, address);
  }
  const context = create(MembershipContextSchema, { addresses: addressList(addresses), requestId });
  return create(ConfChangeV2Schema, {
    transition: ConfChangeTransition.Auto,
    changes: changesOf(change).map((step) => ({
      type: confChangeTypeOf(step, membership),
      nodeId: step.id,
    })),
    context: toBinary(MembershipContextSchema, context),
  });
}

/** Addresses travel in the context: they need no step of raft's, which would only make a change a joint one. */
function changesOf(change: MembershipChange): MembershipChange {
  const changing = change.filter(({ type }) => type !== "updateAddress");
  return changing.length > 0 ? changing : change.slice(0, 1);
}

function confChangeTypeOf(step: MembershipStep, membership: Membership): ConfChangeType {
  switch (step.type) {
    case "addVoter":
    case "promote":
      return ConfChangeType.AddNode;
    case "addLearner":
    case "demote":
      return ConfChangeType.AddLearnerNode;
    case "remove":
      return ConfChangeType.RemoveNode;
    case "updateAddress":
      // Adding a member as what it is already changes nothing but its address.
      return isLearner(membership, step.id) ? ConfChangeType.AddLearnerNode : ConfChangeType.AddNode;
    default:
      return assertNever(step);
  }
}

export function invalid(message: string): RaftNodeError {
  return new RaftNodeError("invalidArgument", message);
}

export function refused(message: string): RaftNodeError {
  return new RaftNodeError("membershipRefused", message);
}
