// `placement-center cluster`, which `npm start` runs: three real processes with LMDB on disk; what it prints works
// when pasted; it stops cleanly, finds its data again, and says in a sentence what keeps it from starting.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { clusterPorts, paste, processGone, run, start, temporaryFolder } from "./support.js";

interface Cluster {
  readonly folder: string;
  readonly args: readonly string[];
  readonly endpoints: readonly string[];
}

async function newCluster(): Promise<Cluster> {
  const folder = join(temporaryFolder(), "data");
  const { port, httpPort } = await clusterPorts();
  const args = ["cluster", "--data", folder, "--port", String(port), "--http-port", String(httpPort)];
  return { folder, args, endpoints: [0, 1, 2].map((more) => `127.0.0.1:${port + more}`) };
}

describe("a cluster on this machine", () => {
  test("elects a leader, serves the printed commands on every node, stops at Ctrl-C, and finds all data again", async () => {
    const { args, endpoints } = await newCluster();
    const first = start(args);
    await first.says(/node 1 \w+ term \d+ commit \d+ applied \d+ \| node 2 .* \| node 3 /);
    await first.says(/ leader term /);
    await first.says(/Ctrl-C stops/);
    const lines = /another terminal:\n((?: {2}.*\n)+)/.exec(first.stdout)?.[1]?.trim().split("\n") ?? [];
    expect(lines.length).toBeGreaterThanOrEqual(5);
    for (const line of lines) {
      const { status, stdout, stderr } = await paste(line);
      expect(status, `${line}\n${stdout}${stderr}`).toBe(0);
    }
    for (const endpoint of endpoints) {
      const own = await run(["put", `from-${endpoint}`, "written here", "--endpoints", endpoint]);
      expect(own.status, own.stderr).toBe(0);
    }
    first.signal("SIGINT");
    expect(await first.finished).toMatchObject({ status: 0, stderr: "" });

    const second = start(args);
    await second.says(/Ctrl-C stops/);
    for (const endpoint of endpoints) {
      const greeting = await run(["get", "greeting", "--endpoints", endpoint]);
      expect(greeting).toMatchObject({ status: 0, stdout: "hello" });
      const own = await run(["get", `from-${endpoint}`, "-e", endpoints.join(",")]);
      expect(own).toMatchObject({ status: 0, stdout: "written here" });
    }
    second.signal("SIGTERM");
    expect(await second.finished).toMatchObject({ status: 0, stderr: "" });
  });

  test("says so when a node dies, and how to see its log and start it again", async () => {
    const { args, folder, endpoints } = await newCluster();
    const cluster = start(args);
    await cluster.says(/Ctrl-C stops/);
    process.kill(pidOfNode(folder, 3), "SIGKILL");
    await cluster.says(/node 3 was killed by SIGKILL without having been told to/);
    expect(readFileSync((await cluster.says(/its log: +(\S+)/))[1] ?? "", "utf8")).toContain('"msg"');
    await cluster.says(/\| node 3 was killed by SIGKILL\n/);

    const restart = (await cluster.says(/start it again: (.*)/))[1] ?? "";
    const byHand = start(restart.split(" ").slice(2));
    await byHand.says(/"msg":"listening"/);
    const written = await run(["put", "after", "all", "--endpoints", endpoints[2] ?? ""]);
    expect(written.status, written.stderr).toBe(0);
    byHand.signal("SIGTERM");
    expect((await byHand.finished).status).toBe(0);
    cluster.signal("SIGINT");
    expect((await cluster.finished).status).toBe(0);
  });

  test("ends with a failure when all of its nodes have died", async () => {
    const { args, folder } = await newCluster();
    const cluster = start(args);
    await cluster.says(/Ctrl-C stops/);
    for (const id of [1, 2, 3]) process.kill(pidOfNode(folder, id), "SIGKILL");
    const { status, stderr } = await cluster.finished;
    expect(status).toBe(1);
    expect(stderr).toContain("all nodes have ended");
  });

  test("leaves no process behind when it is killed itself", async () => {
    const { args, folder } = await newCluster();
    const cluster = start(args);
    await cluster.says(/Ctrl-C stops/);
    const pids = [1, 2, 3].map((id) => pidOfNode(folder, id));
    cluster.signal("SIGKILL");
    await Promise.all(pids.map(processGone));
  });

  test("with --json writes one object a line", async () => {
    const { args } = await newCluster();
    const cluster = start([...args, "--json"]);
    await cluster.says(/"event":"ready"/);
    cluster.signal("SIGINT");
    const { stdout } = await cluster.finished;
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    expect(events).toContainEqual({ event: "stopped" });
    expect(events).toContainEqual({
      event: "nodes",
      nodes: expect.arrayContaining([
        expect.objectContaining({ role: "leader", term: expect.stringMatching(/^\d+$/) }),
      ]),
    });
  });
});

describe("what keeps a cluster from starting is a sentence that says what to do", () => {
  test("a port in use", async () => {
    const { args, folder, endpoints } = await newCluster();
    const port = Number(endpoints[1]?.split(":")[1]);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(port, "127.0.0.1", resolve));
    onTestFinished(() => void other.close());
    const { status, stderr } = await run(args);
    expect(status).toBe(1);
    expect(stderr).toMatch(new RegExp(`^error: Port ${port} is in use: stop .*\\n$`));
    expect(readdirSync(folder)).toEqual(["cluster.json"]);
  });

  test("a folder that holds something else", async () => {
    const { args, folder } = await newCluster();
    const parent = join(folder, "..");
    writeFileSync(join(parent, "letter.txt"), "dear");
    const { status, stderr } = await run(args.map((arg) => (arg === folder ? parent : arg)));
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: .* is not empty .* choose another folder .*\n$/);
    expect(readdirSync(parent)).toEqual(["letter.txt"]);
  });

  test("the data of another cluster", async () => {
    const { args, folder } = await newCluster();
    const cluster = start(args);
    await cluster.says(/Ctrl-C stops/);
    cluster.signal("SIGINT");
    await cluster.finished;
    const file = join(folder, "cluster.json");
    const changed = readFileSync(file, "utf8").replace(/"clusterId": "[^"]*"/, '"clusterId": "another"');
    writeFileSync(file, changed);
    const { status, stderr } = await run(args);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: node \d could not start: .*cluster.*\n$/);
  });
});

/** Every line of a node's log has the id of the process that wrote it. */
function pidOfNode(folder: string, id: number): number {
  const log = readFileSync(join(folder, "logs", `node-${id}.jsonl`), "utf8");
  return Number([...log.matchAll(/"pid":(\d+)/g)].at(-1)?.[1]);
}
