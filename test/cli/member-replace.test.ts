// `placement-center member replace` on three real nodes and a new one: the old member may even lead; what is cut short
// is finished by repeating it; what cannot be meant is refused before anything is changed.

import { expect, onTestFinished, test } from "vitest";
import { TestCluster } from "../placement/cluster.js";
import { runInProcess } from "./recorded-output.js";

test("the leader is replaced by a new node, and doing it again changes nothing", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3, { spare: 1 });
  const endpoints = ["-e", cluster.endpoints.join(","), "--deadline-ms", "20000"];
  await runInProcess("put", "k", "v", ...endpoints);
  await cluster.startNode(4n, { join: true });
  const { leaderId = "" } = JSON.parse(
    (await runInProcess("leader", "transfer", "--json", ...endpoints)).lines[0] ?? "",
  );
  const address = cluster.address(4n);

  const taken = await runInProcess(
    "member",
    "replace",
    leaderId,
    "--with",
    `4=${cluster.address(1n)}`,
    ...endpoints,
  );
  expect([taken.status, taken.notes]).toEqual([1, expect.stringContaining("node 1 answers there")]);
  const stranger = await runInProcess("member", "replace", "9", "--with", `4=${address}`, ...endpoints);
  expect([stranger.status, stranger.notes]).toEqual([1, expect.stringContaining("node 9 is no member")]);
  expect((await runInProcess("member", "replace", leaderId, ...endpoints)).status).toBe(2);

  const replace = ["member", "replace", leaderId, "--with", `4=${address}`, "--json", ...endpoints];
  const done = await runInProcess(...replace);
  expect(done.status, done.notes).toBe(0);
  expect(done.notes).toMatch(
    /node 4 is added[\s\S]*node 4 has caught up[\s\S]*node 4 leads[\s\S]*is removed/,
  );
  const { members }: { members: { id: string; learner: boolean }[] } = JSON.parse(done.lines[0] ?? "");
  const expected = ["1", "2", "3", "4"].filter((id) => id !== leaderId);
  expect(members.map(({ id, learner }) => [id, learner])).toEqual(expected.map((id) => [id, false]));

  const again = await runInProcess(...replace);
  expect([again.status, again.notes]).toEqual([0, ""]);
  expect((await runInProcess("get", "k", "-e", address, "--deadline-ms", "20000")).lines).toEqual(["v"]);
});
