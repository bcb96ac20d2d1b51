// What a node finds on its disk when it comes back: that it was removed, or that its state is gone and has to be rebuilt.
// Real LMDB files, real HTTP/2 between nodes in one process.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type EmbedOptions, embedRaftNode } from "../src/embed.js";
import { NodeRemoved } from "../src/node/errors.js";
import { freePorts } from "./placement/cluster.js";
import { Words } from "./support/words.js";

function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "raft-node-recovery-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function embed(
  id: bigint,
  ports: readonly number[],
  dataDir: string,
  options: Partial<EmbedOptions<Words>> = {},
) {
  const members = ports.map((port, at) => ({ id: BigInt(at + 1), address: `127.0.0.1:${port}` }));
  const embedded = await embedRaftNode({
    id,
    clusterId: "recovery",
    dataDir: join(dataDir, `${id}`),
    listen: { host: "127.0.0.1", port: ports[Number(id) - 1] ?? 0 },
    members,
    stateMachine: async () => new Words(),
    tickIntervalMs: 100,
    ...options,
  });
  onTestFinished(() => embedded.close());
  return embedded;
}

test("a node that was removed refuses to start again, and the group goes on", async () => {
  const dataDir = temporaryFolder();
  const ports = await freePorts(3);
  const nodes = await Promise.all([1n, 2n, 3n].map((id) => embed(id, ports, dataDir)));
  const leaderId = await nodes[0]?.node.leaderKnown({ deadlineMs: 20_000 });
  const leader = nodes.find(({ node }) => node.id === leaderId);
  const gone = nodes.find(({ node }) => node.id !== leaderId);
  if (leader === undefined || gone === undefined) throw new Error("no leader");
  const told = gone.node.events("membership");
  await leader.node.removeNode(gone.node.id, { deadlineMs: 20_000 });
  expect((await told.next()).value).toMatchObject({ removed: true });
  await gone.close();
  const again = embed(gone.node.id, ports, dataDir);
  await expect(again).rejects.toBeInstanceOf(NodeRemoved);
  await expect(again).rejects.toThrow("must not start again");
  expect((await leader.node.propose(Buffer.from("still here"))).index).toBeGreaterThan(0n);
});

test("a node whose state is gone rebuilds it from its own snapshot and log", async () => {
  const dataDir = temporaryFolder();
  const ports = await freePorts(1);
  const options = { compaction: { afterEntries: 20, keepEntries: 5, snapshots: "always" as const } };
  const first = await embed(1n, ports, dataDir, options);
  await first.node.leaderKnown({ deadlineMs: 20_000 });
  let said = "";
  // Until the log was cut, however long the snapshots take.
  for (let n = 0; n < 5_000 && first.node.metrics.counters.compactions === 0; n += 1) {
    await first.node.propose(Buffer.from(`${n} `));
    said += `${n} `;
  }
  expect(first.node.status().firstIndex).toBeGreaterThan(2n);
  await first.close();
  // `Words` keeps everything in memory: what it comes back with is nothing.
  const second = await embed(1n, ports, dataDir, options);
  await second.node.leaderKnown({ deadlineMs: 20_000 });
  const { result } = await second.node.propose(Buffer.from("end"));
  expect(Buffer.from(result).toString()).toBe(`${said}end`);
});
