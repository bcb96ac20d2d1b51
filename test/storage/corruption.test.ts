// Damaged and foreign folders are refused with an error that names the file and says what to do, before lmdb sees them:
// junk, truncation, flipped bits anywhere, missing entries, somebody else's folder. What is not refused holds the
// right data. Mutated files that pass the checks are opened by a child process, so that a crash would be seen.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { copyFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, test } from "vitest";
import { LogEnvironment } from "../../src/storage/environment.js";
import { RECORD_KEYS } from "../../src/storage/keys.js";
import { type LoadedLog, loadLog } from "../../src/storage/load-log.js";
import { StorageFault } from "../../src/storage/storage-fault.js";
import { contents, entriesOf, MEMBERS, numbered, openLog, temporaryFolder, writeOf } from "./support.js";

const IDENTITY = { clusterId: "test-cluster", nodeId: 1n };
const MUTATIONS = Number(process.env["CORRUPTION_MUTATIONS"] ?? 300);
const SEED = Number(process.env["CORRUPTION_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** A folder with a log that has been through a lot: conflicts, compaction, large values, free pages. */
async function usedFolder(): Promise<string> {
  const dir = await temporaryFolder();
  const log = await openLog(dir, { bootstrap: MEMBERS });
  for (let batch = 0; batch < 20; batch += 1) {
    const first = 2 + batch * 20;
    await log.append(writeOf(entriesOf(first, first + 19, 1, batch % 5 === 0 ? 6000 : 200), first));
  }
  await log.append(writeOf(entriesOf(395, 410, 3), 400, 3));
  await log.compact(150n);
  await log.close();
  return dir;
}

const CONTENTS = [...numbered(151, 394, 1), ...numbered(395, 410, 3)];

async function faultOf(dir: string): Promise<StorageFault> {
  try {
    await (await openLog(dir)).close();
  } catch (error) {
    if (error instanceof StorageFault) return error;
    throw error;
  }
  throw new Error("the folder was opened as if nothing were wrong with it");
}

describe("a file that is not the log", () => {
  test.each([
    ["empty", Buffer.alloc(0), "truncated"],
    ["a few bytes", Buffer.from("hello"), "truncated"],
    ["text", Buffer.alloc(100_000, "this is text "), "notLmdb"],
    ["zeros", Buffer.alloc(65_536), "notLmdb"],
  ])("%s, is refused", async (_name, bytes, code) => {
    const dir = await temporaryFolder();
    await writeFile(join(dir, "raft.mdb"), bytes);
    const fault = await faultOf(dir);
    expect(fault.code).toBe(code);
    expect(fault.file).toBe(join(dir, "raft.mdb"));
    expect(fault.message).toContain("move the folder away");
  });

  test("a database of stock LMDB is refused for its version", async () => {
    const dir = await usedFolder();
    patch(join(dir, "raft.mdb"), 28, (byte) => byte - 1);
    expect(await faultOf(dir)).toMatchObject({
      code: "version",
      message: expect.stringContaining("data version 1"),
    });
  });
});

describe("a log that is damaged", () => {
  test("is refused at whatever page it was cut off", async () => {
    const dir = await usedFolder();
    const file = join(dir, "raft.mdb");
    const whole = `${file}.whole`;
    await copyFile(file, whole);
    const pages = statSync(file).size / 4096;
    for (let keep = 0; keep < pages; keep += 7) {
      await copyFile(whole, file);
      await truncate(file, keep * 4096 + (keep % 2) * 100);
      const outcome = await outcomeOf(file);
      // What lies behind the last page in use may be missing; that is all.
      if (outcome instanceof StorageFault) expect(["truncated", "corrupt"]).toContain(outcome.code);
      else expect(summary(outcome)).toEqual(summary(await loadLog(whole, IDENTITY)));
    }
    await truncate(file, 40 * 4096);
    expect(await faultOf(dir)).toMatchObject({ code: "truncated" });
  });

  test("by one flipped bit in an entry is refused, naming the entry", async () => {
    const dir = await usedFolder();
    const file = join(dir, "raft.mdb");
    patch(file, readFileSync(file).lastIndexOf("300/1 "), (byte) => byte ^ 1);
    expect(await faultOf(dir)).toMatchObject({ code: "checksum", key: "/raft/entry/300" });
  });

  test("by a lost entry is refused, naming it", async () => {
    const dir = await usedFolder();
    await change(dir, (environment) =>
      environment.write({ records: new Map(), entries: [], removals: [200n] }),
    );
    expect(await faultOf(dir)).toMatchObject({ code: "gap", key: "/raft/entry/200" });
  });

  test("by a lost last entry is refused, naming it", async () => {
    const dir = await usedFolder();
    await change(dir, (environment) =>
      environment.write({ records: new Map(), entries: [], removals: [410n] }),
    );
    expect(await faultOf(dir)).toMatchObject({ code: "gap", key: "/raft/entry/410" });
  });

  test("by a term that falls is refused", async () => {
    const dir = await usedFolder();
    await change(dir, (environment) =>
      environment.write({ records: new Map(), entries: entriesOf(200, 200, 2), removals: [] }),
    );
    expect(await faultOf(dir)).toMatchObject({ code: "inconsistent", key: "/raft/entry/201" });
  });

  test("by a commit index behind the last entry is refused", async () => {
    const dir = await usedFolder();
    await change(dir, (environment) =>
      environment.write({
        records: new Map([[RECORD_KEYS.hardState, Buffer.from([8, 1, 24, 0xff, 0x7f])]]),
        entries: [],
        removals: [],
      }),
    );
    expect(await faultOf(dir)).toMatchObject({ code: "inconsistent", key: "/raft/hard_state" });
  });
});

describe("a folder of somebody else", () => {
  test("in another cluster is refused", async () => {
    const dir = await usedFolder();
    await expect(openLog(dir, { clusterId: "another" })).rejects.toMatchObject({
      code: "foreignCluster",
      message: expect.stringMatching(/belongs to cluster "test-cluster", this node to cluster "another"/),
    });
  });

  test("of another node is refused", async () => {
    const dir = await usedFolder();
    await expect(openLog(dir, { nodeId: 2n })).rejects.toMatchObject({ code: "foreignNode" });
  });

  test("is refused while its owner has it open, and can be had afterwards", async () => {
    const dir = await usedFolder();
    const owner = await openLog(dir);
    expect((await faultOf(dir)).code).toBe("locked");
    await owner.close();
    expect(contents(await openLog(dir))).toEqual(CONTENTS);
  });
});

describe(`mutated files (seed ${SEED})`, () => {
  test(`hold the right data or are refused, ${MUTATIONS} times; what passes does not crash lmdb`, async () => {
    const dir = await usedFolder();
    const pristine = readFileSync(join(dir, "raft.mdb"));
    const expected = summary(await loadLog(join(dir, "raft.mdb"), IDENTITY));
    const file = join(dir, "mutated.mdb");
    const random = generator(SEED);
    const opener = new Opener();
    let passed = 0;
    for (let round = 0; round < MUTATIONS; round += 1) {
      const mutated = Buffer.from(pristine);
      const what = mutate(mutated, random);
      await rm(`${file}-lock`, { force: true });
      writeFileSync(file, mutated);
      const outcome = await outcomeOf(file);
      if (outcome instanceof StorageFault) continue;
      expect(summary(outcome), `round ${round}: ${what} changed the data unnoticed`).toBe(expected);
      passed += 1;
      expect(await opener.open(file), `round ${round}: ${what} crashed lmdb`).toBe("opened");
    }
    opener.end();
    expect(passed).toBeGreaterThan(0);
    expect(passed).toBeLessThan(MUTATIONS);
  }, 600_000);
});

/** Opens mutated files with lmdb, in a process that may die of it: reads everything, then writes until pages are reused. */
class Opener {
  readonly #child = spawn(process.execPath, ["--input-type=module", "-e", OPENER], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      ...process.env,
      ENVIRONMENT_MODULE: new URL("../../dist/storage/environment.js", import.meta.url).href,
    },
  });
  readonly #lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();

  async open(file: string): Promise<string> {
    this.#child.stdin.write(`${file}\n`);
    const answer = await this.#lines.next();
    if (answer.done !== true) return answer.value;
    const [code, signal] = await once(this.#child, "close");
    return `ended with ${code ?? signal}`;
  }

  end(): void {
    this.#child.stdin.end();
  }
}

const OPENER = `
  import { createInterface } from "node:readline";
  const { LogEnvironment } = await import(process.env.ENVIRONMENT_MODULE);
  const entry = (index) => ({
    entryType: 0, term: 3n, index, data: new Uint8Array(3000), context: new Uint8Array(0), syncLog: false,
  });
  for await (const file of createInterface({ input: process.stdin })) {
    const environment = LogEnvironment.open(file);
    for (let index = 151n; index <= 410n; index += 1n) environment.readEntries(index, index + 1n, 0);
    for (let batch = 0n; batch < 3n; batch += 1n) {
      const entries = Array.from({ length: 20 }, (_, at) => entry(411n + batch * 20n + BigInt(at)));
      const removals = Array.from({ length: 60 }, (_, at) => 151n + batch * 60n + BigInt(at));
      await environment.write({ records: new Map(), entries, removals });
    }
    await environment.close();
    console.log("opened");
  }
`;

async function outcomeOf(file: string): Promise<LoadedLog | StorageFault> {
  try {
    return await loadLog(file, IDENTITY);
  } catch (error) {
    if (error instanceof StorageFault) return error;
    throw error;
  }
}

function summary({ extent, hardState, membership, terms }: LoadedLog): string {
  const termList: bigint[] = [];
  for (let index = extent.boundary.index + 1n; index <= extent.last; index += 1n) {
    termList.push(terms.at(index) ?? 0n);
  }
  return [
    extent.boundary.index,
    extent.boundary.term,
    extent.last,
    hardState.commit,
    membership.index,
    ...termList,
  ].join();
}

async function change(dir: string, run: (environment: LogEnvironment) => Promise<void>): Promise<void> {
  const environment = LogEnvironment.open(join(dir, "raft.mdb"));
  await run(environment);
  await environment.close();
}

function patch(file: string, at: number, change: (byte: number) => number): void {
  const bytes = readFileSync(file);
  bytes[at] = change(bytes[at] ?? 0);
  writeFileSync(file, bytes);
}

/** One kind of damage at a random place; says which. */
function mutate(bytes: Buffer, random: (bound: number) => number): string {
  const pages = bytes.length / 4096;
  // Half of the damage goes to where structure is: the meta pages and the headers of pages.
  const at = random(2) === 0 ? random(bytes.length) : random(pages) * 4096 + random(160);
  switch (random(5)) {
    case 0:
      bytes[at] = random(256);
      return `byte ${at} set`;
    case 1:
      bytes.fill(random(256), at, Math.min(bytes.length, at + 1 + random(64)));
      return `bytes from ${at} filled`;
    case 2: {
      const from = random(pages);
      const to = random(pages);
      bytes.copy(bytes, to * 4096, from * 4096, from * 4096 + 4096);
      return `page ${from} copied over page ${to}`;
    }
    default:
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
      return `a bit of byte ${at} flipped`;
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
