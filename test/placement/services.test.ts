// The services of a placement center as its clients see them: three real nodes, real LMDB, real HTTP/2. Writes and
// membership changes sent to any node, reads from any node, and what bad input is told.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../../src/embed/peer-dialer.js";
import {
  ErrorDetail_Outcome,
  KvService,
  RaftMetricsService,
  ReadConsistency,
  Role,
} from "../../src/gen/service_pb.js";
import { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { FORWARDED_HEADER } from "../../src/services/leader-calls.js";
import { TestCluster } from "./cluster.js";

function clientOf(endpoints: readonly string[]): PlacementClient {
  const client = new PlacementClient({ endpoints, deadlineMs: 15_000 });
  onTestFinished(() => client.close());
  return client;
}

function dialer(): ConnectDialer {
  const dialed = new ConnectDialer();
  onTestFinished(() => dialed.close());
  return dialed;
}

async function errorOf(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ConnectError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

async function failureOf(call: Promise<unknown>): Promise<PlacementError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof PlacementError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

describe("reads and writes", () => {
  test("a write sent to any node is visible to a read on any other at once", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    const clients = cluster.endpoints.map((endpoint) => clientOf([endpoint]));
    let revision = 0n;
    for (const [at, writer] of clients.entries()) {
      const written = await writer.set("key", `value ${at}`);
      expect(written.revision).toBeGreaterThan(revision);
      revision = written.revision;
      for (const reader of clients) {
        const entry = await reader.get("key");
        expect(Buffer.from(entry?.value ?? []).toString()).toBe(`value ${at}`);
        expect(entry?.modRevision).toBe(revision);
        expect(await reader.exists("key")).toBe(true);
      }
    }
    const [first, second] = clients;
    expect(await first?.delete("key")).toMatchObject({ deleted: true });
    expect(await second?.get("key")).toBeUndefined();
    expect(await second?.exists("key")).toBe(false);
    expect(await second?.delete("key")).toMatchObject({ deleted: false });
  });

  test("a serializable read is served by a node that has lost the majority, a linearizable one and a write are not", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    await clientOf(cluster.endpoints).set("key", "value");
    const survivor = await cluster.follower();
    await expect.poll(() => survivor.store.exists("key")).toBe(true);
    const others = cluster.nodes.filter((center) => center !== survivor).map(({ node }) => node.id);
    for (const id of others) await cluster.stopNode(id);

    const kv = createClient(KvService, dialer().dial(cluster.address(survivor.node.id)));
    const stale = await kv.get({ key: "key", consistency: ReadConsistency.SERIALIZABLE });
    expect(Buffer.from(stale.value).toString()).toBe("value");
    // Until the survivor knows that its leader is gone, an attempt may be on its way to nobody.
    await expect.poll(() => survivor.node.leaderId, { timeout: 10_000 }).toBeUndefined();
    const write = await errorOf(kv.set({ key: "key", value: Buffer.from("2") }, { timeoutMs: 800 }));
    expect([write.code, errorDetail(write)?.reason]).toEqual([Code.Unavailable, "noLeader"]);
    expect(errorDetail(write)?.outcome).toBe(ErrorDetail_Outcome.NOT_APPLIED);
    expect(write.rawMessage).toMatch(/no leader took the call within \d+ ms/);
    const read = await errorOf(kv.get({ key: "key" }, { timeoutMs: 800 }));
    expect(["noLeader", "deadlineExceeded"]).toContain(errorDetail(read)?.reason);
  });

  test("a call that was forwarded already is not sent on: the node says who leads", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    const follower = await cluster.follower();
    const kv = createClient(KvService, dialer().dial(cluster.address(follower.node.id)));
    const headers = { [FORWARDED_HEADER]: "9" };
    const error = await errorOf(kv.set({ key: "key", value: new Uint8Array() }, { headers }));
    expect(error.code).toBe(Code.FailedPrecondition);
    const leader = await cluster.leader();
    expect(errorDetail(error)).toMatchObject({
      reason: "notLeader",
      leaderId: leader,
      leaderAddress: cluster.address(leader),
    });
  });

  test("bad input is refused with what is wrong, on any node", async () => {
    const cluster = await TestCluster.start(onTestFinished, 1, {
      overrides: { limits: { maxValueBytes: 1_000 } },
    });
    const kv = createClient(KvService, dialer().dial(cluster.address(1n)));
    const calls = [
      kv.set({ key: "", value: new Uint8Array(1) }),
      kv.get({ key: "" }),
      kv.delete({ key: "é".repeat(513) }),
      kv.exists({ key: "x".repeat(1_025) }),
      kv.set({ key: "key", value: new Uint8Array(1_001) }),
    ];
    const errors = await Promise.all(calls.map((call) => errorOf(call)));
    expect(errors.map(({ code }) => Code[code])).toEqual([
      "InvalidArgument",
      "InvalidArgument",
      "InvalidArgument",
      "InvalidArgument",
      "ResourceExhausted",
    ]);
    expect(errors.map(({ rawMessage }) => rawMessage)).toEqual([
      "key is empty: give 1 to 1,024 bytes of UTF-8",
      "key is empty: give 1 to 1,024 bytes of UTF-8",
      "key has more than 1,024 bytes of UTF-8 (at least 1,026): use a shorter one",
      "key has more than 1,024 bytes of UTF-8 (at least 1,025): use a shorter one",
      "value has 1,001 bytes, the limit is 1,000: store something smaller",
    ]);
    await kv.set({ key: "x".repeat(1_024), value: new Uint8Array(1_000) });
  });
});

describe("membership and leadership", () => {
  test("a node is added as learner, promoted, given the leadership, and removed, asked of any node", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3, { spare: 1 });
    const follower = await cluster.follower();
    const client = clientOf([cluster.address(follower.node.id)]);
    await client.set("before", "1");

    await cluster.startNode(4n, { join: true });
    const added = await client.addLearner(4n, cluster.address(4n));
    expect(added.members).toContainEqual({ id: 4n, address: cluster.address(4n), learner: true });
    await expect.poll(() => cluster.node(4n).store.exists("before"), { timeout: 15_000 }).toBe(true);
    await expect
      .poll(() => client.promote(4n).then(({ members }) => members.length), { timeout: 15_000 })
      .toBe(4);
    // The node that is asked tells what it has applied itself, which may be a moment behind the leader.
    const allVote = () => client.members().then(({ members }) => members.every(({ learner }) => !learner));
    await expect.poll(allVote, { timeout: 15_000 }).toBe(true);

    expect(await client.transfer(4n)).toBe(4n);
    expect(await cluster.leader()).toBe(4n);
    const metrics = await client.metrics(cluster.address(4n));
    expect(metrics).toMatchObject({ id: 4n, clusterId: "test", role: Role.LEADER, leaderId: 4n });
    expect(metrics.peers.map(({ id }) => id)).toEqual([1n, 2n, 3n]);

    const gone = follower.node.id === 1n ? 2n : 1n;
    const left = await client.remove(gone);
    expect(left.members.map(({ id }) => id)).not.toContain(gone);
    expect(await client.get("before")).toBeDefined();
  });

  test("changes that make no sense are refused with a reason", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    const client = clientOf(cluster.endpoints);
    const reasons = async (calls: readonly Promise<unknown>[]) =>
      (await Promise.all(calls.map((call) => failureOf(call)))).map(({ reason, outcome }) => [
        reason,
        outcome,
      ]);
    await cluster.leader();
    expect(await reasons([client.addLearner(4n, "nowhere"), client.addLearner(0n, "127.0.0.1:1")])).toEqual([
      ["invalidArgument", "notApplied"],
      ["invalidArgument", "notApplied"],
    ]);
    const refused = await reasons([client.promote(9n), client.transfer(9n), client.remove(9n)]);
    for (const [reason, outcome] of refused) {
      expect(["invalidArgument", "membershipRefused"]).toContain(reason);
      expect(outcome).toBe("notApplied");
    }
  });

  test("every node tells who leads and who belongs, without asking another", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    const leader = await cluster.leader();
    const connections = dialer();
    for (const { node } of cluster.nodes) {
      const service = createClient(RaftMetricsService, connections.dial(cluster.address(node.id)));
      const answer = await service.leader({});
      expect([answer.leaderId, answer.leaderAddress]).toEqual([leader, cluster.address(leader)]);
      const { membership, clusterId } = await service.members({});
      expect(clusterId).toBe("test");
      expect(membership?.members.map(({ id, address }) => [id, address])).toEqual([...cluster.addresses]);
    }
  });
});
