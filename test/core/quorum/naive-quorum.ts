// The quorum rules written down in the most direct way, by counting, to hold the fast ones against.

import type { AckedIndex, CommittedIndex } from "../../../src/core/quorum/majority.js";
import type { VoteResult } from "../../../src/core/quorum/vote-result.js";
import { maxOf } from "../../../src/core/types.js";

const INFINITE = 0xffff_ffff_ffff_ffffn;

/** `acks`: one element for each voter; undefined is a voter that nothing is known of. */
export function naiveCommittedIndex(
  acks: readonly (AckedIndex | undefined)[],
  useGroupCommit: boolean,
): CommittedIndex {
  if (acks.length === 0) return { index: INFINITE, usedGroupCommit: true };
  const known = acks.map((ack) => ack ?? { index: 0n, groupId: 0n });
  const candidates = [0n, ...known.map(({ index }) => index)];
  const largestWith = (enough: (holders: readonly AckedIndex[]) => boolean): bigint =>
    candidates.filter((candidate) => enough(known.filter(({ index }) => index >= candidate))).reduce(maxOf);
  const isMajority = (holders: readonly AckedIndex[]): boolean => holders.length * 2 > known.length;
  const isInTwoGroups = (holders: readonly AckedIndex[]): boolean => groupsOf(holders).size >= 2;

  if (useGroupCommit && isInTwoGroups(known)) {
    const index = largestWith((holders) => isMajority(holders) && isInTwoGroups(holders));
    return { index, usedGroupCommit: true };
  }
  const mustBeEverywhere = useGroupCommit && known.some(({ groupId }) => groupId === 0n);
  const index = largestWith(mustBeEverywhere ? (holders) => holders.length === known.length : isMajority);
  return { index, usedGroupCommit: false };
}

/** Tries every way in which the missing votes could still be cast. */
export function naiveVoteResult(votes: readonly (boolean | undefined)[]): VoteResult {
  if (votes.length === 0) return "won";
  const isWon = (granted: number): boolean => granted * 2 > votes.length;
  const granted = votes.filter((vote) => vote === true).length;
  const missing = votes.filter((vote) => vote === undefined).length;
  const outcomes = Array.from({ length: missing + 1 }, (_, more) => isWon(granted + more));
  if (outcomes.every(Boolean)) return "won";
  return outcomes.some(Boolean) ? "pending" : "lost";
}

function groupsOf(holders: readonly AckedIndex[]): Set<bigint> {
  return new Set(holders.map(({ groupId }) => groupId).filter((groupId) => groupId !== 0n));
}
