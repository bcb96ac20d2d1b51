// Majorities, counted here once more and without the code under test.

import type { NodeId } from "../../../src/core/types.js";

/** Of no voters everybody is a majority, as of the outgoing half of a membership that is not joint. */
export function isMajority(voters: readonly NodeId[], side: ReadonlySet<NodeId>): boolean {
  return voters.length === 0 || voters.filter((id) => side.has(id)).length * 2 > voters.length;
}

export function isMajorityOfBoth(
  halves: { readonly voters: readonly NodeId[]; readonly votersOutgoing: readonly NodeId[] },
  side: ReadonlySet<NodeId>,
): boolean {
  return isMajority(halves.voters, side) && isMajority(halves.votersOutgoing, side);
}
