// Two majorities that must agree (thesis §4.3): the configuration being entered and the one being left.

import { type LogIndex, minOf, type NodeId } from "../types.js";
import { type AckLookup, type CommittedIndex, MajorityConfig } from "./majority.js";
import { NodeIdSet } from "./node-id-set.js";
import type { VoteResult } from "./vote-result.js";

/** Immutable. An empty `outgoing` means that no change of voters is under way. raft-rs: `quorum::joint`. */
export class JointConfig {
  readonly #union: NodeIdSet;

  constructor(
    readonly incoming: MajorityConfig = new MajorityConfig(),
    readonly outgoing: MajorityConfig = new MajorityConfig(),
  ) {
    this.#union = outgoing.size === 0 ? incoming : new NodeIdSet([...incoming, ...outgoing]);
  }

  /** The smaller of what the two halves have acknowledged. See {@link MajorityConfig.majorityIndex}. */
  majorityIndex(matched: (id: NodeId) => LogIndex): LogIndex {
    const incoming = this.incoming.majorityIndex(matched);
    return this.outgoing.size === 0 ? incoming : minOf(incoming, this.outgoing.majorityIndex(matched));
  }

  /** The smaller index of the two halves; `usedGroupCommit` only if both halves used it. */
  committedIndex(useGroupCommit: boolean, ack: AckLookup): CommittedIndex {
    const incoming = this.incoming.committedIndex(useGroupCommit, ack);
    const outgoing = this.outgoing.committedIndex(useGroupCommit, ack);
    return {
      index: minOf(incoming.index, outgoing.index),
      usedGroupCommit: incoming.usedGroupCommit && outgoing.usedGroupCommit,
    };
  }

  /** Won when both halves are won, lost as soon as one is lost. */
  voteResult(vote: (id: NodeId) => boolean | undefined): VoteResult {
    const incoming = this.incoming.voteResult(vote);
    const outgoing = this.outgoing.voteResult(vote);
    if (incoming === "lost" || outgoing === "lost") return "lost";
    return incoming === "won" && outgoing === "won" ? "won" : "pending";
  }

  /** A voter in either half. */
  contains(id: NodeId): boolean {
    return this.#union.has(id);
  }

  /** The voters of both halves in id order. The array is frozen. */
  ids(): readonly NodeId[] {
    return this.#union.ids();
  }

  isJoint(): boolean {
    return this.outgoing.size > 0;
  }

  /** One voter decides alone, and no change of voters is under way. */
  isSingleton(): boolean {
    return this.incoming.size === 1 && this.outgoing.size === 0;
  }
}
