// Watches of three real nodes over real HTTP/2: every change once and in order, with previous values and progress
// marks, while nodes and leaders go and come back; what is too long ago is said to be.

import { createClient } from "@connectrpc/connect";
import { expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../../src/embed/peer-dialer.js";
import { KvService, type WatchResponse } from "../../src/gen/service_pb.js";
import { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import type { KeySelection } from "../../src/placement/client-kv.js";
import type { WatchClientOptions, WatchedChange } from "../../src/placement/client-watch.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { TestCluster } from "./cluster.js";

function clientOf(endpoints: readonly string[]): PlacementClient {
  const client = new PlacementClient({ endpoints, deadlineMs: 20_000 });
  onTestFinished(() => client.close());
  return client;
}

/** Collects what a watch delivers, from the moment that it is in place until the test ends. */
async function watching(client: PlacementClient, keys: KeySelection, options: WatchClientOptions = {}) {
  const controller = new AbortController();
  const changes: WatchedChange[] = [];
  const marks: bigint[] = [];
  const updates = client.watch(keys, { ...options, signal: controller.signal });
  await updates.next();
  const ended = (async () => {
    for await (const update of updates) {
      changes.push(...update.changes);
      if (update.changes.length === 0) marks.push(update.revision);
    }
  })();
  const stop = async () => {
    controller.abort();
    await ended;
  };
  onTestFinished(stop);
  return { changes, marks, stop };
}

function shown(change: WatchedChange): string {
  const before = change.previous === undefined ? "" : ` was ${text(change.previous.value)}`;
  if (change.kind === "delete") return `-${change.key}@${change.modRevision}${before}`;
  const { key, value, modRevision, version } = change.entry;
  return `${key}=${text(value)}@${modRevision} v${version}${before}`;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

test("every node tells the same changes in the same order, one revision of a transaction at a time", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const writer = clientOf(cluster.endpoints);
  await writer.set("x/0", "before");
  const watches = await Promise.all(
    cluster.endpoints.map((endpoint) =>
      watching(clientOf([endpoint]), { prefix: "x/" }, { fromRevision: 2n, previousValues: true }),
    ),
  );
  await writer.set("x/1", "one");
  await writer.set("other", "not of interest");
  await writer.set("x/1", "two");
  await writer.txn({
    success: [
      { kind: "delete", key: "x/0" },
      { kind: "set", key: "x/2", value: "three" },
      { kind: "delete", key: "x/none" },
    ],
  });
  await writer.delete("x/1");
  const expected = [
    "x/1=one@2 v1",
    "x/1=two@4 v2 was one",
    "-x/0@5 was before",
    "x/2=three@5 v1",
    "-x/1@6 was two",
  ];
  for (const { changes } of watches) await expect.poll(() => changes.map(shown)).toEqual(expected);
  // From an earlier revision the same events come again.
  const again = await watching(writer, { key: "x/1" }, { fromRevision: 1n });
  await expect.poll(() => again.changes.map(shown)).toEqual(["x/1=one@2 v1", "x/1=two@4 v2", "-x/1@6"]);
});

test("a watch of a key that nobody writes says how far it has come", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const client = clientOf(cluster.endpoints);
  const { changes, marks } = await watching(client, { key: "quiet" }, { progressIntervalMs: 100 });
  await client.set("loud", "1");
  const { revision } = await client.set("loud", "2");
  await expect.poll(() => marks.at(-1)).toBe(revision);
  expect(changes).toEqual([]);
});

test("no change is lost or told twice while one node after another is stopped and started again", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const writer = clientOf(cluster.endpoints);
  const watches = await Promise.all(
    cluster.endpoints.map((endpoint, at) =>
      // Each begins at another node, and may go on at any.
      watching(clientOf([endpoint, ...cluster.endpoints.filter((_, other) => other !== at)]), {
        prefix: "n/",
      }),
    ),
  );
  const stop = new AbortController();
  const revisions: bigint[] = [];
  const writing = (async () => {
    for (let number = 0; !stop.signal.aborted; number += 1) {
      revisions.push((await writer.set(`n/${number % 10}`, `${number}`)).revision);
    }
  })();
  const first = await cluster.leader();
  for (const id of [first, ...[1n, 2n, 3n].filter((other) => other !== first)]) {
    await cluster.stopNode(id);
    const before = revisions.length;
    await expect.poll(() => revisions.length, { timeout: 15_000 }).toBeGreaterThan(before + 20);
    await cluster.startNode(id);
  }
  stop.abort();
  await writing;
  expect(revisions).toEqual(revisions.map((_, at) => BigInt(at) + 1n));
  for (const { changes } of watches) {
    await expect.poll(() => changes.length, { timeout: 15_000 }).toBe(revisions.length);
    const seen = changes.map((change) => (change.kind === "set" ? change.entry.modRevision : 0n));
    expect(seen).toEqual(revisions);
  }
}, 60_000);

test("what no node keeps any more is compacted; what one of them keeps is had from there", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3, {
    overrides: { limits: { historyRevisions: 10 } },
  });
  const writer = clientOf(cluster.endpoints);
  for (let number = 0; number < 30; number += 1) await writer.set(`k${number}`, "v");
  const updates = writer.watch({ prefix: "k" }, { fromRevision: 5n });
  const failure = await updates.next().then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(failure instanceof PlacementError)) throw new Error("the watch began");
  expect([failure.reason, failure.outcome]).toEqual(["compacted", "notApplied"]);
  expect(failure.message).toMatch(/revision 5 is too long ago: this node keeps changes from 2\d on/);

  // A node that has just been opened keeps nothing of what was before; the others do.
  const follower = (await cluster.follower()).node.id;
  await cluster.stopNode(follower);
  await cluster.startNode(follower);
  const restarted = cluster.address(follower);
  const others = cluster.endpoints.filter((endpoint) => endpoint !== restarted);
  const client = new PlacementClient({ endpoints: [restarted, ...others], random: () => 0 });
  onTestFinished(() => client.close());
  const resumed = await watching(client, { prefix: "k" }, { fromRevision: 28n });
  await expect.poll(() => resumed.changes.map(shown)).toEqual(["k27=v@28 v1", "k28=v@29 v1", "k29=v@30 v1"]);
});

test("a watch that is too late is told so although nodes that it knows are gone", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3, {
    overrides: { limits: { historyRevisions: 10 } },
  });
  const writer = clientOf(cluster.endpoints);
  for (let number = 0; number < 30; number += 1) await writer.set(`k${number}`, "v");
  const [first = "", ...others] = cluster.endpoints;
  const gone = "127.0.0.1:1";
  const client = clientOf([first, gone, ...others, gone]);
  const updates = client.watch({ prefix: "k" }, { fromRevision: 5n });
  await expect(updates.next()).rejects.toMatchObject({ reason: "compacted", outcome: "notApplied" });
});

test("a client that does nothing but watch learns of members that it was not told of", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const [first = ""] = cluster.endpoints;
  const client = clientOf([first]);
  await watching(client, { prefix: "k" });
  await expect.poll(() => [...client.endpoints].sort()).toEqual([...cluster.endpoints].sort());
});

test("a node that has lost its group sends its watches elsewhere, and one that stops does so at once", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const survivor = (await cluster.follower()).node.id;
  const connections = new ConnectDialer();
  onTestFinished(() => connections.close());
  const kv = createClient(KvService, connections.dial(cluster.address(survivor)));
  const reasonOfEnd = async (responses: AsyncIterable<WatchResponse>, placed: () => void) => {
    try {
      for await (const _ of responses) placed();
      return "ended without a reason";
    } catch (error) {
      return errorDetail(error)?.reason;
    }
  };
  const request = { range: { range: { case: "prefix", value: "" } } } as const;
  let isPlaced = false;
  const quick = reasonOfEnd(kv.watch({ ...request, progressIntervalMs: 100 }), () => {
    isPlaced = true;
  });
  await expect.poll(() => isPlaced).toBe(true);
  for (const id of [1n, 2n, 3n]) if (id !== survivor) await cluster.stopNode(id);
  expect(await quick).toBe("noLeader");

  let isPlacedToo = false;
  const patient = reasonOfEnd(kv.watch(request), () => {
    isPlacedToo = true;
  });
  await expect.poll(() => isPlacedToo).toBe(true);
  await cluster.stopNode(survivor);
  expect(await patient).toBe("shuttingDown");
});

test("a watch that cannot be right is refused with what is wrong", async () => {
  const cluster = await TestCluster.start(onTestFinished, 1);
  const client = clientOf(cluster.endpoints);
  const messages = await Promise.all(
    [client.watch({ key: "" }), client.watch({ prefix: "" }, { progressIntervalMs: 5 })].map((updates) =>
      updates.next().catch((error: unknown) => error instanceof PlacementError && error.message),
    ),
  );
  expect(messages).toEqual([
    "key is empty: give 1 to 1,024 bytes of UTF-8",
    "progress_interval_ms is 5: give 100 to 600000, or 0 for 10000",
  ]);
});
