// A placement center whose log has reached its quota: writes are refused with ResourceExhausted, everything else goes on,
// and writes are taken again by themselves. One real node, real LMDB, real HTTP/2.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, onTestFinished, test } from "vitest";
import { type EmbeddedNode, embedRaftNode } from "../../src/embed.js";
import { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import { kvRoutes } from "../../src/placement/kv/kv-service.js";
import { KvStateMachine } from "../../src/placement/kv/kv-state-machine.js";
import { formatAddress } from "../../src/services/address.js";
import { freePorts } from "./cluster.js";

const VALUE = "v".repeat(20_000);
const DEADLINE_MS = 15_000;

/** A node whose disk has as much room as `disk.free` says. */
async function started(disk: { free: number }): Promise<EmbeddedNode<KvStateMachine>> {
  const dataDir = mkdtempSync(join(tmpdir(), "raft-node-space-"));
  const [port = 0] = await freePorts(1);
  const center = await embedRaftNode({
    dataDir,
    id: 1n,
    clusterId: "space",
    listen: { host: "127.0.0.1", port },
    members: [{ id: 1n, address: `127.0.0.1:${port}` }],
    stateMachine: (dir) => KvStateMachine.open({ dir }),
    routes: ({ node, stateMachine, calls }) => kvRoutes({ node, calls, machine: stateMachine }),
    tickIntervalMs: 20,
    compaction: { afterEntries: 100_000, keepEntries: 2 },
    log: { space: { quotaBytes: 2 * 1024 * 1024 }, freeBytes: async () => disk.free },
  });
  onTestFinished(async () => {
    await center.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  await center.node.leaderKnown({ deadlineMs: DEADLINE_MS });
  return center;
}

function clientOf(center: EmbeddedNode<KvStateMachine>): PlacementClient {
  const client = new PlacementClient({ endpoints: [formatAddress(center.address)], deadlineMs: DEADLINE_MS });
  onTestFinished(() => client.close());
  return client;
}

async function refusalOf(call: Promise<unknown>): Promise<PlacementError> {
  const error: unknown = await call.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  if (error instanceof PlacementError) return error;
  throw new Error(`the call was not refused: ${String(error)}`);
}

test("with a full disk writes are refused, and reads, deletes and administration go on", async () => {
  const disk = { free: 1024 ** 4 };
  const center = await started(disk);
  const client = clientOf(center);
  for (const key of ["a", "b", "c"]) await client.set(key, "1");
  disk.free = 200 * 1024 * 1024;
  await expect.poll(() => center.node.status().space, { timeout: DEADLINE_MS }).toBe("full");
  const refusal = await refusalOf(client.set("d", "1", { deadlineMs: 500 }));
  expect([refusal.reason, refusal.outcome]).toEqual(["noSpace", "notApplied"]);
  expect(refusal.cause instanceof ConnectError && refusal.cause.code).toBe(Code.ResourceExhausted);
  expect(await client.get("a")).toBeDefined();
  await client.delete("a");
  expect(await client.get("a")).toBeUndefined();
  await client.txn({ success: [{ kind: "delete", key: "b" }] });
  expect(await client.get("b")).toBeUndefined();
  const kept = await refusalOf(
    client.txn(
      {
        success: [
          { kind: "set", key: "b", value: "1" },
          { kind: "delete", key: "c" },
        ],
      },
      { deadlineMs: 500 },
    ),
  );
  expect(kept.reason).toBe("noSpace");
  disk.free = 1024 ** 4;
  await client.set("d", "1");
  expect(await client.get("d")).toBeDefined();
});

test("a log over its quota cuts itself, and a client that goes on writing gets everything through", async () => {
  const center = await started({ free: 1024 ** 4 });
  const client = clientOf(center);
  let wasFull = false;
  center.node.on("space", ({ state }) => {
    wasFull ||= state === "full";
  });
  // Until the quota is noticed, which takes longer than filling it may; then on.
  let nth = 0;
  for (; !wasFull && nth < 2_000; nth += 1) await client.set(`k${nth % 10}`, VALUE);
  expect(wasFull).toBe(true);
  for (const end = nth + 20; nth < end; nth += 1) await client.set(`k${nth % 10}`, VALUE);
  await expect.poll(() => center.node.status().space, { timeout: DEADLINE_MS }).toBe("ok");
});
