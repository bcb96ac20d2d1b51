// Nothing that was acknowledged is lost in a power cut. A real process writes through a shim that keeps a journal of
// every write, flush and rename; from it, the folder is computed as a power cut at any moment could have left it, with
// unflushed writes lost, kept, or kept in part. Each of these folders must open, and hold what was acknowledged.
// Of the log's writes many moments are tried; of the steps of a snapshot's installation and of a compaction of the log's
// file every single one, each with nothing, everything, and a part of what was not flushed.
// POWER_CUTS=2000 and POWER_CUT_SEED=7 try more of the former, or the same again.

import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
import {
  buildShim,
  CachedDisk,
  type JournalRecord,
  NO_SHIM,
  readJournal,
  type Survival,
  shimEnvironment,
} from "./power-cut.js";
import { contents, numbered, openLog, temporaryFolder } from "./support.js";

const LOG_WRITER = fileURLToPath(new URL("crash-writer.mjs", import.meta.url));
const COMPACTION_WRITER = fileURLToPath(new URL("compaction-writer.mjs", import.meta.url));
const SNAPSHOT_WRITER = fileURLToPath(new URL("snapshot-writer.mjs", import.meta.url));
const CUTS = Number(process.env["POWER_CUTS"] ?? 120);
const SEED = Number(process.env["POWER_CUT_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const OPERATIONS = 150;
const SURVIVALS: readonly Survival[] = ["nothing", "everything", "chance"];
const COMPACTION = { begins: "begins", ends: "ends" };
const TIMEOUT_MS = 60_000 + CUTS * 500;

test(
  `the log holds what was acknowledged after ${CUTS} power cuts (seed ${SEED})`,
  async ({ skip }) => {
    const journal = await record(LOG_WRITER, String(SEED), String(OPERATIONS));
    if (journal === undefined) return skip(NO_SHIM);
    const folder = await temporaryFolder();
    const checker = spawn(process.execPath, [LOG_WRITER, "check", String(SEED)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const answers = createInterface({ input: checker.stdout })[Symbol.asyncIterator]();
    let last = 0;
    for await (const { acknowledged, context, image } of cuts(journal, join(folder, "image"), CUTS)) {
      checker.stdin.write(`${image}\n`);
      const { value } = await answers.next();
      const [word, number] = String(value).split(" ");
      expect(word, `${context}: ${value}`).toBe("opened");
      expect(Number(number), context).toBeGreaterThanOrEqual(acknowledged);
      last = Number(number);
    }
    checker.stdin.end();
    expect(last).toBe(OPERATIONS);
  },
  TIMEOUT_MS,
);

test(
  `the snapshots that were acknowledged are whole after power cuts between any two steps (seed ${SEED})`,
  async ({ skip }) => {
    const journal = await record(SNAPSHOT_WRITER, String(SEED));
    if (journal === undefined) return skip(NO_SHIM);
    const folder = await temporaryFolder();
    let last = 0;
    for await (const { acknowledged, context, image } of everyCut(journal, join(folder, "image"))) {
      await mkdir(image, { recursive: true });
      const files = await SnapshotFiles.open(image);
      const latest = files.latest();
      last = Number(latest?.metadata?.index ?? 0n);
      expect(last, context).toBeGreaterThanOrEqual(acknowledged);
      for (const name of readdirSync(image).filter((each) => each.endsWith(".body"))) {
        // Received in full: whoever resumes it will not ask for it again.
        const index = Number(name.split("-")[1]);
        const body = readFileSync(join(image, name)).subarray(0, bodyBytes(index));
        expect(body.equals(Buffer.alloc(bodyBytes(index), index)), `${context}: ${name}`).toBe(true);
      }
      for (const name of readdirSync(image).filter((each) => each.endsWith(".snap"))) {
        const reader = await files.openRead(name.slice(0, -".snap".length));
        for (let offset = 0; offset < reader.sizeBytes; )
          offset += (await reader.read(offset, 50_000)).length;
        await reader.close();
      }
    }
    expect(last).toBe(4);
  },
  TIMEOUT_MS,
);

test(
  `the log is whole after power cuts between any two steps of a compaction of its file (seed ${SEED})`,
  async ({ skip }) => {
    const journal = await record(COMPACTION_WRITER);
    if (journal === undefined) return skip(NO_SHIM);
    const folder = await temporaryFolder();
    const snapshots = await SnapshotFiles.open(join(folder, "snapshots"));
    let compacted = 0;
    for await (const { acknowledged, context, image } of everyCut(
      journal,
      join(folder, "image"),
      COMPACTION,
    )) {
      await mkdir(image, { recursive: true });
      const log = await openLog(image, { snapshots, cacheBytes: 0 });
      const entries = contents(log);
      const first = Number(log.storage.firstIndex());
      const last = Number(log.storage.lastIndex());
      await log.close();
      expect(entries.length, context).toBe(last - first + 1);
      // Until the suffix is replaced there are 750 entries of the first term, and they are acknowledged.
      const replaced = entries.at(-1)?.endsWith("/2") === true;
      if (acknowledged !== 750) expect(replaced, context).toBe(true);
      if (replaced) expect(last, context).toBeGreaterThanOrEqual(acknowledged === 750 ? 720 : acknowledged);
      else expect(last, context).toBe(750);
      const boundary = replaced ? 701 : 751;
      const expected = [...numbered(first, boundary - 1, 1), ...numbered(boundary, last, 2)];
      expect(entries, context).toEqual(expected);
      expect(readdirSync(image).filter((name) => name.startsWith("raft-new"))).toEqual([]);
      if (first > 101) compacted += 1;
    }
    expect(compacted).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

/** As snapshot-writer.mjs makes them. */
function bodyBytes(index: number): number {
  return 20_000 + index * 7_000;
}

interface Cut {
  /** The highest number that was acknowledged before the cut. */
  readonly acknowledged: number;
  readonly context: string;
  /** The folder as it was left. */
  readonly image: string;
}

/** About `count` cuts, spread over the journal; one more at its end, where nothing but what was flushed is kept. */
async function* cuts(journal: Recording, image: string, count: number): AsyncGenerator<Cut> {
  const disk = new CachedDisk(journal.dir);
  const random = generator(SEED);
  let acknowledged = 0;
  for (const [at, each] of journal.records.entries()) {
    disk.take(each);
    if (each.kind === "said") acknowledged = Math.max(acknowledged, acknowledgedIn(each));
    const isLast = at === journal.length - 1;
    const times = Math.floor(count / journal.length + random());
    for (let time = isLast ? 0 : 1; time <= times; time += 1) {
      const survival =
        time === 0 ? "nothing" : (SURVIVALS[Math.floor(random() * SURVIVALS.length)] ?? "chance");
      disk.cut(image, survival, random);
      const context = `seed ${SEED}, after record ${at} (${each.kind}), ${survival} unflushed kept, ${acknowledged} acknowledged`;
      yield { acknowledged, context, image };
    }
  }
}

/**
 * Every moment of the journal, or of the part between two things that were said, with every kind of survival. A kill
 * of the process is the kind that keeps everything.
 */
async function* everyCut(
  journal: Recording,
  image: string,
  part?: { readonly begins: string; readonly ends: string },
): AsyncGenerator<Cut> {
  const disk = new CachedDisk(journal.dir);
  const random = generator(SEED);
  let acknowledged = 0;
  let inside = part === undefined;
  let cutsMade = 0;
  for (const [at, each] of journal.records.entries()) {
    disk.take(each);
    if (each.kind === "said") {
      // The last one, not the highest: a suffix that is replaced may end earlier.
      acknowledged = acknowledgedIn(each) || acknowledged;
      const words = each.bytes.toString().trim();
      if (part !== undefined && (words === part.begins || words === part.ends))
        inside = words === part.begins;
    }
    if (!inside) continue;
    for (const survival of SURVIVALS) {
      disk.cut(image, survival, random);
      const context = `seed ${SEED}, after record ${at} (${each.kind}), ${survival} unflushed kept, ${acknowledged} acknowledged`;
      cutsMade += 1;
      yield { acknowledged, context, image };
    }
  }
  expect(cutsMade).toBeGreaterThan(0);
}

function acknowledgedIn({ bytes }: JournalRecord): number {
  const match = /^acked (\d+)/.exec(bytes.toString());
  return match === null ? 0 : Number(match[1]);
}

interface Recording {
  readonly dir: string;
  readonly records: readonly JournalRecord[];
  readonly length: number;
}

/** Runs a writer to its end with a journal. Undefined where there is no shim. */
async function record(writer: string, ...args: string[]): Promise<Recording | undefined> {
  const folder = await temporaryFolder();
  const library = buildShim(folder);
  if (library === undefined) return undefined;
  const dir = join(folder, "written");
  const journalFile = join(folder, "journal");
  const run = spawnSync(process.execPath, [writer, dir, ...args], {
    env: shimEnvironment(library, dir, { SHIM_JOURNAL: journalFile }),
    encoding: "utf8",
  });
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  const records = readJournal(journalFile);
  return { dir, records, length: records.length };
}

function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
