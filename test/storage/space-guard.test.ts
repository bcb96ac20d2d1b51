// A disk or a quota that fills up is noticed before a write fails, in two steps, and so is that there is room again.
// The guard alone with invented figures, then a real log whose compaction makes the room.

import { expect, test } from "vitest";
import type { SpaceState } from "../../src/node/ports.js";
import { SpaceGuard, type SpaceLimits } from "../../src/storage/space-guard.js";
import { entriesOf, MEMBERS, openLog, temporaryFolder, writeOf } from "./support.js";

const MIB = 1024 ** 2;
const LIMITS: SpaceLimits = { quotaBytes: 1000, minFreeBytes: 400, reserveBytes: 100 };

function guarded(limits: Partial<SpaceLimits> = LIMITS) {
  const disk = { used: 0, free: 10_000, looks: 0 };
  const timers: (() => void)[] = [];
  const guard = new SpaceGuard({
    limits,
    usedBytes: () => disk.used,
    freeBytes: async () => {
      disk.looks += 1;
      return disk.free;
    },
    after: (_delayMs, run) => {
      timers.push(run);
      return () => timers.splice(timers.indexOf(run), 1);
    },
  });
  const told: SpaceState[] = [];
  guard.watch((state) => told.push(state));
  const at = async (used: number, free: number): Promise<SpaceState> => {
    Object.assign(disk, { used, free });
    await guard.look();
    return guard.state;
  };
  return { guard, disk, timers, told, at };
}

test("the quota makes it full, then exhausted, and a tenth less than the quota makes it ok again", async () => {
  const { at } = guarded();
  expect(await at(999, 10_000)).toBe("ok");
  expect(await at(1000, 10_000)).toBe("full");
  expect(await at(1100, 10_000)).toBe("exhausted");
  expect(await at(1001, 10_000)).toBe("exhausted");
  expect(await at(999, 10_000)).toBe("full");
  expect(await at(900, 10_000)).toBe("full");
  expect(await at(899, 10_000)).toBe("ok");
  expect(await at(999, 10_000)).toBe("ok");
});

test("little that is free in the file system does the same, with a quarter more for being ok again", async () => {
  const { at } = guarded();
  expect(await at(0, 400)).toBe("ok");
  expect(await at(0, 399)).toBe("full");
  expect(await at(0, 299)).toBe("exhausted");
  expect(await at(0, 399)).toBe("exhausted");
  expect(await at(0, 400)).toBe("full");
  expect(await at(0, 499)).toBe("full");
  expect(await at(0, 500)).toBe("ok");
});

test("listeners hear of every change, and of every look while it is not ok", async () => {
  const { at, told } = guarded();
  for (const used of [0, 500, 1000, 1000, 1200, 0, 0]) await at(used, 10_000);
  expect(told).toEqual(["full", "full", "exhausted", "ok"]);
});

test("it looks by itself, and at once after much was written", async () => {
  const { guard, disk, timers } = guarded({ reserveBytes: 16 * MIB, minFreeBytes: 16 * MIB });
  await guard.start();
  expect(disk.looks).toBe(1);
  timers.shift()?.();
  await guard.look();
  expect(disk.looks).toBe(2);
  expect(timers).toHaveLength(1);
  guard.wrote(MIB);
  expect(disk.looks).toBe(2);
  guard.wrote(MIB);
  expect(disk.looks).toBe(3);
  guard.stop();
  expect(timers).toHaveLength(0);
});

test("without a reserve it does not look after every small write", async () => {
  const { guard, disk } = guarded({ reserveBytes: 0 });
  for (let write = 0; write < 1024; write += 1) guard.wrote(1023);
  expect(disk.looks).toBe(0);
  guard.wrote(1024);
  expect(disk.looks).toBe(1);
});

test("a file system that does not answer counts as one with room", async () => {
  const guard = new SpaceGuard({
    limits: LIMITS,
    usedBytes: () => 0,
    freeBytes: () => Promise.reject(new Error("no such call")),
    after: () => () => {},
  });
  await guard.look();
  expect(guard.state).toBe("ok");
});

test.each([
  [{ quotaBytes: -1 }, /quotaBytes must be 0 or more/],
  [{ quotaBytes: Number.NaN }, /quotaBytes must be 0 or more/],
  [{ minFreeBytes: 10, reserveBytes: 11 }, /reserveBytes \(11\) must not exceed minFreeBytes/],
])("limits that cannot be are refused: %j", (limits, message) => {
  expect(() => guarded(limits)).toThrow(message);
});

test("a log over its quota is full, still takes what it is told to, and is ok after it was cut", async () => {
  const quotaBytes = 1024 * 1024;
  const log = await openLog(await temporaryFolder(), { bootstrap: MEMBERS, space: { quotaBytes } });
  const { space } = log;
  expect(space.state).toBe("ok");
  await log.append(writeOf(entriesOf(2, 400, 1, 4000), 400));
  await expect.poll(() => space.state).toBe("full");
  expect(log.stats().space).toBe("full");
  await log.append(writeOf(entriesOf(401, 402, 1, 4000), 402));
  await log.compact(390n);
  await expect.poll(() => space.state).toBe("ok");
});

test("a log is full from the start when the disk is", async () => {
  const log = await openLog(await temporaryFolder(), { freeBytes: async () => 200 * MIB });
  expect(log.space.state).toBe("full");
  expect(log.stats()).toMatchObject({
    space: "full",
    diskFreeBytes: 200 * MIB,
    limits: { quotaBytes: 8192 * MIB, minFreeBytes: 256 * MIB, reserveBytes: 128 * MIB },
  });
});
