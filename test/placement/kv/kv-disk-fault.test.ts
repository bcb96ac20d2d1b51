// The disk fails under the key-value store: a write that fails or that never comes back is an error that names the file
// and what to do, and the store that is opened afterwards is the one that was acknowledged. A child process writes to
// a real file through a shim that stands between it and the disk.

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { KvStore } from "../../../src/placement/kv/kv-store.js";
import { buildShim, NO_SHIM, shimEnvironment } from "../../storage/power-cut.js";
import { temporaryFolder } from "../../storage/support.js";

const STORE_MODULE = new URL("../../../dist/placement/kv/kv-store.js", import.meta.url).href;

/** Writes a first state, then, once the disk fails, a second one. */
const WRITER = `
  import { writeFileSync, writeSync } from "node:fs";
  const { KvStore } = await import(process.argv[1]);
  const path = process.argv[2];
  const state = (appliedIndex) => ({
    $typeName: "raftnode.records.v1.KvStoreState",
    appliedIndex, revision: appliedIndex, recordCount: 0n, sessionCount: 0n, forgottenRevision: 0n,
  });
  const fresh = await KvStore.create(path);
  await fresh.write(new Map(), [], state(1n));
  await fresh.close();
  const store = await KvStore.open(path, 500);
  writeFileSync(process.env.SHIM_ARM, "");
  const error = await store.write(new Map(), [], state(2n)).then(() => undefined, (failure) => failure);
  writeSync(1, JSON.stringify({ code: error?.code, message: error?.message }));
  process.kill(process.pid, "SIGKILL");
`;

test.for([
  {
    name: "never comes back",
    faults: { SHIM_SLOW_MS: "60000" },
    code: "writeStalled",
    says: "within 500 ms",
  },
  { name: "meets a full disk", faults: { SHIM_FAIL: "write:1" }, code: "writeFailed", says: "No space left" },
  {
    name: "is not flushed",
    faults: { SHIM_FAIL: "flush:1" },
    code: "writeFailed",
    says: "Input/output error",
  },
])("a write that $name is an error with a name", async ({ faults, code, says }, { skip }) => {
  const folder = await temporaryFolder();
  const library = buildShim(folder);
  if (library === undefined) return skip(NO_SHIM);
  const path = join(folder, "state.mdb");
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", WRITER, STORE_MODULE, path], {
    env: shimEnvironment(library, folder, { ...faults, SHIM_ARM: `${folder}/armed` }),
    encoding: "utf8",
    timeout: 60_000,
  });
  const said: { code: string; message: string } = JSON.parse(run.stdout);
  expect(said.code, run.stderr).toBe(code);
  expect(said.message).toContain(says);
  expect(said.message).toContain(path);
  const store = await KvStore.open(path);
  expect(store.readState().appliedIndex).toBe(1n);
  await store.close();
});

test("a new store where nothing can be written is an error, not the end of the process", async () => {
  const folder = await temporaryFolder();
  writeFileSync(join(folder, "file"), "");
  await expect(KvStore.create(join(folder, "file", "state.mdb"))).rejects.toThrow(/ENOTDIR/);
});
