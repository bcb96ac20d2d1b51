// Who is in the group, and as what; and the change from one such membership to the next.

import { create } from "@bufbuild/protobuf";
import { type ConfState, ConfStateSchema } from "../../gen/eraftpb_pb.js";
import { JointConfig } from "../quorum/joint.js";
import { NodeIdSet } from "../quorum/node-id-set.js";
import type { NodeId } from "../types.js";

/** Immutable, all the way down. raft-rs: `tracker::Configuration`. */
export interface Configuration {
  readonly voters: JointConfig;
  /** Never a voter of either half. */
  readonly learners: NodeIdSet;
  /** Voters of the outgoing half that become learners when it is left: until then they still vote. */
  readonly learnersNext: NodeIdSet;
  /** Raft leaves the joint configuration by itself as soon as it can. */
  readonly autoLeave: boolean;
}

export const EMPTY_CONFIGURATION: Configuration = Object.freeze({
  voters: new JointConfig(),
  learners: new NodeIdSet(),
  learnersNext: new NodeIdSet(),
  autoLeave: false,
});

/**
 * A progress to start or to drop. In order: removing and adding the same id in one change starts its progress
 * anew. raft-rs: `MapChange`.
 */
export interface ProgressChange {
  readonly id: NodeId;
  readonly kind: "add" | "remove";
}

/** A fresh message with every list in id order, so that equal memberships have equal bytes. */
export function toConfState(conf: Configuration): ConfState {
  return create(ConfStateSchema, {
    voters: [...conf.voters.incoming],
    votersOutgoing: [...conf.voters.outgoing],
    learners: [...conf.learners],
    learnersNext: [...conf.learnersNext],
    autoLeave: conf.autoLeave,
  });
}
