// Nothing that a node keeps grows beyond its limit.

import type { Invariant } from "../observation.js";

export const boundedMemory: Invariant = () => (observation) => {
  if (observation.type !== "status") return undefined;
  const { run, status, limits } = observation;
  const over: (readonly [string, number, number])[] = [
    ["proposals wait", status.pendingProposals, limits.maxPendingProposals],
    ["reads wait", status.pendingReads, limits.maxPendingReads],
    ["messages wait", status.inboxMessages, Math.max(limits.inboxCapacityMessages, MAX_ENVELOPE)],
    ["Readys are on their way to the disk", status.readysInFlight, limits.maxReadysInFlight],
  ];
  for (const [what, value, limit] of over) {
    if (value > limit) return `on node ${run.id} ${value} ${what}, the limit is ${limit}`;
  }
  return undefined;
};

/** An empty inbox takes any one envelope. */
const MAX_ENVELOPE = 1_024;
