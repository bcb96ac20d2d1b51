// What embedders import as `raft-node/testing` loads and runs in plain Node.js, built, without any test runner.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const PROGRAM = `
import { MemoryStorage, newHardState, newSnapshot } from "raft-node";
import { storageContract } from "raft-node/testing";

const cases = storageContract(async () => {
  const storage = new MemoryStorage();
  return {
    storage,
    append: async (entries) => storage.append(entries),
    commitTo: async (index) => storage.setHardState(newHardState(1n, 0n, index)),
    compact: async (index) => storage.compact(index),
    applySnapshot: async (index, term, confState) => storage.applySnapshot(newSnapshot(index, term, confState)),
  };
});
for (const { name, run } of cases) {
  await run();
  console.log("ok", name);
}
`;

test("the contracts run in plain Node.js", () => {
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", PROGRAM], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  expect(stdout.split("\n").filter((line) => line.startsWith("ok ")).length).toBeGreaterThan(15);
});
