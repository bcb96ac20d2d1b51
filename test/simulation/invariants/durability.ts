// What was acknowledged is on the disks of a majority at that moment, and stays committed for ever after.

import type { NodeId } from "../../../src/core/types.js";
import type { Invariant } from "../observation.js";

const REMEMBERED_MEMBERSHIPS = 4;

export const durability: Invariant = () => {
  const memberships: { readonly voters: readonly NodeId[]; readonly outgoing: readonly NodeId[] }[] = [];
  return (observation) => {
    if (observation.type === "membership") {
      const { voters, votersOutgoing } = observation.membership;
      const last = memberships.at(-1);
      if (last?.voters.join() === voters.join() && last.outgoing.join() === votersOutgoing.join())
        return undefined;
      memberships.push({ voters, outgoing: votersOutgoing });
      if (memberships.length > REMEMBERED_MEMBERSHIPS) memberships.shift();
      return undefined;
    }
    if (observation.type !== "acknowledged") return undefined;
    const { run, index, holders, membership } = observation;
    // It was committed under the membership of that time, which may be one that has just been left.
    const candidates = [...memberships, { voters: membership.voters, outgoing: membership.votersOutgoing }];
    if (
      candidates.some(
        ({ voters, outgoing }) => isOnMajority(voters, holders) && isOnMajority(outgoing, holders),
      )
    ) {
      return undefined;
    }
    return (
      `node ${run.id} acknowledged entry ${index}, which is on the disks of ${[...holders].join(", ") || "nobody"} ` +
      `of the voters ${membership.voters.join(", ")}`
    );
  };
};

function isOnMajority(voters: readonly NodeId[], holders: ReadonlySet<NodeId>): boolean {
  if (voters.length === 0) return true;
  return voters.filter((id) => holders.has(id)).length * 2 > voters.length;
}
