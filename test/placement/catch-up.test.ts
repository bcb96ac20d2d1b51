// A node that was away for longer than the log reaches back is brought up by a snapshot of the key-value store, while the
// others go on; one that has lost its store builds it again
// from its log. Real nodes, files and HTTP/2.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { PlacementClient } from "../../src/placement/client.js";
import { KvStateMachine } from "../../src/placement/kv/kv-state-machine.js";
import { TestCluster } from "./cluster.js";
import { snapshotBytes } from "./kv/support.js";

const SHORT_LOG = { compaction: { afterEntries: 100, keepEntries: 20 } };

test("a node that fell behind the log has the same store as the others afterwards, byte for byte", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3, { overrides: SHORT_LOG });
  const client = new PlacementClient({ endpoints: cluster.endpoints, deadlineMs: 20_000 });
  onTestFinished(() => client.close());
  await client.set("before", "1");
  const away = (await cluster.follower()).node.id;
  const { lastIndex } = cluster.node(away).node.status();
  await cluster.stopNode(away);

  for (let round = 0; round < 10; round += 1) {
    const keys = Array.from({ length: 50 }, (_, number) => `key-${round}-${number}`);
    await Promise.all(keys.map((key) => client.set(key, key.repeat(50))));
  }
  await client.delete("before");
  const leader = cluster.node(await cluster.leader());
  await expect
    .poll(() => leader.node.status().firstIndex, { timeout: 10_000 })
    .toBeGreaterThan(lastIndex + 1n);

  const back = await cluster.startNode(away);
  await expect
    .poll(() => back.store.appliedIndex, { timeout: 20_000 })
    .toBeGreaterThanOrEqual(leader.store.appliedIndex);
  expect(back.node.status().snapshotIndex).toBeGreaterThan(lastIndex);
  await client.set("after", "1");
  await expect.poll(() => back.store.exists("after")).toBe(true);
  expect([back.store.exists("before"), back.store.recordCount]).toEqual([false, 501n]);

  const bodies: Buffer[] = [];
  const dirs = cluster.nodes.map(({ node }) => cluster.dataDir(node.id));
  // Stopped one after the other, they may differ in entries without a command; in their records they may not.
  for (const { node } of cluster.nodes) await cluster.stopNode(node.id);
  for (const dir of dirs) {
    const machine = await KvStateMachine.open({ dir: join(dir, "kv") });
    await machine.apply([], 1_000_000n);
    bodies.push(await snapshotBytes(machine));
    await machine.close();
  }
  expect(bodies.map((body) => bodies[0]?.equals(body))).toEqual([true, true, true]);
}, 60_000);

test("a node whose store is gone builds it again from its log", async () => {
  const cluster = await TestCluster.start(onTestFinished, 1);
  const client = new PlacementClient({ endpoints: cluster.endpoints, deadlineMs: 20_000 });
  onTestFinished(() => client.close());
  const keys = Array.from({ length: 200 }, (_, number) => `key-${number}`);
  await Promise.all(keys.map((key) => client.set(key, "value")));
  await cluster.stopNode(1n);
  rmSync(join(cluster.dataDir(1n), "kv"), { recursive: true });
  const again = await cluster.startNode(1n);
  await client.set("after", "1");
  expect(again.store.recordCount).toBe(201n);
}, 60_000);
