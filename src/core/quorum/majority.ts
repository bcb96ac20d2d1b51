// The voters of one half of a configuration, and what a majority of them has acknowledged or voted for.

import { type LogIndex, minOf, NO_INDEX, type NodeId } from "../types.js";
import { NodeIdSet } from "./node-id-set.js";
import type { VoteResult } from "./vote-result.js";

/** The largest uint64: what a majority of nobody has acknowledged, so that the other half alone decides. */
export const INFINITE_INDEX: LogIndex = 2n ** 64n - 1n;

/** How far one voter's log is known to match, and its commit group; group 0 means not assigned. */
export interface AckedIndex {
  readonly index: LogIndex;
  readonly groupId: bigint;
}

/** What is known of a voter; undefined counts as index 0 in group 0. */
export type AckLookup = (id: NodeId) => AckedIndex | undefined;

export interface CommittedIndex {
  readonly index: LogIndex;
  /** The index is in at least two commit groups; false when a plain rule decided. */
  readonly usedGroupCommit: boolean;
}

/** Voters above which sorting in place by insertion would lose to the engine's sort. */
const INSERTION_SORT_LIMIT = 16;

/** Immutable. raft-rs: `quorum::majority::Configuration`. */
export class MajorityConfig extends NodeIdSet {
  /** Reused by every call, so that counting an acknowledgement allocates nothing. Means nothing between calls. */
  readonly #scratch: LogIndex[];

  constructor(ids: Iterable<NodeId> = []) {
    super(ids);
    this.#scratch = new Array<LogIndex>(this.size).fill(NO_INDEX);
  }

  /**
   * The largest index that a majority of the voters has acknowledged; {@link INFINITE_INDEX} without voters.
   * `matched` must not call back into this object.
   */
  majorityIndex(matched: (id: NodeId) => LogIndex): LogIndex {
    const descending = this.#scratch;
    let filled = 0;
    for (const id of this.ids()) descending[filled++] = matched(id);
    sortDescending(descending);
    return descending[majorityOf(filled) - 1] ?? INFINITE_INDEX;
  }

  /**
   * The index that may be committed. With group commit it must also be in two different commit groups. While
   * everybody is in one group, the majority decides alone; while that cannot be told, because someone is in no
   * group, everybody must have it. raft-rs: `Configuration::committed_index`.
   */
  committedIndex(useGroupCommit: boolean, ack: AckLookup): CommittedIndex {
    if (this.size === 0) return { index: INFINITE_INDEX, usedGroupCommit: true };
    const byMajority = this.majorityIndex((id) => ack(id)?.index ?? NO_INDEX);
    if (!useGroupCommit) return { index: byMajority, usedGroupCommit: false };

    const highestOfGroup = new Map<bigint, LogIndex>();
    let lowest = INFINITE_INDEX;
    let allAssigned = true;
    for (const id of this.ids()) {
      const acked = ack(id);
      const index = acked?.index ?? NO_INDEX;
      const groupId = acked?.groupId ?? 0n;
      lowest = minOf(lowest, index);
      if (groupId === 0n) allAssigned = false;
      else if ((highestOfGroup.get(groupId) ?? -1n) < index) highestOfGroup.set(groupId, index);
    }
    if (highestOfGroup.size >= 2) {
      const inTwoGroups = secondHighest(highestOfGroup.values());
      return { index: minOf(inTwoGroups, byMajority), usedGroupCommit: true };
    }
    return { index: allAssigned ? byMajority : lowest, usedGroupCommit: false };
  }

  /** What the votes have come to; undefined is a vote not yet given. Without voters every vote is won. */
  voteResult(vote: (id: NodeId) => boolean | undefined): VoteResult {
    if (this.size === 0) return "won";
    let granted = 0;
    let missing = 0;
    for (const id of this.ids()) {
      const answer = vote(id);
      if (answer === true) granted++;
      else if (answer === undefined) missing++;
    }
    const needed = majorityOf(this.size);
    if (granted >= needed) return "won";
    return granted + missing >= needed ? "pending" : "lost";
  }
}

/** How many of `size` voters are a majority. */
export function majorityOf(size: number): number {
  return Math.floor(size / 2) + 1;
}

function sortDescending(values: bigint[]): void {
  if (values.length > INSERTION_SORT_LIMIT) {
    values.sort((a, b) => (a > b ? -1 : a < b ? 1 : 0));
    return;
  }
  for (let sorted = 1; sorted < values.length; sorted++) {
    const value = values[sorted] ?? NO_INDEX;
    let hole = sorted;
    for (; hole > 0; hole--) {
      const left = values[hole - 1] ?? NO_INDEX;
      if (left >= value) break;
      values[hole] = left;
    }
    values[hole] = value;
  }
}

function secondHighest(values: Iterable<bigint>): bigint {
  let highest = NO_INDEX;
  let second = NO_INDEX;
  for (const value of values) {
    if (value > highest) {
      second = highest;
      highest = value;
    } else if (value > second) {
      second = value;
    }
  }
  return second;
}
