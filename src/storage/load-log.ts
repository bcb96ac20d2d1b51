// Reads everything that a node must not forget, and believes none of it before it has been checked.

import { fromBinary } from "@bufbuild/protobuf";
import type { LogIndex, NodeId } from "../core/types.js";
import { type HardState, HardStateSchema, type Snapshot, SnapshotSchema } from "../gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../gen/records_pb.js";
import { encodeIndex, type LogExtent, type LogPosition } from "./batch-plan.js";
import type { LogEnvironment } from "./environment.js";
import { Garbage } from "./garbage.js";
import { entryKeyIndex, entryKeyName, FORMAT_VERSION, RECORD_KEYS, type RecordKey } from "./keys.js";
import { entryRecordProblem, entryRecordTerm, unsealRecord } from "./record-codec.js";
import { REBUILD_REMEDY, StorageFault } from "./storage-fault.js";
import { TermRuns } from "./term-runs.js";

/** Whose data a folder holds. */
export interface LogIdentity {
  readonly clusterId: string;
  readonly nodeId: NodeId;
}

export interface LoadedLog {
  readonly extent: LogExtent;
  readonly terms: TermRuns;
  readonly hardState: HardState;
  readonly membership: MembershipRecord;
  /** The snapshot that the log was last replaced by. */
  readonly snapshot: Snapshot | undefined;
  /** Entries outside of the log that a crash has left behind. */
  readonly garbage: Garbage;
}

/** @throws StorageFault naming the record that is not as it must be */
export function loadLog(environment: LogEnvironment, identity: LogIdentity): LoadedLog {
  const { file } = environment;
  const read = (key: RecordKey): Uint8Array => requireRecord(environment, key);
  requireVersion(file, read(RECORD_KEYS.format));
  requireIdentity(file, decodeIdentity(read(RECORD_KEYS.identity)), identity);

  const boundary = decodePosition(read(RECORD_KEYS.boundary));
  const first = decodeIndex(read(RECORD_KEYS.firstIndex));
  const last = decodeIndex(read(RECORD_KEYS.lastIndex));
  requireConsistent(
    file,
    RECORD_KEYS.firstIndex,
    first === boundary.index + 1n,
    `the first index is ${first}, but the log is compacted up to ${boundary.index}`,
  );
  requireConsistent(
    file,
    RECORD_KEYS.lastIndex,
    last >= boundary.index,
    `the last index is ${last}, but the log is compacted up to ${boundary.index}`,
  );
  const hardState = fromBinary(HardStateSchema, read(RECORD_KEYS.hardState));
  requireConsistent(
    file,
    RECORD_KEYS.hardState,
    hardState.commit >= boundary.index && hardState.commit <= last,
    `the commit index ${hardState.commit} lies outside of the log [${first}, ${last}]`,
  );
  const membership = fromBinary(MembershipRecordSchema, read(RECORD_KEYS.confState));
  const snapshot =
    environment.readRecord(RECORD_KEYS.snapshot) === undefined
      ? undefined
      : fromBinary(SnapshotSchema, read(RECORD_KEYS.snapshot));
  const extent = { boundary, last };
  return { extent, hardState, membership, snapshot, ...loadEntries(environment, extent) };
}

function loadEntries(
  environment: LogEnvironment,
  { boundary, last }: LogExtent,
): { terms: TermRuns; garbage: Garbage } {
  const terms = new TermRuns();
  const garbage = new Garbage();
  let expected = boundary.index + 1n;
  let term = boundary.term;
  for (const { key, value } of environment.scanEntries(0n)) {
    const index = entryKeyIndex(key);
    if (index === undefined) throw foreignKey(environment.file, key);
    if (index <= boundary.index || index > last) {
      garbage.add(index, index);
      continue;
    }
    if (index !== expected) throw environment.missingEntry(expected);
    if (entryRecordProblem(index, value) !== undefined) throw environment.damagedEntry(index);
    const entryTerm = entryRecordTerm(value);
    requireConsistent(
      environment.file,
      entryKeyName(index),
      entryTerm >= term,
      `its term ${entryTerm} is lower than the term ${term} before it`,
    );
    term = entryTerm;
    terms.append(index, term);
    expected += 1n;
  }
  if (expected !== last + 1n) throw environment.missingEntry(expected);
  return { terms, garbage };
}

/** What a new environment holds before anything is appended. */
export function initialRecords(
  identity: LogIdentity,
  boundary: LogPosition,
  hardState: Uint8Array,
  membership: Uint8Array,
): Map<RecordKey, Uint8Array> {
  const position = Buffer.concat([encodeIndex(boundary.index), encodeIndex(boundary.term)]);
  return new Map<RecordKey, Uint8Array>([
    [RECORD_KEYS.format, encodeIndex(BigInt(FORMAT_VERSION))],
    [RECORD_KEYS.identity, encodeIdentity(identity)],
    [RECORD_KEYS.boundary, position],
    [RECORD_KEYS.firstIndex, encodeIndex(boundary.index + 1n)],
    [RECORD_KEYS.lastIndex, encodeIndex(boundary.index)],
    [RECORD_KEYS.hardState, hardState],
    [RECORD_KEYS.confState, membership],
  ]);
}

function requireRecord(environment: LogEnvironment, key: RecordKey): Uint8Array {
  const record = environment.readRecord(key);
  if (record === undefined) {
    throw new StorageFault("inconsistent", {
      file: environment.file,
      key,
      problem: "the record is missing",
      remedy: `check that this is a node's log; if it is, ${REBUILD_REMEDY}`,
    });
  }
  const payload = unsealRecord(key, record);
  if (payload === undefined) {
    throw new StorageFault("checksum", {
      file: environment.file,
      key,
      problem: "the record's checksum does not match: it was damaged after it was written",
      remedy: REBUILD_REMEDY,
    });
  }
  return payload;
}

function requireVersion(file: string, payload: Uint8Array): void {
  const version = decodeIndex(payload);
  if (version === BigInt(FORMAT_VERSION)) return;
  throw new StorageFault("version", {
    file,
    key: RECORD_KEYS.format,
    problem: `the log has format version ${version}, this program reads version ${FORMAT_VERSION}`,
    remedy: "use the program version that wrote it, or one that migrates it",
  });
}

function requireIdentity(file: string, found: LogIdentity, expected: LogIdentity): void {
  if (found.clusterId !== expected.clusterId) {
    throw new StorageFault("foreignCluster", {
      file,
      key: RECORD_KEYS.identity,
      problem: `the folder belongs to cluster "${found.clusterId}", this node to cluster "${expected.clusterId}"`,
      remedy: "point the node at its own folder, or at an empty one",
    });
  }
  if (found.nodeId !== expected.nodeId) {
    throw new StorageFault("foreignNode", {
      file,
      key: RECORD_KEYS.identity,
      problem: `the folder belongs to node ${found.nodeId}, this is node ${expected.nodeId}`,
      remedy: "point the node at its own folder, or at an empty one",
    });
  }
}

function requireConsistent(file: string, key: string, condition: boolean, problem: string): void {
  if (condition) return;
  throw new StorageFault("inconsistent", { file, key, problem, remedy: REBUILD_REMEDY });
}

function foreignKey(file: string, key: Buffer): StorageFault {
  return new StorageFault("inconsistent", {
    file,
    key: JSON.stringify(key.toString("latin1")),
    problem: "the key is no entry's key",
    remedy: REBUILD_REMEDY,
  });
}

function encodeIdentity(identity: LogIdentity): Uint8Array {
  return Buffer.concat([encodeIndex(identity.nodeId), Buffer.from(identity.clusterId)]);
}

function decodeIdentity(payload: Uint8Array): LogIdentity {
  return {
    nodeId: decodeIndex(payload.subarray(0, 8)),
    clusterId: Buffer.from(payload.subarray(8)).toString(),
  };
}

function decodeIndex(payload: Uint8Array): LogIndex {
  return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).readBigUInt64BE(0);
}

function decodePosition(payload: Uint8Array): LogPosition {
  return { index: decodeIndex(payload.subarray(0, 8)), term: decodeIndex(payload.subarray(8, 16)) };
}
