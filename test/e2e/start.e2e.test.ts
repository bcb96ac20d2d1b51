// `placement-center start`: one real node as a process; what it keeps over a SIGKILL, how it ends, and what keeps it
// from starting, as one sentence each.

import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { type RunningCommand, run, start, temporaryFolder } from "./support.js";

interface Node {
  readonly data: string;
  readonly listen: string;
  readonly args: readonly string[];
}

/** A cluster of one. */
async function newNode(): Promise<Node> {
  const [port = 0] = await findFreePorts("127.0.0.1", 1);
  const data = join(temporaryFolder(), "node");
  const listen = `127.0.0.1:${port}`;
  const own = ["--id", "1", "--cluster-id", "alone", "--data", data, "--listen", listen];
  return { data, listen, args: ["start", ...own, "--members", `1=${listen}`] };
}

async function startNode(args: readonly string[]): Promise<RunningCommand> {
  const node = start(args);
  await node.says(/"msg":"listening"/);
  return node;
}

function replaced(args: readonly string[], flag: string, value: string): string[] {
  const at = args.indexOf(flag);
  return args.map((arg, index) => (index === at + 1 ? value : arg));
}

describe("one node", () => {
  test("keeps what it acknowledged although it is killed", async () => {
    const { args, listen } = await newNode();
    const first = await startNode(args);
    expect(await run(["put", "kept", "yes", "-e", listen])).toMatchObject({ status: 0 });
    first.signal("SIGKILL");
    await first.finished;
    await startNode(args);
    expect(await run(["get", "kept", "-e", listen])).toMatchObject({ status: 0, stdout: "yes" });
  });

  test.each(["SIGTERM", "SIGINT"] as const)(
    "ends cleanly at %s, with logs that are JSON throughout",
    async (signal) => {
      const { args } = await newNode();
      const node = await startNode(args);
      node.signal(signal);
      const { status, stdout, stderr } = await node.finished;
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const lines = stdout
        .trimEnd()
        .split("\n")
        .map((line): unknown => JSON.parse(line));
      expect(lines.at(-1)).toMatchObject({ node: "1", msg: "stopped" });
    },
  );

  test("refuses values over --max-value-bytes", async () => {
    const { args, listen } = await newNode();
    await startNode([...args, "--max-value-bytes", "10"]);
    expect((await run(["put", "k", "0123456789", "-e", listen])).status).toBe(0);
    expect((await run(["put", "k", "0123456789x", "-e", listen])).status).toBe(1);
  });

  test("takes its settings from a file, and logs as much as it is told while it runs", async () => {
    const { listen, data } = await newNode();
    const file = join(temporaryFolder(), "node.toml");
    const text = `id = 1\ncluster-id = "alone"\nlisten = "${listen}"\nmembers = { 1 = "${listen}" }\nlog-level = "warn"\n`;
    writeFileSync(file, text);
    const node = start(["start", "--config", file, "--data", data]);
    expect(await run(["put", "k", "v", "-e", listen])).toMatchObject({ status: 0 });
    expect(node.stdout).not.toContain('"level":30');
    expect(await run(["log-level", data])).toMatchObject({ status: 0, stdout: "configured\n" });
    expect(await run(["log-level", data, "info"])).toMatchObject({ status: 0, stdout: "info, within 1 s\n" });
    await node.says(/"level":"info","msg":"log level changed"/);
    expect(await run(["log-level", data, "configured", "--json"])).toMatchObject({
      stdout: '{"level":"configured"}\n',
    });
    await node.says(/"level":"warn","msg":"log level changed"/);
    node.signal("SIGTERM");
    expect((await node.finished).status).toBe(0);
    expect(await run(["log-level", data, "debug"])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("no node runs in"),
    });
  });

  test("with --join waits to be added, and says so at once", async () => {
    const { args, listen } = await newNode();
    await startNode([...args.slice(0, args.indexOf("--members")), "--join"]);
    const { status, stderr } = await run(["put", "k", "v", "-e", listen, "--deadline-ms", "1500"]);
    expect(status, stderr).toBe(4);
    expect(stderr).toMatch(/node 1 is no member of a cluster/);
    expect((await run(["status", "-e", listen])).stdout).toMatch(/ none +\d/);
  });
});

describe("a node does not start, and one sentence says what to do,", () => {
  test("when its port is in use", async () => {
    const { args, listen } = await newNode();
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(Number(listen.split(":")[1]), "127.0.0.1", resolve));
    onTestFinished(() => void other.close());
    expectOneSentence(await run(args), /in use/);
  });

  test("when its address is none of this machine", async () => {
    const { args } = await newNode();
    expectOneSentence(
      await run([...replaced(args, "--listen", "203.0.113.1:7001"), "--insecure-peers"]),
      /no address of this machine/,
    );
  });

  test("when its folder is in use by another process", async () => {
    const { args } = await newNode();
    await startNode(args);
    const [port = 0] = await findFreePorts("127.0.0.1", 1);
    expectOneSentence(await run(replaced(args, "--listen", `127.0.0.1:${port}`)), /process/);
  });

  test.each([
    ["--id", "2"],
    ["--cluster-id", "another"],
  ])("when its folder belongs to another %s", async (flag, value) => {
    const { args, listen } = await newNode();
    const owner = await startNode(args);
    owner.signal("SIGTERM");
    await owner.finished;
    const stranger = replaced(args, flag, value);
    const members = flag === "--id" ? `2=${listen}` : `1=${listen}`;
    expectOneSentence(await run(replaced(stranger, "--members", members)), /belongs|other|another/);
  });

  test("when its folder is a file", async () => {
    const { args, data } = await newNode();
    writeFileSync(data, "");
    expectOneSentence(await run(args), /node/);
  });
});

function expectOneSentence(
  { status, stderr }: { readonly status: number | null; readonly stderr: string },
  said: RegExp,
): void {
  expect(status, stderr).toBe(1);
  expect(stderr).toMatch(/^error: .*\n$/);
  expect(stderr).toMatch(said);
}
