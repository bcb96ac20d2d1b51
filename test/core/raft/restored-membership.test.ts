// The membership that comes with a snapshot: it replaces the node's own, whatever that was, unless the node is no
// part of it.

import { describe, expect, test } from "vitest";
import {
  type ConfState,
  MemoryStorage,
  type Message,
  MessageType,
  newConfState,
  newMessage,
  newSnapshot,
} from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

type Membership = Partial<Omit<ConfState, "$typeName" | "$unknown">>;

/** A snapshot that ends at 11, sent by the leader of term 11. */
function snapshotMessage(to: bigint, membership: Membership): Message {
  const snapshot = newSnapshot(11n, 11n, newConfState(membership));
  return newMessage(MessageType.MsgSnapshot, to, { from: 1n, term: 11n, snapshot });
}

function restoreInto(node: TestNode, membership: Membership): void {
  node.step(snapshotMessage(node.id, membership));
}

function blank(id: bigint): TestNode {
  return new TestNode(id, { storage: new MemoryStorage() });
}

describe("a restored membership", () => {
  test("has voters and learners, and the log ends where the snapshot does", () => {
    const node = new TestNode(3n, { voters: [1n, 2n], learners: [3n] });
    restoreInto(node, { voters: [1n, 2n], learners: [3n] });
    expect(node.node.status().confState).toMatchObject({ voters: [1n, 2n], learners: [3n] });
    expect(node.raft.log.lastIndex()).toBe(11n);
    expect(node.raft.log.term(11n)).toBe(11n);
    expect([1, 2, 3].map((id) => node.progress(id).isLearner)).toEqual([false, false, true]);
    expect(node.raft.promotable).toBe(false);
  });

  test("is taken over once: the same snapshot again changes nothing", () => {
    const node = new TestNode(3n, { voters: [1n, 2n], learners: [3n] });
    restoreInto(node, { voters: [1n, 2n], learners: [3n] });
    node.settle();
    restoreInto(node, { voters: [1n, 3n], learners: [2n] });
    expect(node.trace.filter(({ type }) => type === "snapshotRestored")).toHaveLength(1);
    expect(node.node.status().confState).toMatchObject({ voters: [1n, 2n], learners: [3n] });
  });

  test.each([
    { what: "a learner becomes a voter", before: { voters: [1n, 2n], learners: [3n] }, learns: false },
    { what: "a voter becomes a learner", before: { voters: [1n, 2n, 3n] }, learns: true },
  ])("changes what a node is: $what", ({ before, learns }) => {
    const node = new TestNode(3n, before);
    expect(node.raft.promotable).toBe(learns);
    restoreInto(node, learns ? { voters: [1n, 2n], learners: [3n] } : { voters: [1n, 2n, 3n] });
    expect(node.raft.promotable).toBe(!learns);
    expect(node.progress(3).isLearner).toBe(learns);
  });

  test("makes a blank node the learner that it names (R13)", () => {
    const node = blank(3n);
    restoreInto(node, { voters: [1n, 2n], learners: [3n] });
    expect(node.raft.promotable).toBe(false);
    expect(node.raft.tracker.isLearner(3n)).toBe(true);
  });

  test.each([
    { what: "only an outgoing voter", voters: [1n, 2n], votersOutgoing: [2n, 3n], learnersNext: [] },
    {
      what: "an outgoing voter that is to learn",
      voters: [1n, 2n],
      votersOutgoing: [1n, 3n],
      learnersNext: [3n],
    },
  ])("may be joint, for a node that is $what (R22)", ({ voters, votersOutgoing, learnersNext }) => {
    const membership = { voters, votersOutgoing, learnersNext, autoLeave: true };
    const node = blank(3n);
    restoreInto(node, membership);
    expect(node.node.status().confState).toMatchObject(membership);
    expect(node.raft.promotable).toBe(true);
  });

  test.each([
    { what: "does not contain the node", membership: { voters: [1n, 2n] }, because: "notAMember" },
    {
      what: "contradicts itself",
      membership: { voters: [1n, 3n], learners: [3n] },
      because: "malformedMembership",
    },
    { what: "has no voter", membership: { learners: [3n] }, because: "malformedMembership" },
  ])("is refused with its snapshot when it $what, and nothing has changed", ({ membership, because }) => {
    const node = new TestNode(3n, { voters: [1n, 2n, 3n] });
    restoreInto(node, membership);
    expect(node.trace).toContainEqual({ type: "snapshotIgnored", index: 11n, because });
    expect(node.node.status().confState.voters).toEqual([1n, 2n, 3n]);
    expect(node.raft.log.lastIndex()).toBe(0n);
    expect(node.takeMessages()).toMatchObject([{ msgType: MessageType.MsgAppendResponse, index: 0n }]);
  });

  test("is the node's own: the snapshot that waits to be stored cannot be changed from outside (E13)", () => {
    const node = blank(3n);
    const message = snapshotMessage(3n, { voters: [1n, 2n, 3n] });
    node.step(message);
    message.snapshot?.metadata?.confState?.voters.push(9n);
    node.node.snap()?.metadata?.confState?.voters.push(9n);
    expect(node.node.snap()?.metadata?.confState?.voters).toEqual([1n, 2n, 3n]);
    expect(node.node.status().confState.voters).toEqual([1n, 2n, 3n]);
  });
});

test("a learner that lags behind the leader's log is brought up by a snapshot", () => {
  const storage = new MemoryStorage();
  storage.applySnapshot(newSnapshot(11n, 11n, newConfState({ voters: [1n], learners: [2n] })));
  const leader = new TestNode(1n, { storage });
  const learner = new TestNode(2n, { voters: [1n], learners: [2n] });
  const network = Network.of([leader, learner]);
  network.campaign(1);
  network.tick();
  expect(learner.raft.log.committed).toBe(leader.raft.log.committed);
  expect(leader.raft.log.committed).toBe(12n);
});
