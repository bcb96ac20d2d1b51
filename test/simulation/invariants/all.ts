// Everything that must hold, whatever happens.

import type { Invariant } from "../observation.js";
import { boundedMemory } from "./bounded-memory.js";
import { commitRule } from "./commit-rule.js";
import { durability } from "./durability.js";
import { electionSafety } from "./election-safety.js";
import { leaderAppendOnly } from "./leader-append-only.js";
import { leaderCompleteness } from "./leader-completeness.js";
import { logMatching } from "./log-matching.js";
import { membershipSafety } from "./membership-safety.js";
import { monotonic } from "./monotonic.js";
import { noStaleRead } from "./no-stale-read.js";
import { replicationCounted } from "./replication-counted.js";
import { stateMachineSafety } from "./state-machine-safety.js";

export const INVARIANTS: Readonly<Record<string, Invariant>> = {
  "state machine safety": stateMachineSafety,
  "election safety": electionSafety,
  "log matching": logMatching,
  "leader completeness": leaderCompleteness,
  "commit rule": commitRule,
  "replication counted": replicationCounted,
  "leader append-only": leaderAppendOnly,
  "monotonic positions": monotonic,
  "durability of what was acknowledged": durability,
  "no stale read": noStaleRead,
  "membership safety": membershipSafety,
  "bounded memory": boundedMemory,
};
