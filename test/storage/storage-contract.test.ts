// Every storage of this project keeps the contract that core and runtime rely on: the same cases against memory, and
// against LMDB in real folders, where each case is checked again after closing and opening the folder. LMDB runs
// twice: with its cache, and without, so that reads come from the disk.

import { describe, test } from "vitest";
import { MemoryStorage } from "../../src/core/log/memory-storage.js";
import { newHardState, newSnapshot } from "../../src/core/messages.js";
import { systemClock } from "../../src/node/system-clock.js";
import { type DurableLogUnderTest, durableLogContract } from "../../src/testing/durable-log-contract.js";
import { type StorageUnderTest, storageContract } from "../../src/testing/storage-contract.js";
import { MemoryLog, MemorySnapshots } from "../support/node-log.js";
import { openLog, temporaryFolder } from "./support.js";

describe("MemoryStorage", () => {
  for (const { name, run } of storageContract(async () => memory(new MemoryStorage()))) test(name, run);
});

describe.each([
  { name: "LmdbStorage", cacheBytes: undefined },
  { name: "LmdbStorage without a cache", cacheBytes: 0 },
])("$name", ({ cacheBytes }) => {
  const open = async (dir: string): Promise<DurableLogUnderTest> => {
    const log = await openLog(dir, { cacheBytes });
    return {
      log,
      reopen: async () => {
        await log.close();
        return open(dir);
      },
    };
  };
  for (const { name, run } of durableLogContract(async () => open(await temporaryFolder()))) test(name, run);
});

describe("the log in memory that the runtime's tests run on", () => {
  const opened = (log: MemoryLog): DurableLogUnderTest => ({
    log,
    reopen: async () => {
      await log.close();
      return opened(log.afterCrash());
    },
  });
  const blank = async () => opened(MemoryLog.born(systemClock, new MemorySnapshots("one"), undefined));
  for (const { name, run } of durableLogContract(blank)) test(name, run);
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
