// Lost quorum, with real processes: of three nodes two are lost with their folders; the third is recovered as a cluster
// of one, has everything that was acknowledged, and grows again. And every way in which recover refuses.

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { type RunningCommand, run, start, temporaryFolder } from "./support.js";

interface Node {
  readonly data: string;
  readonly address: string;
  readonly args: readonly string[];
}

async function newNodes(count: number): Promise<Node[]> {
  const folder = temporaryFolder();
  const addresses = (await findFreePorts("127.0.0.1", count + 1)).map((port) => `127.0.0.1:${port}`);
  const members = addresses.slice(0, count).map((address, at) => `${at + 1}=${address}`);
  return addresses.map((address, at) => {
    const data = join(folder, `node-${at + 1}`);
    const own = ["--id", String(at + 1), "--cluster-id", "lost", "--data", data, "--listen", address];
    const origin = at < count ? ["--members", members.join(",")] : ["--join"];
    return { data, address, args: ["start", ...own, "--tick-ms", "50", ...origin] };
  });
}

async function startNode({ args }: Node): Promise<RunningCommand> {
  const node = start(args);
  await node.says(/"msg":"listening"/);
  return node;
}

async function lose(node: RunningCommand, { data }: Node): Promise<void> {
  node.signal("SIGKILL");
  await node.finished;
  rmSync(data, { recursive: true, maxRetries: 10 });
}

async function untilItWorks(...args: readonly string[]): Promise<void> {
  const deadline = AbortSignal.timeout(30_000);
  let last = await run(args);
  while (last.status !== 0 && !deadline.aborted) last = await run(args);
  expect(last.status, last.stderr).toBe(0);
}

test("a node whose cluster is lost goes on alone with all its data, and grows again", async () => {
  const nodes = await newNodes(3);
  const [first, second, third, fourth] = nodes;
  if (!first || !second || !third || !fourth) throw new Error("four nodes were asked for");
  const running = [await startNode(first), await startNode(second), await startNode(third)];
  const [survivor, ...lost] = running;
  if (survivor === undefined) throw new Error("three nodes were started");
  const everywhere = nodes.map(({ address }) => address).join(",");
  for (let at = 0; at < 5; at += 1) await untilItWorks("put", `key-${at}`, `value-${at}`, "-e", everywhere);
  // What the survivor lacks would be lost with the others: here it has everything.
  await untilItWorks("leader", "transfer", "1", "-e", everywhere);
  for (const [at, node] of lost.entries()) await lose(node, nodes[at + 1] ?? third);

  const noQuorum = await run(["put", "k", "v", "-e", first.address, "--deadline-ms", "1000"]);
  expect([4, 5]).toContain(noQuorum.status);
  const doctor = await run(["doctor", "-e", first.address]);
  expect(doctor).toMatchObject({
    status: 1,
    stdout: expect.stringMatching(/^problem +quorum .*1 of 3 voters/m),
  });

  const locked = await run(["recover", first.data, "--confirm", "lost"]);
  expect(locked).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/in use by process .*stop that process/),
  });
  survivor.signal("SIGTERM");
  await survivor.finished;
  expect(await run(["recover", first.data])).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("--confirm lost"),
  });
  expect(await run(["recover", first.data, "--confirm", "other"])).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("nothing was changed"),
  });
  const listFolder = (): string[] => readdirSync(first.data).filter((name) => name.startsWith("recovery-"));
  expect(listFolder()).toEqual([]);

  const recovered = await run(["recover", first.data, "--confirm", "lost", "--json"]);
  expect(recovered.status, recovered.stderr).toBe(0);
  const { auditFile, members }: { auditFile: string; members: unknown } = JSON.parse(recovered.stdout);
  expect(members).toEqual([{ id: "1", address: first.address, role: "voter" }]);
  expect(listFolder()).toHaveLength(1);
  expect(JSON.parse(readFileSync(auditFile, "utf8"))).toMatchObject({
    state: "done",
    confirmation: "flag",
    nodeId: "1",
    before: { membership: { members: [{ id: "1" }, { id: "2" }, { id: "3" }] } },
    after: { membership: { members: [{ id: "1" }] } },
  });

  // Started with the same arguments as before: --members only says how a new cluster begins.
  await startNode(first);
  for (let at = 0; at < 5; at += 1) {
    expect(await run(["get", `key-${at}`, "-e", first.address])).toMatchObject({
      status: 0,
      stdout: `value-${at}`,
    });
  }
  await untilItWorks("put", "after", "recovery", "-e", first.address);
  await startNode(fourth);
  await untilItWorks("member", "add", "4", fourth.address, "-e", first.address);
  await untilItWorks("member", "promote", "4", "-e", first.address);
  expect(await run(["get", "key-3", "-e", fourth.address])).toMatchObject({ status: 0, stdout: "value-3" });
  const list = JSON.parse((await run(["member", "list", "--json", "-e", fourth.address])).stdout);
  expect(list).toMatchObject({
    members: [
      { id: "1", learner: false },
      { id: "4", learner: false },
    ],
  });
});

test("a folder of no node, and a node that never belonged to a cluster, are refused", async () => {
  const [alone] = await newNodes(0);
  if (alone === undefined) throw new Error("a node was asked for");
  expect((await run(["recover", alone.data, "--confirm", "lost"])).status).toBe(1);
  const node = await startNode(alone);
  node.signal("SIGTERM");
  await node.finished;
  expect(await run(["recover", alone.data, "--confirm", "lost"])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("never belonged to a cluster"),
  });
});
