// Every leader holds all that was committed in earlier terms (paper §5.4).

import type { Invariant } from "../observation.js";

export const leaderCompleteness: Invariant = (ledger) => (observation) => {
  if (observation.type !== "becameLeader") return undefined;
  const { run, term, firstIndex, lastIndex, termAt } = observation;
  for (let index = ledger.highest; index >= firstIndex; index -= 1n) {
    const decision = ledger.at(index);
    if (decision === undefined || decision.knownInTerm >= term) continue;
    if (index > lastIndex) {
      return `leader ${run.id} of term ${term} lacks entry ${index}, committed in term ${decision.knownInTerm}`;
    }
    if (termAt(index) !== decision.term) {
      return `leader ${run.id} of term ${term} has entry ${index}/${termAt(index)}, committed was ${index}/${decision.term}`;
    }
  }
  return undefined;
};
