// At most one leader per term, elected by a majority, and at most one vote per node and term, also across crashes
// (paper §5.2).

import type { NodeId } from "../../../src/core/types.js";
import type { Invariant } from "../observation.js";
import { isMajorityOfBoth } from "./majorities.js";

export const electionSafety: Invariant = () => {
  const leaders = new Map<bigint, NodeId>();
  const votes = new Map<string, NodeId>();
  return (observation) => {
    if (observation.type === "becameLeader") {
      const { run, term } = observation;
      const other = leaders.get(term);
      if (other !== undefined)
        return `node ${run.id} became leader of term ${term}, which node ${other} leads`;
      leaders.set(term, run.id);
      const { confState } = observation;
      if (confState === undefined) return undefined;
      const all = [...confState.voters, ...confState.votersOutgoing];
      const voted = all.filter((id) => id === run.id || votes.get(`${id} in term ${term}`) === run.id);
      if (isMajorityOfBoth(confState, new Set(voted))) return undefined;
      return (
        `node ${run.id} became leader of term ${term} by the votes of ${voted.join(", ") || "nobody"} ` +
        `out of [${confState.voters.join()}][${confState.votersOutgoing.join()}]`
      );
    }
    if (observation.type !== "voted") return undefined;
    const { run, term, candidate } = observation;
    const key = `${run.id} in term ${term}`;
    const before = votes.get(key);
    votes.set(key, candidate);
    if (before === undefined || before === candidate) return undefined;
    return `node ${key} voted for ${before} and then for ${candidate}`;
  };
};
