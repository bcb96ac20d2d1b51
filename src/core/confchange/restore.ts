// Brings a stored membership back into an empty tracker, at start and after a snapshot.

import type { ConfState } from "../../gen/eraftpb_pb.js";
import { ConfChangeError } from "../errors.js";
import { JointConfig } from "../quorum/joint.js";
import { MajorityConfig } from "../quorum/majority.js";
import { NodeIdSet } from "../quorum/node-id-set.js";
import { type Configuration, toConfState } from "../tracker/configuration.js";
import type { ProgressTracker } from "../tracker/progress-tracker.js";
import { inIdOrder, type LogIndex, NO_NODE } from "../types.js";
import { checkMembership } from "./changer.js";
import { confStateEquals } from "./conf-change.js";

/**
 * Puts the membership in force and starts a progress for every member. An empty one is a node that has not joined
 * yet. raft-rs replays the changes that lead to it; here it is checked and put in place.
 * @param tracker without members: call `clear()` first.
 * @param nextIdx where to start with every member.
 * @throws ConfChangeError for a membership that no change can lead to; the tracker is unchanged then.
 */
export function restore(tracker: ProgressTracker, nextIdx: LogIndex, confState: ConfState): void {
  if (tracker.ids().length > 0)
    throw new ConfChangeError("a membership can only be restored into an empty tracker");
  const conf: Configuration = Object.freeze({
    voters: new JointConfig(
      new MajorityConfig(confState.voters),
      new MajorityConfig(confState.votersOutgoing),
    ),
    learners: new NodeIdSet(confState.learners),
    learnersNext: new NodeIdSet(confState.learnersNext),
    autoLeave: confState.autoLeave,
  });
  const members = inIdOrder(new Set([...conf.voters.ids(), ...conf.learners]));
  if (members.includes(NO_NODE)) throw new ConfChangeError("a membership cannot contain node 0");
  if (!confStateEquals(toConfState(conf), confState)) {
    throw new ConfChangeError("a membership cannot name a node twice in one list");
  }
  if (members.length > 0 && conf.voters.incoming.size === 0) {
    throw new ConfChangeError("a membership with members needs a voter");
  }
  checkMembership(conf, (id) => members.includes(id));
  tracker.applyConf(
    conf,
    members.map((id) => ({ id, kind: "add" })),
    nextIdx,
  );
}
