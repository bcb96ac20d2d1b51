// The file of a log shrinks while the log is in use, and holds the same log: with appends, conflicts, compactions and
// snapshots in between, on real files, opened again after each.

import { readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { newConfState, newHardState, newSnapshot } from "../../src/core/messages.js";
import type { LmdbStorage } from "../../src/storage/lmdb-storage.js";
import { contents, entriesOf, MEMBERS, numbered, openLog, temporaryFolder, writeOf } from "./support.js";

const SEED = Number(process.env["COMPACTION_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const HISTORIES = 12;

/** 1,000 entries of 4,000 bytes were written and all but the last ones compacted away. */
async function holedLog(dir: string): Promise<LmdbStorage> {
  const log = await openLog(dir, { bootstrap: MEMBERS, compactFileBytes: Number.POSITIVE_INFINITY });
  for (let first = 2; first < 1002; first += 100) {
    await log.append(writeOf(entriesOf(first, first + 99, 1, 4000), first + 99));
  }
  await log.compact(600n);
  return log;
}

async function sizeOf(dir: string): Promise<number> {
  return (await stat(join(dir, "raft.mdb"))).size;
}

test("compacting gives free pages back to the file system and keeps the log", async () => {
  const dir = await temporaryFolder();
  const log = await holedLog(dir);
  const before = await sizeOf(dir);
  expect(log.stats().freeBytes).toBeGreaterThan(before / 3);
  expect(await log.compactFile()).toBe(true);
  expect(await sizeOf(dir)).toBeLessThan(before * 0.7);
  const { fileBytes, fileCompactions } = log.stats();
  expect(fileBytes).toBeLessThan(before * 0.7);
  expect(fileCompactions).toBe(1);
  expect(contents(log)).toEqual(numbered(601, 1001, 1));
  await log.append(writeOf(entriesOf(1002, 1010, 2), 1010, 2));
  const { membership } = log;
  await log.close();
  const again = await openLog(dir);
  expect(contents(again)).toEqual([...numbered(601, 1001, 1), ...numbered(1002, 1010, 2)]);
  expect(again.storage.initialState().hardState).toMatchObject({ term: 2n, commit: 1010n });
  expect(again.membership).toEqual(membership);
  expect((await readdir(dir)).filter((name) => name.startsWith("raft-new"))).toEqual([]);
});

test("compacting twice in a row, and closing meanwhile, keep the log", async () => {
  const dir = await temporaryFolder();
  const log = await holedLog(dir);
  expect(await log.compactFile()).toBe(true);
  expect(await log.compactFile()).toBe(true);
  const third = log.compactFile();
  await log.close();
  await third;
  expect(contents(await openLog(dir))).toEqual(numbered(601, 1001, 1));
});

test("it happens by itself when most of the file is free", async () => {
  const dir = await temporaryFolder();
  const log = await openLog(dir, { bootstrap: MEMBERS, compactFileBytes: 1024 * 1024 });
  await log.append(writeOf(entriesOf(2, 1001, 1, 4000), 1001));
  const before = await sizeOf(dir);
  await log.compact(950n);
  // Closing waits for what is under way, or ends it; a second opening then does it.
  await expect.poll(() => log.stats().fileCompactions, { timeout: 20_000 }).toBe(1);
  expect(await sizeOf(dir)).toBeLessThan(before / 3);
});

test("it is not begun without room for a second file", async () => {
  const dir = await temporaryFolder();
  const log = await openLog(dir, { freeBytes: async () => 1024 * 1024, bootstrap: MEMBERS });
  expect(await log.compactFile()).toBe(false);
  expect(log.stats().fileCompactions).toBe(0);
});

test("what a crash left of an unfinished one is removed", async () => {
  const dir = await temporaryFolder();
  await (await holedLog(dir)).close();
  await writeFile(join(dir, "raft-new-7.mdb"), "half a file");
  await writeFile(join(dir, "raft-new-7.mdb-lock"), "");
  expect(contents(await openLog(dir))).toEqual(numbered(601, 1001, 1));
  expect((await readdir(dir)).filter((name) => name.startsWith("raft-new"))).toEqual([]);
});

describe(`while the log changes (seed ${SEED})`, () => {
  test.each(Array.from({ length: HISTORIES }, (_, nth) => SEED + nth))("history %d", async (seed) => {
    const random = generator(seed);
    const dir = await temporaryFolder();
    const log = await openLog(dir, {
      bootstrap: MEMBERS,
      compactFileBytes: Number.POSITIVE_INFINITY,
      cacheBytes: 0,
    });
    const writer = new RandomWriter(log, random);
    for (let nth = 0; nth < 40; nth += 1) await writer.write(60);
    let done = 0;
    for (let round = 0; round < 4; round += 1) {
      let running = true;
      const compacted = log.compactFile().finally(() => {
        running = false;
      });
      while (running) await writer.write(12);
      if (await compacted) done += 1;
      expect(contents(log), `round ${round}`).toEqual(writer.expected);
    }
    expect(done).toBeGreaterThan(0);
    await log.close();
    const again = await openLog(dir, { cacheBytes: 0 });
    expect(contents(again)).toEqual(writer.expected);
    expect(again.storage.firstIndex()).toBe(writer.first);
  });
});

/** Appends, replaces, compacts and installs snapshots at random, and knows what the log must hold. */
class RandomWriter {
  #entries: string[] = [];
  #firstIndex = 2;
  #commit = 1;
  #term = 1;

  constructor(
    private readonly log: LmdbStorage,
    private readonly random: (bound: number) => number,
  ) {}

  get expected(): readonly string[] {
    return this.#entries;
  }

  get first(): bigint {
    return BigInt(this.#firstIndex);
  }

  async write(most: number): Promise<void> {
    const last = this.#firstIndex + this.#entries.length - 1;
    const kind = this.random(100);
    if (kind < 2) return this.#install(last + this.random(20) - 5);
    if (kind < 10 && this.#commit >= this.#firstIndex) {
      return this.#compact(this.#firstIndex + this.random(this.#commit - this.#firstIndex + 1));
    }
    const replaces = kind < 30 && last > this.#commit;
    const from = replaces ? this.#commit + 1 + this.random(last - this.#commit) : last + 1;
    if (replaces) this.#term += 1;
    const to = from + this.random(most);
    this.#entries.length = from - this.#firstIndex;
    this.#entries.push(...numbered(from, to, this.#term));
    if (this.random(3) === 0) this.#commit += this.random(to - this.#commit + 1);
    const write = writeOf(entriesOf(from, to, this.#term, this.random(600)), this.#commit, this.#term);
    const written = this.log.append(write);
    // Often several changes share a batch.
    if (this.random(2) === 0) await written;
  }

  async #compact(to: number): Promise<void> {
    this.#entries = this.#entries.slice(to - this.#firstIndex + 1);
    this.#firstIndex = to + 1;
    await this.log.compact(BigInt(to));
  }

  async #install(index: number): Promise<void> {
    if (index <= this.#commit) return;
    this.#entries = [];
    this.#firstIndex = index + 1;
    this.#commit = index;
    await this.log.append({
      snapshot: newSnapshot(BigInt(index), BigInt(this.#term), newConfState({ voters: [1n] })),
      entries: [],
      hardState: newHardState(BigInt(this.#term), 0n, BigInt(index)),
      mustSync: true,
    });
  }
}

function generator(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}
