// Looking into a log with tools: what a sound log shows, while it is stopped and while a node has it open, and that
// damage of every kind is named while everything that is intact is still read. Real LMDB files, damaged on purpose.

import { readFileSync, writeFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { newHardState } from "../../src/core/messages.js";
import { LogEnvironment } from "../../src/storage/environment.js";
import { findLogFile, LogInspector, type LogItem } from "../../src/storage/inspect-log.js";
import { RECORD_KEYS } from "../../src/storage/keys.js";
import { StorageFault } from "../../src/storage/storage-fault.js";
import { type LogReport, verifyLog } from "../../src/storage/verify-log.js";
import { entriesOf, MEMBERS, numbered, openLog, temporaryFolder, writeOf } from "./support.js";

const SEED = Number(process.env["INSPECT_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** Entries 151 to 410, committed up to 400; conflicts, compaction and values over several pages are behind it. */
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

async function inspect(dir: string): Promise<LogInspector> {
  const inspector = await LogInspector.open(dir);
  onTestFinished(() => inspector.close().catch(() => {}));
  return inspector;
}

async function reportOf(dir: string): Promise<LogReport> {
  const inspector = await LogInspector.open(dir);
  try {
    return await verifyLog(inspector);
  } finally {
    await inspector.close();
  }
}

function shown(items: Iterable<LogItem>): string[] {
  return [...items].map((item) =>
    item.kind === "entry" ? `${item.entry.index}/${item.entry.term}` : `damaged ${item.place}`,
  );
}

async function change(dir: string, write: (environment: LogEnvironment) => Promise<void>): Promise<void> {
  const environment = LogEnvironment.open(join(dir, "raft.mdb"));
  await write(environment);
  await environment.close();
}

function patch(file: string, at: number, edit: (byte: number) => number): void {
  const bytes = readFileSync(file);
  bytes[at] = edit(bytes[at] ?? 0);
  writeFileSync(file, bytes);
}

describe("a sound log", () => {
  test("shows whose it is, where it begins and ends, and who the members are", async () => {
    const { records, problems, holderPid } = await inspect(await usedFolder());
    expect(problems).toEqual([]);
    expect(holderPid).toBeUndefined();
    expect(records).toMatchObject({
      formatVersion: 1n,
      identity: { clusterId: "test-cluster", nodeId: 1n },
      boundary: { index: 150n, term: 1n },
      firstIndex: 151n,
      lastIndex: 410n,
      hardState: { term: 3n, vote: 0n, commit: 400n },
      membership: { index: 1n, confState: { voters: [1n, 2n, 3n] } },
      snapshot: undefined,
    });
  });

  test("is read from its data folder, its own folder, or its file alike", async () => {
    const dir = await usedFolder();
    expect(findLogFile(dir)).toBe(join(dir, "raft.mdb"));
    expect(findLogFile(join(dir, "raft.mdb"))).toBe(join(dir, "raft.mdb"));
    expect(() => findLogFile(join(dir, "nowhere"))).toThrow(/no log here.*--data/);
  });

  test("gives all its entries, or those of a range, and marks what is not committed", async () => {
    const inspector = await inspect(await usedFolder());
    expect(shown(inspector.items())).toEqual([...numbered(151, 394, 1), ...numbered(395, 410, 3)]);
    expect(shown(inspector.items({ from: 393n, to: 396n }))).toEqual(["393/1", "394/1", "395/3", "396/3"]);
    expect(shown(inspector.items({ from: 411n }))).toEqual([]);
    const standings = [...inspector.items({ from: 400n, to: 401n })].map((item) =>
      item.kind === "entry" ? item.standing : item.kind,
    );
    expect(standings).toEqual(["committed", "uncommitted"]);
  });

  test("is reported sound, with its sizes and terms", async () => {
    const report = await reportOf(await usedFolder());
    expect(report).toMatchObject({
      problemCount: 0,
      entries: 260,
      committed: 250,
      uncommitted: 10,
      byType: { normal: 260, empty: 0, membership: 0 },
      terms: [
        { term: 1n, from: 151n, to: 394n },
        { term: 3n, from: 395n, to: 410n },
      ],
    });
    expect(report.pages?.usedPages).toBeGreaterThan(10);
  });

  test("is left exactly as it was", async () => {
    const dir = await usedFolder();
    const before = { bytes: readFileSync(join(dir, "raft.mdb")), names: await readdir(dir) };
    await reportOf(dir);
    expect(readFileSync(join(dir, "raft.mdb")).equals(before.bytes)).toBe(true);
    expect(await readdir(dir)).toEqual(before.names);
  });
});

describe("a log that a node has open", () => {
  test("is read as of one moment, however much is written meanwhile", async () => {
    const dir = await temporaryFolder();
    const log = await openLog(dir, { bootstrap: MEMBERS });
    await log.append(writeOf(entriesOf(2, 500, 1, 300), 500));
    const inspector = await inspect(dir);
    expect(inspector.holderPid).toBe(process.pid);
    const items = inspector.items();
    const seen = [items.next().value];
    for (let round = 0; round < 20; round += 1) {
      const first = 501 + round * 100;
      await log.append(writeOf(entriesOf(first, first + 99, 1, 300), first + 99));
      await log.compact(BigInt(first + 50));
    }
    seen.push(...items);
    expect(shown(seen.filter((item) => item !== undefined))).toEqual(numbered(2, 500, 1));
  });
});

describe("a damaged log", () => {
  test("shows everything but the entry whose bytes were changed", async () => {
    const dir = await usedFolder();
    const file = join(dir, "raft.mdb");
    patch(file, readFileSync(file).lastIndexOf("300/1 "), (byte) => byte ^ 1);
    const inspector = await inspect(dir);
    const items = shown(inspector.items());
    expect(items.filter((item) => item.startsWith("damaged"))).toEqual(["damaged /raft/entry/300"]);
    expect(items).toHaveLength(260);
    expect((await reportOf(dir)).problems).toEqual([
      { place: "/raft/entry/300", problem: expect.stringContaining("checksum") },
    ]);
  });

  test("has its gaps named as ranges", async () => {
    const dir = await usedFolder();
    const removals = [200n, 201n, 202n, 300n, 410n];
    await change(dir, (environment) => environment.write({ records: new Map(), entries: [], removals }));
    const { problems } = await reportOf(dir);
    expect(problems.map(({ place }) => place)).toEqual([
      "/raft/entry/200 to 202",
      "/raft/entry/300",
      "/raft/entry/410",
    ]);
  });

  test("has falling terms and impossible positions named", async () => {
    const dir = await usedFolder();
    await change(dir, (environment) =>
      environment.write({
        records: new Map([[RECORD_KEYS.firstIndex, Buffer.alloc(8, 1)]]),
        entries: entriesOf(200, 200, 2),
        removals: [],
      }),
    );
    const { problems } = await reportOf(dir);
    expect(problems.map(({ place }) => place)).toEqual([RECORD_KEYS.firstIndex, "/raft/entry/201"]);
  });

  test("shows its entries although a record beside them is damaged", async () => {
    const dir = await usedFolder();
    const file = join(dir, "raft.mdb");
    const bytes = readFileSync(file);
    // Pages that are free by now still hold older copies.
    for (
      let at = bytes.indexOf(RECORD_KEYS.hardState);
      at >= 0;
      at = bytes.indexOf(RECORD_KEYS.hardState, at + 1)
    ) {
      const checksumAt = at + RECORD_KEYS.hardState.length;
      bytes[checksumAt] = (bytes[checksumAt] ?? 0) ^ 0xff;
    }
    writeFileSync(file, bytes);
    const inspector = await inspect(dir);
    expect(inspector.records.hardState).toBeUndefined();
    expect(inspector.problems.map(({ place }) => place)).toEqual([RECORD_KEYS.hardState]);
    expect(shown(inspector.items())).toHaveLength(260);
  });

  test("shows what lies beside a page that is gone", async () => {
    const dir = await usedFolder();
    const file = join(dir, "raft.mdb");
    const bytes = readFileSync(file);
    const page = Math.floor(bytes.lastIndexOf("300/1 ") / 4096);
    bytes.fill(0xff, page * 4096, (page + 1) * 4096);
    writeFileSync(file, bytes);
    const items = shown((await inspect(dir)).items());
    const entries = items.filter((item) => !item.startsWith("damaged"));
    expect(items.some((item) => item === `damaged page ${page}`)).toBe(true);
    expect(entries.length).toBeGreaterThan(200);
    expect(entries).not.toContain("300/1");
    expect((await reportOf(dir)).problemCount).toBeGreaterThan(1);
  });

  test("that cannot be read at all is a fault that says what to do", async () => {
    const dir = await temporaryFolder();
    await writeFile(join(dir, "raft.mdb"), "hello");
    await expect(LogInspector.open(dir)).rejects.toBeInstanceOf(StorageFault);
  });

  test(`with bytes changed anywhere never ends the reading in anything but a report (seed ${SEED})`, async () => {
    const dir = await usedFolder();
    const file = join(dir, "raft.mdb");
    const sound = readFileSync(file);
    const expected = new Set([...numbered(151, 394, 1), ...numbered(395, 410, 3)]);
    let state = SEED;
    const random = (bound: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return Math.floor((state / 0x80000000) * bound);
    };
    for (let round = 0; round < 200; round += 1) {
      const bytes = Buffer.from(sound);
      for (let edits = 1 + random(8); edits > 0; edits -= 1) bytes[random(bytes.length)] = random(256);
      writeFileSync(file, bytes);
      try {
        const inspector = await LogInspector.open(dir);
        try {
          const report = await verifyLog(inspector);
          const entries = shown(inspector.items()).filter((item) => !item.startsWith("damaged"));
          // Whatever passes its checksum is an entry that was written, and nothing is missing without being named.
          if (report.problemCount === 0) expect(new Set(entries)).toEqual(expected);
          for (const entry of entries) expect(entry).toMatch(/^\d+\/[13]$/);
        } finally {
          await inspector.close();
        }
      } catch (error) {
        expect(error, `round ${round}`).toBeInstanceOf(StorageFault);
      }
    }
  });
});

test("the commit index on disk decides what counts as committed", async () => {
  const dir = await temporaryFolder();
  const log = await openLog(dir, { bootstrap: MEMBERS });
  await log.append({ ...writeOf(entriesOf(2, 4, 1)), hardState: newHardState(1n, 2n, 3n) });
  await log.close();
  expect(await reportOf(dir)).toMatchObject({ entries: 3, committed: 2, uncommitted: 1 });
});
