// What the transport counts, over real HTTP/2: calls, failures by class, bytes, messages and round trips, on the side
// that sends and on the side that receives.

import { afterEach, describe, expect, it } from "vitest";
import { RaftNodeError } from "../../src/node/errors.js";
import { ROUND_TRIP_BOUNDS_MS, type TransportMetricsView } from "../../src/transport/transport-metrics.js";
import { append, heartbeat, snapshotMessage } from "./support/doubles.js";
import { introduce, startTestNode, type TestNode, type TestNodeOptions } from "./support/pair.js";

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function pair(options: Partial<TestNodeOptions> = {}): Promise<[TestNode, TestNode]> {
  const one = await startTestNode({ id: 1n });
  const two = await startTestNode({ id: 2n, ...options });
  for (const node of [one, two]) cleanups.push(() => node.close());
  introduce(one, two);
  return [one, two];
}

/** The figures of one peer once all that was sent has been answered. */
async function settled(node: TestNode): Promise<TransportMetricsView["peers"][number]> {
  for (;;) {
    const [peer] = node.transport.metrics().peers;
    if (peer !== undefined && peer.inFlight + peer.queued === 0 && !peer.sendingSnapshot) return peer;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

describe("metrics", () => {
  it("count what was sent and what arrived alike", async () => {
    const [one, two] = await pair();
    one.transport.send([append(1n, 2n, 1n, 1_000), append(1n, 2n, 2n, 1_000)]);
    one.transport.send([heartbeat(1n, 2n)]);
    const peer = await settled(one);
    const { sendRaftMessage } = peer;
    expect(peer).toMatchObject({
      id: 2n,
      address: two.address,
      connected: true,
      droppedMessages: 0,
      lostHeartbeats: 0,
      failures: {},
    });
    expect(sendRaftMessage).toMatchObject({ calls: 2, messages: 3, inFlight: 0, failures: {} });
    expect(sendRaftMessage.bytes).toBeGreaterThan(2_000);
    const { duration } = sendRaftMessage;
    expect(duration.count).toBe(2);
    expect(duration.boundsMs).toBe(ROUND_TRIP_BOUNDS_MS);
    expect(duration.counts.length).toBe(ROUND_TRIP_BOUNDS_MS.length + 1);
    expect(duration.counts.reduce((sum, count) => sum + count, 0)).toBe(2);
    expect(duration.maxMs).toBeLessThanOrEqual(duration.sumMs);
    const [received] = two.transport.metrics().received;
    expect(received?.from).toBe(1n);
    expect(received?.sendRaftMessage).toMatchObject({ calls: 2, messages: 3, inFlight: 0, refusals: {} });
    expect(received?.sendRaftMessage.bytes).toBeGreaterThan(2_000);
    expect(received?.sendRaftMessage.bytes).toBeLessThan(sendRaftMessage.bytes);
  });

  it("count refused calls by class here, and by code there", async () => {
    const [one, two] = await pair();
    two.inbox.refusal = new RaftNodeError("inboxFull", "full");
    one.transport.send([append(1n, 2n, 1n)]);
    const peer = await settled(one);
    expect(peer.sendRaftMessage).toMatchObject({ calls: 1, messages: 0, bytes: 0, failures: { busy: 1 } });
    expect(peer.sendRaftMessage.duration.count).toBe(0);
    expect(peer.failures).toEqual({ busy: 1 });
    const [received] = two.transport.metrics().received;
    expect(received?.sendRaftMessage).toMatchObject({
      calls: 1,
      messages: 0,
      refusals: { ResourceExhausted: 1 },
    });
  });

  it("count those who were not let in, without remembering them", async () => {
    const [one, two] = await pair({ clusterId: "another-cluster" });
    one.transport.send([append(1n, 2n, 1n)]);
    expect((await settled(one)).sendRaftMessage.failures).toEqual({ rejected: 1 });
    expect(two.transport.metrics()).toMatchObject({
      received: [],
      refusedAtTheDoor: { PermissionDenied: 1 },
    });
  });

  it("count snapshots by themselves", async () => {
    const [one, two] = await pair();
    one.snapshots.bodies.set("s-1", new Uint8Array(600_000));
    one.transport.send([snapshotMessage(1n, 2n, "s-1", 600_000), snapshotMessage(1n, 2n, "s-1", 600_000)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 1);
    const peer = await settled(one);
    expect(peer.installSnapshot).toMatchObject({
      calls: 1,
      messages: 1,
      bytes: 600_000,
      inFlight: 0,
      failures: {},
    });
    expect(peer.sendRaftMessage.calls).toBe(0);
    const [received] = two.transport.metrics().received;
    // Two calls: what is there already is asked for first.
    expect(received?.installSnapshot).toMatchObject({ calls: 2, messages: 1, bytes: 600_000, inFlight: 0 });
    one.transport.send([snapshotMessage(1n, 2n, "gone", 600_000)]);
    await one.inbox.until((inbox) => inbox.snapshotReports.length === 2);
    expect((await settled(one)).installSnapshot).toMatchObject({ calls: 2, failures: { reset: 1 } });
  });

  it("show what waits and what is under way", async () => {
    const [one] = await pair();
    one.transport.send([append(1n, 2n, 1n)]);
    one.transport.send([append(1n, 2n, 2n)]);
    const [peer] = one.transport.metrics().peers;
    expect((peer?.queued ?? 0) + (peer?.inFlight ?? 0)).toBe(2);
    expect((await settled(one)).sendRaftMessage.messages).toBe(2);
  });
});
