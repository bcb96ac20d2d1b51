// Reads everything that a node must not forget, and believes none of it before it has been checked.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { LogIndex, NodeId, Term } from "../core/types.js";
import { type HardState, HardStateSchema, type Snapshot, SnapshotSchema } from "../gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../gen/records_pb.js";
import { encodeIndex, encodePosition, type LogExtent, type LogPosition } from "./batch-plan.js";
import { Garbage } from "./garbage.js";
import {
  ENTRIES_DATABASE,
  entryKeyIndex,
  entryKeyName,
  FORMAT_VERSION,
  RECORD_KEYS,
  type RecordKey,
} from "./keys.js";
import { verifyLmdbFile } from "./lmdb-verify.js";
import { entryRecordProblem, entryRecordTerm, unsealRecord } from "./record-codec.js";
import { contradictions } from "./record-consistency.js";
import { damagedRecord, missingEntry, REBUILD_REMEDY, StorageFault } from "./storage-fault.js";
import { TermRuns } from "./term-runs.js";

const KNOWN_KEYS: ReadonlySet<string> = new Set(Object.values(RECORD_KEYS));

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

/** @throws StorageFault naming the page or the record that is not as it must be */
export async function loadLog(file: string, identity: LogIdentity): Promise<LoadedLog> {
  const records = new Map<string, Buffer>();
  let loading: EntryLoader | undefined;
  // The records come first: entries are only looked at in a log that is this node's own.
  const begin = (): EntryLoader => {
    loading ??= new EntryLoader(file, readRecords(file, records, identity));
    return loading;
  };
  await verifyLmdbFile(
    file,
    (key, value) => records.set(key.toString("latin1"), Buffer.from(value)),
    new Map([[ENTRIES_DATABASE, (key, value) => begin().take(key, value)]]),
  );
  return begin().finish();
}

type LoadedRecords = Omit<LoadedLog, "terms" | "garbage">;

function readRecords(
  file: string,
  records: ReadonlyMap<string, Buffer>,
  identity: LogIdentity,
): LoadedRecords {
  const read = (key: RecordKey): Uint8Array => unseal(file, key, records.get(key));
  requireVersion(file, read(RECORD_KEYS.format));
  requireIdentity(file, decodeIdentity(read(RECORD_KEYS.identity)), identity);
  for (const key of records.keys()) {
    if (!KNOWN_KEYS.has(key))
      throw inconsistent(file, JSON.stringify(key), "the key is none of this program");
  }
  const boundary = decodePosition(read(RECORD_KEYS.boundary));
  const firstIndex = decodeIndex(read(RECORD_KEYS.firstIndex));
  const lastIndex = decodeIndex(read(RECORD_KEYS.lastIndex));
  const hardState = fromBinary(HardStateSchema, read(RECORD_KEYS.hardState));
  const [contradiction] = contradictions({ boundary, firstIndex, lastIndex, hardState });
  if (contradiction !== undefined) throw inconsistent(file, contradiction.key, contradiction.problem);
  return {
    extent: { boundary, last: lastIndex },
    hardState,
    membership: fromBinary(MembershipRecordSchema, read(RECORD_KEYS.confState)),
    snapshot: records.has(RECORD_KEYS.snapshot)
      ? fromBinary(SnapshotSchema, read(RECORD_KEYS.snapshot))
      : undefined,
  };
}

/** Takes the entries in key order and holds them against what the records say. */
class EntryLoader {
  readonly #file: string;
  readonly #records: LoadedRecords;
  readonly #terms = new TermRuns();
  readonly #garbage = new Garbage();
  #expected: LogIndex;
  #term: Term;

  constructor(file: string, records: LoadedRecords) {
    this.#file = file;
    this.#records = records;
    this.#expected = records.extent.boundary.index + 1n;
    this.#term = records.extent.boundary.term;
  }

  take(key: Buffer, value: Buffer): void {
    const index = entryKeyIndex(key);
    if (index === undefined) {
      const name = JSON.stringify(key.toString("latin1"));
      throw inconsistent(this.#file, name, "the key is no entry's key");
    }
    const { boundary, last } = this.#records.extent;
    if (index <= boundary.index || index > last) {
      this.#garbage.add(index, index);
      return;
    }
    if (index !== this.#expected) throw missingEntry(this.#file, entryKeyName(this.#expected));
    if (entryRecordProblem(index, value) !== undefined) throw damagedRecord(this.#file, entryKeyName(index));
    const term = entryRecordTerm(value);
    if (term < this.#term) {
      const problem = `its term ${term} is lower than the term ${this.#term} before it`;
      throw inconsistent(this.#file, entryKeyName(index), problem);
    }
    if (term !== this.#term || index === boundary.index + 1n) this.#terms.append(index, term);
    this.#term = term;
    this.#expected = index + 1n;
  }

  finish(): LoadedLog {
    if (this.#expected !== this.#records.extent.last + 1n) {
      throw missingEntry(this.#file, entryKeyName(this.#expected));
    }
    return { ...this.#records, terms: this.#terms, garbage: this.#garbage };
  }
}

/** What a new environment holds before anything is appended. */
export function initialRecords(
  identity: LogIdentity,
  boundary: LogPosition,
  hardState: HardState,
  membership: MembershipRecord,
): Map<RecordKey, Uint8Array> {
  return new Map<RecordKey, Uint8Array>([
    [RECORD_KEYS.format, encodeIndex(BigInt(FORMAT_VERSION))],
    [RECORD_KEYS.identity, encodeIdentity(identity)],
    ...startRecords(boundary, hardState, membership),
  ]);
}

/** An empty log that begins after `boundary`. */
export function startRecords(
  boundary: LogPosition,
  hardState: HardState,
  membership: MembershipRecord,
): Map<RecordKey, Uint8Array> {
  return new Map<RecordKey, Uint8Array>([
    [RECORD_KEYS.boundary, encodePosition(boundary)],
    [RECORD_KEYS.firstIndex, encodeIndex(boundary.index + 1n)],
    [RECORD_KEYS.lastIndex, encodeIndex(boundary.index)],
    [RECORD_KEYS.hardState, toBinary(HardStateSchema, hardState)],
    [RECORD_KEYS.confState, toBinary(MembershipRecordSchema, membership)],
  ]);
}

function unseal(file: string, key: RecordKey, record: Buffer | undefined): Uint8Array {
  if (record === undefined) throw inconsistent(file, key, "the record is missing");
  const payload = unsealRecord(key, record);
  if (payload === undefined) throw damagedRecord(file, key);
  return new Uint8Array(payload);
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

function inconsistent(file: string, key: string, problem: string): StorageFault {
  return new StorageFault("inconsistent", { file, key, problem, remedy: REBUILD_REMEDY });
}

export function encodeIdentity(identity: LogIdentity): Uint8Array {
  return Buffer.concat([encodeIndex(identity.nodeId), Buffer.from(identity.clusterId)]);
}

export function decodeIdentity(payload: Uint8Array): LogIdentity {
  return {
    nodeId: decodeIndex(payload.subarray(0, 8)),
    clusterId: Buffer.from(payload.subarray(8)).toString(),
  };
}

export function decodeIndex(payload: Uint8Array): LogIndex {
  return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).readBigUInt64BE(0);
}

export function decodePosition(payload: Uint8Array): LogPosition {
  return { index: decodeIndex(payload.subarray(0, 8)), term: decodeIndex(payload.subarray(8, 16)) };
}
