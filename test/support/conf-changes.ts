// Changes of membership in the notation of the case files: `v1 l2 r3` makes node 1 a voter, 2 a learner, and
// removes 3.

import { create } from "@bufbuild/protobuf";
import { type ConfChange, ConfChangeTransition, type ConfChangeV2 } from "../../src/core/index.js";
import { ConfChangeSchema, ConfChangeV2Schema } from "../../src/gen/eraftpb_pb.js";
import { parseChanges } from "../core/confchange/confchange-commands.js";

/** The newer form, of any number of changes. */
export function change(text: string, transition = ConfChangeTransition.Auto): ConfChangeV2 {
  return create(ConfChangeV2Schema, { transition, changes: parseChanges(text) });
}

/** The older form, of one change. */
export function changeV1(text: string): ConfChange {
  const [only, ...more] = parseChanges(text);
  if (only === undefined || more.length > 0) throw new Error(`"${text}" is not one change`);
  return create(ConfChangeSchema, { changeType: only.type, nodeId: only.nodeId });
}

/** Ends a joint configuration. */
export function leaveJoint(): ConfChangeV2 {
  return change("");
}
