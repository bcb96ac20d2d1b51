// What a proposed change of membership says: its two forms on the wire, and how it is to be carried out.
// The same functions decide when it is proposed and when it is applied, so that the two cannot disagree.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type ConfChange,
  ConfChangeSchema,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  ConfChangeV2Schema,
  type ConfState,
  EntryType,
} from "../../gen/eraftpb_pb.js";
import { ConfChangeError } from "../errors.js";
import { inIdOrder, type NodeId } from "../types.js";

/** An entry that asks for a change of membership, less its place in the log. */
export interface EncodedConfChange {
  readonly entryType: EntryType.EntryConfChange | EntryType.EntryConfChangeV2;
  readonly data: Uint8Array;
}

export function isV2(change: ConfChange | ConfChangeV2): change is ConfChangeV2 {
  return change.$typeName === "eraftpb.ConfChangeV2";
}

/** The newer form, which says everything that the older one can. A V2 comes back as it is. */
export function asV2(change: ConfChange | ConfChangeV2): ConfChangeV2 {
  if (isV2(change)) return change;
  return create(ConfChangeV2Schema, {
    transition: ConfChangeTransition.Auto,
    changes: [{ type: change.changeType, nodeId: change.nodeId }],
    context: change.context,
  });
}

/** A change without changes leaves the joint configuration, whatever transition it names. */
export function leavesJoint(change: ConfChangeV2): boolean {
  return change.changes.length === 0;
}

/**
 * How a change that does not leave is carried out: directly, or through a joint configuration that raft leaves by
 * itself (`auto`) or on a proposal (`manual`). raft-rs: `ConfChangeV2::enter_joint`.
 * @throws ConfChangeError for a transition that this version does not know.
 */
export function enterJointMode(change: ConfChangeV2): "simple" | "auto" | "manual" {
  switch (change.transition) {
    case ConfChangeTransition.Auto:
      return change.changes.length > 1 ? "auto" : "simple";
    case ConfChangeTransition.Implicit:
      return "auto";
    case ConfChangeTransition.Explicit:
      return "manual";
    default:
      throw new ConfChangeError(`unknown transition ${String(change.transition)}`);
  }
}

/**
 * What to propose.
 * @throws ConfChangeError for a change that no node could carry out: an id outside uint64, an unknown type.
 */
export function encodeConfChange(change: ConfChange | ConfChangeV2): EncodedConfChange {
  requireKnown(asV2(change));
  try {
    return isV2(change)
      ? { entryType: EntryType.EntryConfChangeV2, data: toBinary(ConfChangeV2Schema, change) }
      : { entryType: EntryType.EntryConfChange, data: toBinary(ConfChangeSchema, change) };
  } catch (error) {
    throw new ConfChangeError("the change of membership cannot be encoded", { cause: error });
  }
}

/**
 * What an entry asks for. The result shares no memory with `data`.
 * @throws ConfChangeError when the entry is none that changes the membership, or its data is not what it says.
 */
export function decodeConfChange(entryType: EntryType, data: Uint8Array): ConfChangeV2 {
  const change = asV2(parse(entryType, data));
  requireKnown(change);
  // The decoder hands out windows on its input.
  change.context = change.context.slice();
  return change;
}

function parse(entryType: EntryType, data: Uint8Array): ConfChange | ConfChangeV2 {
  try {
    if (entryType === EntryType.EntryConfChange) return fromBinary(ConfChangeSchema, data);
    if (entryType === EntryType.EntryConfChangeV2) return fromBinary(ConfChangeV2Schema, data);
  } catch (error) {
    throw new ConfChangeError("the entry's data is no change of membership", { cause: error });
  }
  throw new ConfChangeError(`an entry of type ${String(EntryType[entryType])} changes no membership`);
}

/** Open enums let any number through the decoder. */
function requireKnown(change: ConfChangeV2): void {
  if (ConfChangeTransition[change.transition] === undefined) {
    throw new ConfChangeError(`unknown transition ${change.transition}`);
  }
  for (const { type, nodeId } of change.changes) {
    if (ConfChangeType[type] === undefined) {
      throw new ConfChangeError(`unknown type ${type} of a change of node ${nodeId}`);
    }
  }
}

/** The same membership, in whatever order its members are listed. raft-rs: `conf_state_eq`. */
export function confStateEquals(left: ConfState, right: ConfState): boolean {
  return (
    left.autoLeave === right.autoLeave &&
    sameIds(left.voters, right.voters) &&
    sameIds(left.votersOutgoing, right.votersOutgoing) &&
    sameIds(left.learners, right.learners) &&
    sameIds(left.learnersNext, right.learnersNext)
  );
}

function sameIds(left: readonly NodeId[], right: readonly NodeId[]): boolean {
  if (left.length !== right.length) return false;
  const rightInOrder = inIdOrder(right);
  return inIdOrder(left).every((id, position) => id === rightInOrder[position]);
}
