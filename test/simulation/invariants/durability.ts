// What a leader commits, and what is acknowledged, is on the disks of a majority at that moment, and stays committed for
// ever after.

import type { NodeId } from "../../../src/core/types.js";
import type { Invariant } from "../observation.js";
import { isMajorityOfBoth } from "./majorities.js";

const REMEMBERED_MEMBERSHIPS = 4;

export const durability: Invariant = () => {
  const memberships: { readonly voters: readonly NodeId[]; readonly votersOutgoing: readonly NodeId[] }[] =
    [];
  return (observation) => {
    if (observation.type === "membership") {
      const { voters, votersOutgoing } = observation.membership;
      const last = memberships.at(-1);
      if (last?.voters.join() === voters.join() && last.votersOutgoing.join() === votersOutgoing.join())
        return undefined;
      memberships.push({ voters, votersOutgoing });
      if (memberships.length > REMEMBERED_MEMBERSHIPS) memberships.shift();
      return undefined;
    }
    if (observation.type === "leaderCommitted") {
      const { run, term, index, confState, holders } = observation;
      if (isMajorityOfBoth(confState, holders)) return undefined;
      return (
        `leader ${run.id} of term ${term} committed entry ${index}, which is on the disks of ${[...holders].join(", ") || "nobody"} ` +
        `of the voters [${confState.voters.join()}][${confState.votersOutgoing.join()}]`
      );
    }
    if (observation.type !== "acknowledged") return undefined;
    const { run, index, holders, membership } = observation;
    // It was committed under the membership of that time, which may be one that has just been left.
    const candidates = [...memberships, membership];
    if (candidates.some((halves) => isMajorityOfBoth(halves, holders))) return undefined;
    return (
      `node ${run.id} acknowledged entry ${index}, which is on the disks of ${[...holders].join(", ") || "nobody"} ` +
      `of the voters ${membership.voters.join(", ")}`
    );
  };
};
