// Brings state machine, membership and log together before a node starts. A crash may have left them apart: the
// state behind the log's first entry, because a snapshot was being taken over; or the state ahead of the log.

import { InvariantViolation } from "../core/errors.js";
import { newHardState } from "../core/messages.js";
import { maxOf } from "../core/types.js";
import { BIRTH_INDEX, fromRecord, type Membership, toRecord } from "./membership.js";
import type { DurableLog, Logger, Snapshot, SnapshotStore, StateMachine } from "./ports.js";
import { openBody, restoreFrom } from "./snapshotting.js";

export interface RecoveryParts {
  readonly log: DurableLog;
  readonly snapshots: SnapshotStore;
  readonly stateMachine: StateMachine;
  readonly logger: Logger;
}

/**
 * Returns the membership to begin with; afterwards the state machine stands inside of the log.
 * @throws InvariantViolation when entries are missing that neither log, nor state, nor a snapshot holds.
 */
export async function recover(parts: RecoveryParts): Promise<Membership> {
  const { log, stateMachine } = parts;
  const boundary = log.storage.firstIndex() - 1n;
  if (stateMachine.appliedIndex < boundary) await catchUpWithLog(parts, boundary);
  if (stateMachine.appliedIndex > log.storage.lastIndex()) await moveLogUp(parts);
  return fromRecord(log.membership);
}

async function catchUpWithLog(parts: RecoveryParts, boundary: bigint): Promise<void> {
  const { log, snapshots, stateMachine, logger } = parts;
  const snapshot = snapshots.latest();
  const index = snapshot?.metadata?.index ?? 0n;
  if (snapshot === undefined || index < boundary) {
    if (boundary === BIRTH_INDEX && stateMachine.appliedIndex === 0n) {
      await stateMachine.apply([], BIRTH_INDEX);
      return;
    }
    throw new InvariantViolation(
      `the log begins after ${boundary}, the state machine stands at ${stateMachine.appliedIndex}, and the newest ` +
        `snapshot is at ${index}: what lies between is lost; bring this node up anew under another id ` +
        "(with compaction.snapshots always, a node keeps what it needs to rebuild a lost state)",
    );
  }
  logger.info({ index, boundary, applied: stateMachine.appliedIndex }, "restoring the state from a snapshot");
  const membership = await restoreFrom(snapshot, await openBody(snapshot, snapshots), stateMachine);
  if (membership.index > log.membership.index) await log.saveMembership(toRecord(membership));
}

/** The state is ahead: only a snapshot that was restored just before a crash can have brought it there. */
async function moveLogUp(parts: RecoveryParts): Promise<void> {
  const { log, snapshots, stateMachine, logger } = parts;
  const snapshot = snapshots.latest();
  const index = snapshot?.metadata?.index ?? 0n;
  if (snapshot === undefined || index < stateMachine.appliedIndex) {
    throw new InvariantViolation(
      `the state machine stands at ${stateMachine.appliedIndex}, behind the last entry ${log.storage.lastIndex()} ` +
        "of the log: the log has lost entries, or the files of two nodes are mixed",
    );
  }
  logger.info({ index, lastIndex: log.storage.lastIndex() }, "moving the log up to the restored snapshot");
  if (index > stateMachine.appliedIndex) {
    await restoreFrom(snapshot, await openBody(snapshot, snapshots), stateMachine);
  }
  await log.append({ snapshot, entries: [], hardState: hardStateFor(log, snapshot), mustSync: true });
}

function hardStateFor(log: DurableLog, snapshot: Snapshot) {
  const { term, vote, commit } = log.storage.initialState().hardState;
  const snapshotTerm = snapshot.metadata?.term ?? 0n;
  const index = snapshot.metadata?.index ?? 0n;
  const votes = snapshotTerm > term ? 0n : vote;
  return newHardState(maxOf(term, snapshotTerm), votes, maxOf(commit, index));
}
