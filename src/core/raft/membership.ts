// Changes of who belongs to the group, and as what (paper §6, thesis §4). They take effect when they are applied.

import {
  type ConfChange,
  ConfChangeTransition,
  type ConfChangeV2,
  type ConfState,
} from "../../gen/eraftpb_pb.js";
import { enterJoint, leaveJoint, type MembershipChange, simple } from "../confchange/changer.js";
import { asV2, enterJointMode, leavesJoint } from "../confchange/conf-change.js";
import { maxOf, NO_NODE } from "../types.js";
import { maybeCommit } from "./commit.js";
import { releaseConfirmedReads } from "./read-index.js";
import { broadcastAppend, broadcastEntries } from "./replication.js";
import { becomeFollower } from "./roles.js";
import { type RaftState, tell } from "./state.js";
import { abortTransfer } from "./transfer.js";

/**
 * Puts an applied change into force. raft-rs: `apply_conf_change`.
 * @throws ConfChangeError when it does not fit the present membership, which then stays as it is.
 */
export function applyConfChange(raft: RaftState, change: ConfChange | ConfChangeV2): ConfState {
  const { conf, changes } = planChange(raft, asV2(change));
  // Not behind the last entry: a rejection of the first append then says where the new peer stands (2.40).
  raft.tracker.applyConf(conf, changes, maxOf(raft.log.lastIndex(), 1n));
  return settleMembership(raft);
}

function planChange(raft: RaftState, change: ConfChangeV2): MembershipChange {
  if (leavesJoint(change)) return leaveJoint(raft.tracker);
  const mode = enterJointMode(change);
  switch (mode) {
    case "simple":
      return simple(raft.tracker, change.changes);
    case "auto":
    case "manual":
      return enterJoint(raft.tracker, mode === "auto", change.changes);
  }
}

export function refreshPromotable(raft: RaftState): void {
  raft.promotable = raft.tracker.isVoter(raft.id);
}

/** What a new membership means for this node in its role. raft-rs: `post_conf_change`. */
function settleMembership(raft: RaftState): ConfState {
  refreshPromotable(raft);
  const confState = raft.tracker.toConfState();
  tell(raft, { type: "confChanged", confState: raft.tracker.toConfState() });
  const { role } = raft;
  if (role.kind !== "leader") return confState;
  if (!raft.promotable && raft.settings.stepDownOnRemoval) {
    // Removed or demoted: a leader that nobody counts any more must not keep others from electing one (U2, E14).
    becomeFollower(raft, raft.term, NO_NODE);
    return confState;
  }
  // The quorum may have become smaller: entries and reads that waited may be through.
  if (maybeCommit(raft, role)) broadcastAppend(raft);
  else broadcastEntries(raft);
  releaseConfirmedReads(raft, role);
  if (role.transferTarget !== undefined && !raft.tracker.isVoter(role.transferTarget)) {
    abortTransfer(raft, role);
  }
  return confState;
}

/** The change that leaves a joint configuration. */
export const LEAVE_JOINT: ConfChangeV2 = Object.freeze({
  $typeName: "eraftpb.ConfChangeV2",
  transition: ConfChangeTransition.Auto,
  changes: [],
  context: new Uint8Array(0),
});
