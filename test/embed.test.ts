// Starting and stopping a node by one call: what stands in the way is a sentence, nothing is left open behind it, and
// what was acknowledged is found again. Real files and ports; a state machine of a few lines stands for an embedder's.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { EventLoopDelay } from "../src/embed/event-loop-delay.js";
import { type EmbedOptions, embedRaftNode } from "../src/embed.js";
import { ListenError } from "../src/transport/listen.js";
import { freePorts } from "./placement/cluster.js";
import { ManualClock } from "./support/node-clock.js";
import { Words } from "./support/words.js";

function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "raft-node-embed-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function embed(options: Partial<EmbedOptions<Words>> & { readonly dataDir: string }) {
  const embedded = await embedRaftNode({
    id: 1n,
    clusterId: "embedders",
    listen: { host: "127.0.0.1", port: 0 },
    members: [{ id: 1n, address: "127.0.0.1:7001" }],
    stateMachine: async () => new Words(),
    tickIntervalMs: 20,
    ...options,
  });
  onTestFinished(() => embedded.close());
  return embedded;
}

async function say(embedded: Awaited<ReturnType<typeof embed>>, word: string): Promise<string> {
  await embedded.node.leaderKnown();
  const { result } = await embedded.node.propose(Buffer.from(word));
  return Buffer.from(result).toString();
}

describe("a node by one call", () => {
  test("answers with what the embedder's state machine returned, and finds it again after a restart", async () => {
    const dataDir = temporaryFolder();
    const first = await embed({ dataDir });
    expect(await say(first, "one ")).toBe("one ");
    expect(await say(first, "two ")).toBe("one two ");
    await first.close();
    expect(first.stateMachine.closed).toBe(true);
    const second = await embed({ dataDir });
    expect(await say(second, "three")).toBe("one two three");
  });

  test("chooses a port when asked to, and serves JSON over HTTP/1.1 beside HTTP/2", async () => {
    const embedded = await embed({ dataDir: temporaryFolder(), http: { host: "127.0.0.1", port: 0 } });
    await embedded.node.leaderKnown();
    expect(embedded.address.port).toBeGreaterThan(0);
    const url = `http://127.0.0.1:${embedded.httpAddress?.port}/raftnode.v1.RaftMetricsService/Members`;
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    expect(await response.json()).toEqual({
      clusterId: "embedders",
      membership: { index: "1", members: [{ id: "1", address: "127.0.0.1:7001" }] },
    });
  });

  test("tells what it counted: the runtime, every peer and RPC, and how late its timers are", async () => {
    const embedded = await embed({ dataDir: temporaryFolder() });
    await say(embedded, "word");
    const { node, transport, forwarded, log, eventLoopDelay } = embedded.metrics();
    expect(node.counters.proposalsApplied).toBe(1);
    expect(log.batches).toBeGreaterThan(0);
    expect(forwarded).toEqual([]);
    expect(transport).toEqual({ peers: [], received: [], refusedAtTheDoor: {} });
    expect(eventLoopDelay.counts).toHaveLength(eventLoopDelay.boundsMs.length + 1);
  });

  test("closing twice is closing once", async () => {
    const embedded = await embed({ dataDir: temporaryFolder() });
    await Promise.all([embedded.close(), embedded.close()]);
    await embedded.close();
  });
});

test("a timer that fires late shows how long the event loop stood still", async () => {
  const clock = new ManualClock();
  const delay = new EventLoopDelay(clock);
  await clock.advance(500);
  await clock.stall(350);
  expect(delay.view()).toMatchObject({ count: 11, sumMs: 300, maxMs: 300 });
  delay.stop();
  expect(clock.timerCount).toBe(0);
});

describe("what stands in the way is a sentence, and nothing is left open", () => {
  test("a port that is in use", async () => {
    const [port = 0] = await freePorts(1);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(port, "127.0.0.1", resolve));
    const dataDir = temporaryFolder();
    const refused = embed({ dataDir, listen: { host: "127.0.0.1", port } });
    await expect(refused).rejects.toThrow(ListenError);
    await expect(refused).rejects.toThrow(`127.0.0.1:${port} is in use by another process`);
    await new Promise((resolve) => other.close(resolve));
    const embedded = await embed({ dataDir, listen: { host: "127.0.0.1", port } });
    expect(embedded.address.port).toBe(port);
  });

  test.each([
    ["another node", { id: 2n, members: [{ id: 2n, address: "127.0.0.1:7002" }] }, /node 1/],
    ["another cluster", { clusterId: "strangers" }, /embedders/],
  ])("a data folder of %s", async (_, change, message) => {
    const dataDir = temporaryFolder();
    await (await embed({ dataDir })).close();
    await expect(embed({ dataDir, ...change })).rejects.toThrow(message);
    const again = await embed({ dataDir });
    expect(await say(again, "still mine")).toBe("still mine");
  });

  test("a data folder that another node has open", async () => {
    const dataDir = temporaryFolder();
    const first = await embed({ dataDir });
    await expect(embed({ dataDir })).rejects.toThrow(/open|use/);
    expect(await say(first, "undisturbed")).toBe("undisturbed");
  });

  test("a state machine that cannot be opened", async () => {
    const dataDir = temporaryFolder();
    const broken = embed({
      dataDir,
      stateMachine: async () => {
        throw new Error("the embedder's own words");
      },
    });
    await expect(broken).rejects.toThrow("the embedder's own words");
    const embedded = await embed({ dataDir });
    expect(await say(embedded, "fine")).toBe("fine");
  });

  test("a configuration of raft that must not run", async () => {
    const dataDir = temporaryFolder();
    const machines: Words[] = [];
    const stateMachine = async () => {
      const machine = new Words();
      machines.push(machine);
      return machine;
    };
    await expect(embed({ dataDir, stateMachine, raft: { electionTick: 1 } })).rejects.toThrow(/electionTick/);
    expect(machines.map(({ closed }) => closed)).toEqual([true]);
    const embedded = await embed({ dataDir });
    expect(await say(embedded, "fine")).toBe("fine");
  });
});
