// The disk fails for real under LMDB: a flush, a page write (disk full), a write of a meta page. The append must be
// rejected with the reason, nothing after it may be acknowledged, and what was acknowledged before is there when the
// folder is opened again. Also pins what lmdb promises: an upgrade that changes it fails here.

import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { buildShim, shimEnvironment } from "./power-cut.js";
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

test.each(FAULTS)(
  "after $fault fails nothing is acknowledged, and nothing is lost",
  async ({ fault, reason }) => {
    const folder = await temporaryFolder();
    const library = buildShim(folder);
    if (library === undefined) return;
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
