// Bugs in changes of membership that raft-rs, etcd/raft or OpenRaft had or have. Each test is named after the bug and
// fails with it.

import { describe, expect, test } from "vitest";
import { encodeConfChange } from "../../../src/core/confchange/conf-change.js";
import {
  ConfChangeError,
  ConfChangeTransition,
  type Entry,
  EntryType,
  MemoryStorage,
  MessageType,
  newConfState,
  newHardState,
  newMessage,
  newNormalEntry,
  newSnapshot,
} from "../../../src/core/index.js";
import { newEntry } from "../../../src/core/messages.js";
import { change, changeV1 } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { ack, ofType } from "../../support/peer-messages.js";
import { snapshotOf, TestNode, type TestNodeOptions } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

function isLeave(entry: Entry): boolean {
  return entry.entryType === EntryType.EntryConfChangeV2 && entry.data.length === 0;
}

describe("a leader that is removed or demoted", () => {
  test.each(["r1", "l1"])("U2, E14: steps down when %s is applied", (text) => {
    const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
    leader.act((raw) => raw.applyConfChange(changeV1(text)));
    expect(leader.role).toBe("follower");
    expect(leader.raft.promotable).toBe(false);
  });

  test("U2: survives, if it is to lead on, that its remaining entries are persisted and committed", () => {
    const config = { stepDownOnRemoval: false };
    const leader = new TestNode(1n, { voters: VOTERS, config }).forceLeader();
    leader.propose("its last");
    leader.act((raw) => raw.applyConfChange(changeV1("r1")));
    leader.settle();
    for (const peer of [2, 3]) leader.step(ack(leader, peer, 2n));
    leader.settle();
    expect(leader.role).toBe("leader");
    expect(leader.committedData()).toEqual(["its last"]);
  });
});

describe("a joint configuration that is to be left automatically", () => {
  test("U3, E4: is left everywhere at once, without waiting for a proposal or a heartbeat, and only once", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    network.ignore(MessageType.MsgHeartbeat);
    network.node(1).proposeConfChange(change("r3", ConfChangeTransition.Implicit));
    network.settle();
    for (const id of [1, 2]) {
      const node = network.node(id);
      expect(node.confStates.at(-1)).toMatchObject({ voters: [1n, 2n], votersOutgoing: [] });
      expect(node.committed.filter(isLeave)).toHaveLength(1);
    }
    network.propose(1, "after it");
    expect(network.node(1).committed.filter(isLeave)).toHaveLength(1);
  });

  test("U3, E4: is left later when a transfer of leadership was in the way", () => {
    const network = Network.ofSize(3, { autoApply: false });
    const leader = network.node(1);
    network.campaign(1);
    leader.applyCommitted();
    leader.proposeConfChange(change("r3", ConfChangeTransition.Implicit));
    network.settle();
    network.ignore(MessageType.MsgTimeoutNow);
    leader.act((raw) => raw.transferLeader(2n));
    leader.applyCommitted();
    network.settle();
    expect(leader.node.status().confState.votersOutgoing).toEqual(VOTERS);

    network.tick(12);
    leader.applyCommitted();
    expect(leader.role).toBe("leader");
    expect(leader.node.status().confState.votersOutgoing).toEqual([]);
  });
});

describe("a campaign is refused, whoever asks for it, to", () => {
  const snapshot = snapshotOf(5n, 1n, VOTERS);
  test.each<{ who: string; id: bigint; options: TestNodeOptions; waits?: true }>([
    { who: "a learner", id: 3n, options: { voters: [1n, 2n], learners: [3n] } },
    { who: "a node that was removed", id: 3n, options: { voters: [1n, 2n] } },
    { who: "a node that belongs to no group yet", id: 3n, options: {} },
    { who: "a voter with a snapshot to install", id: 3n, options: { voters: VOTERS }, waits: true },
  ])("U8: $who", ({ id, options, waits }) => {
    const node = new TestNode(id, { term: 1n, ...options });
    if (waits) node.step(newMessage(MessageType.MsgSnapshot, id, { from: 1n, term: 1n, snapshot }));
    expect(node.act((raw) => raw.campaign())).toEqual({ accepted: false, reason: "notPromotable" });
    node.step(newMessage(MessageType.MsgHup, id, { from: id }));
    node.step(newMessage(MessageType.MsgTimeoutNow, id, { from: 1n, term: 1n }));
    node.tick(50);
    expect([node.role, node.raft.term]).toEqual(["follower", 1n]);
  });
});

describe("a node with a change of membership to apply", () => {
  test("R12: is not elected by a transfer of leadership either", () => {
    const network = Network.ofSize(3, { autoApply: false });
    network.campaign(1);
    network.node(1).applyCommitted();
    network.node(1).proposeConfChange(changeV1("r3"));
    network.settle();
    network.timeoutNow(2, 1);
    expect(network.node(2).role).toBe("follower");
    network.node(2).applyCommitted();
    network.timeoutNow(2, 1);
    expect(network.node(2).role).toBe("leader");
  });

  test("R12: is not looked for in the part of the log that a snapshot has replaced", () => {
    const node = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n], commit: 2n, autoApply: false });
    const snapshot = snapshotOf(8n, 1n, VOTERS);
    node.step(newMessage(MessageType.MsgSnapshot, 2n, { from: 1n, term: 1n, snapshot }));
    node.settle();
    expect(node.raft.log.applied).toBe(0n);
    expect(node.act((raw) => raw.campaign())).toEqual({ accepted: true });
  });
});

test("R13: a blank node that a snapshot names as a learner is one", () => {
  const blank = new TestNode(4n, { storage: new MemoryStorage() });
  const snapshot = snapshotOf(5n, 1n, VOTERS, [4n]);
  blank.step(newMessage(MessageType.MsgSnapshot, 4n, { from: 1n, term: 1n, snapshot }));
  blank.settle();
  expect(blank.raft.tracker.isLearner(4n)).toBe(true);
  blank.tick(100);
  expect(blank.role).toBe("follower");
});

test("R14: the last voter cannot be removed, also while there are learners", () => {
  const leader = new TestNode(1n, { voters: [1n], learners: [2n] }).forceLeader();
  expect(() => leader.act((raw) => raw.applyConfChange(changeV1("r1")))).toThrow(ConfChangeError);
  expect(leader.role).toBe("leader");
});

test("R20: a learner that missed the commit of its promotion hears of it from the only voter left, and leads", () => {
  // Node 1 has promoted node 3 and is gone. Node 2 cannot win against the longer log of 3; 3 thinks that it has no vote.
  const promotion = encodeConfChange(changeV1("v3"));
  const entry = newEntry(promotion.entryType, 1n, 2n, promotion.data, new Uint8Array());
  const informed = new MemoryStorage();
  informed.append([newNormalEntry(1n, 1n), entry]);
  informed.setConfState(newConfState({ voters: VOTERS }));
  informed.setHardState(newHardState(1n, 0n, 2n));
  const stranded = new MemoryStorage();
  stranded.append([newNormalEntry(1n, 1n), entry, newNormalEntry(1n, 3n)]);
  stranded.setConfState(newConfState({ voters: [1n, 2n], learners: [3n] }));
  stranded.setHardState(newHardState(1n, 0n, 1n));
  const two = new TestNode(2n, { storage: informed, config: { applied: 2n } });
  const three = new TestNode(3n, { storage: stranded, config: { applied: 1n } });
  const network = Network.of([two, three]);

  network.campaign(2);
  expect(network.leader).toBeUndefined();
  expect(three.raft.promotable).toBe(true);
  network.campaign(3);
  expect(network.leader).toBe(three);
});

test("R22: a node that is only a voter of the configuration being left takes snapshots", () => {
  const node = new TestNode(1n, { voters: VOTERS });
  const confState = newConfState({ voters: [2n, 3n, 4n], votersOutgoing: VOTERS });
  const snapshot = newSnapshot(7n, 2n, confState);
  node.step(newMessage(MessageType.MsgSnapshot, 1n, { from: 2n, term: 2n, snapshot }));
  expect(node.takeMessages()).toMatchObject([{ msgType: MessageType.MsgAppendResponse, index: 7n }]);
  expect(node.raft.log.lastIndex()).toBe(7n);
});

describe("OpenRaft", () => {
  test("O4: a learner counts in no quorum, and one that is being demoted still counts in the one being left", () => {
    const leader = new TestNode(1n, { voters: VOTERS, learners: [4n] }).forceLeader();
    leader.takeMessages();
    leader.step(ack(leader, 4, 1n));
    expect(leader.raft.log.committed).toBe(0n);

    // Voters are 1, 2 and 5 from now on; 3, to be a learner, still has its say among 1, 2 and 3.
    leader.act((raw) => raw.applyConfChange(change("l3 v5", ConfChangeTransition.Explicit)));
    leader.step(ack(leader, 5, 1n));
    expect(leader.raft.log.committed).toBe(0n);
    leader.step(ack(leader, 3, 1n));
    expect(leader.raft.log.committed).toBe(1n);
  });

  test("O5: a joint configuration is in force from the start: both halves elect, and both halves commit", () => {
    const storage = new MemoryStorage();
    storage.setConfState(newConfState({ voters: [1n, 4n, 5n], votersOutgoing: VOTERS }));
    const node = new TestNode(1n, { storage }).restart();
    const grant = (from: bigint): void => {
      node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from, term: node.raft.term }));
    };
    node.act((raw) => raw.campaign());
    node.takeMessages();
    grant(4n);
    grant(5n);
    expect(node.role).toBe("candidate");
    grant(2n);
    expect(node.role).toBe("leader");
    node.takeMessages();
    for (const peer of [4, 5]) node.step(ack(node, peer, 1n));
    expect(node.raft.log.committed).toBe(0n);
    node.step(ack(node, 3, 1n));
    expect(node.raft.log.committed).toBe(1n);
  });

  test("O9: a removed follower is sent nothing more", () => {
    const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
    leader.takeMessages();
    for (const peer of [2, 3]) leader.step(ack(leader, peer, 1n));
    leader.takeMessages();
    leader.act((raw) => raw.applyConfChange(changeV1("r3")));
    leader.propose("not for 3");
    leader.tick(2);
    const messages = leader.takeMessages();
    expect(ofType(messages, MessageType.MsgAppend)).not.toEqual([]);
    expect(messages.filter(({ to }) => to === 3n)).toEqual([]);
  });
});
