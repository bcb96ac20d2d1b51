// Looks into the log of a node that is stopped, or running, or damaged: takes no lock, changes nothing, and goes on
// past what it cannot read. For tools; a node itself opens its log with open-log.ts, which believes nothing unchecked.

import { statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { open } from "lmdb";
import type { LogIndex } from "../core/types.js";
import {
  type Entry,
  type HardState,
  HardStateSchema,
  type Snapshot,
  SnapshotSchema,
} from "../gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../gen/records_pb.js";
import type { LogPosition } from "./batch-plan.js";
import { findHolder } from "./folder-lock.js";
import {
  ENTRIES_DATABASE,
  entryKey,
  entryKeyIndex,
  entryKeyName,
  RECORD_KEYS,
  type RecordKey,
} from "./keys.js";
import { readTreeLeniently } from "./lenient-tree.js";
import { LmdbFile, type TreeInfo } from "./lmdb-file.js";
import { decodeIdentity, decodeIndex, decodePosition, type LogIdentity } from "./load-log.js";
import { entryRecordProblem, readEntryRecord, unsealRecord } from "./record-codec.js";
import { StorageFault } from "./storage-fault.js";
import { LOG_FILE } from "./storage-files.js";

/** Something in the file that is not as it must be. */
export interface LogProblem {
  /** A key, a page, or a range of keys. */
  readonly place: string;
  readonly problem: string;
}

/** The single records; those that are missing or damaged are undefined, and named in `problems`. */
export interface LogRecords {
  readonly formatVersion: bigint | undefined;
  readonly identity: LogIdentity | undefined;
  /** The last position that was compacted or covered by a snapshot: the log begins after it. */
  readonly boundary: LogPosition | undefined;
  readonly firstIndex: LogIndex | undefined;
  readonly lastIndex: LogIndex | undefined;
  readonly hardState: HardState | undefined;
  readonly membership: MembershipRecord | undefined;
  /** The snapshot that the log was last replaced by; undefined too when it never was. */
  readonly snapshot: Snapshot | undefined;
}

/**
 * - `committed`: up to the commit index that is on disk.
 * - `uncommitted`: after it. It may well be committed: the commit index on disk is written with other things.
 * - `leftover`: outside of the log, waiting to be deleted; means nothing.
 * - `unknown`: the records that would tell are damaged.
 */
export type EntryStanding = "committed" | "uncommitted" | "leftover" | "unknown";

export type LogItem =
  | {
      readonly kind: "entry";
      readonly entry: Entry;
      readonly recordBytes: number;
      readonly standing: EntryStanding;
    }
  | ({ readonly kind: "damage" } & LogProblem);

/** Both ends included. */
export interface IndexRange {
  readonly from?: LogIndex | undefined;
  readonly to?: LogIndex | undefined;
}

export interface InspectOptions {
  /** The caller keeps the folder locked: nobody writes. */
  readonly exclusive?: boolean | undefined;
}

const LARGEST_INDEX = 2n ** 64n - 1n;
/** A running node writes the two meta pages in turn; between two looks at them they may not fit together. */
const META_ATTEMPTS = 50;

/** Must be closed: while a node runs, it keeps pages from being used again, and the file may grow. */
export class LogInspector {
  private constructor(
    readonly path: string,
    /** The process that has the log open at the moment. */
    readonly holderPid: number | undefined,
    readonly records: LogRecords,
    /** What is wrong with the single records and the pages that hold them. */
    readonly problems: readonly LogProblem[],
    private readonly file: LmdbFile,
    private readonly entryTree: TreeInfo | undefined,
    private readonly unpin: () => Promise<void>,
  ) {}

  /**
   * @param path the data folder of a node, the folder of its log, or the log's file.
   * @throws StorageFault when the file is missing or its first pages make no sense: then nothing can be read.
   */
  static async open(path: string, options: InspectOptions = {}): Promise<LogInspector> {
    const file = findLogFile(path);
    const holder = options.exclusive === true ? undefined : await findHolder(dirname(file));
    const unpin = holder === undefined ? async () => {} : pinPages(file);
    try {
      const lmdb = openBetweenWrites(file, holder !== undefined);
      const { records, problems, entryTree } = readRecords(lmdb);
      return new LogInspector(file, holder?.pid, records, problems, lmdb, entryTree, unpin);
    } catch (error) {
      await unpin();
      throw error;
    }
  }

  get fileBytes(): number {
    return this.file.fileBytes;
  }

  /** What is stored under keys of entries in the range, in the order of the keys, with what is damaged between. */
  *items(range: IndexRange = {}): Generator<LogItem> {
    if (this.entryTree === undefined) return;
    const from = range.from ?? 0n;
    const to = range.to ?? LARGEST_INDEX;
    const span = { from: entryKey(from), to: entryKey(to) };
    for (const item of readTreeLeniently(this.file, this.entryTree, span)) {
      if (item.kind === "damage") yield item;
      else if (item.kind === "tree") yield damage(nameOf(item.key), "a tree stands where an entry should");
      else {
        const index = entryKeyIndex(item.key);
        if (index === undefined) yield damage(nameOf(item.key), "the key is no entry's key");
        else if (index >= from && index <= to) yield this.#readEntry(index, item.value);
      }
    }
  }

  async close(): Promise<void> {
    this.file.close();
    await this.unpin();
  }

  #readEntry(index: LogIndex, value: Buffer): LogItem {
    const problem = entryRecordProblem(index, value);
    if (problem === "malformed") return damage(entryKeyName(index), "the record contradicts itself");
    if (problem !== undefined) {
      return damage(
        entryKeyName(index),
        "the checksum does not match: the record was damaged after it was written",
      );
    }
    const entry = readEntryRecord(Buffer.from(value));
    return { kind: "entry", entry, recordBytes: value.length, standing: this.#standingOf(index) };
  }

  #standingOf(index: LogIndex): EntryStanding {
    const { boundary, lastIndex, hardState } = this.records;
    if (boundary === undefined || lastIndex === undefined) return "unknown";
    if (index <= boundary.index || index > lastIndex) return "leftover";
    if (hardState === undefined) return "unknown";
    return index <= hardState.commit ? "committed" : "uncommitted";
  }
}

/** The file of the log in a data folder, in the log's own folder, or itself. @throws StorageFault */
export function findLogFile(path: string): string {
  const candidates =
    basename(path) === LOG_FILE ? [path] : [join(path, "log", LOG_FILE), join(path, LOG_FILE)];
  for (const candidate of candidates) {
    if (statSync(candidate, { throwIfNoEntry: false })?.isFile() === true) return candidate;
  }
  throw new StorageFault("notLmdb", {
    file: path,
    problem: `there is no log here: no ${candidates.join(" and no ")}`,
    remedy: "name the data folder of a node, the one that was given with --data",
  });
}

/** A read transaction of lmdb: the pages that are in use now are not written to before it ends. */
function pinPages(file: string): () => Promise<void> {
  // The meta pages first: lmdb would take the process down over a file that is none of its own.
  LmdbFile.open(file).close();
  const root = open<Buffer, Buffer>({
    path: file,
    noSubdir: true,
    readOnly: true,
    overlappingSync: false,
    encoding: "binary",
    keyEncoding: "binary",
    cache: false,
    maxDbs: 4,
  });
  const transaction = root.useReadTransaction();
  return async () => {
    transaction.done();
    await root.close();
  };
}

function openBetweenWrites(file: string, running: boolean): LmdbFile {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return LmdbFile.open(file);
    } catch (error) {
      if (!running || attempt === META_ATTEMPTS) throw error;
    }
  }
}

function readRecords(file: LmdbFile): {
  readonly records: LogRecords;
  readonly problems: readonly LogProblem[];
  readonly entryTree: TreeInfo | undefined;
} {
  const problems: LogProblem[] = [];
  const sealed = new Map<string, Buffer>();
  let entryTree: TreeInfo | undefined;
  for (const item of readTreeLeniently(file, file.meta.mainTree)) {
    if (item.kind === "damage") problems.push({ place: item.place, problem: item.problem });
    else if (item.kind === "value") sealed.set(item.key.toString("latin1"), Buffer.from(item.value));
    else if (item.key.toString("latin1").replace(/\0$/, "") === ENTRIES_DATABASE) entryTree = item.info;
    else problems.push({ place: nameOf(item.key), problem: "there should be no such database" });
  }
  if (entryTree === undefined) problems.push({ place: "the database entries", problem: "it is missing" });
  const known: ReadonlySet<string> = new Set(Object.values(RECORD_KEYS));
  for (const key of sealed.keys()) {
    if (!known.has(key))
      problems.push({ place: JSON.stringify(key), problem: "the key is none of this program" });
  }
  const read = <T>(key: RecordKey, decode: (payload: Uint8Array) => T): T | undefined => {
    const record = sealed.get(key);
    const payload = record === undefined ? undefined : unsealRecord(key, record);
    if (record === undefined) {
      if (key !== RECORD_KEYS.snapshot) problems.push({ place: key, problem: "the record is missing" });
    } else if (payload === undefined) {
      problems.push({ place: key, problem: "the checksum does not match" });
    } else {
      try {
        return decode(new Uint8Array(payload));
      } catch {
        problems.push({ place: key, problem: "the record cannot be decoded" });
      }
    }
    return undefined;
  };
  const records: LogRecords = {
    formatVersion: read(RECORD_KEYS.format, decodeIndex),
    identity: read(RECORD_KEYS.identity, decodeIdentity),
    boundary: read(RECORD_KEYS.boundary, decodePosition),
    firstIndex: read(RECORD_KEYS.firstIndex, decodeIndex),
    lastIndex: read(RECORD_KEYS.lastIndex, decodeIndex),
    hardState: read(RECORD_KEYS.hardState, messageOf(HardStateSchema)),
    membership: read(RECORD_KEYS.confState, messageOf(MembershipRecordSchema)),
    snapshot: read(RECORD_KEYS.snapshot, messageOf(SnapshotSchema)),
  };
  return { records, problems, entryTree };
}

function messageOf<Desc extends DescMessage>(schema: Desc): (payload: Uint8Array) => MessageShape<Desc> {
  return (payload) => fromBinary(schema, payload);
}

function damage(place: string, problem: string): LogItem {
  return { kind: "damage", place, problem };
}

function nameOf(key: Buffer): string {
  return JSON.stringify(key.toString("latin1"));
}
