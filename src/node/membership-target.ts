// A membership as it is wanted, and the steps that lead there from the one that is.

import type { NodeId } from "../core/types.js";
import { isJoint, isMember, isVoter, type Membership, memberIds } from "./membership.js";
import { invalid, type MembershipChange, type MembershipStep, refused } from "./membership-change.js";

export interface TargetMember {
  readonly id: NodeId;
  /** Absent or empty: where it is reached now. Those who are new need one. */
  readonly address?: string | undefined;
  /** Default: a voter. */
  readonly learner?: boolean | undefined;
}

/**
 * All differences as one change; none when there is nothing to change. Members that are not named are removed.
 * @throws RaftNodeError `invalidArgument` for a target that makes no sense; `membershipRefused` while joint consensus is
 *   under way, and without `force` for a new voter that is no learner yet: it has nothing of the log.
 */
export function stepsTo(
  target: readonly TargetMember[],
  membership: Membership,
  force: boolean,
): MembershipChange {
  if (isJoint(membership)) throw refused("another change is pending: joint consensus is under way");
  const ids = new Set(target.map(({ id }) => id));
  if (ids.size < target.length) throw invalid("a node may appear only once among the members");
  if (target.every(({ learner }) => learner === true)) throw invalid("a group needs at least one voter");
  const steps: MembershipStep[] = [];
  for (const member of target) {
    const step = stepOf(member, membership);
    if (step?.type === "addVoter" && !force) {
      throw refused(
        `node ${step.id} would be a voter at once, and has nothing of the log yet: ` +
          "add it as a learner first and make it a voter when it has caught up, or force it",
      );
    }
    if (step !== undefined) steps.push(step);
  }
  for (const id of memberIds(membership)) if (!ids.has(id)) steps.push({ type: "remove", id });
  return steps;
}

function stepOf(member: TargetMember, membership: Membership): MembershipStep | undefined {
  const { id, learner = false } = member;
  const address = newAddress(member, membership);
  if (!isMember(membership, id)) {
    if (address === undefined) throw invalid(`node ${id} is new and needs an address, host:port`);
    return { type: learner ? "addLearner" : "addVoter", id, address };
  }
  if (isVoter(membership, id) === learner) return { type: learner ? "demote" : "promote", id, address };
  return address === undefined ? undefined : { type: "updateAddress", id, address };
}

function newAddress({ id, address = "" }: TargetMember, membership: Membership): string | undefined {
  return address === "" || address === membership.addresses.get(id) ? undefined : address;
}
