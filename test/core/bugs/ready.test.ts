// Bugs in what a node hands out and when, and in what it makes of what it is told, that raft-rs or etcd/raft had or
// have. Each test is named after the bug and fails with it.

import { describe, expect, test } from "vitest";
import {
  type Entry,
  type GetEntriesContext,
  MemoryStorage,
  MessageType,
  newConfState,
  newHardState,
  newMessage,
  newNormalEntry,
  type Ready,
} from "../../../src/core/index.js";
import { changeV1 } from "../../support/conf-changes.js";
import { ack, fromPeer, ofType } from "../../support/peer-messages.js";
import { bytes, snapshotOf, TestNode, type TestNodeOptions } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

function indexes(entries: readonly Entry[]): bigint[] {
  return entries.map(({ index }) => index);
}

/** Node 1, leading with its first entry stored and committed. */
function leaderOf(voters: readonly bigint[], config: TestNodeOptions["config"] = {}): TestNode {
  const leader = new TestNode(1n, { voters, config }).forceLeader();
  leader.takeMessages();
  for (const peer of voters.filter((id) => id !== 1n)) leader.step(ack(leader, peer, 1n));
  leader.takeMessages();
  return leader;
}

/** What is ready goes to the storage, but its disk has not answered. */
function takeUnpersisted(node: TestNode): Ready {
  const ready = node.node.ready();
  if (ready.snapshot !== undefined) node.storage.applySnapshot(ready.snapshot);
  node.storage.append(ready.entries);
  node.act((raw) => raw.advanceAppendAsync(ready));
  return ready;
}

describe("applying ahead of the own disk", () => {
  /** Entry 2 is committed by the peers while the leader's disk is still writing it. */
  function aheadOfDisk(limit: number): TestNode {
    const leader = leaderOf(VOTERS, { maxApplyUnpersistedLogLimit: limit });
    leader.propose("x");
    takeUnpersisted(leader);
    for (const peer of [2, 3]) leader.step(ack(leader, peer, 2n));
    return leader;
  }

  test("U14: is what Config.maxApplyUnpersistedLogLimit allows a leader", () => {
    expect(indexes(aheadOfDisk(5).node.ready().committedEntries)).toEqual([2n]);
    expect(indexes(aheadOfDisk(0).node.ready().committedEntries)).toEqual([]);
  });

  test("R6: may be forbidden while the node is ahead, and what it has applied stays applied", () => {
    const leader = aheadOfDisk(5);
    takeUnpersisted(leader);
    leader.act((raw) => raw.setMaxApplyUnpersistedLogLimit(0));
    leader.act((raw) => raw.advanceApplyTo(2n));
    expect(leader.raft.log.applied).toBe(2n);
  });

  test("R8: ends with the leadership: a follower's entries may still be replaced", () => {
    const leader = leaderOf(VOTERS, { maxApplyUnpersistedLogLimit: 5 });
    leader.propose("x");
    takeUnpersisted(leader);
    const next = { from: 2n, term: 2n, index: 2n, logTerm: 1n, commit: 2n };
    leader.step(newMessage(MessageType.MsgAppend, 1n, next));
    expect([leader.role, leader.raft.log.committed]).toEqual(["follower", 2n]);
    expect(leader.node.ready().committedEntries).toEqual([]);
  });
});

describe("entries that a storage was fetching", () => {
  /** Node 1 leads, and entry 2 for peer 2 is being fetched. */
  function fetching(): { leader: TestNode; context: GetEntriesContext } {
    const leader = leaderOf(VOTERS);
    leader.act((raw) => raw.reportUnreachable(2n));
    leader.propose("x");
    leader.settle();
    leader.storage.triggerLogUnavailable(true);
    leader.step(fromPeer(leader, 2, MessageType.MsgHeartbeatResponse));
    const context = leader.storage.takeGetEntriesContext();
    if (context === undefined) throw new Error("nothing is being fetched");
    leader.storage.triggerLogUnavailable(false);
    leader.takeMessages();
    return { leader, context };
  }

  test("R2: are of no use when the peer has been removed meanwhile", () => {
    const { leader, context } = fetching();
    leader.act((raw) => raw.applyConfChange(changeV1("r2")));
    leader.takeMessages();
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages()).toEqual([]);
  });

  test("R3: are not sent by a node that leads no more, nor in the name of a later leadership", () => {
    const { leader, context } = fetching();
    leader.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 3n, term: 2n }));
    leader.takeMessages();
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages()).toEqual([]);

    leader.forceLeader();
    leader.takeMessages();
    leader.progress(2).resume();
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages()).toEqual([]);
  });

  test("R2, R3: are sent if nothing has changed", () => {
    const { leader, context } = fetching();
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(ofType(leader.takeMessages(), MessageType.MsgAppend)).toMatchObject([{ to: 2n, index: 1n }]);
  });
});

describe("looking for a change of membership before a campaign", () => {
  class Counting extends MemoryStorage {
    readonly pages: number[] = [];
    override entries(
      low: bigint,
      high: bigint,
      maxBytes: number,
      context: GetEntriesContext,
    ): readonly Entry[] {
      const page = super.entries(low, high, maxBytes, context);
      if (context.purpose === "confChangeScan") this.pages.push(page.length);
      return page;
    }
  }

  function backlog(applied: bigint): { node: TestNode; storage: Counting } {
    const storage = new Counting();
    const data = new Uint8Array(100);
    storage.append(
      Array.from({ length: 500 }, (_, position) => newNormalEntry(1n, BigInt(position + 1), data)),
    );
    storage.setConfState(newConfState({ voters: VOTERS }));
    storage.setHardState(newHardState(1n, 0n, 500n));
    const config = { applied, maxCommittedSizePerReady: 1_000 };
    return { node: new TestNode(1n, { storage, config }), storage };
  }

  test("R5, E20: reads page by page, however much is not applied", () => {
    const { node, storage } = backlog(0n);
    node.act((raw) => raw.campaign());
    expect(storage.pages.reduce((sum, length) => sum + length, 0)).toBe(500);
    expect(Math.max(...storage.pages)).toBeLessThanOrEqual(10);
  });

  test("R5, E20: reads nothing when everything is applied", () => {
    const { node, storage } = backlog(500n);
    node.act((raw) => raw.campaign());
    expect(storage.pages).toEqual([]);
  });
});

describe("a Ready", () => {
  test("R17: has to be synced when it has entries, or a snapshot, also if the hard state did not change", () => {
    const leader = leaderOf(VOTERS);
    leader.propose("x");
    expect(leader.node.ready()).toMatchObject({ hardState: undefined, mustSync: true });

    const node = new TestNode(2n, { voters: VOTERS, logTerms: [1n], commit: 1n, term: 1n, vote: 1n });
    const snapshot = snapshotOf(5n, 1n, VOTERS);
    node.step(newMessage(MessageType.MsgSnapshot, 2n, { from: 1n, term: 1n, snapshot }));
    expect(node.node.ready()).toMatchObject({
      hardState: { term: 1n, vote: 1n, commit: 5n },
      mustSync: true,
    });
  });

  test("R17: need not be synced for a commit index alone", () => {
    const leader = leaderOf(VOTERS);
    leader.propose("x");
    takeUnpersisted(leader);
    for (const peer of [2, 3]) leader.step(ack(leader, peer, 2n));
    expect(leader.node.ready()).toMatchObject({ hardState: { commit: 2n }, mustSync: false });
  });

  test("E2: of a single voter does not call committed what it asks to be stored", () => {
    const leader = leaderOf([1n]);
    leader.propose("x");
    const ready = leader.node.ready();
    expect([indexes(ready.entries), indexes(ready.committedEntries)]).toEqual([[2n], []]);
    leader.storage.append(ready.entries);
    const light = leader.act((raw) => raw.advanceAppend(ready));
    expect(indexes(light.committedEntries)).toEqual([2n]);
  });

  test("E23: that is taken while the last one is under way does not repeat its hard state", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.act((raw) => raw.campaign());
    expect(node.node.ready().hardState).toMatchObject({ term: 1n, vote: 1n });
    expect(node.node.ready().hardState).toBeUndefined();
  });
});

test("E9: the news that a write is durable does not count for entries that have been overwritten since", () => {
  const follower = new TestNode(2n, { voters: VOTERS, logTerms: [1n], commit: 1n, term: 1n });
  const append = (from: bigint, term: bigint, entryTerm: bigint): Ready => {
    const entries = [newNormalEntry(entryTerm, 2n, bytes(`of ${from}`))];
    const fields = { from, term, index: 1n, logTerm: 1n, commit: 1n, entries };
    follower.step(newMessage(MessageType.MsgAppend, 2n, fields));
    return takeUnpersisted(follower);
  };
  const first = append(1n, 1n, 1n);
  const second = append(3n, 2n, 2n);
  // The leader of term 3 has what was there first: A, then B, then A again.
  const third = append(1n, 3n, 1n);
  for (const { number } of [first, second]) {
    follower.act((raw) => raw.onPersistReady(number));
    expect(follower.raft.log.persisted).toBe(1n);
  }
  follower.act((raw) => raw.onPersistReady(third.number));
  expect(follower.raft.log.persisted).toBe(2n);
});

test("E10: the limit on committed bytes counts all that is handed out and not applied, not each Ready by itself", () => {
  const leader = leaderOf([1n], { maxCommittedSizePerReady: 16 });
  for (let count = 0; count < 6; count += 1) leader.propose("ten bytes.");
  const ready = leader.node.ready();
  leader.storage.append(ready.entries);
  const light = leader.act((raw) => raw.advanceAppend(ready));
  expect(indexes(light.committedEntries)).toEqual([2n]);
  expect(leader.node.hasReady()).toBe(false);
  expect(leader.node.ready().committedEntries).toEqual([]);
  leader.act((raw) => raw.advanceApplyTo(2n));
  expect(indexes(leader.node.ready().committedEntries)).toEqual([3n]);
});
