// The code in the README is code that runs: each block that has a source in the tree is compared with it, letter for
// letter, and the example of an embedder is started on real disks.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startCounter, toBytes } from "../examples/counter.js";
import { filesUnder, readText } from "./support/source-files.js";

const readme = readText("README.md");

test.each([
  ["by-hand", "test/core/by-hand.test.ts"],
  ["counter", "examples/counter.ts"],
])("the README shows the region %s of %s", (region, path) => {
  const [, code] =
    new RegExp(`// #region ${region}\n([\\s\\S]*?)// #endregion ${region}`).exec(readText(path)) ?? [];
  expect(code, `${path} has no region ${region}`).toBeDefined();
  expect(readme.includes(code?.trim() ?? ""), `copy the region ${region} of ${path} into README.md`).toBe(
    true,
  );
});

test("RawNode is driven by hand in under 40 lines", () => {
  const [, code = ""] =
    /#region by-hand\n([\s\S]*?)\/\/ #endregion/.exec(readText("test/core/by-hand.test.ts")) ?? [];
  expect(code.trim().split("\n").length).toBeLessThan(40);
});

test("every npm script that the README names exists, and so does every file that it links to", () => {
  const manifest: { scripts: Record<string, string> } = JSON.parse(readText("package.json"));
  const named = [...readme.matchAll(/npm run ([\w-]+)/g)].map(([, name = ""]) => name);
  expect(named.filter((name) => !(name in manifest.scripts))).toEqual([]);
  const linked = [...readme.matchAll(/\]\(([^):#]+)\)/g)].map(([, path = ""]) => path);
  for (const path of linked) expect(() => readText(path), path).not.toThrow();
});

test("the index of decisions names each of them", () => {
  const index = readText("docs/decisions/README.md");
  const decisions = filesUnder("docs/decisions").map((path) => path.replace(/.*\//, ""));
  expect(decisions.filter((name) => name !== "README.md" && !index.includes(`](${name})`))).toEqual([]);
});

test("the README's counter counts, and counts on after a restart", async () => {
  const folder = mkdtempSync(join(tmpdir(), "raft-node-counter-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const members = [{ id: 1n, address: "127.0.0.1:1" }];
  const deadlineMs = 10_000;
  const first = await startCounter(1n, 0, folder, members);
  await first.node.leaderKnown({ deadlineMs });
  for (const add of [1n, 2n, 39n]) await first.node.propose(toBytes(add), { deadlineMs });
  expect(first.stateMachine.total).toBe(42n);
  await first.close();

  const second = await startCounter(1n, 0, folder, members);
  onTestFinished(() => second.close());
  await second.node.leaderKnown({ deadlineMs });
  await second.node.readIndex({ deadlineMs });
  expect(second.stateMachine.total).toBe(42n);
});

test("the README's counter cuts its log behind a snapshot, and goes on from that after a restart", async () => {
  const folder = mkdtempSync(join(tmpdir(), "raft-node-counter-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const members = [{ id: 1n, address: "127.0.0.1:1" }];
  const deadlineMs = 30_000;
  const first = await startCounter(1n, 0, folder, members);
  onTestFinished(() => first.close());
  await first.node.leaderKnown({ deadlineMs });
  const cut = new Promise<void>((resolve) => {
    first.node.on("snapshot", () => resolve());
  });
  for (let round = 0; round < 11; round += 1) {
    const ones = Array.from({ length: 1_000 }, () => first.node.propose(toBytes(1n), { deadlineMs }));
    await Promise.all(ones);
  }
  await cut;
  for (let more = 0; first.node.status().firstIndex <= 2n; more += 1) {
    if (more > 1_000) throw new Error("the log was not cut");
    await first.node.propose(toBytes(0n), { deadlineMs });
  }
  await first.close();

  const second = await startCounter(1n, 0, folder, members);
  onTestFinished(() => second.close());
  await second.node.leaderKnown({ deadlineMs });
  await second.node.readIndex({ deadlineMs });
  expect(second.stateMachine.total).toBe(11_000n);
});
