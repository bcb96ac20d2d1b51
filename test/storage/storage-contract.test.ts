// Both storages of this project keep the contract that the core relies on: the same cases against memory, and
// against LMDB in real folders, where each case is checked again after closing and opening the folder. LMDB runs
// twice: with its cache, and without, so that reads come from the disk.

import { describe, test } from "vitest";
import { MemoryStorage } from "../../src/core/log/memory-storage.js";
import { newHardState, newSnapshot } from "../../src/core/messages.js";
import type { LmdbStorage } from "../../src/storage/lmdb-storage.js";
import { type StorageUnderTest, storageContract } from "./storage-contract.js";
import { openLog, temporaryFolder, writeOf } from "./support.js";

describe("MemoryStorage", () => {
  for (const { title, run } of storageContract(async () => memory(new MemoryStorage()))) test(title, run);
});

describe.each([
  { name: "LmdbStorage", cacheBytes: undefined },
  { name: "LmdbStorage without a cache", cacheBytes: 0 },
])("$name", ({ cacheBytes }) => {
  const open = async (dir: string): Promise<StorageUnderTest> =>
    lmdb(await openLog(dir, { cacheBytes }), () => open(dir));
  for (const { title, run } of storageContract(async () => open(await temporaryFolder()))) test(title, run);
});

function memory(storage: MemoryStorage): StorageUnderTest {
  return {
    storage,
    append: async (entries) => storage.append(entries),
    commitTo: async (index) => storage.setHardState(newHardState(1n, 0n, index)),
    compact: async (index) => storage.compact(index),
    applySnapshot: async (index, term, confState) =>
      storage.applySnapshot(newSnapshot(index, term, confState)),
  };
}

function lmdb(log: LmdbStorage, open: () => Promise<StorageUnderTest>): StorageUnderTest {
  return {
    storage: log.storage,
    append: (entries) => log.append(writeOf(entries)),
    commitTo: (index) => log.append(writeOf([], Number(index))),
    compact: (index) => log.compact(index),
    applySnapshot: (index, term, confState) =>
      log.append({
        snapshot: newSnapshot(index, term, confState),
        entries: [],
        hardState: undefined,
        mustSync: true,
      }),
    reopen: async () => {
      await log.close();
      return open();
    },
  };
}
