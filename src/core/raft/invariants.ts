// What holds of one node's state between any two inputs. Checked after every step of every test of the core; too
// slow for production, where the cheap asserts at the places of change stand guard.

import { invariant } from "../errors.js";
import { minOf } from "../types.js";
import type { RaftState } from "./state.js";

/** @throws InvariantViolation naming the node and what is broken. */
export function checkInvariants(raft: RaftState): void {
  const holds = (condition: boolean, what: string): void => {
    invariant(condition, () => `node ${raft.id} in term ${raft.term}: ${what}`);
  };
  checkLog(raft, holds);
  checkRole(raft, holds);
  checkProgress(raft, holds);
}

type Holds = (condition: boolean, what: string) => void;

function checkLog({ log }: RaftState, holds: Holds): void {
  const first = log.firstIndex();
  const last = log.lastIndex();
  holds(first <= last + 1n, `log [${first}, ${last}] is turned around`);
  holds(log.committed <= last, `committed ${log.committed} is beyond last ${last}`);
  holds(log.committed + 1n >= first, `committed ${log.committed} is before first ${first}`);
  holds(log.persisted <= last, `persisted ${log.persisted} is beyond last ${last}`);
  const { unstable } = log;
  const firstUnwritten = unstable.snapshot === undefined ? unstable.offset : first - 1n;
  holds(
    log.persisted < firstUnwritten || log.persisted <= log.committed,
    `persisted ${log.persisted} reaches into what was never written (from ${firstUnwritten})`,
  );
  let previousTerm = log.maybeTerm(unstable.offset - 1n) ?? 0n;
  for (const [position, entry] of unstable.entries.entries()) {
    holds(
      entry.index === unstable.offset + BigInt(position),
      `unstable entry ${entry.index} is out of place`,
    );
    holds(entry.term >= previousTerm, `the term falls at entry ${entry.index}`);
    holds(Object.isFrozen(entry), `entry ${entry.index} can be changed from outside`);
    previousTerm = entry.term;
  }
}

function checkRole(raft: RaftState, holds: Holds): void {
  const { role, log, term } = raft;
  holds((log.maybeTerm(log.lastIndex()) ?? 0n) <= term, "the log is ahead of the term");
  holds(
    raft.promotable === raft.tracker.isVoter(raft.id),
    "promotable does not tell whether this node votes",
  );
  switch (role.kind) {
    case "leader":
      holds(raft.vote === raft.id, "leads without having voted for itself");
      holds(raft.pendingRequestSnapshot === 0n, "a leader asks for a snapshot");
      holds(role.transferTarget !== raft.id, "transfers leadership to itself");
      holds(role.uncommitted.bytes >= 0, "the uncommitted budget is negative");
      return;
    case "candidate":
      holds(raft.vote === raft.id, "campaigns without having voted for itself");
      return;
    case "preCandidate":
      return;
    case "follower":
      holds(role.leader !== raft.id, "follows itself");
      holds(log.maxApplyUnpersistedLogLimit === 0, "a follower may apply ahead of its disk");
  }
}

function checkProgress(raft: RaftState, holds: Holds): void {
  const { log, role, tracker } = raft;
  if (role.kind !== "leader") return;
  for (const id of tracker.ids()) {
    const progress = tracker.get(id);
    if (progress === undefined) continue;
    const { matched, nextIdx, state } = progress;
    holds(matched <= log.lastIndex(), `peer ${id} matches ${matched} beyond last ${log.lastIndex()}`);
    holds(matched < nextIdx, `peer ${id}: matched ${matched} is not below next ${nextIdx}`);
    holds(
      state !== "Replicate" || nextIdx <= log.lastIndex() + 1n,
      `peer ${id}: next ${nextIdx} is beyond the log`,
    );
  }
  const own = tracker.get(raft.id);
  if (own !== undefined) {
    holds(
      own.matched <= minOf(log.persisted, log.lastIndex()),
      "counts itself for what its disk does not hold",
    );
  }
}
