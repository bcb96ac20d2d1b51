// Term, commit index and applied index of a node never go back while it runs, terms not even across restarts; what is
// applied is committed, and what is committed is in the log.

import type { Invariant } from "../observation.js";

interface Reached {
  run: number;
  term: bigint;
  commit: bigint;
  applied: bigint;
}

export const monotonic: Invariant = () => {
  const reached = new Map<bigint, Reached>();
  const votedIn = new Map<bigint, bigint>();
  return (observation) => {
    if (observation.type === "voted") {
      votedIn.set(observation.run.id, observation.term);
      return undefined;
    }
    if (observation.type === "started") {
      const { run, hardState } = observation;
      const before = votedIn.get(run.id) ?? 0n;
      if (hardState.term < before) {
        return `node ${run.id} starts in term ${hardState.term}; it had voted in term ${before}`;
      }
      return undefined;
    }
    if (observation.type !== "status") return undefined;
    const { run, status } = observation;
    const { term, commit, applied, lastIndex } = status;
    if (commit > lastIndex) return `node ${run.id} has committed ${commit}, its log ends at ${lastIndex}`;
    const before = reached.get(run.id);
    reached.set(run.id, { run: run.number, term, commit, applied });
    if (before === undefined || before.run !== run.number) return undefined;
    if (term < before.term) return `the term of node ${run.id} went back from ${before.term} to ${term}`;
    if (commit < before.commit)
      return `the commit index of node ${run.id} went back from ${before.commit} to ${commit}`;
    if (applied < before.applied)
      return `node ${run.id} has applied ${applied}, before it was ${before.applied}`;
    return undefined;
  };
};
