// What a client does when nodes fail: it goes on elsewhere, follows the leader, repeats only what cannot be done twice
// by that, and says what may be concluded when it gives up. Real HTTP/2; servers that answer from a script where the
// answer itself is the subject, a real cluster otherwise.

import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { ErrorDetail_Outcome, ErrorDetailSchema, KvService } from "../../src/gen/service_pb.js";
import { SILENT } from "../../src/node/options.js";
import { PlacementClient, type PlacementClientOptions } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import { ERROR_TABLE, type ErrorReason } from "../../src/services/connect-errors.js";
import { listenHttp2 } from "../../src/transport/http2-server.js";
import { freePorts, TestCluster } from "./cluster.js";

/** A server whose `set`, `get` and `delete` answer from a script, then with success. */
async function scripted(script: readonly (() => ConnectError | "hang")[] = []) {
  const calls: string[] = [];
  const next = async (name: string, signal: AbortSignal) => {
    const step = script[calls.length];
    calls.push(name);
    const outcome = step?.();
    if (outcome === "hang") await new Promise((resolve) => signal.addEventListener("abort", resolve));
    else if (outcome !== undefined) throw outcome;
  };
  const routes = (router: ConnectRouter) => {
    router.service(KvService, {
      set: async (_, { signal }) => {
        await next("set", signal);
        return { revision: 7n };
      },
      get: async (_, { signal }) => {
        await next("get", signal);
        return { found: true };
      },
      delete: async (_, { signal }) => {
        await next("delete", signal);
        return { deleted: true };
      },
    });
  };
  const listener = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    routes,
    logger: SILENT,
    shutdownGraceMs: 100,
  });
  onTestFinished(() => listener.close());
  return { calls, address: `127.0.0.1:${listener.address.port}` };
}

function answer(reason: ErrorReason, leaderAddress = "", retryAfterMs = 0): () => ConnectError {
  const { code, outcome } = ERROR_TABLE[reason];
  return () =>
    new ConnectError(`says ${reason}`, code, undefined, [
      { desc: ErrorDetailSchema, value: { reason, outcome, leaderAddress, retryAfterMs } },
    ]);
}

/** Asks the endpoints in the order in which they are given. */
function clientOf(
  endpoints: readonly string[],
  options: Partial<PlacementClientOptions> = {},
): PlacementClient {
  const client = new PlacementClient({ endpoints, deadlineMs: 10_000, random: () => 0, ...options });
  onTestFinished(() => client.close());
  return client;
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

describe("what is tried again", () => {
  test.each(["notLeader", "proposalDropped", "noLeader", "inboxFull"] as const)(
    "a write that ended with %s was not applied, and is sent to another node",
    async (reason) => {
      const first = await scripted([answer(reason)]);
      const second = await scripted();
      expect(await clientOf([first.address, second.address]).set("k", "v")).toMatchObject({ revision: 7n });
      expect([first.calls, second.calls]).toEqual([["set"], ["set"]]);
    },
  );

  test("nobody is asked again before the time that the answer advises has passed", async () => {
    const busy = await scripted([answer("inboxFull", "", 300)]);
    const startedMs = performance.now();
    await clientOf([busy.address]).set("k", "v");
    // The timer may be a millisecond early, never more.
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(299);
    expect(busy.calls).toEqual(["set", "set"]);
    // Where that is too late for the call, it ends now.
    const full = await scripted([answer("noSpace", "", 60_000)]);
    const failure = await failureOf(clientOf([full.address]).set("k", "v"));
    expect(failure).toMatchObject({ reason: "noSpace", outcome: "notApplied" });
    expect(full.calls).toEqual(["set"]);
  });

  test("a write ends at once where every node says that it is no member, and goes on where one is", async () => {
    const stranger = () => scripted(Array(20).fill(answer("notMember")));
    const [one, two] = [await stranger(), await stranger()];
    const failure = await failureOf(clientOf([one.address, two.address]).set("k", "v"));
    expect(failure).toMatchObject({ reason: "notMember", outcome: "notApplied" });
    expect([one.calls, two.calls]).toEqual([["set"], ["set"]]);
    const member = await scripted();
    expect(await clientOf([one.address, member.address]).set("k", "v")).toMatchObject({ revision: 7n });
  });

  test("a write goes straight to the leader that was named, even if it is no endpoint, and so does the next", async () => {
    const leader = await scripted();
    const first = await scripted([answer("notLeader", leader.address)]);
    const client = clientOf([first.address]);
    await client.set("k", "v");
    await client.set("k", "v");
    expect([first.calls, leader.calls]).toEqual([["set"], ["set", "set"]]);
  });

  test.each(["outcomeUnknown", "nodeStopped", "deadlineExceeded", "internal"] as const)(
    "a write that ended with %s is not repeated without retryUnknown, and is said to be unknown",
    async (reason) => {
      const first = await scripted([answer(reason)]);
      const second = await scripted();
      const client = clientOf([first.address, second.address], { retryUnknown: false });
      const failure = await failureOf(client.set("k", "v"));
      expect(failure).toMatchObject({ reason, outcome: "unknown", endpoint: first.address });
      expect(second.calls).toEqual([]);
    },
  );

  test("by default it is repeated", async () => {
    const first = await scripted([answer("outcomeUnknown")]);
    const second = await scripted();
    const client = clientOf([first.address, second.address]);
    expect(await client.set("k", "v")).toMatchObject({ revision: 7n });
    expect(second.calls).toEqual(["set"]);
  });

  test("a read is asked elsewhere whatever happened to it, also when a node does not answer at all", async () => {
    const first = await scripted([answer("nodeStopped"), () => "hang"]);
    const second = await scripted([answer("readDropped")]);
    const client = clientOf([first.address, second.address], { deadlineMs: 3_000 });
    expect(await client.get("k")).toBeDefined();
    expect([first.calls, second.calls]).toEqual([
      ["get", "get"],
      ["get", "get"],
    ]);
  });

  test.each(["invalidArgument", "tooLarge", "membershipRefused"] as const)(
    "%s would be the answer everywhere and is not asked for twice",
    async (reason) => {
      const first = await scripted([answer(reason)]);
      const second = await scripted();
      const failure = await failureOf(clientOf([first.address, second.address]).set("k", "v"));
      expect(failure).toMatchObject({ reason, outcome: "notApplied", message: `says ${reason}` });
      expect(second.calls).toEqual([]);
    },
  );

  test("once an attempt may have been applied, the last word is unknown, even if the last attempt was not", async () => {
    const first = await scripted([
      answer("outcomeUnknown"),
      ...Array.from({ length: 99 }, () => answer("noLeader")),
    ]);
    const client = clientOf([first.address], { deadlineMs: 300 });
    const failure = await failureOf(client.set("k", "v"));
    expect(failure).toMatchObject({ reason: "noLeader", outcome: "unknown" });
    expect(failure.message).toMatch(/^no success within 300 ms; last: says noLeader/);
  });
});

describe("nodes that are not there", () => {
  test("an endpoint that refuses connections costs a write nothing but a moment", async () => {
    const [dead] = await freePorts(1);
    const alive = await scripted();
    const client = clientOf([`127.0.0.1:${dead}`, alive.address]);
    expect(await client.set("k", "v")).toMatchObject({ revision: 7n });
    expect(await client.set("k", "v")).toMatchObject({ revision: 7n });
    expect(alive.calls).toEqual(["set", "set"]);
  });

  test("when nobody is there, the write was certainly not applied", async () => {
    const [dead] = await freePorts(1);
    const failure = await failureOf(clientOf([`127.0.0.1:${dead}`], { deadlineMs: 300 }).set("k", "v"));
    expect(failure).toMatchObject({ reason: "unreachable", outcome: "notApplied" });
    expect(failure.message).toMatch(/ECONNREFUSED/);
  });

  test("a write to a node that hangs ends at the deadline, unknown", async () => {
    const first = await scripted([() => "hang"]);
    const failure = await failureOf(clientOf([first.address]).set("k", "v", { deadlineMs: 200 }));
    expect(failure).toMatchObject({ reason: "deadlineExceeded", outcome: "unknown" });
  });

  test("a call that its caller gives up ends at once", async () => {
    const first = await scripted([() => "hang"]);
    const controller = new AbortController();
    const call = failureOf(clientOf([first.address]).set("k", "v", { signal: controller.signal }));
    await expect.poll(() => first.calls).toEqual(["set"]);
    controller.abort();
    expect(await call).toMatchObject({ outcome: "unknown" });
  });

  test("a malformed or missing endpoint is named at once", () => {
    expect(() => new PlacementClient({ endpoints: ["nowhere"] })).toThrow(
      'endpoint "nowhere" has no port: write host:port, as in 127.0.0.1:7001',
    );
    expect(() => new PlacementClient({ endpoints: [] })).toThrow("endpoints is empty");
  });
});

describe("a cluster that loses nodes", () => {
  test("writes go on while one node after another, the leader first, is stopped and started again", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    const client = clientOf(cluster.endpoints, {
      deadlineMs: 20_000,
      random: Math.random,
    });
    const stop = new AbortController();
    const acknowledged: string[] = [];
    const writing = (async () => {
      for (let number = 0; !stop.signal.aborted; number += 1) {
        await client.set(`key-${number}`, `${number}`);
        acknowledged.push(`key-${number}`);
      }
    })();
    const first = await cluster.leader();
    for (const id of [first, ...[1n, 2n, 3n].filter((other) => other !== first)]) {
      await cluster.stopNode(id);
      const before = acknowledged.length;
      await expect.poll(() => acknowledged.length, { timeout: 15_000 }).toBeGreaterThan(before + 5);
      await cluster.startNode(id);
    }
    stop.abort();
    await writing;
    for (const endpoint of cluster.endpoints) {
      const reader = clientOf([endpoint]);
      const found = await Promise.all(acknowledged.map((key) => reader.exists(key)));
      expect(found.filter((there) => !there)).toEqual([]);
    }
  }, 60_000);

  test("a client that was given one node knows all of them after some trouble, and needs the one no more", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    const [dead] = await freePorts(1);
    const given = (await cluster.follower()).node.id;
    const client = clientOf([`127.0.0.1:${dead}`, cluster.address(given)], { deadlineMs: 20_000 });
    await client.set("before", "1");
    await expect
      .poll(() => client.endpoints.toSorted())
      .toEqual([`127.0.0.1:${dead}`, ...cluster.endpoints].toSorted());
    await cluster.stopNode(given);
    await client.set("after", "1");
    expect(await client.exists("before")).toBe(true);
  });

  test("an orderly stop of the leader loses no answer: nothing has to be repeated as unknown", async () => {
    const cluster = await TestCluster.start(onTestFinished, 3);
    const leader = await cluster.leader();
    const others = [...cluster.addresses].filter(([id]) => id !== leader).map(([, address]) => address);
    const client = clientOf(others, { deadlineMs: 20_000 });
    const stop = new AbortController();
    let acknowledged = 0;
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let number = 0; !stop.signal.aborted; number += 1) {
        await client.set(`${writer}-${number}`, "v");
        acknowledged += 1;
      }
    });
    await expect.poll(() => acknowledged, { timeout: 15_000 }).toBeGreaterThan(20);
    await cluster.stopNode(leader);
    const before = acknowledged;
    await expect.poll(() => acknowledged, { timeout: 15_000 }).toBeGreaterThan(before + 20);
    stop.abort();
    const outcomes = await Promise.allSettled(writers);
    expect(outcomes.filter(({ status }) => status === "rejected")).toEqual([]);
  }, 60_000);
});

test("the outcome of every reason is one that the client knows", () => {
  for (const { outcome } of Object.values(ERROR_TABLE)) {
    expect(ErrorDetail_Outcome[outcome]).toMatch(/^(NOT_APPLIED|UNKNOWN|APPLIED)$/);
  }
  expect(ERROR_TABLE.noLeader.code).toBe(Code.Unavailable);
});
