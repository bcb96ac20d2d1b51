// A leader only appends to its log (paper §5.3).

import type { Invariant } from "../observation.js";

export const leaderAppendOnly: Invariant = () => (observation) => {
  if (observation.type !== "appended" || observation.leadsTerm === undefined) return undefined;
  const { run, leadsTerm, entries, snapshotIndex, lastIndexBefore } = observation;
  if (snapshotIndex !== undefined)
    return `leader ${run.id} of term ${leadsTerm} replaced its log by a snapshot`;
  const first = entries[0];
  // What it took in as a follower of an earlier term may only now be written.
  if (first === undefined || first.term < leadsTerm || first.index > lastIndexBefore) return undefined;
  return `leader ${run.id} of term ${leadsTerm} overwrote entry ${first.index}; its log ended at ${lastIndexBefore}`;
};
