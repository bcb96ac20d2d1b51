// No two nodes apply different entries at the same index, and nobody applies what is not committed; where two states
// contain the same entries, they are the same (paper §5.4.3).

import { crc32 } from "../../../src/storage/checksum.js";
import type { Invariant } from "../observation.js";

export const stateMachineSafety: Invariant = (ledger) => {
  const applied = new Map<bigint, string>();
  const states = new Map<bigint, string>();
  return (observation) => {
    switch (observation.type) {
      case "committed": {
        const { run, index, term, currentTerm } = observation;
        const other = ledger.commit(index, term, currentTerm);
        if (other === undefined) return undefined;
        return `node ${run.id} has committed ${index}/${term}, elsewhere ${index}/${other} is committed`;
      }
      case "applied": {
        const { run, index, term, data } = observation;
        const content = `${index}/${term} ${crc32(data)}`;
        const known = applied.get(index);
        applied.set(index, content);
        if (known === undefined || known === content) return undefined;
        return `node ${run.id} applied ${content}, elsewhere ${known} was applied`;
      }
      case "stateIs": {
        const { run, appliedIndex, digest } = observation;
        const known = states.get(appliedIndex);
        states.set(appliedIndex, digest);
        if (known === undefined || known === digest) return undefined;
        return `the state of node ${run.id} as of ${appliedIndex} is ${digest}, elsewhere it is ${known}`;
      }
      default:
        return undefined;
    }
  };
};
