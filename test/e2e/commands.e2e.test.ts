// Every command that reads, writes or operates, once as text and once as JSON, with its exit status, against one
// real cluster; and the ways to use them wrongly.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { clusterPorts, type Finished, MAIN, paste, RunningCommand, run, start } from "./support.js";

let folder = "";
let cluster: RunningCommand;
let env: NodeJS.ProcessEnv = {};
let endpoints: string[] = [];
let httpBase = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "placement-center-commands-"));
  const { port, httpPort } = await clusterPorts();
  endpoints = [0, 1, 2].map((more) => `127.0.0.1:${port + more}`);
  httpBase = `http://127.0.0.1:${httpPort}`;
  env = { PLACEMENT_ENDPOINTS: endpoints.join(",") };
  const ports = ["--port", String(port), "--http-port", String(httpPort)];
  cluster = new RunningCommand(process.execPath, [MAIN, "cluster", "--data", join(folder, "data"), ...ports]);
  await cluster.says(/Ctrl-C stops/);
});

afterAll(async () => {
  cluster.signal("SIGINT");
  await cluster.finished;
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
});

async function ok(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await run(args, env);
  expect(status, `${args.join(" ")}: ${stderr}`).toBe(0);
  return stdout;
}

async function okJson(...args: readonly string[]): Promise<unknown> {
  return JSON.parse(await ok(...args, "--json"));
}

function fails(...args: readonly string[]): Promise<Finished> {
  return run(args, env);
}

describe("reading and writing", () => {
  test("put, get, exists and delete a key", async () => {
    expect(await ok("put", "city", "Zürich")).toMatch(/^city: written at revision \d+\n$/);
    expect(await ok("get", "city")).toBe("Zürich");
    expect(await ok("exists", "city")).toBe("true\n");
    expect(await ok("delete", "city")).toMatch(/^city: deleted at revision \d+\n$/);
    expect(await fails("get", "city")).toEqual({ status: 3, stdout: "", stderr: "city: no such key\n" });
    expect(await fails("exists", "city")).toMatchObject({ status: 3, stdout: "false\n" });
    expect(await fails("delete", "city")).toMatchObject({ status: 3, stderr: "city: no such key\n" });
  });

  test("the same as JSON, with revisions that keep all their digits", async () => {
    const revision = expect.stringMatching(/^\d+$/);
    expect(await okJson("put", "k", "v")).toEqual({ key: "k", revision });
    const entry = { value: "dg==", text: "v", createRevision: revision, modRevision: revision, version: "1" };
    expect(await okJson("get", "k")).toEqual({ key: "k", found: true, ...entry });
    expect(await okJson("exists", "k")).toEqual({ key: "k", exists: true });
    expect(await okJson("delete", "k")).toEqual({ key: "k", deleted: true, revision });
    const missing = await fails("get", "k", "--json");
    expect([missing.status, JSON.parse(missing.stdout)]).toEqual([3, { key: "k", found: false }]);
  });

  test("bytes that are no text come back as they were", async () => {
    const bytes = Buffer.from([0, 255, 10, 13, 128]);
    writeFileSync(join(folder, "bytes"), bytes);
    await ok("put", "bytes", "--file", join(folder, "bytes"));
    const { text, value } = JSON.parse(await ok("get", "bytes", "--json"));
    expect([value, text]).toEqual([bytes.toString("base64"), undefined]);
  });

  test("a value may come from standard input", async () => {
    const written = await paste(
      `printf 'from a pipe' | node '${MAIN}' put piped - -e ${endpoints.join(",")}`,
    );
    expect(written.status, written.stderr).toBe(0);
    expect(await ok("get", "piped")).toBe("from a pipe");
  });

  test("a serializable read asks no leader", async () => {
    await ok("put", "stale", "fresh");
    for (const endpoint of endpoints) {
      expect((await run(["get", "stale", "--serializable", "-e", endpoint])).status).not.toBe(4);
    }
  });

  test("range lists keys, txn writes several at once, and watch tells the changes", async () => {
    const watching = start(["watch", "txn/"], env);
    await watching.says(/watching since/);
    const steps = ["--then", "put txn/a 1", "--then", "put txn/b 2"];
    expect(await ok("txn", "--if", "txn/a missing", ...steps)).toMatch(/revision \d+/);
    expect(await ok("range", "txn/")).toBe("txn/a\t1\ntxn/b\t2\n");
    await watching.says(/txn\/a[\s\S]*txn\/b/);
    watching.signal("SIGINT");
    expect((await watching.finished).status).toBe(0);
  });

  test("curl reads JSON over HTTP/1.1", async () => {
    await ok("put", "curl", "seen");
    const request = ["-s", "-H", "content-type: application/json", "-d", '{"key":"curl"}'];
    const { stdout } = await new RunningCommand("curl", [...request, `${httpBase}/raftnode.v1.KvService/Get`])
      .finished;
    expect(JSON.parse(stdout)).toMatchObject({ found: true, value: Buffer.from("seen").toString("base64") });
  });
});

describe("operating", () => {
  test("status shows every node, also one that does not answer", async () => {
    const [dead = 0] = await findFreePorts("127.0.0.1", 1);
    const asked = [...endpoints, `127.0.0.1:${dead}`].join(",");
    const table = await ok("status", "-e", asked);
    expect(table.split("\n")[0]).toMatch(
      /^endpoint +id +role +term +leader +first +last +commit +applied +snapshot +version$/,
    );
    expect(table.match(/ leader /g)).toHaveLength(2);
    expect(table).toMatch(new RegExp(`^127.0.0.1:${dead} +no answer$`, "m"));
    const nodes = (await ok("status", "--json", "-e", asked))
      .trimEnd()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    expect(nodes).toHaveLength(4);
    expect(nodes[0]).toMatchObject({
      endpoint: endpoints[0],
      id: "1",
      term: expect.any(String),
      members: [{ id: "1" }, {}, {}],
    });
    expect(nodes[3]).toEqual({
      endpoint: `127.0.0.1:${dead}`,
      problem: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("leadership goes to the node that was named, or to any other", async () => {
    expect(await ok("leader", "transfer", "2")).toBe("node 2 leads\n");
    const { leaderId } = JSON.parse(await ok("leader", "transfer", "--json"));
    expect(["1", "3"]).toContain(leaderId);
  });

  test("a node joins as a learner, is promoted, and is removed again", async () => {
    const [listen = 0] = await findFreePorts("127.0.0.1", 1);
    const address = `127.0.0.1:${listen}`;
    const clusterId = (await cluster.says(/cluster ([0-9a-f-]{36})/))[1] ?? "";
    const place = ["--data", join(folder, "node-4"), "--listen", address];
    const fourth = start(["start", "--id", "4", "--cluster-id", clusterId, "--join", ...place]);
    await fourth.says(/"msg":"listening"/);

    expect(await ok("member", "add", "4", address)).toMatch(new RegExp(`^ *4 +${address} +learner$`, "m"));
    await untilItWorks("member", "promote", "4");
    expect(await ok("member", "list")).toMatch(new RegExp(`^ *4 +${address} +voter$`, "m"));
    await ok("put", "with-four", "members");
    expect(await ok("get", "with-four", "-e", address)).toBe("members");

    const after = await okJson("member", "remove", "4");
    expect(after).toMatchObject({ members: [{ id: "1" }, { id: "2" }, { id: "3" }], joint: false });
    fourth.signal("SIGTERM");
    expect((await fourth.finished).status).toBe(0);
  });
});

describe("what is refused says why", () => {
  test("an empty key, and a value over the limit", async () => {
    expect(await fails("put", "", "x")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("key is empty"),
    });
    writeFileSync(join(folder, "large"), Buffer.alloc(1024 * 1024 + 1));
    const large = await fails("put", "large", "--file", join(folder, "large"), "--json");
    expect(large).toMatchObject({ status: 1, stdout: "" });
    expect(JSON.parse(large.stderr)).toMatchObject({ error: { reason: "tooLarge" } });
  });

  test("a member that does not exist", async () => {
    const { status, stderr } = await fails("member", "promote", "9");
    expect([status, stderr]).toEqual([1, expect.stringContaining("9")]);
  });

  test("no node at all: unavailable, and nothing was changed", async () => {
    const [dead = 0] = await findFreePorts("127.0.0.1", 1);
    const { status, stderr } = await fails(
      "put",
      "k",
      "v",
      "-e",
      `127.0.0.1:${dead}`,
      "--deadline-ms",
      "500",
    );
    expect([status, stderr]).toEqual([4, expect.stringContaining("ECONNREFUSED")]);
    expect((await fails("status", "-e", `127.0.0.1:${dead}`)).status).toBe(4);
  });

  test.each<[string[], RegExp]>([
    [["put", "k", "v", "--colour"], /unknown option '--colour'/],
    [["staus"], /unknown command 'staus'[\s\S]*status/],
    [["get"], /missing required argument 'key'/],
    [["get", "a", "b"], /too many arguments/],
    [["put", "k"], /either as an argument or with --file/],
    [["put", "k", "--file", "no/such/file"], /--file cannot be read/],
    [["get", "k", "--endpoints", "nowhere"], /--endpoints.*"nowhere" has no port/],
    [["get", "k", "--deadline-ms", "soon"], /--deadline-ms.*whole number/],
    [["member", "add", "zero", "a:1"], /'zero'.*node id/],
    [["member", "add", "4", "a:99999"], /"a:99999" has no port between/],
    [["member"], /Usage: placement-center member/],
    [["start", "--id", "1"], /cluster-id is missing .*--cluster-id.*PLACEMENT_CLUSTER_ID/],
    [["start", "--id", "1", "--cluster-id", "c", "--data", "d"], /give --members .* or --join/],
    [
      ["start", "--id", "1", "--cluster-id", "c", "--data", "d", "--join", "--members", "1=a:1"],
      /cannot be used with/,
    ],
    [
      ["start", "--id", "1", "--cluster-id", "c d", "--data", "d", "--join"],
      /--cluster-id.*'c d' is invalid.*1 to 64 letters/,
    ],
    [
      ["start", "--id", "4", "--cluster-id", "c", "--data", "d", "--members", "1=a:1"],
      /members names 1 but not this node, 4/,
    ],
    [
      ["start", "--id", "1", "--cluster-id", "c", "--data", "d", "--join", "--log-level", "loud"],
      /Allowed choices/,
    ],
    [["cluster", "--port", "99999"], /--port.*from 1 to 65533/],
  ])("%j is wrong usage: status 2, and named", async (args, said) => {
    const { status, stdout, stderr } = await fails(...args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(said);
  });

  test("wrong endpoints in the environment are named as such", async () => {
    const { status, stderr } = await run(["get", "k"], { PLACEMENT_ENDPOINTS: "nowhere" });
    expect([status, stderr]).toEqual([2, expect.stringContaining("PLACEMENT_ENDPOINTS")]);
  });
});

test("the script of a shell's completion is printed", async () => {
  expect((await run(["completion", "bash"])).stdout).toContain("snapshot");
});

test("help and version end with status 0", async () => {
  const help = await fails("--help");
  expect(help.status).toBe(0);
  for (const name of [
    "cluster",
    "start",
    "demo",
    "put",
    "get",
    "delete",
    "exists",
    "status",
    "member",
    "leader",
  ]) {
    expect(help.stdout).toMatch(new RegExp(`^  ${name} `, "m"));
    expect((await fails(name, "--help")).status).toBe(0);
  }
  expect((await fails("--version")).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

/** A learner may be promoted when it has caught up; until then the cluster says that it has not. */
async function untilItWorks(...args: readonly string[]): Promise<void> {
  const deadline = AbortSignal.timeout(30_000);
  let last = await run(args, env);
  while (last.status !== 0 && !deadline.aborted) last = await run(args, env);
  expect(last.status, last.stderr).toBe(0);
}
