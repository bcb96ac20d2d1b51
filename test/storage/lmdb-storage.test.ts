// What was appended is served at once and still there after a restart: entries, hard state, membership, snapshots,
// compaction. Real LMDB in temporary folders; a "restart" closes the log and opens the folder again.

import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { InvariantViolation, StorageError } from "../../src/core/errors.js";
import { newConfState, newHardState, newSnapshot } from "../../src/core/messages.js";
import type { Snapshot } from "../../src/gen/eraftpb_pb.js";
import { MembershipRecordSchema, SnapshotDescriptorSchema } from "../../src/gen/records_pb.js";
import type { LogWrite } from "../../src/node/ports.js";
import { LmdbStorage } from "../../src/storage/lmdb-storage.js";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
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

describe("a bootstrap membership", () => {
  test("is ignored by a log that has begun, even if it says something else", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    await log.append(writeOf(entriesOf(2, 5, 1), 5));
    await log.close();
    const other = create(MembershipRecordSchema, { confState: newConfState({ voters: [9n] }), index: 1n });
    const again = await openLog(dir, { bootstrap: other });
    expect(again.membership).toEqual(MEMBERS);
    expect(contents(again)).toEqual(numbered(2, 5, 1));
  });

  test("is taken by a folder that was opened before but never promised anything", async () => {
    const dir = await temporaryFolder();
    await (await openLog(dir)).close();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    expect(log.membership).toEqual(MEMBERS);
    expect(log.storage.firstIndex()).toBe(2n);
    await log.close();
    expect((await openLog(dir)).membership).toEqual(MEMBERS);
  });

  test("is ignored by a blank folder that has voted", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir);
    await log.append({
      snapshot: undefined,
      entries: [],
      hardState: newHardState(3n, 2n, 0n),
      mustSync: true,
    });
    await log.close();
    const again = await openLog(dir, { bootstrap: MEMBERS });
    expect(again.isBlank).toBe(true);
    expect(again.storage.initialState().hardState).toEqual(newHardState(3n, 2n, 0n));
  });
});

describe("an identity", () => {
  test.each([
    { clusterId: "", nodeId: 1n },
    { clusterId: "x".repeat(257), nodeId: 1n },
    { clusterId: "c", nodeId: 0n },
    { clusterId: "c", nodeId: 2n ** 64n },
  ])("that cannot be is refused: $clusterId, $nodeId", async (identity) => {
    await expect(openLog(await temporaryFolder(), identity)).rejects.toThrow(RangeError);
  });

  test("may use every bit of the node id, and any letters", async () => {
    const dir = await temporaryFolder();
    const identity = { clusterId: "Größe 漢字", nodeId: 2n ** 64n - 1n };
    await (await openLog(dir, identity)).close();
    expect((await openLog(dir, identity)).identity).toEqual(identity);
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

describe("an append that cannot be right", () => {
  test.each([
    ["leaves a gap", writeOf(entriesOf(12, 12, 1))],
    ["lies before the first entry", writeOf(entriesOf(1, 1, 1))],
    ["skips an index", writeOf([...entriesOf(11, 11, 1), ...entriesOf(13, 13, 1)])],
    ["has falling terms", writeOf([...entriesOf(11, 11, 2), ...entriesOf(12, 12, 1)])],
    ["replaces what is committed", writeOf(entriesOf(5, 6, 2))],
    ["commits what is not there", writeOf([], 11)],
    ["takes a commit back", writeOf([], 4)],
    ["goes back to an older term", writeOf([], 5, 0)],
    ["brings an older snapshot", snapshotWrite(newSnapshot(0n, 0n, newConfState()))],
  ])("because it %s is refused, and so is everything after it", async (_name, write) => {
    const dir = await temporaryFolder();
    const fatal: Error[] = [];
    const log = await openLog(dir, { bootstrap: MEMBERS, onFatal: (error) => fatal.push(error) });
    await log.append(writeOf(entriesOf(2, 10, 1), 5));
    await expect(log.append(write)).rejects.toThrow(InvariantViolation);
    expect(fatal).toHaveLength(1);
    await expect(log.append(writeOf(entriesOf(11, 11, 1)))).rejects.toThrow(InvariantViolation);
    await expect(log.saveMembership(MEMBERS)).rejects.toThrow(InvariantViolation);
    await log.close();
    expect(contents(await openLog(dir))).toEqual(numbered(2, 10, 1));
  });
});

describe("a write that need not be on disk", () => {
  test("waits for the disk all the same when it brings a vote", async () => {
    const log = await openLog(await temporaryFolder(), { bootstrap: MEMBERS });
    const hardState = newHardState(2n, 3n, 1n);
    await log.append({ snapshot: undefined, entries: [], hardState, mustSync: false });
    expect(log.stats().batches).toBe(1);
  });

  test("costs no batch, and is there after an orderly end", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    await log.append(writeOf(entriesOf(2, 10, 1), 1));
    const { batches } = log.stats();
    await log.append({ ...writeOf([], 10), mustSync: false });
    expect(log.storage.initialState().hardState.commit).toBe(10n);
    expect(log.stats().batches).toBe(batches);
    await log.close();
    expect((await openLog(dir)).storage.initialState().hardState.commit).toBe(10n);
  });
});

describe("what is handed in", () => {
  test("may be changed by its owner at once", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    const record = create(MembershipRecordSchema, {
      confState: newConfState({ voters: [1n] }),
      index: 7n,
      addresses: [{ id: 1n, address: "here:1" }],
    });
    const hardState = newHardState(5n, 2n, 1n);
    const written = [
      log.saveMembership(record),
      log.append({ snapshot: undefined, entries: [], hardState, mustSync: true }),
    ];
    record.confState?.voters.push(9n);
    record.addresses.length = 0;
    hardState.vote = 9n;
    await Promise.all(written);
    await log.close();
    const again = await openLog(dir);
    expect(again.membership.confState?.voters).toEqual([1n]);
    expect(again.membership.addresses.map(({ address }) => address)).toEqual(["here:1"]);
    expect(again.storage.initialState().hardState.vote).toBe(2n);
  });
});

describe("the membership", () => {
  test("that was saved last is there after a restart, and is what the core begins with", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    const record = create(MembershipRecordSchema, {
      confState: newConfState({
        voters: [1n, 2n],
        learners: [4n],
        votersOutgoing: [1n, 3n],
        autoLeave: true,
      }),
      index: 7n,
      addresses: [{ id: 4n, address: "somewhere:1" }],
    });
    await log.saveMembership(record);
    expect(log.membership).toEqual(record);
    await log.close();
    const again = await openLog(dir);
    expect(again.membership).toEqual(record);
    expect(again.storage.initialState().confState).toEqual(record.confState);
  });

  test("comes with an installed snapshot: ids from its metadata, addresses from its descriptor", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir);
    const confState = newConfState({ voters: [1n, 2n], learners: [3n] });
    const described = create(MembershipRecordSchema, {
      confState,
      index: 90n,
      addresses: [{ id: 2n, address: "leader:1" }],
    });
    const descriptor = create(SnapshotDescriptorSchema, { snapshotId: "s", membership: described });
    const snapshot = newSnapshot(100n, 4n, confState, toBinary(SnapshotDescriptorSchema, descriptor));
    await log.append(snapshotWrite(snapshot));
    await log.close();
    const again = await openLog(dir);
    expect(again.isBlank).toBe(false);
    expect(again.membership).toEqual(described);
    expect(again.installedSnapshot).toEqual(snapshot);
    expect(again.storage.firstIndex()).toBe(101n);
    expect(again.storage.initialState().hardState.commit).toBe(100n);
  });
});

describe("compaction", () => {
  test("gives pages back for new entries, over many batches", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    await log.append(writeOf(entriesOf(2, 9001, 1), 9001));
    const before = log.stats();
    await log.compact(9000n);
    const after = log.stats();
    expect(after.garbageKeys).toBe(0);
    expect(after.entries).toBe(1);
    expect(after.usedBytes).toBeLessThan(before.usedBytes / 10);
    expect(after.freeBytes).toBeGreaterThan(before.usedBytes / 2);
    await log.append(writeOf(entriesOf(9002, 12_000, 1)));
    expect(log.stats().fileBytes).toBe(after.fileBytes);
    await log.close();
    expect(contents(await openLog(dir))).toEqual(numbered(9001, 12_000, 1));
  });

  test("beyond what is committed is refused, and nothing is lost by it", async () => {
    const log = await openLog(await temporaryFolder(), { bootstrap: MEMBERS });
    await log.append(writeOf(entriesOf(2, 10, 1), 5));
    await expect(log.compact(6n)).rejects.toThrow("committed up to 5");
    await log.compact(5n);
    expect(contents(log)).toEqual(numbered(6, 10, 1));
  });

  test("that a crash cut short is finished after the restart", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    await log.append(writeOf(entriesOf(2, 9001, 1), 9001));
    // Closing does not wait for the deletions: what is on disk then is what a crash would leave.
    const compacted = log.compact(8000n);
    await log.close();
    await compacted;
    const again = await openLog(dir);
    expect(contents(again)).toEqual(numbered(8001, 9001, 1));
    expect(again.stats().garbageKeys).toBeGreaterThan(0);
    await again.compact(8001n);
    expect(again.stats().garbageKeys).toBe(0);
    expect(contents(again)).toEqual(numbered(8002, 9001, 1));
  });
});

describe("asked for a snapshot", () => {
  test("hands out the latest if it covers what is asked for and knows the asker, else asks for one", async () => {
    const dir = await temporaryFolder();
    const snapshots = await SnapshotFiles.open(join(dir, "snapshots"));
    const log = await openLog(dir, { bootstrap: MEMBERS, snapshots });
    await log.append(writeOf(entriesOf(2, 20, 1), 20));
    const wanted: string[] = [];
    log.onSnapshotWanted = (index, to) => wanted.push(`${index} for ${to}`);
    const ask = (index: bigint, to: bigint): Snapshot | string => {
      try {
        return log.storage.snapshot(index, to);
      } catch (error) {
        return error instanceof StorageError ? error.code : String(error);
      }
    };
    expect(ask(0n, 2n)).toBe("snapshotTemporarilyUnavailable");
    const confState = newConfState({
      voters: [1n, 2n],
      votersOutgoing: [1n, 3n],
      learners: [4n],
      learnersNext: [5n],
    });
    const { metadata } = newSnapshot(10n, 1n, confState);
    if (metadata === undefined) throw new Error("a snapshot has metadata");
    const snapshot = await snapshots.create(metadata, MEMBERS, (sink) => sink(new Uint8Array(10)));
    for (const member of [2n, 3n, 4n, 5n]) expect(ask(10n, member)).toEqual(snapshot);
    expect(ask(10n, 6n)).toBe("snapshotTemporarilyUnavailable");
    expect(ask(11n, 2n)).toBe("snapshotTemporarilyUnavailable");
    await log.compact(10n);
    expect(ask(10n, 2n)).toEqual(snapshot);
    await log.compact(11n);
    expect(ask(10n, 2n)).toBe("snapshotTemporarilyUnavailable");
    expect(wanted).toEqual(["0 for 2", "10 for 6", "11 for 2", "10 for 2"]);
  });
});

describe("closing", () => {
  test("waits for what was appended, may be asked for twice, and lets nothing in afterwards", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    const written = log.append(writeOf(entriesOf(2, 500, 1)));
    await Promise.all([log.close(), log.close()]);
    await written;
    await expect(log.append(writeOf(entriesOf(501, 501, 1)))).rejects.toMatchObject({ code: "closed" });
    await expect(log.compact(1n)).rejects.toMatchObject({ code: "closed" });
    await expect(log.saveMembership(MEMBERS)).rejects.toMatchObject({ code: "closed" });
    expect(contents(await openLog(dir))).toEqual(numbered(2, 500, 1));
  });
});

test("entries that are in memory no more are read from the disk", async () => {
  const log = await openLog(await temporaryFolder(), { bootstrap: MEMBERS, cacheBytes: 10_000 });
  for (let first = 2; first < 1000; first += 100) await log.append(writeOf(entriesOf(first, first + 99, 1)));
  expect(log.stats().cachedBytes).toBeLessThanOrEqual(10_000);
  expect(contents(log)).toEqual(numbered(2, 1001, 1));
});

test("the log of one process cannot be opened by another", async () => {
  const dir = await temporaryFolder();
  await openLog(dir, { bootstrap: MEMBERS });
  const second = LmdbStorage.open({
    dir,
    clusterId: "test-cluster",
    nodeId: 1n,
    snapshots: await SnapshotFiles.open(join(dir, "snapshots")),
  });
  await expect(second).rejects.toMatchObject({ code: "locked" });
});

function snapshotWrite(snapshot: Snapshot): LogWrite {
  return { snapshot, entries: [], hardState: undefined, mustSync: true };
}
