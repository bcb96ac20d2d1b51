// What `npm run demo` shows, as a test: a real cluster of three processes loses its leader to SIGKILL in the middle
// of a run of writes, gets it back, grows by one, hands over, shrinks, and has lost nothing. And it cleans up.

import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { readLockFile } from "../../src/cli/demo/records.js";
import { run, start, temporaryFolder } from "./support.js";

test("nothing that was acknowledged is lost when the leader is killed, and nothing is left behind", async () => {
  const folder = temporaryFolder();
  const { status, stdout, stderr } = await run(["demo", "--json"], { TMPDIR: folder });
  expect(stderr).toMatch(/killing the leader, node \d, with SIGKILL[\s\S]*writing goes on/);
  expect(status, stderr).toBe(0);
  const records = readLockFile("package-lock.json").length;
  const summary: unknown = JSON.parse(stdout);
  expect(summary).toEqual({
    records,
    acknowledged: records,
    lost: 0,
    failoverMs: expect.any(Number),
    seconds: expect.any(Number),
  });
  expect(readdirSync(folder)).toEqual([]);
});

test("a demonstration that is stopped by Ctrl-C ends with a failure and leaves nothing behind", async () => {
  const folder = temporaryFolder();
  const demo = start(["demo"], { TMPDIR: folder });
  await demo.says(/acknowledged; killing the leader/);
  demo.signal("SIGINT");
  const { status, stderr } = await demo.finished;
  expect(status).toBe(1);
  expect(stderr).toContain("stopped while");
  expect(readdirSync(folder)).toEqual([]);
});

test("an input that is no lock file is named", async () => {
  const { status, stderr } = await run(["demo", "--input", "README.md"]);
  expect(status).toBe(2);
  expect(stderr).toContain("package-lock.json");
});
