// What the durable log costs beside bare lmdb, opened the same way and measured in turns with it: appends, reads, opening
// a long log with everything checked, and what compaction does to the appends beside it.

import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, open, type RootDatabase } from "lmdb";
import { newHardState, newNormalEntry } from "../src/core/messages.js";
import type { Entry } from "../src/gen/eraftpb_pb.js";
import type { LogWrite } from "../src/node/ports.js";
import { LmdbStorage } from "../src/storage/lmdb-storage.js";
import { ENTRY_HEADER_BYTES } from "../src/storage/record-codec.js";
import { SnapshotFiles } from "../src/storage/snapshot-files.js";
import { quantile } from "./node/load.js";
import { type Benchmark, median, type Report } from "./report.js";

const BYTES = 256;
const BATCHES = [1, 16, 64, 1_024];
const READ_ENTRIES = 64;
/** Bare lmdb and the log take turns of so many batches, so that both meet the same noise. */
const TURN = 10;
const WARM_UP_TURNS = 10;
const READ_ROUNDS = 7;
const FILL_BATCH = 1_024;

export const storage: Benchmark = {
  title: `the durable log on LMDB, entries of ${BYTES} bytes, bare lmdb beside it`,
  options: {
    appends: { text: "durable batches of each size, half of them through bare lmdb", default: 1_400 },
    entries: { text: "length of the log that is opened and compacted", default: 1_000_000 },
  },
  async run(report, note, options) {
    const dir = await mkdtemp(join(tmpdir(), "raft-node-bench-"));
    try {
      for (const size of BATCHES)
        await appends(report, join(dir, `append-${size}`), size, options["appends"] ?? 0);
      const entries = options["entries"] ?? 0;
      note(`filling a log with ${entries} entries`);
      await fill(join(dir, "long"), entries);
      await reads(report, join(dir, "long"), entries);
      for (const length of [Math.ceil(entries / 10), entries]) {
        const shorter = join(dir, `open-${length}`);
        if (length < entries) await fill(shorter, length);
        opening(report, length < entries ? shorter : join(dir, "long"), length);
      }
      await compaction(report, join(dir, "long"), entries);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  },
};

/**
 * lmdb as the log opens it, with nothing around it: one atomic batch that is on disk when it resolves. It is given records
 * of the size that the log writes, ready made: no checksum, no encoding, nothing kept in memory, no waiting for others.
 */
class BareLmdb {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #entries: Database<Buffer, Buffer>;

  constructor(path: string) {
    const encodings = { encoding: "binary", keyEncoding: "binary", cache: false } as const;
    this.#root = open<Buffer, Buffer>({
      ...encodings,
      path,
      noSubdir: true,
      overlappingSync: false,
      eventTurnBatching: false,
      maxDbs: 4,
      mapSize: 1024 ** 3,
      pageSize: 4096,
      compression: false,
    });
    this.#entries = this.#root.openDB<Buffer, Buffer>({ ...encodings, name: "entries" });
  }

  async append(values: readonly (readonly [Buffer, Buffer])[]): Promise<void> {
    await this.#root.batch(() => {
      for (const [key, value] of values) this.#entries.put(key, value);
      this.#root.put(LAST_INDEX, values.at(-1)?.[0] ?? LAST_INDEX);
    });
  }

  /** Bytes, so that nothing is left out. */
  read(first: number, count: number): number {
    let bytes = 0;
    for (let index = first; index < first + count; index += 1) {
      bytes += this.#entries.get(keyOf(index))?.length ?? 0;
    }
    return bytes;
  }

  scan(): number {
    let count = 0;
    for (const { value } of this.#entries.getRange({})) count += value.length > 0 ? 1 : 0;
    return count;
  }

  close(): Promise<void> {
    return this.#root.close();
  }
}

const LAST_INDEX = Buffer.from("/raft/last_index");

function keyOf(index: number): Buffer {
  const key = Buffer.allocUnsafeSlow(20);
  key.write("/raft/entry/");
  key.writeBigUInt64BE(BigInt(index), 12);
  return key;
}

/** What bare lmdb is given; made beforehand, as the entries that the log is given are. */
function valuesOf(first: number, count: number): (readonly [Buffer, Buffer])[] {
  return Array.from({ length: count }, (_, at) => {
    return [keyOf(first + at), Buffer.allocUnsafeSlow(ENTRY_HEADER_BYTES + BYTES).fill(first + at)] as const;
  });
}

async function openLog(dir: string, compactFileBytes = Number.POSITIVE_INFINITY): Promise<LmdbStorage> {
  const snapshots = await SnapshotFiles.open(join(dir, "snapshots"));
  return LmdbStorage.open({
    dir,
    clusterId: "bench",
    nodeId: 1n,
    snapshots,
    cacheBytes: 0,
    compactFileBytes,
  });
}

function writeOf(first: number, count: number): LogWrite {
  const entries: Entry[] = [];
  for (let index = first; index < first + count; index += 1) {
    entries.push(newNormalEntry(1n, BigInt(index), new Uint8Array(BYTES).fill(index)));
  }
  return { snapshot: undefined, entries, hardState: undefined, mustSync: true };
}

interface Cost {
  readonly us: number;
  readonly cpuUs: number;
}

/** Medians of wall and processor time of one call, all threads of the process together. */
async function costOf(times: number, call: (nth: number) => Promise<void> | void): Promise<Cost> {
  const wall: number[] = [];
  const cpuBefore = process.cpuUsage();
  for (let nth = 0; nth < times; nth += 1) {
    const startedAt = performance.now();
    await call(nth);
    wall.push((performance.now() - startedAt) * 1_000);
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return { us: median(wall), cpuUs: (user + system) / times };
}

async function appends(report: Report, dir: string, size: number, batches: number): Promise<void> {
  const log = await openLog(dir);
  const bare = new BareLmdb(join(dir, "bare.mdb"));
  const ours: Cost[] = [];
  const theirs: Cost[] = [];
  let next = 1;
  for (let turn = 0; turn < Math.max(1, batches / 2 / TURN) + WARM_UP_TURNS; turn += 1) {
    const firsts = Array.from({ length: TURN }, (_, nth) => next + nth * size);
    next += TURN * size;
    const values = firsts.map((first) => valuesOf(first, size));
    const writes = firsts.map((first) => writeOf(first, size));
    // So that nobody pays for what was made for both.
    globalThis.gc?.();
    const bareTurn = async (): Promise<void> => {
      theirs.push(await costOf(TURN, (nth) => bare.append(values[nth] ?? [])));
    };
    if (turn % 2 === 0) await bareTurn();
    ours.push(await costOf(TURN, (nth) => log.append(writes[nth] ?? writeOf(1, 0))));
    if (turn % 2 === 1) await bareTurn();
  }
  for (const costs of [ours, theirs]) costs.splice(0, WARM_UP_TURNS);
  await log.close();
  await bare.close();
  const params = { entries: size, bytes: BYTES };
  const us = median(ours.map((cost) => cost.us));
  const bareUs = median(theirs.map((cost) => cost.us));
  report("append-us", us, "us", params);
  report("append-bare-us", bareUs, "us", params);
  // Turn by turn, so that what the machine did meanwhile cancels out.
  const ratio = (pick: (cost: Cost) => number): number =>
    median(ours.map((cost, at) => pick(theirs[at] ?? cost) / pick(cost)));
  report(
    "append-rate-of-bare",
    ratio((cost) => cost.us),
    "x",
    params,
  );
  report("append-latency-of-bare", 1 / ratio((cost) => cost.us), "x", params);
  report("append-cpu-us", median(ours.map((cost) => cost.cpuUs)), "us", params);
  report("append-cpu-of-bare", 1 / ratio((cost) => cost.cpuUs), "x", params);
}

/** A log of so many committed entries, and beside it the same in bare lmdb. */
async function fill(dir: string, entries: number): Promise<void> {
  const log = await openLog(dir);
  const bare = new BareLmdb(join(dir, "bare.mdb"));
  for (let first = 1; first <= entries; first += FILL_BATCH) {
    const count = Math.min(FILL_BATCH, entries - first + 1);
    const hardState = newHardState(1n, 0n, BigInt(first + count - 1));
    await log.append({ ...writeOf(first, count), hardState });
    await bare.append(valuesOf(first, count));
  }
  await log.close();
  await bare.close();
}

async function reads(report: Report, dir: string, entries: number): Promise<void> {
  const log = await openLog(dir);
  const bare = new BareLmdb(join(dir, "bare.mdb"));
  const at = (nth: number): number => 1 + ((nth * 7_919) % (entries - READ_ENTRIES));
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round <= READ_ROUNDS; round += 1) {
    const bareCost = await costOf(500, (nth) => {
      bare.read(at(nth), READ_ENTRIES);
    });
    const cost = await costOf(500, (nth) => {
      const first = BigInt(at(nth));
      log.storage.entries(first, first + BigInt(READ_ENTRIES), Number.POSITIVE_INFINITY, {
        canAsync: false,
        purpose: "other",
      });
    });
    if (round === 0) continue;
    theirs.push(bareCost.us);
    ours.push(cost.us);
  }
  await log.close();
  await bare.close();
  const params = { entries: READ_ENTRIES, bytes: BYTES };
  report("read-us", median(ours), "us", params);
  report("read-bare-us", median(theirs), "us", params);
  report("read-rate-of-bare", median(ours.map((us, round) => (theirs[round] ?? us) / us)), "x", params);
}

interface Opened {
  readonly ms: number;
  readonly cpuMs: number;
  /** The most memory that the process ever had, beside what it had before. */
  readonly rssMib: number;
}

const OPEN_VARIABLE = "RAFT_NODE_BENCH_OPEN";

/** In a process of its own: opens what the variable names, and prints an Opened. */
export async function runStorageOpen(): Promise<void> {
  const [what = "", dir = ""] = (process.env[OPEN_VARIABLE] ?? "").split("|");
  const before = process.resourceUsage();
  const startedAt = performance.now();
  const close = what === "bare" ? scanBare(dir) : await openLog(dir);
  const ms = performance.now() - startedAt;
  const after = process.resourceUsage();
  const cpuMs = (after.userCPUTime + after.systemCPUTime - before.userCPUTime - before.systemCPUTime) / 1_000;
  const opened: Opened = { ms, cpuMs, rssMib: (after.maxRSS - before.maxRSS) / 1_024 };
  console.log(JSON.stringify(opened));
  await close.close();
}

function scanBare(dir: string): BareLmdb {
  const bare = new BareLmdb(join(dir, "bare.mdb"));
  bare.scan();
  return bare;
}

function opening(report: Report, dir: string, entries: number): void {
  for (const what of ["log", "bare"]) {
    const runs = Array.from({ length: 3 }, () => openedBy(what, dir));
    const params = { entries, bytes: BYTES };
    const name = what === "log" ? "open" : "open-bare-and-scan";
    report(`${name}-ms`, median(runs.map((run) => run.ms)), "ms", params);
    report(`${name}-cpu-ms`, median(runs.map((run) => run.cpuMs)), "ms", params);
    report(`${name}-rss-mib`, median(runs.map((run) => run.rssMib)), "MiB", params);
  }
}

function openedBy(what: string, dir: string): Opened {
  const program = `const { runStorageOpen } = await import(${JSON.stringify(import.meta.url)}); await runStorageOpen();`;
  const { stdout, status, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
    encoding: "utf8",
    env: { ...process.env, [OPEN_VARIABLE]: `${what}|${dir}` },
  });
  if (status !== 0) throw new Error(`opening ${dir} failed: ${stderr}`);
  const opened: Opened = JSON.parse(stdout);
  return opened;
}

const COMPACTION_APPEND = 16;
const COMPACTION_SAMPLES = 1_000;

/** Nine tenths of the log are compacted away, then its file, while appends go on one after the other. */
async function compaction(report: Report, dir: string, entries: number): Promise<void> {
  const log = await openLog(dir);
  let next = entries + 1;
  const append = async (): Promise<number> => {
    const startedAt = performance.now();
    await log.append(writeOf(next, COMPACTION_APPEND));
    next += COMPACTION_APPEND;
    return performance.now() - startedAt;
  };
  const undisturbed: number[] = [];
  for (let nth = 0; nth < COMPACTION_SAMPLES; nth += 1) undisturbed.push(await append());
  const p99 = p99Of(undisturbed);
  const upTo = Math.floor((entries / 10) * 9);
  const params = { entries: upTo, appended: COMPACTION_APPEND, bytes: BYTES };
  report("append-p99-ms", p99, "ms", { appended: COMPACTION_APPEND, bytes: BYTES });

  const beside = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    let done = false;
    const startedAt = performance.now();
    const working = work().finally(() => {
      done = true;
    });
    const latencies: number[] = [];
    while (!done) latencies.push(await append());
    await working;
    report(`${name}-ms`, performance.now() - startedAt, "ms", params);
    report(`${name}-append-p99-ms`, p99Of(latencies), "ms", params);
    report(`${name}-append-p99-of-undisturbed`, p99Of(latencies) / p99, "x", params);
    report(`${name}-append-max-ms`, Math.max(...latencies), "ms", params);
  };
  await beside("compact", () => log.compact(BigInt(upTo)));
  report("file-mib-before", log.stats().fileBytes / 1024 ** 2, "MiB", params);
  await beside("compact-file", () => log.compactFile());
  report("file-mib-after", log.stats().fileBytes / 1024 ** 2, "MiB", params);
  await log.close();
}

function p99Of(latencies: readonly number[]): number {
  return quantile(Float64Array.from(latencies).sort(), 0.99);
}
