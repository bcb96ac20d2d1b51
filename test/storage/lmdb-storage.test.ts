// What was appended is served at once and still there after a restart: entries, hard state, membership, snapshots,
// compaction. Real LMDB in temporary folders; a "restart" closes the log and opens the folder again.

import { describe, expect, test } from "vitest";
import { newHardState } from "../../src/core/messages.js";
import { contents, entriesOf, MEMBERS, numbered, openLog, temporaryFolder, writeOf } from "./support.js";

describe("a new folder", () => {
  test("without a bootstrap membership is blank, and stays so over a restart", async () => {
    const dir = await temporaryFolder();
    for (let opening = 0; opening < 2; opening += 1) {
      const log = await openLog(dir);
      expect(log.isBlank).toBe(true);
      expect(log.storage.firstIndex()).toBe(1n);
      expect(log.storage.lastIndex()).toBe(0n);
      expect(log.storage.term(0n)).toBe(0n);
      expect(log.storage.initialState().hardState).toEqual(newHardState(0n, 0n, 0n));
      await log.close();
    }
  });

  test("with a bootstrap membership begins after (1, 1), committed up to 1", async () => {
    const dir = await temporaryFolder();
    for (let opening = 0; opening < 2; opening += 1) {
      const log = await openLog(dir, { bootstrap: MEMBERS });
      expect(log.isBlank).toBe(false);
      expect(log.storage.firstIndex()).toBe(2n);
      expect(log.storage.lastIndex()).toBe(1n);
      expect(log.storage.term(1n)).toBe(1n);
      expect(log.storage.initialState().hardState).toEqual(newHardState(1n, 0n, 1n));
      expect(log.membership).toEqual(MEMBERS);
      await log.close();
    }
  });
});

describe("appending", () => {
  test("serves entries before they are durable, and after a restart", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    const written = log.append(writeOf(entriesOf(2, 50, 1), 1));
    expect(contents(log)).toEqual(numbered(2, 50, 1));
    await written;
    await log.close();
    const again = await openLog(dir);
    expect(contents(again)).toEqual(numbered(2, 50, 1));
  });

  test("a conflicting suffix is gone, on disk too", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    await log.append(writeOf(entriesOf(2, 50, 1)));
    await log.append(writeOf(entriesOf(10, 12, 2)));
    expect(contents(log)).toEqual([...numbered(2, 9, 1), ...numbered(10, 12, 2)]);
    await log.close();
    const again = await openLog(dir);
    expect(contents(again)).toEqual([...numbered(2, 9, 1), ...numbered(10, 12, 2)]);
    expect(again.storage.term(9n)).toBe(1n);
    expect(again.storage.term(10n)).toBe(2n);
  });

  test("many appends that wait share one batch", async () => {
    const log = await openLog(await temporaryFolder(), { bootstrap: MEMBERS });
    const writes = Array.from({ length: 100 }, (_, at) => log.append(writeOf(entriesOf(2 + at, 2 + at, 1))));
    await Promise.all(writes);
    expect(log.stats().batches).toBe(1);
  });
});
