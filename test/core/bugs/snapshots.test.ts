// Bugs around snapshots that raft-rs, etcd/raft or OpenRaft had or have. Each test is named after the bug and fails
// with it.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage, newNormalEntry } from "../../../src/core/index.js";
import { ack, fromPeer, heartbeatResponse, ofType } from "../../support/peer-messages.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** Follower 2 of leader 1 in term 1, with entries 1 to `last` and the first `commit` of them committed. */
function follower(last: number, commit: bigint, autoApply = true): TestNode {
  const logTerms = Array.from({ length: last }, () => 1n);
  const node = new TestNode(2n, { voters: VOTERS, logTerms, commit, term: 1n, autoApply });
  node.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 1n, term: 1n }));
  node.takeMessages();
  return node;
}

/** A snapshot of leader 1 that ends at (index, 1) arrives at node 2. */
function receive(node: TestNode, index: bigint): void {
  const snapshot = snapshotOf(index, 1n, VOTERS);
  node.step(newMessage(MessageType.MsgSnapshot, 2n, { from: 1n, term: 1n, snapshot }));
}

test("U6, E16: an older snapshot than the one sent is as good, if the log takes over from there", () => {
  const leader = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n, 1n, 1n], commit: 4n }).forceLeader();
  leader.takeMessages();
  leader.step(ack(leader, 3, 5n));
  leader.takeMessages();
  leader.storage.compact(3n);
  leader.step(ack(leader, 2, 4n, { reject: true }));
  leader.takeMessages();
  expect(leader.progress(2)).toMatchObject({ state: "Snapshot", pendingSnapshot: 5n });

  leader.step(ack(leader, 2, 3n));
  expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 3n });
  expect(leader.takeMessages()).toMatchObject([{ msgType: MessageType.MsgAppend, to: 2n, index: 3n }]);
});

test("U12: a snapshot that was asked for is sent once, also when its acknowledgement overtakes the report", () => {
  const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
  leader.propose("x");
  leader.takeMessages();
  leader.step(ack(leader, 2, 1n));
  leader.step(ack(leader, 3, 2n));
  leader.takeMessages();
  const request = { reject: true, rejectHint: 1n, logTerm: 1n, requestSnapshot: 1n };
  leader.step(ack(leader, 2, 1n, request));
  expect(ofType(leader.takeMessages(), MessageType.MsgSnapshot)).toHaveLength(1);

  leader.step(ack(leader, 2, 2n));
  leader.act((raw) => raw.reportSnapshot(2n, "finish"));
  leader.step(heartbeatResponse(leader, 2));
  leader.propose("x");
  const sent = leader.takeMessages().filter(({ to }) => to === 2n);
  expect(sent.map(({ msgType }) => MessageType[msgType])).toContain("MsgAppend");
  expect(ofType(sent, MessageType.MsgSnapshot)).toEqual([]);
});

describe("a request for a snapshot", () => {
  test("R4: is not made while the log does not reach into the present term, because the leader may not have as much", () => {
    const node = follower(2, 1n);
    node.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 3n, term: 2n }));
    node.takeMessages();
    expect(node.act((raw) => raw.requestSnapshot())).toEqual({
      accepted: false,
      reason: "requestSnapshotDropped",
    });
    expect(node.takeMessages()).toEqual([]);
  });

  test("R4: names the end of the own log and its term, and nothing that a caller makes up", () => {
    const node = follower(2, 1n);
    node.act((raw) => raw.requestSnapshot());
    expect(node.takeMessages()).toMatchObject([
      { to: 1n, reject: true, requestSnapshot: 2n, rejectHint: 2n, logTerm: 1n, index: 1n },
    ]);
  });
});

describe("what is known to be on the disk", () => {
  test("R21: is not the snapshot before it was written, nor what it replaces beyond the commit index", () => {
    const node = follower(5, 3n);
    expect(node.raft.log.persisted).toBe(5n);
    receive(node, 8n);
    expect(node.raft.log.persisted).toBe(3n);
    const ready = node.node.ready();
    node.storage.applySnapshot(snapshotOf(8n, 1n, VOTERS));
    node.act((raw) => raw.advanceAppendAsync(ready));
    expect(node.raft.log.persisted).toBe(3n);
    node.act((raw) => raw.onPersistReady(ready.number));
    expect(node.raft.log.persisted).toBe(8n);
  });

  test("R23: is an older snapshot, when that is written while a newer one is pending", () => {
    const node = follower(2, 1n);
    receive(node, 5n);
    const older = node.node.ready();
    node.storage.applySnapshot(snapshotOf(5n, 1n, VOTERS));
    node.act((raw) => raw.advanceAppendAsync(older));
    receive(node, 9n);
    const newer = node.node.ready();
    node.act((raw) => raw.onPersistReady(older.number));
    expect(node.raft.log.persisted).toBe(5n);
    node.storage.applySnapshot(snapshotOf(9n, 1n, VOTERS));
    node.act((raw) => raw.advanceAppendAsync(newer));
    node.act((raw) => raw.onPersistReady(newer.number));
    expect(node.raft.log.persisted).toBe(9n);
  });
});

test("E5, O6: committed entries behind a snapshot are handed out when the snapshot is applied, and not before", () => {
  const node = follower(2, 2n, false);
  node.settle();
  node.applyCommitted();
  receive(node, 5n);
  const entries = [newNormalEntry(1n, 6n), newNormalEntry(1n, 7n)];
  node.step(fromPeer(node, 1, MessageType.MsgAppend, { index: 5n, logTerm: 1n, entries, commit: 7n }));
  const ready = node.node.ready();
  expect([ready.snapshot?.metadata?.index, ready.entries.length, ready.committedEntries]).toEqual([
    5n,
    2,
    [],
  ]);
  node.storage.applySnapshot(snapshotOf(5n, 1n, VOTERS));
  node.storage.append(ready.entries);
  expect(node.act((raw) => raw.advanceAppend(ready)).committedEntries).toEqual([]);
  expect(node.node.ready().committedEntries).toEqual([]);
  node.act((raw) => raw.advanceApplyTo(5n));
  expect(node.node.ready().committedEntries.map(({ index }) => index)).toEqual([6n, 7n]);
});
