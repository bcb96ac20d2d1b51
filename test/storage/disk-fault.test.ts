// The disk fails for real under LMDB: a flush, a page write (disk full), a write of a meta page. The append must be
// rejected with the reason, nothing after it may be acknowledged, and what was acknowledged before is there when the
// folder is opened again. A flush that never ends is noticed. On a slow disk many appends share a flush. A compaction of the file that fails harms nothing.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { buildShim, NO_SHIM, readJournal, shimEnvironment } from "./power-cut.js";
import { contents, numbered, openLog, temporaryFolder } from "./support.js";

const STORAGE_MODULE = new URL("../../dist/storage/lmdb-storage.js", import.meta.url).href;

const WRITER = `
  import { writeFileSync } from "node:fs";
  const { LmdbStorage } = await import(process.argv[1]);
  const entry = (index) => ({
    $typeName: "eraftpb.Entry", entryType: 0, term: 1n, index, data: new Uint8Array(9000), context: new Uint8Array(0),
    syncLog: false,
  });
  const fatal = [];
  const log = await LmdbStorage.open({
    dir: process.argv[2], clusterId: "test-cluster", nodeId: 1n,
    snapshots: { latest: () => undefined }, onFatal: (error) => fatal.push(error.code), watchdogMs: 20000,
  });
  const write = (index) => ({ snapshot: undefined, entries: [entry(index)], hardState: undefined, mustSync: true });
  for (let index = 1n; index <= 5n; index += 1n) await log.append(write(index));
  writeFileSync(process.env.SHIM_ARM, "");
  const outcomes = [];
  for (let index = 6n; index <= 9n; index += 1n) {
    outcomes.push(await log.append(write(index)).then(() => "acknowledged", (error) => error.code + ": " + error.message));
  }
  console.log(JSON.stringify({ outcomes, fatal }));
  process.exit(0);
`;

const FAULTS: readonly { readonly fault: string; readonly reason: RegExp }[] = [
  { fault: "flush:1", reason: /Input\/output error/ },
  { fault: "write:1", reason: /No space left on device/ },
  { fault: "meta:1", reason: /Input\/output error/ },
];

test.for(FAULTS)(
  "after $fault fails nothing is acknowledged, and nothing is lost",
  async ({ fault, reason }, { skip }) => {
    const folder = await temporaryFolder();
    const library = buildShim(folder);
    if (library === undefined) return skip(NO_SHIM);
    const dir = `${folder}/data`;
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", WRITER, STORAGE_MODULE, dir], {
      env: shimEnvironment(library, dir, { SHIM_FAIL: fault, SHIM_ARM: `${folder}/armed` }),
      encoding: "utf8",
      timeout: 60_000,
    });
    const said: { outcomes: string[]; fatal: string[] } = JSON.parse(run.stdout);
    expect(said.fatal).toEqual(["writeFailed"]);
    expect(said.outcomes).toHaveLength(4);
    for (const outcome of said.outcomes) expect(outcome).toMatch(/^writeFailed: /);
    expect(said.outcomes[0]).toMatch(reason);
    // The write that failed may have reached the disk or not; those after it never.
    const log = await openLog(dir);
    expect([numbered(1, 5, 1), numbered(1, 6, 1)]).toContainEqual(contents(log));
  },
);

const STALLED_WRITER = `
  import { writeFileSync, writeSync } from "node:fs";
  const { LmdbStorage } = await import(process.argv[1]);
  const fatal = [];
  const log = await LmdbStorage.open({
    dir: process.argv[2], clusterId: "test-cluster", nodeId: 1n,
    snapshots: { latest: () => undefined }, onFatal: (error) => fatal.push(error.code), watchdogMs: 200,
  });
  const append = (index) => log.append({
    snapshot: undefined, hardState: undefined, mustSync: true,
    entries: [{
      $typeName: "eraftpb.Entry", entryType: 0, term: 1n, index, data: new Uint8Array(100), context: new Uint8Array(0),
      syncLog: false,
    }],
  }).then(() => "acknowledged", (error) => error.code);
  await append(1n);
  writeFileSync(process.env.SHIM_ARM, "");
  const outcomes = await Promise.all([append(2n), append(3n)]);
  outcomes.push(await append(4n));
  writeSync(1, JSON.stringify({ outcomes, fatal }));
  process.kill(process.pid, "SIGKILL");
`;

test("a write that does not come back is given up, and with it everything after it", async ({ skip }) => {
  const folder = await temporaryFolder();
  const library = buildShim(folder);
  if (library === undefined) return skip(NO_SHIM);
  const dir = `${folder}/data`;
  const run = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", STALLED_WRITER, STORAGE_MODULE, dir],
    {
      env: shimEnvironment(library, dir, { SHIM_SLOW_MS: "60000", SHIM_ARM: `${folder}/armed` }),
      encoding: "utf8",
      timeout: 60_000,
    },
  );
  expect(JSON.parse(run.stdout), run.stderr).toEqual({
    outcomes: ["writeStalled", "writeStalled", "writeStalled"],
    fatal: ["writeStalled"],
  });
});

/** Says what happens; then what was acknowledged in the end. */
const COMPACTING_WRITER = `
  import { writeFileSync } from "node:fs";
  const { LmdbStorage } = await import(process.argv[1]);
  const entry = (index) => ({
    $typeName: "eraftpb.Entry", entryType: 0, term: 1n, index, data: new Uint8Array(9000), context: new Uint8Array(0),
    syncLog: false,
  });
  const fatal = [];
  const log = await LmdbStorage.open({
    dir: process.argv[2], clusterId: "test-cluster", nodeId: 1n,
    snapshots: { latest: () => undefined }, onFatal: (error) => fatal.push(error.code), compactFileBytes: Infinity,
  });
  const write = (from, to) => ({
    snapshot: undefined, entries: Array.from({ length: Number(to - from) + 1 }, (_, at) => entry(from + BigInt(at))),
    hardState: undefined, mustSync: true,
  });
  await log.append(write(1n, 500n));
  writeFileSync(process.env.SHIM_ARM, "");
  const outcome = await log.compactFile().then(String, () => "failed");
  await log.append(write(501n, 505n));
  const again = await log.compactFile();
  await log.append(write(506n, 510n));
  await log.close();
  console.log(JSON.stringify({ outcome, again, fatal }));
  process.exit(0);
`;

test.for(["flush:1", "flush:2", "flush:5", "write:1", "write:9", "meta:1"])(
  "after %s a compaction of the file has failed, the log goes on, and the next one succeeds",
  async (fault, { skip }) => {
    const folder = await temporaryFolder();
    const library = buildShim(folder);
    if (library === undefined) return skip(NO_SHIM);
    const dir = `${folder}/data`;
    const run = spawnSync(
      process.execPath,
      ["--input-type=module", "-e", COMPACTING_WRITER, STORAGE_MODULE, dir],
      {
        env: shimEnvironment(library, dir, { SHIM_FAIL: fault, SHIM_ARM: `${folder}/armed` }),
        encoding: "utf8",
        timeout: 60_000,
      },
    );
    expect(run.status, `${run.signal} ${run.stderr}`).toBe(0);
    expect(JSON.parse(run.stdout)).toEqual({ outcome: "failed", again: true, fatal: [] });
    expect(contents(await openLog(dir))).toEqual(numbered(1, 510, 1));
    expect(readdirSync(dir).filter((name) => name.startsWith("raft-new"))).toEqual([]);
  },
);

const SLOW_WRITER = `
  import { writeSync } from "node:fs";
  const { LmdbStorage } = await import(process.argv[1]);
  const log = await LmdbStorage.open({
    dir: process.argv[2], clusterId: "test-cluster", nodeId: 1n, snapshots: { latest: () => undefined },
  });
  const say = (line) => writeSync(1, line + "\\n");
  const append = async (index) => {
    await log.append({
      snapshot: undefined, hardState: undefined, mustSync: true,
      entries: [{
        $typeName: "eraftpb.Entry", entryType: 0, term: 1n, index, data: new Uint8Array(100), context: new Uint8Array(0),
        syncLog: false,
      }],
    });
    say("acked " + index);
  };
  say("begins");
  const first = append(1n);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await Promise.all([first, ...Array.from({ length: 60 }, (_, at) => append(BigInt(at + 2)))]);
  say("ends");
  process.exit(0);
`;

test("on a slow disk 60 appends share one flush, and none is acknowledged before it", async ({ skip }) => {
  const folder = await temporaryFolder();
  const library = buildShim(folder);
  if (library === undefined) return skip(NO_SHIM);
  const dir = `${folder}/data`;
  const journal = `${folder}/journal`;
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", SLOW_WRITER, STORAGE_MODULE, dir], {
    env: shimEnvironment(library, dir, { SHIM_SLOW_MS: "200", SHIM_JOURNAL: journal }),
    encoding: "utf8",
    timeout: 60_000,
  });
  expect(run.status, run.stderr).toBe(0);
  const steps = readJournal(journal)
    .filter(({ kind }) => kind === "flush" || kind === "syncedWrite" || kind === "said")
    .map(({ kind, bytes }) => (kind === "said" ? bytes.toString().trim().split(" ")[0] : kind));
  const during = steps.slice(steps.indexOf("begins") + 1, steps.indexOf("ends"));
  const acked = Array.from({ length: 60 }, () => "acked");
  expect(during).toEqual(["flush", "syncedWrite", "acked", "flush", "syncedWrite", ...acked]);
});
