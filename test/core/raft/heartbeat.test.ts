// What heartbeats tell and what their answers set going. A heartbeat carries no entries and promises nothing; its
// answer shows that a peer lives.

import { describe, expect, test } from "vitest";
import { InvariantViolation, MemoryStorage, MessageType, newMessage } from "../../../src/core/index.js";
import { ack, fromPeer, heartbeatResponse, ofType } from "../../support/peer-messages.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

describe("a heartbeat", () => {
  test("names no place in the log, and a commit index that its receiver can have", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotOf(1000n, 1n, VOTERS));
    const leader = new TestNode(1n, { storage }).forceLeader();
    for (let count = 0; count < 10; count += 1) leader.propose("x");
    leader.settle();
    // Peer 3 has everything, which commits it; peer 2 is known to have the first five.
    leader.step(ack(leader, 3, 1011n));
    leader.step(ack(leader, 2, 1005n));
    expect(leader.raft.log.committed).toBe(1011n);
    leader.takeMessages();

    leader.act((raw) => raw.ping());
    const plain = { msgType: MessageType.MsgHeartbeat, index: 0n, logTerm: 0n, entries: [] };
    expect(leader.takeMessages()).toMatchObject([
      { ...plain, to: 2n, commit: 1005n },
      { ...plain, to: 3n, commit: 1011n },
    ]);
  });

  test("tells a peer nothing of the commit index that has not said what it holds", () => {
    const leader = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n], commit: 2n }).forceLeader();
    leader.takeMessages();
    leader.act((raw) => raw.ping());
    expect(leader.takeMessages()).toMatchObject([
      { to: 2n, commit: 0n },
      { to: 3n, commit: 0n },
    ]);
  });

  test.each([
    { role: "leader", beats: 2 },
    { role: "candidate", beats: 0 },
    { role: "follower", beats: 0 },
  ] as const)("is due on a $role: $beats are sent", ({ role, beats }) => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [0n, 1n], term: 1n });
    if (role === "leader") node.forceLeader();
    if (role === "candidate") node.forceCandidate();
    node.takeMessages();
    node.step(newMessage(MessageType.MsgBeat, 1n, { from: 1n }));
    node.act((raw) => raw.ping());
    // Once for each of the two ways to ask for it.
    expect(ofType(node.takeMessages(), MessageType.MsgHeartbeat)).toHaveLength(2 * beats);
  });

  test("goes out every heartbeatTick ticks", () => {
    const config = { electionTick: 10, heartbeatTick: 3 };
    const leader = new TestNode(1n, { voters: [1n, 2n], config }).forceLeader();
    leader.takeMessages();
    const sent = Array.from({ length: 9 }, () => {
      leader.tick();
      return leader.takeMessages().length;
    });
    expect(sent).toEqual([0, 0, 1, 0, 0, 1, 0, 0, 1]);
  });
});

describe("a follower that hears one", () => {
  const follower = () => new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 2n, 3n], term: 3n, commit: 2n });

  test.each([
    { told: 3n, committed: 3n },
    { told: 1n, committed: 2n },
  ])("told of commit $told, goes to $committed: never back", ({ told, committed }) => {
    const node = follower();
    node.step(fromPeer(node, 2, MessageType.MsgHeartbeat, { commit: told }));
    expect(node.raft.log.committed).toBe(committed);
    expect(node.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgHeartbeatResponse, to: 2n, commit: committed },
    ]);
    expect(node.leader).toBe(2n);
  });

  test("echoes its context, and answers before its disk does: the answer promises nothing", () => {
    const node = follower();
    node.step(fromPeer(node, 2, MessageType.MsgHeartbeat, { context: Uint8Array.of(7) }));
    const { messages, persistedMessages } = node.node.ready();
    expect(messages).toMatchObject([
      { msgType: MessageType.MsgHeartbeatResponse, context: Uint8Array.of(7) },
    ]);
    expect(persistedMessages).toEqual([]);
  });

  test("told of more than it has must have lost entries that it acknowledged: it stops (2.55)", () => {
    const node = follower();
    expect(() => node.step(fromPeer(node, 2, MessageType.MsgHeartbeat, { commit: 4n }))).toThrow(
      InvariantViolation,
    );
  });
});

describe("an answer to a heartbeat", () => {
  test("brings a peer that is behind what it lacks, each time, until it acknowledges", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 2n, 3n] }).forceLeader();
    leader.takeMessages();
    for (const attempt of [1, 2]) {
      leader.step(heartbeatResponse(leader, 2));
      expect(leader.takeMessages(), `attempt ${attempt}`).toMatchObject([
        { msgType: MessageType.MsgAppend, index: 3n, entries: [{ index: 4n }] },
      ]);
    }
    leader.step(ack(leader, 2, 4n));
    leader.takeMessages();
    leader.step(heartbeatResponse(leader, 2));
    expect(leader.takeMessages()).toEqual([]);
  });

  test("ends the probing of a peer that lacks nothing, by an empty append (U4, E12)", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n] }).forceLeader();
    leader.takeMessages();
    leader.step(ack(leader, 2, 1n));
    leader.act((raw) => raw.reportUnreachable(2n));
    leader.takeMessages();
    expect(leader.progress(2).state).toBe("Probe");
    leader.step(heartbeatResponse(leader, 2));
    expect(leader.takeMessages()).toMatchObject([{ msgType: MessageType.MsgAppend, index: 1n, entries: [] }]);
    leader.step(ack(leader, 2, 1n));
    expect(leader.progress(2).state).toBe("Replicate");
  });
});
