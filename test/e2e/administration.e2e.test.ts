// Commands that change who is a member and where, take snapshots, cut logs, watch nodes and put a load on them: each with
// real processes, once as text or as JSON.

import { join } from "node:path";
import { expect, test } from "vitest";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { PlacementClient } from "../../src/placement/client.js";
import { type Finished, type RunningCommand, run, start, temporaryFolder } from "./support.js";

interface Node {
  readonly id: number;
  readonly address: string;
  readonly data: string;
}

async function newNodes(count: number): Promise<Node[]> {
  const folder = temporaryFolder();
  const ports = await findFreePorts("127.0.0.1", count);
  return ports.map((port, at) => {
    const id = at + 1;
    return { id, address: `127.0.0.1:${port}`, data: join(folder, `node-${id}`) };
  });
}

async function startNode(
  node: Node,
  members: readonly Node[],
  address = node.address,
): Promise<RunningCommand> {
  const list = members.map((member) => `${member.id}=${member.address}`).join(",");
  const origin = members.length === 0 ? ["--join"] : ["--members", list];
  const own = ["--id", String(node.id), "--data", node.data, "--listen", address];
  const running = start(["start", ...own, "--cluster-id", "admin", "--tick-ms", "50", ...origin]);
  await running.says(/"msg":"listening"/);
  return running;
}

async function ok(nodes: readonly Node[], ...args: readonly string[]): Promise<string> {
  const endpoints = nodes.map(({ address }) => address).join(",");
  const { status, stdout, stderr } = await run([...args, "-e", endpoints, "--deadline-ms", "30000"]);
  expect(status, `${args.join(" ")}: ${stderr}`).toBe(0);
  return stdout;
}

/** A leader that nobody follows yet, and a learner that lags, refuse for a moment. */
async function untilItWorks(nodes: readonly Node[], ...args: readonly string[]): Promise<string> {
  const deadline = AbortSignal.timeout(30_000);
  const endpoints = nodes.map(({ address }) => address).join(",");
  let last: Finished;
  do last = await run([...args, "-e", endpoints, "--deadline-ms", "5000"]);
  while (last.status !== 0 && !deadline.aborted);
  expect(last.status, last.stderr).toBe(0);
  return last.stdout;
}

function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

test("a member moves to another address, and a set of members takes the place of another in one step", async () => {
  const nodes = await newNodes(6);
  const [first, second, third, fourth, fifth, spare] = nodes;
  if (!first || !second || !third || !fourth || !fifth || !spare) throw new Error("six nodes were asked for");
  const founders = [first, second, third];
  const running = new Map<Node, RunningCommand>();
  for (const node of founders) running.set(node, await startNode(node, founders));
  await ok(founders, "put", "k", "v");

  running.get(third)?.signal("SIGTERM");
  await running.get(third)?.finished;
  const away = await run(["member", "update", "3", spare.address, "-e", first.address]);
  expect(away).toMatchObject({ status: 1, stderr: expect.stringContaining(spare.address) });
  const moved = await startNode(third, founders, spare.address);
  const updated = await untilItWorks([first, second], "member", "update", "3", spare.address, "--json");
  expect(JSON.parse(updated)).toMatchObject({
    members: [{ id: "1" }, { id: "2" }, { id: "3", address: spare.address }],
  });
  expect(await ok([spare], "get", "k")).toBe("v");

  // Nodes 2 and 3 go, 4 and 5 come: more than one voter changes, so that two majorities have to agree.
  for (const node of [fourth, fifth]) {
    running.set(node, await startNode(node, []));
    await untilItWorks([first, second], "member", "add", String(node.id), node.address);
  }
  const change = ["member", "set", "1", "4", `5=${fifth.address}`];
  const table = await untilItWorks([first, second], ...change);
  expect(table).toMatch(new RegExp(`^ *5 +${fifth.address} +voter$`, "m"));
  const list = JSON.parse(await ok([fourth], "member", "list", "--json"));
  expect(list).toMatchObject({ members: [{ id: "1" }, { id: "4" }, { id: "5" }], joint: false });
  await ok([first, fourth, fifth], "put", "after", "change");
  expect(await ok([fifth], "get", "after")).toBe("change");
  expect(await run(["member", "set", "9", "-e", first.address])).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/address/),
  });
  expect((await run(["member", "set", "x", "-e", first.address])).status).toBe(2);
  moved.signal("SIGKILL");
  await moved.finished;
});

test("snapshots are taken and logs are cut on every node that is named", async () => {
  const nodes = await newNodes(2);
  for (const node of nodes) await startNode(node, nodes);
  const client = new PlacementClient({ endpoints: nodes.map(({ address }) => address), deadlineMs: 30_000 });
  for (let key = 0; key < 20; key += 1) await client.set(`key-${key}`, "v");
  await client.close();
  const taken = jsonLines(await ok(nodes, "snapshot", "take", "--json"));
  expect(taken).toMatchObject(nodes.map(({ address }) => ({ endpoint: address, index: expect.any(String) })));
  const cut = jsonLines(await untilItWorks(nodes, "compact", "--file", "--json"));
  for (const { firstIndex } of cut) expect(Number(firstIndex)).toBeGreaterThan(10);
  expect(await ok(nodes, "compact")).toMatch(/^endpoint +first index +file bytes +free bytes$/m);
  expect(await ok(nodes, "snapshot", "take")).toMatch(/^endpoint +index +term +bytes$/m);
  const [dead = 0] = await findFreePorts("127.0.0.1", 1);
  const some = [...nodes.map(({ address }) => address), `127.0.0.1:${dead}`].join(",");
  const partly = await run(["compact", "-e", some, "--deadline-ms", "1000"]);
  expect(partly).toMatchObject({ status: 1, stdout: expect.stringMatching(/failed$/m) });
  expect((await run(["compact", "-e", `127.0.0.1:${dead}`, "--deadline-ms", "500"])).status).toBe(4);
  expect(await ok(nodes, "get", "key-7")).toBe("v");
});

test("status finds the members that were not named, and goes on with --watch until Ctrl-C", async () => {
  const nodes = await newNodes(2);
  const [first, second] = nodes;
  if (first === undefined || second === undefined) throw new Error("two nodes were asked for");
  for (const node of nodes) await startNode(node, nodes);
  await ok(nodes, "put", "k", "v");
  const found = jsonLines(await ok([first], "status", "--json"));
  expect(found).toMatchObject([
    { endpoint: first.address, id: "1" },
    { endpoint: second.address, id: "2" },
  ]);
  const watching = start(["status", "--watch", "--interval-ms", "100", "-e", first.address]);
  await watching.says(new RegExp(`${first.address} .*node 1 `));
  await watching.says(new RegExp(`${second.address} .*node 2 .*commit (\\d+)`));
  await ok(nodes, "put", "k", "w");
  const commit = Number(jsonLines(await ok([first], "status", "--json"))[0]?.["commit"]);
  await watching.says(new RegExp(`node 1 .*commit ${commit} `));
  watching.signal("SIGINT");
  expect(await watching.finished).toMatchObject({ status: 0, stderr: "" });
});

test("nodes that wait with empty folders are made a cluster by one command, once", async () => {
  const nodes = await newNodes(3);
  for (const node of nodes) await startNode(node, []);
  const words = nodes.map(({ id, address }) => `${id}=${address}`);
  expect(await untilItWorks(nodes, "member", "init", ...words)).toMatch(/^ *3 +\S+ +voter$/m);
  await ok(nodes, "put", "k", "v");
  expect(await ok(nodes.slice(2), "get", "k")).toBe("v");
  // Whoever was cut off may say the same again; something else is refused.
  expect((await run(["member", "init", ...words])).status).toBe(0);
  const other = await run(["member", "init", ...words.slice(0, 2)]);
  expect(other).toMatchObject({ status: 1, stderr: expect.stringContaining("belongs to") });
});

test("a load is answered, told as a table and as JSON, and leaves nothing behind", async () => {
  const [node] = await newNodes(1);
  if (node === undefined) throw new Error("a node was asked for");
  await startNode(node, [node]);
  await ok([node], "put", "mine", "stays");
  const load = ["bench", "--seconds", "20", "--operations", "200", "--keys", "50", "--in-flight", "8"];
  expect(await ok([node], ...load)).toMatch(/^(get|set) +\d+ +\d+/m);
  const told = JSON.parse(await ok([node], ...load, "--reads", "0", "--json"));
  expect(told).toMatchObject({
    inFlight: 8,
    keys: 50,
    operations: [{ operation: "set", count: 200, failures: {} }],
  });
  expect(await ok([node], "range", "--keys-only")).toBe("mine\n");
});
