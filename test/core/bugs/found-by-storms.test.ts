// Bugs that the random storms (test/core/raft/storm.test.ts) found in this core, each as small as it can be made.
// The third to fifth are raft-rs's, too.

import { describe, expect, test } from "vitest";
import {
  MemoryStorage,
  type Message,
  MessageType,
  newConfState,
  newHardState,
  newMessage,
  newNormalEntry,
} from "../../../src/core/index.js";
import { entriesAt } from "../../support/entries.js";
import { Network } from "../../support/network.js";
import { ofType } from "../../support/peer-messages.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

test("a message does not join a Ready that was taken when there was nothing to send", () => {
  const node = new TestNode(1n, { voters: VOTERS, config: { preVote: true } });
  const before = node.node.ready();
  expect([before.messages, before.persistedMessages, before.readStates]).toEqual([[], [], []]);
  node.act((raw) => raw.campaign());
  node.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term: 5n, index: 9n, logTerm: 4n }));
  expect([before.messages, before.persistedMessages]).toEqual([[], []]);
  const after = node.node.ready();
  expect(after.messages).toHaveLength(2);
  expect(after.persistedMessages).toHaveLength(1);
});

test("a node starts whose state machine is ahead of the commit index on its disk", () => {
  const storage = new MemoryStorage();
  storage.append(entriesAt(1n, 1n, 1n, 1n));
  storage.setConfState(newConfState({ voters: VOTERS }));
  storage.setHardState(newHardState(1n, 0n, 1n));
  const node = new TestNode(1n, { storage, config: { applied: 3n } });
  expect([node.raft.log.applied, node.raft.log.committed]).toEqual([3n, 3n]);
  // What the disk does not know yet is in the first Ready.
  expect(node.node.ready()).toMatchObject({ hardState: { commit: 3n }, committedEntries: [] });

  storage.compact(2n);
  expect(new TestNode(1n, { storage, config: { applied: 2n } }).raft.log.committed).toBe(2n);
});

describe("a follower that asks for a snapshot and is needed for every quorum", () => {
  /** Both nodes of a group have entry 2, and follower 2 has asked for a snapshot up to there before it was committed. */
  function stuckAtTwo(): Network {
    const network = Network.ofSize(2);
    network.campaign(1);
    network.ignore(MessageType.MsgAppendResponse);
    network.propose(1, "x");
    network.node(2).act((raw) => raw.requestSnapshot());
    network.settle();
    network.recover();
    return network;
  }

  test("is credited with what its request proves, so that the snapshot can be made", () => {
    const network = stuckAtTwo();
    expect(network.node(1).raft.log.committed).toBe(1n);
    network.tick(3);
    expect(network.node(1).raft.log.committed).toBe(2n);
    expect(ofType(network.delivered, MessageType.MsgSnapshot)).toHaveLength(1);
    network.node(1).act((raw) => raw.reportSnapshot(2n, "finish"));
    network.tick(2);
    network.propose(1, "y");
    expect(network.node(2).committedData()).toContain("y");
  });

  test("takes the appends of a new leader first, and asks again when its log reaches into the new term", () => {
    const follower = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n], commit: 1n, term: 1n });
    follower.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 1n, term: 1n }));
    follower.act((raw) => raw.requestSnapshot());
    follower.takeMessages();

    const append = { from: 3n, term: 2n, index: 2n, logTerm: 1n, entries: entriesAt(3n, 2n) };
    follower.step(newMessage(MessageType.MsgAppend, 2n, append));
    const answers: readonly Message[] = follower.takeMessages();
    expect(answers).toMatchObject([
      { to: 3n, reject: false, index: 3n },
      { to: 3n, reject: true, requestSnapshot: 3n },
    ]);
  });
});

test("an older snapshot does not replace the log of a follower that has asked for a newer one", () => {
  const follower = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n, 1n, 1n], commit: 1n, term: 1n });
  follower.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 1n, term: 1n }));
  follower.act((raw) => raw.requestSnapshot());
  follower.takeMessages();
  const receive = (index: bigint): void => {
    const snapshot = snapshotOf(index, 1n, VOTERS);
    follower.step(newMessage(MessageType.MsgSnapshot, 2n, { from: 1n, term: 1n, snapshot }));
    follower.settle();
  };
  // Acknowledged entries 3 and 4 would be gone.
  receive(2n);
  expect([follower.raft.log.lastIndex(), follower.raft.log.committed]).toEqual([4n, 2n]);
  receive(4n);
  expect(follower.logSummary()).toEqual([]);
  expect(follower.raft.log.lastIndex()).toBe(4n);
});

test("MemoryStorage's snapshot ends where its membership is from, not at a later commit index", () => {
  const storage = new MemoryStorage();
  storage.append([newNormalEntry(1n, 1n), newNormalEntry(1n, 2n), newNormalEntry(1n, 3n)]);
  storage.setHardState(newHardState(1n, 0n, 3n));
  // Entry 3 takes node 3 away, and is not applied yet.
  storage.setConfState(newConfState({ voters: VOTERS }));
  storage.setApplied(2n);
  expect(storage.snapshot(0n, 2n).metadata).toMatchObject({ index: 2n, confState: { voters: VOTERS } });
});
