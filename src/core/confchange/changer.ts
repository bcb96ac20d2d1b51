// Works out the membership that follows from a change, and refuses what would break the group. Nothing is applied
// here: the caller hands the result to `ProgressTracker.applyConf`.

import { type ConfChangeSingle, ConfChangeType } from "../../gen/eraftpb_pb.js";
import { ConfChangeError } from "../errors.js";
import { JointConfig } from "../quorum/joint.js";
import { MajorityConfig } from "../quorum/majority.js";
import { NodeIdSet } from "../quorum/node-id-set.js";
import type { Configuration, ProgressChange } from "../tracker/configuration.js";
import { NO_NODE, type NodeId } from "../types.js";

/** What the changer needs of a `ProgressTracker`. */
export interface TrackedMembership {
  readonly conf: Configuration;
  /** Not undefined for an id with a progress. */
  get(id: NodeId): object | undefined;
}

export interface MembershipChange {
  readonly conf: Configuration;
  readonly changes: readonly ProgressChange[];
}

/**
 * Changes at most one voter, without a joint configuration (thesis §4.1). raft-rs: `Changer::simple`.
 * @throws ConfChangeError when more than one voter would change, none would be left, or the group is in a joint
 *   configuration.
 */
export function simple(tracker: TrackedMembership, changes: readonly ConfChangeSingle[]): MembershipChange {
  if (tracker.conf.voters.isJoint()) {
    throw new ConfChangeError("can't apply simple config change in joint config");
  }
  const draft = new Draft(tracker);
  draft.applyAll(changes);
  if (draft.votersChanged() > 1) {
    throw new ConfChangeError("more than one voter changed without entering joint config");
  }
  return draft.finish();
}

/**
 * Keeps the present voters as the outgoing half and applies the changes to the incoming one: from (1 2 3) to
 * (new)&&(1 2 3), thesis §4.3. raft-rs: `Changer::enter_joint`.
 * @param autoLeave whether raft leaves the joint configuration by itself.
 * @throws ConfChangeError when the group is joint already, has no voters, or would have none.
 */
export function enterJoint(
  tracker: TrackedMembership,
  autoLeave: boolean,
  changes: readonly ConfChangeSingle[],
): MembershipChange {
  if (tracker.conf.voters.isJoint()) throw new ConfChangeError("config is already joint");
  const draft = new Draft(tracker);
  if (draft.incoming.size === 0) throw new ConfChangeError("can't make a zero-voter config joint");
  draft.outgoing = new Set(draft.incoming);
  draft.applyAll(changes);
  draft.autoLeave = autoLeave;
  return draft.finish();
}

/**
 * Drops the outgoing half; voters that were to become learners do so now. raft-rs: `Changer::leave_joint`.
 * @throws ConfChangeError when the group is in no joint configuration.
 */
export function leaveJoint(tracker: TrackedMembership): MembershipChange {
  if (!tracker.conf.voters.isJoint()) throw new ConfChangeError("can't leave a non-joint config");
  const draft = new Draft(tracker);
  draft.leave();
  return draft.finish();
}

/**
 * Checks a membership against itself and against the progress that is kept.
 * @throws ConfChangeError naming the id and the rule. raft-rs: `check_invariants`.
 */
export function checkMembership(conf: Configuration, hasProgress: (id: NodeId) => boolean): void {
  const { incoming, outgoing } = conf.voters;
  for (const id of conf.voters.ids()) refuse(!hasProgress(id), `no progress for voter ${id}`);
  for (const id of conf.learners) {
    refuse(!hasProgress(id), `no progress for learner ${id}`);
    refuse(outgoing.has(id), `${id} is in learners and outgoing voters`);
    refuse(incoming.has(id), `${id} is in learners and incoming voters`);
  }
  for (const id of conf.learnersNext) {
    refuse(!hasProgress(id), `no progress for learner(next) ${id}`);
    refuse(!outgoing.has(id), `${id} is in learners_next and not in outgoing voters`);
    refuse(incoming.has(id), `${id} is in learners_next and incoming voters`);
  }
  if (conf.voters.isJoint()) return;
  refuse(conf.autoLeave, "auto_leave must be false when not joint");
}

/** A membership being changed: mutable sets, and the log of what happens to the progress. */
class Draft {
  readonly #tracker: TrackedMembership;
  readonly incoming: Set<NodeId>;
  outgoing: Set<NodeId>;
  readonly learners: Set<NodeId>;
  readonly learnersNext: Set<NodeId>;
  /** False for all but a configuration that is being entered: the others are not joint, or left. */
  autoLeave = false;
  readonly #changes: ProgressChange[] = [];
  readonly #tracked = new Map<NodeId, boolean>();

  constructor(tracker: TrackedMembership) {
    const { conf } = tracker;
    this.#tracker = tracker;
    this.incoming = new Set(conf.voters.incoming);
    this.outgoing = new Set(conf.voters.outgoing);
    this.learners = new Set(conf.learners);
    this.learnersNext = new Set(conf.learnersNext);
  }

  applyAll(changes: readonly ConfChangeSingle[]): void {
    for (const { type, nodeId } of changes) {
      // An application that turns a committed change down sets its id to 0.
      if (nodeId === NO_NODE) continue;
      switch (type) {
        case ConfChangeType.AddNode:
          this.#makeVoter(nodeId);
          break;
        case ConfChangeType.AddLearnerNode:
          this.#makeLearner(nodeId);
          break;
        case ConfChangeType.RemoveNode:
          this.#remove(nodeId);
          break;
        default:
          throw new ConfChangeError(`unknown type ${String(type)} of a change of node ${nodeId}`);
      }
    }
    refuse(this.incoming.size === 0, "removed all voters");
  }

  /** How many ids are a voter on one side of the change only. */
  votersChanged(): number {
    const before = this.#tracker.conf.voters.incoming;
    let changed = 0;
    for (const id of this.incoming) if (!before.has(id)) changed++;
    for (const id of before) if (!this.incoming.has(id)) changed++;
    return changed;
  }

  leave(): void {
    for (const id of this.learnersNext) this.learners.add(id);
    this.learnersNext.clear();
    for (const id of this.outgoing) {
      if (!this.incoming.has(id) && !this.learners.has(id)) this.#track(id, "remove");
    }
    this.outgoing = new Set();
  }

  finish(): MembershipChange {
    const conf: Configuration = Object.freeze({
      voters: new JointConfig(new MajorityConfig(this.incoming), new MajorityConfig(this.outgoing)),
      learners: new NodeIdSet(this.learners),
      learnersNext: new NodeIdSet(this.learnersNext),
      autoLeave: this.autoLeave,
    });
    checkMembership(conf, (id) => this.#isTracked(id));
    return { conf, changes: this.#changes };
  }

  #makeVoter(id: NodeId): void {
    this.#dropRoles(id);
    this.incoming.add(id);
    if (!this.#isTracked(id)) this.#track(id, "add");
  }

  #makeLearner(id: NodeId): void {
    this.#dropRoles(id);
    // Still a voter of the outgoing half, it cannot be a learner at the same time.
    if (this.outgoing.has(id)) this.learnersNext.add(id);
    else this.learners.add(id);
    if (!this.#isTracked(id)) this.#track(id, "add");
  }

  #remove(id: NodeId): void {
    this.#dropRoles(id);
    if (this.#isTracked(id) && !this.outgoing.has(id)) this.#track(id, "remove");
  }

  #dropRoles(id: NodeId): void {
    this.incoming.delete(id);
    this.learners.delete(id);
    this.learnersNext.delete(id);
  }

  #isTracked(id: NodeId): boolean {
    return this.#tracked.get(id) ?? this.#tracker.get(id) !== undefined;
  }

  #track(id: NodeId, kind: ProgressChange["kind"]): void {
    this.#tracked.set(id, kind === "add");
    this.#changes.push({ id, kind });
  }
}

function refuse(condition: boolean, message: string): void {
  if (condition) throw new ConfChangeError(message);
}
