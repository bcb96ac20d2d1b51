// The one place that talks to lmdb: opens an environment the safe way, writes one batch at a time, reads entries.

import { type Database, open, type RootDatabase } from "lmdb";
import { entrySize } from "../core/messages.js";
import type { LogIndex } from "../core/types.js";
import type { Entry } from "../gen/eraftpb_pb.js";
import {
  ENTRIES_DATABASE,
  entryKeyName,
  RECORD_KEYS,
  type RecordKey,
  recordKeyBytes,
  transientEntryKey,
} from "./keys.js";
import {
  entryRecordBytes,
  entryRecordProblem,
  readEntryRecord,
  sealRecord,
  unsealRecord,
  writeEntryRecord,
} from "./record-codec.js";
import { damagedRecord, missingEntry } from "./storage-fault.js";

const INITIAL_MAP_BYTES = 1024 ** 3;
const PAGE_BYTES = 4096;
const META_PAGES = 2;
/** Memory for entry records that is kept from one write to the next. */
const KEPT_ARENA_BYTES = 1024 * 1024;

/** One atomic change: all of it is on disk, or nothing. */
export interface EnvironmentChange {
  readonly records: ReadonlyMap<RecordKey, Uint8Array>;
  readonly entries: readonly Entry[];
  readonly removals: readonly LogIndex[];
}

/** The records of entries that follow on one another, as they are on disk. */
export interface EntryRecords {
  readonly first: LogIndex;
  readonly records: readonly Buffer[];
}

export interface EnvironmentStats {
  /** What the file takes; it only shrinks by being written anew. */
  readonly fileBytes: number;
  /** Pages that hold data. */
  readonly usedBytes: number;
  /** Pages inside the file that later writes will use again. */
  readonly freeBytes: number;
}

export class LogEnvironment {
  /** Entry records are put here; undefined while lmdb reads it. */
  #arena: DataView | undefined;

  private constructor(
    readonly file: string,
    private readonly root: RootDatabase<Buffer, Buffer>,
    private readonly entries: Database<Buffer, Buffer>,
  ) {}

  /** The file must have been inspected before, or not exist: lmdb kills the process over a damaged one. */
  static open(file: string): LogEnvironment {
    const root = open<Buffer, Buffer>({
      path: file,
      noSubdir: true,
      // With overlapping sync, what a reader sees may not be on disk, and a failed flush is reported as success.
      overlappingSync: false,
      // Batches are formed here; lmdb's own batching makes a failed write reject a promise that nobody holds.
      eventTurnBatching: false,
      encoding: "binary",
      keyEncoding: "binary",
      maxDbs: 4,
      mapSize: INITIAL_MAP_BYTES,
      pageSize: PAGE_BYTES,
      cache: false,
      compression: false,
    });
    const entries = root.openDB<Buffer, Buffer>({
      name: ENTRIES_DATABASE,
      encoding: "binary",
      keyEncoding: "binary",
      cache: false,
    });
    return new LogEnvironment(file, root, entries);
  }

  /**
   * Resolves when the change is on disk. lmdb reads the buffers while it commits: everything is encoded into memory
   * that nobody else knows, and encoded before the batch begins, because a throw inside of it would not undo what
   * was put before.
   */
  async write({ records, entries, removals }: EnvironmentChange): Promise<void> {
    const sealed = new Map<RecordKey, Buffer>();
    for (const [key, payload] of records) sealed.set(key, sealRecord(key, payload));
    const arena = this.#takeArena(entries);
    const encoded = { first: entries[0]?.index ?? 0n, records: encodeEntries(entries, arena) };
    await this.writeRecords(encoded, sealed, removals);
    // Not after a failure: nobody knows whether lmdb still reads it.
    if (arena.byteLength <= KEPT_ARENA_BYTES) this.#arena = arena;
  }

  #takeArena(entries: readonly Entry[]): DataView {
    let bytes = 0;
    for (const entry of entries) bytes += entryRecordBytes(entry);
    const kept = this.#arena;
    if (kept === undefined || kept.byteLength < bytes)
      return new DataView(Buffer.allocUnsafeSlow(bytes).buffer);
    this.#arena = undefined;
    return kept;
  }

  /** As `write`, of records that are sealed already and are given away. */
  async writeRecords(
    entries: EntryRecords,
    records: ReadonlyMap<RecordKey, Buffer> = new Map(),
    removals: readonly LogIndex[] = [],
  ): Promise<void> {
    if (records.size === 0 && entries.records.length === 0 && removals.length === 0) return;
    const done = this.root.batch(() => {
      let next = entries.first;
      for (const record of entries.records) {
        this.entries.put(transientEntryKey(next), record);
        next += 1n;
      }
      for (const index of removals) this.entries.remove(transientEntryKey(index));
      for (const [key, record] of records) this.root.put(recordKeyBytes(key), record);
    });
    try {
      if (!(await done)) throw new Error("lmdb did not take the batch");
    } catch (error) {
      // The reason comes in a promise beside the error: unwatched, its rejection would end the process.
      if (error instanceof Error && "commitError" in error) {
        Promise.resolve(error.commitError).catch(() => {});
      }
      throw error;
    }
  }

  /**
   * The records of the entries `[from, to]`, up to the first that is missing, and no more than `maxBytes` of them, but
   * at least one. @throws StorageFault `checksum`
   */
  readRecords(from: LogIndex, to: LogIndex, maxBytes: number): EntryRecords {
    const records: Buffer[] = [];
    let bytes = 0;
    for (let index = from; index <= to && bytes < maxBytes; index += 1n) {
      const record = this.entries.get(transientEntryKey(index));
      if (record === undefined) break;
      if (entryRecordProblem(index, record) !== undefined) {
        throw damagedRecord(this.file, entryKeyName(index));
      }
      bytes += record.length;
      records.push(record);
    }
    return { first: from, records };
  }

  /** The single records as they are on disk. @throws StorageFault `checksum` */
  readAllRecords(): Map<RecordKey, Buffer> {
    const records = new Map<RecordKey, Buffer>();
    for (const key of Object.values(RECORD_KEYS)) {
      const record = this.root.get(recordKeyBytes(key));
      if (record === undefined) continue;
      if (unsealRecord(key, record) === undefined) throw damagedRecord(this.file, key);
      records.set(key, record);
    }
    return records;
  }

  /** The same environment after its file was given another name. */
  named(file: string): LogEnvironment {
    return new LogEnvironment(file, this.root, this.entries);
  }

  /**
   * The entries of `[low, high)`, all of which must be on disk: as many as fit into `maxBytes`, at least one.
   * @throws StorageFault `gap` or `checksum`
   */
  readEntries(low: LogIndex, high: LogIndex, maxBytes: number): Entry[] {
    const result: Entry[] = [];
    let bytes = 0;
    for (let index = low; index < high; index += 1n) {
      const record = this.entries.get(transientEntryKey(index));
      if (record === undefined) throw missingEntry(this.file, entryKeyName(index));
      if (entryRecordProblem(index, record) !== undefined) {
        throw damagedRecord(this.file, entryKeyName(index));
      }
      const entry = readEntryRecord(record);
      bytes += entrySize(entry);
      if (bytes > maxBytes && result.length > 0) break;
      result.push(entry);
    }
    return result;
  }

  stats(): EnvironmentStats {
    const used = pagesOf(this.entries.getStats()) + pagesOf(this.root.getStats()) + META_PAGES;
    const total = numberIn(this.root.getStats(), "lastPageNumber") + 1;
    return {
      fileBytes: total * PAGE_BYTES,
      usedBytes: used * PAGE_BYTES,
      freeBytes: Math.max(0, total - used) * PAGE_BYTES,
    };
  }

  /** Waits for the batch under way. */
  close(): Promise<void> {
    return this.root.close();
  }
}

function pagesOf(stats: object): number {
  return (
    numberIn(stats, "treeBranchPageCount") +
    numberIn(stats, "treeLeafPageCount") +
    numberIn(stats, "overflowPages")
  );
}

function numberIn(stats: object, name: string): number {
  const value: unknown = Reflect.get(stats, name);
  return typeof value === "number" ? value : 0;
}

function encodeEntries(entries: readonly Entry[], arena: DataView): Buffer[] {
  let used = 0;
  return entries.map((entry) => {
    const record = writeEntryRecord(entry, arena, used);
    used += record.length;
    return record;
  });
}
