// Takes the place of src/storage/open-log.ts: the log lies on a simulated disk, and is checked as a real one is.

import { create } from "@bufbuild/protobuf";
import { entrySize, newHardState } from "../../../src/core/messages.js";
import type { LogIndex } from "../../../src/core/types.js";
import type { Entry } from "../../../src/gen/eraftpb_pb.js";
import { MembershipRecordSchema } from "../../../src/gen/records_pb.js";
import type { EnvironmentChange, EnvironmentStats } from "../../../src/storage/environment.js";
import { entryKeyName } from "../../../src/storage/keys.js";
import { initialRecords, type LoadedLog, type LogIdentity, loadLog } from "../../../src/storage/load-log.js";
import type { LogFolder } from "../../../src/storage/open-log.js";
import {
  entryRecordBytes,
  entryRecordProblem,
  readEntryRecord,
  sealRecord,
  writeEntryRecord,
} from "../../../src/storage/record-codec.js";
import { damagedRecord, missingEntry } from "../../../src/storage/storage-fault.js";
import type { Random } from "../random.js";
import { type Disk, diskOf, type LogImage } from "./disk.js";

interface OpenedLog {
  readonly identity: LogIdentity;
  readonly environment: SimulatedEnvironment;
  readonly lock: { release(): Promise<void> };
  readonly loaded: LoadedLog;
}

export async function openLogFolder(folder: LogFolder): Promise<OpenedLog> {
  const { dir, clusterId, nodeId, bootstrap } = folder;
  const identity = { clusterId, nodeId };
  const file = `${dir}/raft.mdb`;
  const disk = diskOf(dir);
  if (disk.log === undefined) {
    const start = bootstrap === undefined ? 0n : 1n;
    const records = initialRecords(
      identity,
      { index: start, term: start },
      newHardState(start, 0n, start),
      bootstrap ?? create(MembershipRecordSchema),
    );
    const sealed = new Map([...records].map(([key, payload]) => [key, sealRecord(key, payload)]));
    await disk.write("a new log", () => {
      disk.log = { records: new Map(sealed), entries: new Map() };
    });
  }
  const loaded = await loadLog(file, identity);
  return {
    identity,
    environment: new SimulatedEnvironment(file, disk),
    lock: { release: async () => {} },
    loaded,
  };
}

/** What LmdbStorage uses of a LogEnvironment. */
class SimulatedEnvironment {
  constructor(
    readonly file: string,
    private readonly disk: Disk,
  ) {}

  write({ records, entries, removals }: EnvironmentChange): Promise<void> {
    const sealed = [...records].map(([key, payload]) => [key, sealRecord(key, payload)] as const);
    const encoded = entries.map((entry) => [entry.index, encodeEntry(entry)] as const);
    const removed = [...removals];
    const perform = (): void => {
      const image = this.#image();
      for (const [index, record] of encoded) image.entries.set(index, record);
      for (const index of removed) image.entries.delete(index);
      for (const [key, record] of sealed) image.records.set(key, record);
    };
    /** All that is about the entries is there, but not all of the entries. */
    const tear = (random: Random): void => {
      perform();
      const [index, record] = random.pick(encoded);
      const { entries } = this.#image();
      if (random.chance(0.5)) entries.delete(index);
      else entries.set(index, record.subarray(0, random.int(0, record.length)));
    };
    return this.disk.write(
      `${encoded.length} entries`,
      perform,
      encoded.length > 0 ? tear : undefined,
      "log",
    );
  }

  readEntries(low: LogIndex, high: LogIndex, maxBytes: number): Entry[] {
    const result: Entry[] = [];
    let bytes = 0;
    for (let index = low; index < high; index += 1n) {
      const record = this.#image().entries.get(index);
      if (record === undefined) throw missingEntry(this.file, entryKeyName(index));
      if (entryRecordProblem(index, record) !== undefined) {
        throw damagedRecord(this.file, entryKeyName(index));
      }
      const entry = readEntryRecord(Buffer.from(record));
      bytes += entrySize(entry);
      if (bytes > maxBytes && result.length > 0) break;
      result.push(entry);
    }
    return result;
  }

  stats(): EnvironmentStats {
    return { fileBytes: 4096, usedBytes: 4096, freeBytes: 0 };
  }

  async close(): Promise<void> {}

  #image(): LogImage {
    this.disk.log ??= { records: new Map(), entries: new Map() };
    return this.disk.log;
  }
}

function encodeEntry(entry: Entry): Buffer {
  const record = Buffer.alloc(entryRecordBytes(entry));
  writeEntryRecord(entry, new DataView(record.buffer, record.byteOffset, record.length), 0);
  return record;
}
