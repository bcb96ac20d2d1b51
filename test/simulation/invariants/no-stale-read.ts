// A linearizable read sees everything that was acknowledged before it began (thesis §6.4).

import type { Invariant } from "../observation.js";

export const noStaleRead: Invariant = () => (observation) => {
  if (observation.type !== "read") return undefined;
  const { run, revision, floor } = observation;
  if (revision >= floor) return undefined;
  return `node ${run.id} served a read at revision ${revision}, though ${floor} was acknowledged before it began`;
};
