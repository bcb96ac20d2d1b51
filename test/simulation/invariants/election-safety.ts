// At most one leader per term, and at most one vote per node and term, also across crashes (paper §5.2).

import type { NodeId } from "../../../src/core/types.js";
import type { Invariant } from "../observation.js";

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
      return undefined;
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
