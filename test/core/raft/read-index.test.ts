// Linearizable reads without the log (thesis §6.4): who is answered, with which index, when, and what a lost message
// or a change of leader does to it. Groups in memory; `network.delivered` shows what a read has cost.

import { describe, expect, test } from "vitest";
import {
  ConfigInvalid,
  type Entry,
  type Message,
  MessageType,
  newMessage,
  newNormalEntry,
} from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { fromPeer, heartbeatResponse, ofType } from "../../support/peer-messages.js";
import { bytes, TestNode, type TestNodeOptions, text } from "../../support/test-node.js";

/** A group that node 1 leads. */
function ledByOne(size: number, options: TestNodeOptions = {}): Network {
  const network = Network.ofSize(size, options);
  network.campaign(1);
  expect(network.node(1).role).toBe("leader");
  return network;
}

/** Asks at a node, and lets all that follows happen. */
function read(network: Network, at: number, ...contexts: readonly string[]): void {
  for (const context of contexts) network.node(at).act((raw) => raw.readIndex(bytes(context)));
  network.settle();
}

/** The reads that a node was answered since this was asked last. */
function answersAt(network: Network, id: number): { context: string; index: bigint }[] {
  return network
    .node(id)
    .readStates.splice(0)
    .map(({ requestCtx, index }) => ({ context: text(requestCtx), index }));
}

function proposeTen(network: Network): void {
  for (let count = 0; count < 10; count += 1) network.propose(1, "x");
}

/** How a read travels. */
const asked = (context: string): Entry => newNormalEntry(0n, 0n, bytes(context));

/** What a leader has kept of reads that wait. */
function waitingAt({ raft }: TestNode): number | undefined {
  return raft.role.kind === "leader" ? raft.role.reads.size : undefined;
}

describe("a read", () => {
  test.each([1, 2, 3])(
    "at node %d is answered there with the commit index of now, each request once",
    (at) => {
      const network = ledByOne(3);
      for (const index of [11n, 21n]) {
        proposeTen(network);
        // A context is the caller's own business: the same one twice is two reads.
        read(network, at, "a", "a", "b");
        expect(answersAt(network, at)).toEqual([
          { context: "a", index },
          { context: "a", index },
          { context: "b", index },
        ]);
      }
      expect(waitingAt(network.node(1))).toBe(0);
    },
  );

  test.each([1, 2, 3])("at node %d that nobody has confirmed yet is released by the next round", (at) => {
    const network = ledByOne(3);
    proposeTen(network);
    network.ignore(MessageType.MsgHeartbeatResponse);
    read(network, at, "a", "a", "b");
    expect(answersAt(network, at)).toEqual([]);
    expect(waitingAt(network.node(1))).toBe(3);

    network.recover();
    network.propose(1, "later");
    read(network, at, "b");
    // Each with the commit index of the moment it was asked.
    expect(answersAt(network, at)).toEqual([
      { context: "a", index: 11n },
      { context: "a", index: 11n },
      { context: "b", index: 11n },
      { context: "b", index: 12n },
    ]);
    expect(waitingAt(network.node(1))).toBe(0);
  });

  test("leaves nothing behind at the leader when it has been answered", () => {
    const leader = ledByOne(2).node(1);
    leader.step(fromPeer(leader, 2, MessageType.MsgReadIndex, { term: 0n, entries: [asked("ctx")] }));
    const [heartbeat] = leader.takeMessages();
    expect(heartbeat?.msgType).toBe(MessageType.MsgHeartbeat);
    expect(waitingAt(leader)).toBe(1);
    const context = heartbeat?.context ?? bytes("");
    // What travels is a token of the leader's own, never the caller's context (U1, E1).
    expect(text(context)).not.toContain("ctx");
    leader.step(heartbeatResponse(leader, 2, { context }));
    expect(waitingAt(leader)).toBe(0);
    expect(leader.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgReadIndexResp, to: 2n, index: 1n, entries: [{ data: bytes("ctx") }] },
    ]);
  });

  test("is not confirmed by a late answer to the round of an earlier one, even of the same context (E1)", () => {
    const leader = ledByOne(3).node(1);
    const askAndSend = (): Message | undefined => {
      leader.act((raw) => raw.readIndex(bytes("same")));
      return leader.takeMessages().find(({ to }) => to === 2n);
    };
    const first = askAndSend();
    askAndSend();
    leader.step(heartbeatResponse(leader, 2, { context: first?.context ?? bytes("") }));
    leader.settle();
    expect(leader.readStates).toHaveLength(1);
    expect(waitingAt(leader)).toBe(1);
  });

  test("needs no round in a group of one voter, wherever it is asked", () => {
    const members = { voters: [1n], learners: [2n] };
    const network = Network.of([new TestNode(1n, members), new TestNode(2n, members)]);
    network.campaign(1);
    const asked = network.delivered.length;
    for (const [at, context, index] of [
      [1, "a", 11n],
      [2, "b", 21n],
      [1, "c", 31n],
      [2, "d", 41n],
    ] as const) {
      proposeTen(network);
      read(network, at, context);
      expect(answersAt(network, at)).toEqual([{ context, index }]);
    }
    expect(ofType(network.delivered.slice(asked), MessageType.MsgHeartbeat)).toEqual([]);
  });
});

describe("a read that comes before its time", () => {
  // Node 1 does not know yet that 2 is committed, but its log is as long as the others'.
  function ledByALaggard(): Network {
    const group = { voters: [1n, 2n, 3n], logTerms: [1n, 1n] };
    const network = Network.of([
      new TestNode(1n, { ...group, commit: 1n }),
      new TestNode(2n, { ...group, commit: 2n }),
      new TestNode(3n, { ...group, commit: 2n }),
    ]);
    network.ignore(MessageType.MsgAppend);
    network.campaign(1);
    // Its heartbeats get through, so that the others know it.
    network.tick();
    expect(network.node(2).leader).toBe(1n);
    return network;
  }

  test("waits at a new leader for its first commit, where raft-rs drops it (U13)", () => {
    const network = ledByALaggard();
    read(network, 1, "own");
    read(network, 2, "other");
    expect(network.node(1).raft.log.committed).toBe(1n);
    expect(waitingAt(network.node(1))).toBe(2);
    expect(answersAt(network, 1)).toEqual([]);

    network.recover();
    network.tick();
    expect(network.node(1).raft.log.committed).toBe(3n);
    expect(answersAt(network, 1)).toEqual([{ context: "own", index: 3n }]);
    expect(answersAt(network, 2)).toEqual([{ context: "other", index: 3n }]);

    network.propose(1, "x");
    read(network, 1, "again");
    expect(answersAt(network, 1)).toEqual([{ context: "again", index: 4n }]);
  });

  test("of a follower that leads when its question comes back to it is answered on the spot", () => {
    const network = ledByOne(3);
    const returned = newMessage(MessageType.MsgReadIndex, 1n, { from: 1n, entries: [asked("a")] });
    network.send(returned);
    expect(answersAt(network, 1)).toEqual([{ context: "a", index: 1n }]);
  });

  test("waits in a limited queue only", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n], config: { maxPendingReads: 2 } }).forceLeader();
    const outcomes = ["a", "b", "c"].map((context) => leader.act((raw) => raw.readIndex(bytes(context))));
    expect(outcomes).toEqual([
      { accepted: true },
      { accepted: true },
      { accepted: false, reason: "readLimit" },
    ]);
  });

  test("is refused where no leader is known, and dies with a leader that is deposed", () => {
    const follower = new TestNode(1n, { voters: [1n, 2n] });
    expect(follower.act((raw) => raw.readIndex(bytes("a")))).toEqual({ accepted: false, reason: "noLeader" });

    const network = ledByOne(3);
    network.ignore(MessageType.MsgHeartbeatResponse);
    read(network, 1, "a");
    network.recover();
    network.campaign(2);
    network.campaign(1);
    expect(network.node(1).role).toBe("leader");
    expect(waitingAt(network.node(1))).toBe(0);
    expect(answersAt(network, 1)).toEqual([]);
  });
});

describe("a lease read", () => {
  const LEASE = { checkQuorum: true, readOnlyOption: "leaseBased" } as const;

  const heartbeatsSince = (network: Network, mark: number): number =>
    ofType(network.delivered.slice(mark), MessageType.MsgHeartbeat).length;

  test.each([1, 2, 3])("at node %d costs no round while a quorum has answered lately", (at) => {
    const network = ledByOne(3, { config: LEASE });
    network.tick();
    for (const [context, index] of [
      ["a", 11n],
      ["b", 21n],
    ] as const) {
      proposeTen(network);
      const mark = network.delivered.length;
      read(network, at, context);
      expect(answersAt(network, at)).toEqual([{ context, index }]);
      expect(heartbeatsSince(network, mark)).toBe(0);
    }
  });

  test("is confirmed by a round when the lease is not there yet, or over, where raft-rs answers blindly", () => {
    const network = ledByOne(3, { config: LEASE });
    let mark = network.delivered.length;
    read(network, 1, "none yet");
    expect(answersAt(network, 1)).toHaveLength(1);
    expect(heartbeatsSince(network, mark)).toBe(2);

    network.tick();
    network.ignore(MessageType.MsgHeartbeatResponse);
    const leader = network.node(1);
    // Two ticks short of an election timeout, for the rounding of both clocks.
    leader.tick(7);
    read(network, 1, "just in time");
    expect(answersAt(network, 1)).toHaveLength(1);
    leader.tick();
    read(network, 1, "over");
    expect(answersAt(network, 1)).toEqual([]);

    network.recover();
    mark = network.delivered.length;
    leader.tick();
    network.settle();
    expect(answersAt(network, 1)).toEqual([{ context: "over", index: 1n }]);
    expect(heartbeatsSince(network, mark)).toBe(2);
  });

  test("cannot be had without check-quorum: nobody would honour the lease", () => {
    const config = { ...LEASE, checkQuorum: false };
    expect(() => new TestNode(1n, { voters: [1n, 2n, 3n], config })).toThrow(ConfigInvalid);

    // Switched off while running, it is no lease any more: reads are confirmed like others.
    const network = ledByOne(3, { config: LEASE });
    network.tick();
    for (const node of network.nodes) node.act((raw) => raw.setCheckQuorum(false));
    const mark = network.delivered.length;
    read(network, 2, "a");
    expect(answersAt(network, 2)).toEqual([{ context: "a", index: 1n }]);
    expect(heartbeatsSince(network, mark)).toBe(2);
  });
});

describe("the answer to a follower's read", () => {
  test("tells it what is committed, if it has that entry (2.82)", () => {
    const network = ledByOne(5);
    for (const id of [3, 4, 5]) network.cut(1, id);
    network.propose(1, "a");
    network.propose(1, "b");
    network.recover();
    network.cut(1, 2);
    // The others answer a round of heartbeats, get what they lack, and it is committed.
    read(network, 3, "c");
    expect(network.node(1).raft.log.committed).toBe(3n);
    expect(network.node(2).raft.log.committed).toBe(1n);

    network.recover();
    network.filter(
      ({ msgType, to }) =>
        to !== 2n || (msgType !== MessageType.MsgHeartbeat && msgType !== MessageType.MsgAppend),
    );
    read(network, 2, "d");
    expect(answersAt(network, 2)).toEqual([{ context: "d", index: 3n }]);
    expect(network.node(2).raft.log.committed).toBe(3n);
    expect(network.node(2).trace).toContainEqual({ type: "committed", index: 3n });
    expect(network.node(2).committedData()).toEqual(["a", "b"]);
  });

  test("says nothing about what is committed to one that does not have the entry", () => {
    const follower = new TestNode(2n, { voters: [1n, 2n], logTerms: [1n] });
    const fields = { index: 3n, entries: [asked("a")] };
    follower.step(fromPeer(follower, 1, MessageType.MsgReadIndexResp, fields));
    follower.settle();
    expect(follower.raft.log.committed).toBe(0n);
    expect(follower.readStates).toMatchObject([{ index: 3n }]);
  });

  test.each([{ entries: [] }, { entries: [asked("a"), asked("b")] }])(
    "names one read: one with $entries.length of them is ignored",
    ({ entries }) => {
      const follower = new TestNode(2n, { voters: [1n, 2n], logTerms: [1n], term: 1n });
      const fields = { index: 1n, entries };
      follower.step(fromPeer(follower, 1, MessageType.MsgReadIndexResp, fields));
      follower.settle();
      expect(follower.readStates).toEqual([]);
      expect(follower.raft.log.committed).toBe(0n);
      expect(follower.trace.at(-1)).toMatchObject({ type: "messageIgnored", reason: "malformed" });
    },
  );
});
