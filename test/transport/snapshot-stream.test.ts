// Snapshot bodies over real HTTP/2: whole, resumed, replaced, refused and given up. The MsgSnapshot reaches the
// node only after its body is complete, and the sender's runtime hears exactly one report per job.

import { create } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterEach, describe, expect, it } from "vitest";
import type { Message } from "../../src/gen/eraftpb_pb.js";
import {
  type InstallSnapshotRequest,
  InstallSnapshotRequestSchema,
  PlacementCenterService,
} from "../../src/gen/service_pb.js";
import { RaftNodeError } from "../../src/node/errors.js";
import { encodeMessages } from "../../src/transport/envelope.js";
import { heartbeat, snapshotMessage } from "./support/doubles.js";
import { introduce, startTestNode, type TestNode, type TestNodeOptions } from "./support/pair.js";

const MiB = 1024 * 1024;
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function pair(limits: TestNodeOptions["limits"] = {}): Promise<[TestNode, TestNode]> {
  const both = [await startTestNode({ id: 1n, limits }), await startTestNode({ id: 2n, limits })] as const;
  for (const node of both) cleanups.push(() => node.close());
  introduce(...both);
  return [...both];
}

function body(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => (at * 31) & 0xff);
}

function clientOf(node: TestNode): Client<typeof PlacementCenterService> {
  return createClient(
    PlacementCenterService,
    createConnectTransport({ baseUrl: `http://${node.address}`, httpVersion: "2" }),
  );
}

const HEADERS = { "raft-cluster-id": "test-cluster", "raft-from": "1" };

function header(message: Message, probe = false): InstallSnapshotRequest {
  const [encoded] = encodeMessages([message]);
  return create(InstallSnapshotRequestSchema, {
    part: { case: "header", value: { message: encoded ?? new Uint8Array(0), probe } },
  });
}

function chunk(offset: number, data: Uint8Array): InstallSnapshotRequest {
  return create(InstallSnapshotRequestSchema, {
    part: { case: "chunk", value: { offset: BigInt(offset), data } },
  });
}

async function codeOf(work: Promise<unknown>): Promise<Code | "taken in"> {
  try {
    await work;
  } catch (error) {
    return ConnectError.from(error).code;
  }
  return "taken in";
}

async function* stream(...parts: readonly InstallSnapshotRequest[]): AsyncGenerator<InstallSnapshotRequest> {
  yield* parts;
}

describe("a snapshot", () => {
  it("arrives whole, and its message only then", async () => {
    const [one, two] = await pair();
    const sent = body(5 * MiB + 123);
    one.snapshots.bodies.set("s-1", sent);
    let steppedBeforeTheEnd = false;
    two.snapshots.beforeWrite = () => {
      steppedBeforeTheEnd ||= two.inbox.stepped.length > 0;
    };
    one.transport.send([snapshotMessage(1n, 2n, "s-1", sent.length)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length > 0);
    expect(one.inbox.snapshotReports).toEqual([{ id: 2n, delivered: true }]);
    expect(Buffer.compare(two.snapshots.bodies.get("s-1") ?? new Uint8Array(0), sent)).toBe(0);
    expect(steppedBeforeTheEnd).toBe(false);
    expect(two.inbox.stepped).toHaveLength(1);
  });

  it("without a body is handed on as it is", async () => {
    const [one, two] = await pair();
    one.transport.send([snapshotMessage(1n, 2n, "", 0)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length > 0);
    expect(one.inbox.snapshotReports).toEqual([{ id: 2n, delivered: true }]);
    expect(two.inbox.stepped).toHaveLength(1);
  });

  it("goes on where an attempt broke off", async () => {
    const [one, two] = await pair();
    const sent = body(3 * MiB);
    one.snapshots.bodies.set("s-1", sent);
    two.snapshots.beforeWrite = (offset) => {
      if (offset >= MiB) throw new Error("the disk said no");
    };
    one.transport.send([snapshotMessage(1n, 2n, "s-1", sent.length)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 1);
    expect(one.inbox.snapshotReports).toEqual([{ id: 2n, delivered: false }]);
    expect(two.inbox.stepped).toEqual([]);
    two.snapshots.beforeWrite = () => {};
    two.snapshots.writes.length = 0;
    one.transport.send([snapshotMessage(1n, 2n, "s-1", sent.length)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 2);
    expect(two.snapshots.writes[0]?.offset).toBe(MiB);
    expect(Buffer.compare(two.snapshots.bodies.get("s-1") ?? new Uint8Array(0), sent)).toBe(0);
    expect(two.inbox.stepped).toHaveLength(1);
  });

  it("that the receiver has already is not sent again", async () => {
    const [one, two] = await pair();
    const sent = body(MiB);
    one.snapshots.bodies.set("s-1", sent);
    two.snapshots.bodies.set("s-1", sent);
    one.transport.send([snapshotMessage(1n, 2n, "s-1", sent.length)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 1);
    expect(two.snapshots.writes).toEqual([]);
    expect(two.inbox.stepped).toHaveLength(1);
  });

  it("does not hold heartbeats back", async () => {
    const [one, two] = await pair();
    const sent = body(4 * MiB);
    one.snapshots.bodies.set("s-1", sent);
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    two.snapshots.beforeWrite = (offset) => (offset > MiB ? held : undefined);
    one.transport.send([snapshotMessage(1n, 2n, "s-1", sent.length)]);
    while (two.snapshots.writes.length < 4) await new Promise((resolve) => setTimeout(resolve, 1));
    one.transport.send([heartbeat(1n, 2n)]);
    await two.inbox.until((inbox) => inbox.stepped.length === 1);
    expect(one.inbox.snapshotReports).toEqual([]);
    release();
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 1);
  });

  it("asked for again while it is under way is sent once", async () => {
    const [one, two] = await pair();
    one.snapshots.bodies.set("s-1", body(MiB));
    for (let repetition = 0; repetition < 5; repetition += 1) {
      one.transport.send([snapshotMessage(1n, 2n, "s-1", MiB)]);
    }
    await one.inbox.until((inbox) => inbox.snapshotReports.length > 0);
    expect(two.snapshots.finished).toEqual(["s-1"]);
  });

  it("that was replaced meanwhile is reported as failed", async () => {
    const [one] = await pair();
    one.transport.send([snapshotMessage(1n, 2n, "gone", MiB)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length > 0);
    expect(one.inbox.snapshotReports).toEqual([{ id: 2n, delivered: false }]);
  });

  it("to a peer without an address is reported as failed", async () => {
    const [one] = await pair();
    one.transport.send([snapshotMessage(1n, 9n, "s-1", MiB)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length > 0);
    expect(one.inbox.snapshotReports).toEqual([{ id: 9n, delivered: false }]);
  });

  it("is given up when nothing moves, and what arrived is kept", async () => {
    const [one, two] = await pair({ snapshotStallMs: 400 });
    one.snapshots.bodies.set("s-1", body(4 * MiB));
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    two.snapshots.beforeWrite = (offset) => (offset > MiB ? held : undefined);
    one.transport.send([snapshotMessage(1n, 2n, "s-1", 4 * MiB)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length > 0);
    expect(one.inbox.snapshotReports).toEqual([{ id: 2n, delivered: false }]);
    expect(one.transport.metrics().peers[0]?.lastError).toMatch(/nothing moved for 400 ms/);
    release();
    while (two.snapshots.partial.get("s-1") === undefined)
      await new Promise((resolve) => setTimeout(resolve, 1));
    expect(two.inbox.stepped).toEqual([]);
  });

  it("under way ends when the transport closes", async () => {
    const [one, two] = await pair();
    one.snapshots.bodies.set("s-1", body(4 * MiB));
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    two.snapshots.beforeWrite = () => held;
    one.transport.send([snapshotMessage(1n, 2n, "s-1", 4 * MiB)]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await one.transport.close();
    release();
    expect(two.inbox.stepped).toEqual([]);
  });

  it("at a rate so low that it takes longer than a stall may is no stall", async () => {
    const slow = { maxSnapshotBytesPerSecond: 16 * 1024, snapshotChunkBytes: 8 * 1024, snapshotStallMs: 400 };
    const [one] = await pair({ ...slow, maxSnapshotSends: 1 });
    one.snapshots.bodies.set("s-1", body(24 * 1024));
    one.transport.send([snapshotMessage(1n, 2n, "s-1", 24 * 1024)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length > 0);
    expect(one.inbox.snapshotReports).toEqual([{ id: 2n, delivered: true }]);
  });

  it("waits for its turn, and is reported at once when its peer leaves meanwhile", async () => {
    const [one, two] = await pair({ maxSnapshotSends: 1 });
    one.snapshots.bodies.set("s-1", body(MiB));
    one.transport.setMembers(
      new Map([
        [2n, two.address],
        [3n, "127.0.0.1:9"],
      ]),
    );
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    two.snapshots.beforeWrite = () => held;
    one.transport.send([snapshotMessage(1n, 2n, "s-1", MiB), snapshotMessage(1n, 3n, "s-1", MiB)]);
    expect(one.transport.metrics().peers.map(({ sendingSnapshot }) => sendingSnapshot)).toEqual([true, true]);
    one.transport.setMembers(new Map([[2n, two.address]]));
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 1);
    expect(one.inbox.snapshotReports).toEqual([{ id: 3n, delivered: false }]);
    release();
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 2);
    expect(one.inbox.snapshotReports[1]).toEqual({ id: 2n, delivered: true });
  });

  it("under way ends when its peer leaves", async () => {
    const [one, two] = await pair();
    one.snapshots.bodies.set("s-1", body(4 * MiB));
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isHeld = false;
    two.snapshots.beforeWrite = () => {
      isHeld = true;
      return held;
    };
    one.transport.send([snapshotMessage(1n, 2n, "s-1", 4 * MiB)]);
    while (!isHeld) await new Promise((resolve) => setTimeout(resolve, 1));
    one.transport.setMembers(new Map());
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 1);
    expect(one.inbox.snapshotReports).toEqual([{ id: 2n, delivered: false }]);
    release();
    while (two.snapshots.partial.get("s-1") === undefined)
      await new Promise((resolve) => setTimeout(resolve, 1));
    expect(two.inbox.stepped).toEqual([]);
  });

  it("goes to so many peers at once as the limit says", async () => {
    const [one, two] = await pair({ maxSnapshotSends: 1 });
    const three = await startTestNode({ id: 3n });
    cleanups.push(() => three.close());
    introduce(one, two, three);
    one.snapshots.bodies.set("s-1", body(MiB));
    one.transport.send([snapshotMessage(1n, 2n, "s-1", MiB), snapshotMessage(1n, 3n, "s-1", MiB)]);
    let overlapped = false;
    three.snapshots.beforeWrite = () => {
      overlapped ||= one.inbox.snapshotReports.length === 0;
    };
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 2);
    expect(overlapped).toBe(false);
    expect(one.inbox.snapshotReports.map(({ id }) => id)).toEqual([2n, 3n]);
  });
});

describe("InstallSnapshot refuses", () => {
  const message = snapshotMessage(1n, 2n, "s-1", 100);
  const refusals: { title: string; parts: InstallSnapshotRequest[]; code: Code }[] = [
    { title: "an empty stream", parts: [], code: Code.InvalidArgument },
    { title: "a stream that begins with a chunk", parts: [chunk(0, body(10))], code: Code.InvalidArgument },
    {
      title: "a header with another message",
      parts: [header(heartbeat(1n, 2n))],
      code: Code.InvalidArgument,
    },
    {
      title: "a snapshot for another node",
      parts: [header(snapshotMessage(1n, 3n, "s-1", 100))],
      code: Code.InvalidArgument,
    },
    {
      title: "a name that is a path",
      parts: [header(snapshotMessage(1n, 2n, "../s-1", 100))],
      code: Code.InvalidArgument,
    },
    {
      title: "a size beyond the limit",
      parts: [header(snapshotMessage(1n, 2n, "s-1", 1e9))],
      code: Code.ResourceExhausted,
    },
    { title: "a second header", parts: [header(message), header(message)], code: Code.InvalidArgument },
    {
      title: "a gap between chunks",
      parts: [header(message), chunk(0, body(10)), chunk(20, body(10))],
      code: Code.InvalidArgument,
    },
    {
      title: "more bytes than announced",
      parts: [header(message), chunk(0, body(101))],
      code: Code.ResourceExhausted,
    },
    {
      title: "a stream that ends early",
      parts: [header(message), chunk(0, body(99))],
      code: Code.InvalidArgument,
    },
  ];

  it.each(refusals)("$title", async ({ parts, code }) => {
    const [, two] = await pair({ maxSnapshotBytes: 1e8 });
    expect(await codeOf(clientOf(two).installSnapshot(stream(...parts), { headers: HEADERS }))).toBe(code);
    expect(two.inbox.stepped).toEqual([]);
    expect(two.snapshots.finished).toEqual([]);
  });

  it("a sender from another cluster, before anything is read", async () => {
    const [, two] = await pair();
    const call = clientOf(two).installSnapshot(stream(header(message)), {
      headers: { ...HEADERS, "raft-cluster-id": "other" },
    });
    expect(await codeOf(call)).toBe(Code.PermissionDenied);
  });

  it("more snapshots at once than it has room for", async () => {
    const [, two] = await pair({ maxSnapshotReceives: 1 });
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isHeld = false;
    two.snapshots.beforeWrite = () => {
      isHeld = true;
      return held;
    };
    const client = clientOf(two);
    const first = client.installSnapshot(stream(header(message), chunk(0, body(100))), { headers: HEADERS });
    while (!isHeld) await new Promise((resolve) => setTimeout(resolve, 1));
    const second = client.installSnapshot(stream(header(snapshotMessage(1n, 2n, "s-2", 100))), {
      headers: HEADERS,
    });
    expect(await codeOf(second)).toBe(Code.ResourceExhausted);
    release();
    expect((await first).receivedBytes).toBe(100n);
  });

  it("a message that the node has no room for, and takes it on repetition without the body", async () => {
    const [one, two] = await pair();
    one.snapshots.bodies.set("s-1", body(100));
    two.inbox.refusal = new RaftNodeError("inboxFull", "full");
    one.transport.send([message]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 1);
    two.inbox.refusal = undefined;
    two.snapshots.writes.length = 0;
    one.transport.send([message]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 2);
    expect(one.inbox.snapshotReports.map((report) => report.delivered)).toEqual([false, true]);
    expect(two.snapshots.writes).toEqual([]);
  });
});

describe("a stream that its sender has lost", () => {
  it("makes room for the next attempt with the same snapshot", async () => {
    const [, two] = await pair();
    const client = clientOf(two);
    const message = snapshotMessage(1n, 2n, "s-1", 100);
    const never = new Promise<InstallSnapshotRequest>(() => {});
    async function* abandoned(): AsyncGenerator<InstallSnapshotRequest> {
      yield header(message);
      yield chunk(0, body(40));
      yield await never;
    }
    const first = codeOf(client.installSnapshot(abandoned(), { headers: HEADERS }));
    while (two.snapshots.writes.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const probe = await client.installSnapshot(stream(header(message, true)), { headers: HEADERS });
    expect(probe.receivedBytes).toBe(40n);
    expect(await first).toBe(Code.Aborted);
    const rest = stream(header(message), chunk(40, body(100).subarray(40)));
    expect((await client.installSnapshot(rest, { headers: HEADERS })).receivedBytes).toBe(100n);
    expect(two.inbox.stepped).toHaveLength(1);
  });
});
