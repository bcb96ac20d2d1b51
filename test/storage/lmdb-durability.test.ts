// What the log relies on in lmdb, pinned: when a batch counts as committed, what is visible before that, what becomes of
// a flush that fails, and which version all this was found in. An upgrade that changes it fails here. The process
// under test uses lmdb directly, opened as src/storage/environment.ts opens it, on a disk that is slow or fails.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { LogEnvironment } from "../../src/storage/environment.js";
import { LmdbFile } from "../../src/storage/lmdb-file.js";
import { buildShim, NO_SHIM, readJournal, shimEnvironment } from "./power-cut.js";
import { temporaryFolder } from "./support.js";

/** Whoever raises it has read lmdb's changes, and run `npm run test:faults` and `npm run test:crash`. */
const PINNED_VERSION = "3.5.6";
const SLOW_MS = 300;

const PROLOGUE = `
  import { open } from "lmdb";
  import { writeSync } from "node:fs";
  const path = process.argv[1] + "/pinned.mdb";
  const root = open({
    path, noSubdir: true, overlappingSync: false, eventTurnBatching: false, encoding: "binary", keyEncoding: "binary",
    maxDbs: 4, mapSize: 1024 ** 3, pageSize: 4096, cache: false, compression: false,
  });
  const key = Buffer.from("key");
  const batch = (value) => root.batch(() => root.put(key, Buffer.from(value)));
  const seen = () => root.get(key)?.toString() ?? "nothing";
  const say = (line) => writeSync(1, line + "\\n");
  await batch("first");
`;

interface Pinned {
  readonly said: readonly string[];
  /** What reached the disk, and what was said, in order. */
  readonly steps: readonly string[];
}

async function run(script: string, settings: Record<string, string>): Promise<Pinned | undefined> {
  const folder = await temporaryFolder();
  const library = buildShim(folder);
  if (library === undefined) return undefined;
  const journal = `${folder}/journal`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", PROLOGUE + script, folder], {
    env: shimEnvironment(library, folder, {
      SHIM_JOURNAL: journal,
      SHIM_ARM: `${folder}/armed`,
      ...settings,
    }),
    encoding: "utf8",
    timeout: 60_000,
  });
  // lmdb complains about failures on its own account.
  expect(child.status, child.stderr).toBe(0);
  const steps = readJournal(journal)
    .filter(({ kind }) => ["write", "syncedWrite", "flush", "said"].includes(kind))
    .map(({ kind, bytes }) => (kind === "said" ? bytes.toString().trim() : kind));
  return { said: child.stdout.trim().split("\n"), steps };
}

test("lmdb is the version whose durability was looked into", () => {
  const version = (file: string): unknown => JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8"));
  expect(version("../../node_modules/lmdb/package.json")).toMatchObject({ version: PINNED_VERSION });
  expect(version("../../package.json")).toMatchObject({ dependencies: { lmdb: PINNED_VERSION } });
});

test("the log's environment is of the data format that is checked before lmdb sees a file", async () => {
  const file = `${await temporaryFolder()}/raft.mdb`;
  const environment = LogEnvironment.open(file);
  await environment.close();
  const opened = LmdbFile.open(file);
  opened.close();
  expect(opened.meta.pageBytes).toBe(4096);
});

describe("opened as the log opens it", () => {
  test("a batch is answered after its pages are flushed and its meta page is written through", async ({
    skip,
  }) => {
    const pinned = await run('say("begin"); await batch("second"); say("answered"); await root.close();', {});
    if (pinned === undefined) return skip(NO_SHIM);
    const { steps } = pinned;
    const during = steps.slice(steps.indexOf("begin") + 1, steps.indexOf("answered"));
    // Any number of page writes, one flush, then the meta page through a descriptor that flushes by itself.
    expect(during.join(" ")).toMatch(/^(write )+flush syncedWrite$/);
  });

  test("nothing is visible before it is on disk, and nothing is answered", async ({ skip }) => {
    const pinned = await run(
      `
        import { writeFileSync } from "node:fs";
        writeFileSync(process.env.SHIM_ARM, "");
        let answered = false;
        const written = batch("second").then((taken) => { answered = taken; });
        await new Promise((resolve) => setTimeout(resolve, ${SLOW_MS / 3}));
        say(seen() + " " + answered);
        await written;
        say(seen() + " " + answered);
        await root.close();
      `,
      { SHIM_SLOW_MS: String(SLOW_MS) },
    );
    if (pinned === undefined) return skip(NO_SHIM);
    expect(pinned.said).toEqual(["first false", "second true"]);
  });

  const FAILING = `
    import { writeFileSync } from "node:fs";
    writeFileSync(process.env.SHIM_ARM, "");
    const outcome = await batch("second").then(String, async (error) => {
      // A promise that rejects: nobody else watches it.
      await Promise.resolve(error.commitError).catch(() => {});
      return "rejected";
    });
    say(outcome);
  `;

  test("a batch whose flush fails is rejected and stays invisible", async ({ skip }) => {
    const pinned = await run(`${FAILING} say(seen()); process.exit(0);`, { SHIM_FAIL: "flush:1" });
    if (pinned === undefined) return skip(NO_SHIM);
    expect(pinned.said).toEqual(["rejected", "first"]);
  });

  test("after a flush that failed lmdb would go on as if nothing were wrong: the log must not", async ({
    skip,
  }) => {
    const script = `${FAILING} say(String(await batch("third"))); process.exit(0);`;
    const pinned = await run(script, { SHIM_FAIL: "flush:1" });
    if (pinned === undefined) return skip(NO_SHIM);
    expect(pinned.said).toEqual(["rejected", "true"]);
  });

  test("a batch whose meta page cannot be written is rejected", async ({ skip }) => {
    const pinned = await run(`${FAILING} process.exit(0);`, { SHIM_FAIL: "meta:1" });
    if (pinned === undefined) return skip(NO_SHIM);
    expect(pinned.said).toEqual(["rejected"]);
  });

  test("a full disk rejects the batch with the reason beside it", async ({ skip }) => {
    const pinned = await run(`${FAILING} say(seen()); process.exit(0);`, { SHIM_FAIL: "write:1" });
    if (pinned === undefined) return skip(NO_SHIM);
    expect(pinned.said).toEqual(["rejected", "first"]);
  });
});
