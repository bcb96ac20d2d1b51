// All nodes agree on which membership each entry brought about, and every two that follow on each other share a voter in
// any two majorities (thesis §4.1).

import type { Membership } from "../../../src/node/membership.js";
import type { Invariant } from "../observation.js";
import { isMajorityOfBoth } from "./majorities.js";

export const membershipSafety: Invariant = () => {
  const known = new Map<bigint, Membership>();
  return (observation) => {
    if (observation.type !== "membership") return undefined;
    const { run, membership } = observation;
    const before = known.get(membership.index);
    if (before !== undefined) {
      if (describe(before) === describe(membership)) return undefined;
      return `entry ${membership.index} made the membership of node ${run.id} ${describe(membership)}, elsewhere ${describe(before)}`;
    }
    known.set(membership.index, membership);
    const indexes = [...known.keys()].sort((a, b) => (a < b ? -1 : 1));
    const at = indexes.indexOf(membership.index);
    const neighbours = [indexes[at - 1], indexes[at + 1]];
    for (const index of neighbours) {
      const neighbour = index === undefined ? undefined : known.get(index);
      if (neighbour === undefined || neighbour.voters.length === 0 || membership.voters.length === 0)
        continue;
      if (!overlap(neighbour, membership)) {
        return `majorities of ${describe(neighbour)} and of ${describe(membership)} need not share a voter`;
      }
    }
    return undefined;
  };
};

function describe({ voters, votersOutgoing, learners, learnersNext }: Membership): string {
  return `[${voters.join()}][${votersOutgoing.join()}] learners [${learners.join()}][${learnersNext.join()}]`;
}

/** Whether no majority of one misses every majority of the other: tries every set of voters as one side's. */
function overlap(a: Membership, b: Membership): boolean {
  const all = [...new Set([...a.voters, ...a.votersOutgoing, ...b.voters, ...b.votersOutgoing])];
  for (let chosen = 0; chosen < 2 ** all.length; chosen += 1) {
    const side = new Set(all.filter((_, at) => ((chosen >> at) & 1) === 1));
    const rest = new Set(all.filter((id) => !side.has(id)));
    if (isMajorityOfBoth(a, side) && isMajorityOfBoth(b, rest)) return false;
  }
  return true;
}
