// Turns the changes that share one batch into what is to be put and deleted: only the last word on each key.

import { toBinary } from "@bufbuild/protobuf";
import { type LogIndex, minOf, type Term } from "../core/types.js";
import { type Entry, type HardState, HardStateSchema } from "../gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../gen/records_pb.js";
import type { EnvironmentChange } from "./environment.js";
import type { Garbage } from "./garbage.js";
import { RECORD_KEYS, type RecordKey } from "./keys.js";

export interface LogPosition {
  readonly index: LogIndex;
  readonly term: Term;
}

/** What one call asks to be made durable, atomically and in this order. */
export interface LogChange {
  /** Replaces the whole log by a snapshot that ends here; `snapshot` describes it. */
  readonly reset?: { readonly position: LogPosition; readonly snapshot: Uint8Array } | undefined;
  /** Replace everything from the first one on. */
  readonly entries?: readonly Entry[];
  readonly hardState?: HardState | undefined;
  readonly membership?: MembershipRecord | undefined;
  /** The new position before the first entry. */
  readonly compaction?: LogPosition | undefined;
}

/** Which entries are on disk and belong to the log: those after `boundary`, up to `last`. */
export interface LogExtent {
  readonly boundary: LogPosition;
  readonly last: LogIndex;
}

/** Entries replaced without a successor are deleted in the batch that replaces them, up to this many. */
const MAX_SUFFIX_REMOVALS = 10_000n;

/**
 * The batch that takes the disk from `extent` through `changes`, and the extent after it. Entries that fell out of the
 * log are added to `garbage`, and up to `garbageLimit` of what waits there is deleted.
 */
export function planBatch(
  extent: LogExtent,
  changes: readonly LogChange[],
  garbage: Garbage,
  garbageLimit: number,
): { readonly change: EnvironmentChange; readonly extent: LogExtent } {
  const records = new Map<RecordKey, Uint8Array>();
  let { boundary, last } = extent;
  let entries: Entry[] = [];
  for (const change of changes) {
    if (change.reset !== undefined) {
      boundary = change.reset.position;
      last = boundary.index;
      entries = [];
      records.set(RECORD_KEYS.snapshot, change.reset.snapshot);
    }
    const [first] = change.entries ?? [];
    if (change.entries !== undefined && first !== undefined) {
      keepBefore(entries, first.index);
      for (const entry of change.entries) entries.push(entry);
      last = first.index + BigInt(change.entries.length) - 1n;
    }
    if (change.hardState !== undefined) {
      records.set(RECORD_KEYS.hardState, toBinary(HardStateSchema, change.hardState));
    }
    if (change.membership !== undefined) {
      records.set(RECORD_KEYS.confState, toBinary(MembershipRecordSchema, change.membership));
    }
    if (change.compaction !== undefined) {
      boundary = change.compaction;
      entries = entries.filter((entry) => entry.index > boundary.index);
    }
  }
  if (boundary.index !== extent.boundary.index || boundary.term !== extent.boundary.term) {
    records.set(RECORD_KEYS.firstIndex, encodeIndex(boundary.index + 1n));
    records.set(RECORD_KEYS.boundary, encodePosition(boundary));
  }
  if (last !== extent.last) records.set(RECORD_KEYS.lastIndex, encodeIndex(last));
  const removals = suffixRemovals(extent, boundary, last, garbage);
  for (const index of garbage.take(garbageLimit, boundary.index + 1n, last)) removals.push(index);
  return { change: { records, entries, removals }, extent: { boundary, last } };
}

/** Planned entries are contiguous; those that a later change replaces are never written. */
function keepBefore(planned: Entry[], index: LogIndex): void {
  const [first] = planned;
  if (first !== undefined)
    planned.length = Math.min(planned.length, Math.max(0, Number(index - first.index)));
}

/** What was on disk and now lies behind the last entry goes at once; what lies before the first one can wait. */
function suffixRemovals(
  before: LogExtent,
  boundary: LogPosition,
  last: LogIndex,
  garbage: Garbage,
): LogIndex[] {
  garbage.add(before.boundary.index + 1n, minOf(before.last, boundary.index));
  const removals: LogIndex[] = [];
  const end = minOf(before.last, last + MAX_SUFFIX_REMOVALS);
  for (let index = last + 1n; index <= end; index += 1n) removals.push(index);
  garbage.add(last + 1n + BigInt(removals.length), before.last);
  return removals;
}

export function encodeIndex(index: LogIndex): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(index);
  return bytes;
}

export function encodePosition(position: LogPosition): Uint8Array {
  return Buffer.concat([encodeIndex(position.index), encodeIndex(position.term)]);
}
