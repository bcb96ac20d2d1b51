// Peers that come and go: a restart on the same port and on another one, changed memberships, and nodes that are
// known by what they say about themselves only.

import { afterEach, describe, expect, it } from "vitest";
import { append, heartbeat } from "./support/doubles.js";
import { introduce, startTestNode, type TestNode, type TestNodeOptions } from "./support/pair.js";
import { wireTo } from "./support/sockets.js";

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: TestNodeOptions): Promise<TestNode> {
  const limits = { backoffMinMs: 5, backoffMaxMs: 20, closeGraceMs: 50, ...options.limits };
  const node = await startTestNode({ ...options, limits });
  cleanups.push(() => node.close());
  return node;
}

/** Sends until something arrives: what a leader's heartbeats do. */
async function sendUntilDelivered(from: TestNode, to: TestNode): Promise<void> {
  const before = to.inbox.stepped.length;
  while (to.inbox.stepped.length === before) {
    from.transport.send([heartbeat(from.id, to.id)]);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe("a peer that restarts", () => {
  it("is reached again at the same address", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n });
    introduce(one, two);
    await sendUntilDelivered(one, two);
    const { port } = two.listener.address;
    await two.close();
    const again = await start({ id: 2n, port, incarnation: "second life" });
    await sendUntilDelivered(one, again);
    expect(one.transport.metrics().peers[0]?.connected).toBe(true);
  });

  it("ends calls to its predecessor as soon as its new incarnation is heard", async () => {
    // The old connection is frozen, not closed: after a power failure nobody closes it.
    const quiet = { pingIntervalMs: 60_000, envelopeDeadlineMs: 60_000 };
    const one = await start({ id: 1n, limits: quiet });
    const two = await start({ id: 2n });
    const wire = await wireTo(two.listener.address.port);
    cleanups.push(() => wire.close());
    one.transport.setMembers(new Map([[2n, `127.0.0.1:${wire.port}`]]));
    two.transport.setMembers(new Map([[1n, one.address]]));
    await sendUntilDelivered(one, two);
    await sendUntilDelivered(two, one);
    while (one.transport.metrics().peers[0]?.inFlight !== 0)
      await new Promise((resolve) => setTimeout(resolve, 1));
    wire.freeze();
    one.transport.send([append(1n, 2n, 1n)]);
    expect(one.transport.metrics().peers[0]?.inFlight).toBe(1);
    const successor = await start({ id: 2n, incarnation: "second life" });
    successor.transport.setMembers(new Map([[1n, one.address]]));
    await sendUntilDelivered(successor, one);
    await one.inbox.until((inbox) => inbox.unreachable.includes(2n));
    expect(one.transport.metrics().peers[0]?.failures).toEqual({ killed: 1 });
    wire.thaw();
    await sendUntilDelivered(one, two);
  });
});

describe("the membership", () => {
  it("moves a peer to another address without a restart", async () => {
    const one = await start({ id: 1n });
    const before = await start({ id: 2n });
    const after = await start({ id: 2n });
    introduce(one, before);
    await sendUntilDelivered(one, before);
    introduce(one, after);
    await sendUntilDelivered(one, after);
    expect(one.transport.metrics().peers.map((peer) => peer.address)).toEqual([after.address]);
  });

  it("disconnects a peer that has left it", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n });
    introduce(one, two);
    await sendUntilDelivered(one, two);
    one.transport.setMembers(new Map([[1n, one.address]]));
    expect(one.transport.metrics().peers).toEqual([]);
    one.transport.send([heartbeat(1n, 2n)]);
    await one.inbox.until((inbox) => inbox.unreachable.includes(2n));
    expect(two.inbox.stepped.length).toBeGreaterThan(0);
  });

  it("is not needed to answer a sender: its own word about its address will do", async () => {
    const leader = await start({ id: 1n });
    const joining = await start({ id: 2n });
    leader.transport.setMembers(new Map([[2n, joining.address]]));
    await sendUntilDelivered(leader, joining);
    joining.transport.send([heartbeat(2n, 1n)]);
    await leader.inbox.until((inbox) => inbox.stepped.length === 1);
  });

  it("outweighs what a sender says about itself", async () => {
    const one = await start({ id: 1n });
    const two = await start({ id: 2n });
    introduce(one, two);
    one.transport.learnAddress(2n, "127.0.0.1:1");
    await sendUntilDelivered(one, two);
  });

  it("bounds what is remembered about strangers", async () => {
    const one = await start({ id: 1n, limits: { maxLearnedAddresses: 3 } });
    for (let id = 10n; id < 20n; id += 1n) {
      one.transport.learnAddress(id, "127.0.0.1:1");
      one.transport.send([heartbeat(1n, id)]);
    }
    expect(one.transport.metrics().peers.map((peer) => peer.id)).toEqual([17n, 18n, 19n]);
    one.transport.learnAddress(30n, "no address");
    one.transport.send([heartbeat(1n, 30n)]);
    expect(one.transport.metrics().peers).toHaveLength(3);
  });
});
