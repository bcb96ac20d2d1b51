// A leader counts replicas of entries of its own term only: those of earlier terms become committed with one of them, not
// by themselves (paper §5.4.2).

import type { LogIndex, Term } from "../../../src/core/types.js";
import type { Invariant } from "../observation.js";

interface Leadership {
  readonly term: Term;
  /** What it knew to be committed when it began. */
  readonly commitBefore: LogIndex;
}

export const commitRule: Invariant = () => {
  const leaderships = new Map<bigint, Leadership>();
  return (observation) => {
    if (observation.type !== "status") return undefined;
    const { run, status, commitTerm } = observation;
    const { role, term, commit } = status;
    if (role !== "leader") {
      leaderships.delete(run.id);
      return undefined;
    }
    const known = leaderships.get(run.id);
    if (known?.term !== term) {
      leaderships.set(run.id, { term, commitBefore: commit });
      return undefined;
    }
    if (commit === known.commitBefore || commitTerm === undefined || commitTerm === term) return undefined;
    return `leader ${run.id} of term ${term} has committed up to ${commit}/${commitTerm}, an entry of an earlier term`;
  };
};
