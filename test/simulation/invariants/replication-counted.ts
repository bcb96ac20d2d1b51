// What a leader counts as replicated is on the disk of that peer, the same entry as its own (paper §5.3), as long as the
// peer has not gone on to a later term.

import type { Invariant } from "../observation.js";

export const replicationCounted: Invariant = () => (observation) => {
  if (observation.type !== "counted" || observation.isHeld) return undefined;
  const { run, term, peer, index } = observation;
  return `leader ${run.id} of term ${term} counts entry ${index} as replicated on node ${peer}, whose disk does not hold it`;
};
