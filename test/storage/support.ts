// What the storage tests share: folders that vanish, a log in one of them, and short ways to write entries.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { onTestFinished } from "vitest";
import { newConfState, newHardState, newNormalEntry } from "../../src/core/messages.js";
import type { Entry } from "../../src/gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../../src/gen/records_pb.js";
import type { LogWrite } from "../../src/node/ports.js";
import { LmdbStorage, type LmdbStorageOptions } from "../../src/storage/lmdb-storage.js";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";

/** A folder of its own for the running test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "raft-node-storage-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export const MEMBERS: MembershipRecord = create(MembershipRecordSchema, {
  confState: newConfState({ voters: [1n, 2n, 3n] }),
  index: 1n,
  addresses: [1n, 2n, 3n].map((id) => ({ id, address: `node-${id}:4001` })),
});

/** Opens the log of node 1 in `dir`; it is closed when the test ends. */
export async function openLog(dir: string, options: Partial<LmdbStorageOptions> = {}): Promise<LmdbStorage> {
  const log = await LmdbStorage.open({
    dir,
    clusterId: "test-cluster",
    nodeId: 1n,
    snapshots: options.snapshots ?? (await SnapshotFiles.open(join(dir, "snapshots"))),
    ...options,
  });
  onTestFinished(() => log.close().catch(() => {}));
  return log;
}

/** Entries `[first, last]` of one term; the data tells index and term. */
export function entriesOf(first: number, last: number, term: number, dataBytes = 0): Entry[] {
  const entries: Entry[] = [];
  for (let index = first; index <= last; index += 1) {
    const data = Buffer.alloc(Math.max(dataBytes, 24), `${index}/${term} `);
    entries.push(Object.freeze(newNormalEntry(BigInt(term), BigInt(index), new Uint8Array(data))));
  }
  return entries;
}

export function writeOf(entries: readonly Entry[], commit?: number, term = 1): LogWrite {
  const hardState = commit === undefined ? undefined : newHardState(BigInt(term), 0n, BigInt(commit));
  return { snapshot: undefined, entries, hardState, mustSync: true };
}

/** Every entry that the log serves, as "index/term". */
export function contents(log: LmdbStorage): string[] {
  const { storage } = log;
  const entries = storage.entries(storage.firstIndex(), storage.lastIndex() + 1n, Number.POSITIVE_INFINITY, {
    canAsync: false,
    purpose: "other",
  });
  return entries.map((entry) => `${entry.index}/${entry.term}`);
}

export function numbered(first: number, last: number, term: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, offset) => `${first + offset}/${term}`);
}
