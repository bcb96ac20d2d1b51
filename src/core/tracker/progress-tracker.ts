// The membership in force, what is known of every member, and the votes of the election under way.

import type { ConfState } from "../../gen/eraftpb_pb.js";
import type { AckLookup, CommittedIndex } from "../quorum/majority.js";
import type { VoteResult } from "../quorum/vote-result.js";
import { inIdOrder, type LogIndex, NO_INDEX, type NodeId } from "../types.js";
import {
  type Configuration,
  EMPTY_CONFIGURATION,
  type ProgressChange,
  toConfState,
} from "./configuration.js";
import { Progress } from "./progress.js";

export interface VoteTally {
  readonly granted: number;
  readonly rejected: number;
  readonly result: VoteResult;
}

/** raft-rs: `ProgressTracker`. */
export class ProgressTracker {
  /** The second condition of group commit is in force; see `MajorityConfig.committedIndex`. */
  groupCommit = false;
  #conf: Configuration = EMPTY_CONFIGURATION;
  readonly #progress = new Map<NodeId, Progress>();
  readonly #votes = new Map<NodeId, boolean>();
  /** Undefined after a change of membership, until somebody asks. */
  #sortedIds: readonly NodeId[] | undefined;

  /** The limits of every new member's window; see `Inflights`. */
  constructor(
    readonly maxInflightMsgs: number,
    readonly maxInflightBytes: number,
  ) {}

  /** Immutable: a later change puts another in its place. */
  get conf(): Configuration {
    return this.#conf;
  }

  /** The live progress of a member, for the leader to work on; undefined for a stranger. */
  get(id: NodeId): Progress | undefined {
    return this.#progress.get(id);
  }

  /** Every member, voter or learner, in id order. The array is frozen; it stays as it is when members change. */
  ids(): readonly NodeId[] {
    this.#sortedIds ??= Object.freeze(inIdOrder(this.#progress.keys()));
    return this.#sortedIds;
  }

  /** A voter of either half of the configuration. */
  isVoter(id: NodeId): boolean {
    return this.#conf.voters.contains(id);
  }

  isLearner(id: NodeId): boolean {
    return this.#conf.learners.has(id);
  }

  isSingleton(): boolean {
    return this.#conf.voters.isSingleton();
  }

  /** The largest index that the members' acknowledgements allow to be committed, whatever its term. */
  maximalCommittedIndex(): CommittedIndex {
    const voters = this.#conf.voters;
    if (this.groupCommit) return voters.committedIndex(true, this.#ackedIndex);
    return { index: voters.majorityIndex(this.#matched), usedGroupCommit: false };
  }

  readonly #matched = (id: NodeId): LogIndex => this.#progress.get(id)?.matched ?? NO_INDEX;

  readonly #ackedIndex: AckLookup = (id) => {
    const progress = this.#progress.get(id);
    return progress && { index: progress.matched, groupId: progress.commitGroupId };
  };

  /** A peer's first answer counts; what it says later in the same election does not. */
  recordVote(id: NodeId, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  resetVotes(): void {
    this.#votes.clear();
  }

  /** How the election stands. Answers of others than voters are not counted. */
  tallyVotes(): VoteTally {
    let granted = 0;
    let rejected = 0;
    for (const [id, vote] of this.#votes) {
      if (!this.isVoter(id)) continue;
      if (vote) granted++;
      else rejected++;
    }
    return { granted, rejected, result: this.voteResult(this.#votes) };
  }

  /** What the given answers would come to. */
  voteResult(votes: ReadonlyMap<NodeId, boolean>): VoteResult {
    return this.#conf.voters.voteResult((id) => votes.get(id));
  }

  /** The given nodes are a quorum of the whole group, of both halves if it is joint. */
  hasQuorum(nodes: ReadonlySet<NodeId>): boolean {
    return this.#conf.voters.voteResult((id) => nodes.has(id)) === "won";
  }

  /**
   * Whether a quorum has spoken since this was asked last. `self` always counts; everybody else's mark is cleared.
   * raft-rs: `quorum_recently_active`.
   */
  quorumRecentlyActive(self: NodeId): boolean {
    const result = this.#conf.voters.voteResult(
      (id) => id === self || this.#progress.get(id)?.recentActive === true,
    );
    for (const [id, progress] of this.#progress) progress.recentActive = id === self;
    return result === "won";
  }

  /**
   * Puts a membership in force, as `simple`, `enterJoint`, `leaveJoint` or `restore` have worked it out.
   * @param nextIdx where to start with new members. They count as recently active, so that check-quorum gives them
   *   the time to say something.
   */
  applyConf(conf: Configuration, changes: readonly ProgressChange[], nextIdx: LogIndex): void {
    this.#conf = conf;
    this.#sortedIds = undefined;
    for (const { id, kind } of changes) {
      if (kind === "remove") {
        this.#progress.delete(id);
        continue;
      }
      const progress = new Progress(nextIdx, this.maxInflightMsgs, this.maxInflightBytes);
      progress.recentActive = true;
      this.#progress.set(id, progress);
    }
    for (const [id, progress] of this.#progress) progress.isLearner = conf.learners.has(id);
  }

  /** A fresh message with every list in id order. */
  toConfState(): ConfState {
    return toConfState(this.#conf);
  }

  /** Forgets the membership, every progress and every vote; `groupCommit` stays. */
  clear(): void {
    this.#conf = EMPTY_CONFIGURATION;
    this.#progress.clear();
    this.#votes.clear();
    this.#sortedIds = undefined;
  }
}
