// Bugs in replication and flow control that raft-rs, etcd/raft or OpenRaft had or have. Each test is named after the
// bug and fails with it.

import { describe, expect, test } from "vitest";
import {
  type Message,
  MessageType,
  newMessage,
  newNormalEntry,
  StorageError,
} from "../../../src/core/index.js";
import { entriesAt } from "../../support/entries.js";
import { Network } from "../../support/network.js";
import { ack, heartbeatResponse, ofType, rejection } from "../../support/peer-messages.js";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** Node 1, leading; peer 2 has its first entry, and with it that entry is committed. */
function leaderOf(voters: readonly bigint[], config: TestNodeOptions["config"] = {}): TestNode {
  const leader = new TestNode(1n, { voters, config }).forceLeader();
  leader.takeMessages();
  leader.step(ack(leader, 2, 1n));
  leader.takeMessages();
  return leader;
}

function appendsTo(peer: bigint, messages: readonly Message[]): Message[] {
  return ofType(messages, MessageType.MsgAppend).filter(({ to }) => to === peer);
}

test("U4, E12: a caught-up peer that was reported unreachable replicates again after its next heartbeat", () => {
  const leader = leaderOf(VOTERS);
  leader.act((raw) => raw.reportUnreachable(2n));
  expect(leader.progress(2).state).toBe("Probe");
  leader.step(heartbeatResponse(leader, 2));
  expect(appendsTo(2n, leader.takeMessages())).toMatchObject([{ index: 1n, entries: [] }]);
  leader.step(ack(leader, 2, 1n));
  expect(leader.progress(2).state).toBe("Replicate");
});

test("U5, E6: the heartbeats of a peer that takes nothing in draw no more entries into its full window", () => {
  const leader = leaderOf([1n, 2n], { maxInflightMsgs: 2 });
  for (let count = 0; count < 6; count += 1) leader.propose("x");
  expect(appendsTo(2n, leader.takeMessages()).filter(({ entries }) => entries.length > 0)).toHaveLength(2);
  for (let beat = 0; beat < 20; beat += 1) {
    leader.step(heartbeatResponse(leader, 2));
    for (const { entries } of appendsTo(2n, leader.takeMessages())) expect(entries).toEqual([]);
  }
  expect(leader.progress(2).inflights.count).toBe(2);
});

describe("a term that is not known", () => {
  const log = { voters: VOTERS, logTerms: [1n, 1n, 1n], commit: 2n, term: 1n };

  test("U7, E8: is an error and not 0", () => {
    const node = new TestNode(2n, log);
    node.storage.compact(2n);
    expect(() => node.raft.log.term(4n)).toThrow(StorageError);
    expect(() => node.raft.log.term(1n)).toThrow(StorageError);
    expect(node.raft.log.term(2n)).toBe(1n);
  });

  test("U7, E8: matches nothing: an append beyond the log that claims term 0 is refused", () => {
    const node = new TestNode(2n, log);
    const entries = entriesAt(8n, 1n);
    node.step(newMessage(MessageType.MsgAppend, 2n, { from: 1n, term: 1n, index: 7n, entries }));
    expect(node.takeMessages()).toMatchObject([{ reject: true, index: 7n }]);
    expect(node.raft.log.lastIndex()).toBe(3n);
  });

  test("U7: at the compaction point is known, so that a probe there is answered", () => {
    const node = new TestNode(2n, log);
    node.storage.compact(2n);
    const entries = entriesAt(3n, 1n);
    node.step(newMessage(MessageType.MsgAppend, 2n, { from: 1n, term: 1n, index: 2n, logTerm: 1n, entries }));
    expect(node.takeMessages()).toMatchObject([{ reject: false, index: 3n }]);
  });

  test("E7: before the next append because that was compacted makes the leader send a snapshot", () => {
    const leader = leaderOf(VOTERS, { maxInflightMsgs: 1 });
    for (let count = 0; count < 4; count += 1) leader.propose("x");
    leader.takeMessages();
    leader.step(ack(leader, 3, 5n));
    leader.takeMessages();
    // Peer 2 is throttled at entry 2, and all up to 5 is gone.
    leader.storage.compact(5n);
    leader.step(heartbeatResponse(leader, 2));
    const [sent, ...more] = leader.takeMessages().filter(({ to }) => to === 2n);
    expect(sent).toMatchObject({ msgType: MessageType.MsgSnapshot, snapshot: { metadata: { index: 5n } } });
    expect(more).toEqual([]);
  });
});

describe("the next entry for a peer", () => {
  test("R7, E17: stays behind what it is known to have, however late a refusal comes", () => {
    const leader = leaderOf([1n, 2n]);
    leader.propose("x");
    leader.takeMessages();
    leader.step(ack(leader, 2, 2n));
    leader.act((raw) => raw.reportUnreachable(2n));
    leader.step(rejection(leader, 2, 2n, 0n));
    expect(leader.progress(2)).toMatchObject({ matched: 2n, nextIdx: 3n });
  });

  test("E17: is behind the snapshot while one is on its way", () => {
    const leader = leaderOf(VOTERS);
    leader.storage.compact(1n);
    leader.progress(3).recentActive = true;
    leader.step(rejection(leader, 3, 1n, 0n));
    leader.step(rejection(leader, 3, 0n, 0n));
    expect(leader.progress(3)).toMatchObject({ state: "Snapshot", pendingSnapshot: 1n, nextIdx: 2n });
  });
});

describe("entries that do not follow on each other are ignored, all of them, for", () => {
  test.each([
    { what: "a gap behind the entry before", indexes: [4n, 5n], terms: [1n, 1n] },
    { what: "a gap between two entries", indexes: [3n, 5n], terms: [1n, 1n] },
    { what: "an entry that stands before", indexes: [1n, 2n], terms: [1n, 1n] },
    { what: "a term that falls", indexes: [3n, 4n], terms: [2n, 1n] },
    { what: "a term that nobody has entered", indexes: [3n], terms: [9n] },
  ])("E15: $what", ({ indexes, terms }) => {
    const node = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n], term: 2n });
    const entries = indexes.map((index, position) => newNormalEntry(terms[position] ?? 0n, index));
    const append = { from: 1n, term: 2n, index: 2n, logTerm: 1n, commit: 4n, entries };
    node.act((raw) => raw.step(newMessage(MessageType.MsgAppend, 2n, append)));
    expect(node.takeMessages()).toEqual([]);
    expect(node.logSummary()).toEqual(["1/1", "2/1"]);
    expect(node.trace.at(-1)).toMatchObject({ type: "messageIgnored", reason: "malformed" });
  });
});

test("E21: the entry of an election costs nothing of the limit on uncommitted data, neither taken nor given back", () => {
  const leader = new TestNode(1n, { voters: [1n, 2n], config: { maxSizePerMsg: 0, maxUncommittedSize: 4 } });
  leader.forceLeader();
  const uncommitted = (): number | undefined =>
    leader.raft.role.kind === "leader" ? leader.raft.role.uncommitted.bytes : undefined;
  expect(uncommitted()).toBe(0);
  leader.propose("1234");
  leader.takeMessages();
  leader.step(ack(leader, 2, 1n));
  leader.settle();
  expect(uncommitted()).toBe(4);
  expect(leader.propose("5")).toEqual({ accepted: false, reason: "uncommittedLimit" });
});

describe("OpenRaft", () => {
  test("O3: a late append of what is there already deletes nothing behind it", () => {
    const node = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n, 1n, 1n], commit: 2n, term: 1n });
    const entries = entriesAt(3n, 1n);
    node.step(newMessage(MessageType.MsgAppend, 2n, { from: 1n, term: 1n, index: 2n, logTerm: 1n, entries }));
    expect(node.logSummary()).toEqual(["1/1", "2/1", "3/1", "4/1"]);
    expect(node.takeMessages()).toMatchObject([{ reject: false, index: 3n }]);
  });

  test("O8: an append without entries is refused like any other when the entry before it differs", () => {
    const node = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n, 1n], commit: 1n, term: 2n });
    const append = { from: 1n, term: 2n, index: 3n, logTerm: 2n, commit: 3n };
    node.step(newMessage(MessageType.MsgAppend, 2n, append));
    expect(node.takeMessages()).toMatchObject([{ reject: true }]);
    expect(node.raft.log.committed).toBe(1n);
  });

  test("O8: a group whose logs differ agrees on its leader's, without a proposal", () => {
    const nodes = [
      { terms: [1n, 2n, 2n], id: 1n },
      { terms: [1n, 1n, 1n], id: 2n },
      { terms: [1n], id: 3n },
    ].map(({ terms, id }) => new TestNode(id, { voters: VOTERS, logTerms: terms, term: 2n }));
    const network = Network.of(nodes);
    network.campaign(1);
    network.tick(2);
    expect(network.nodes.map((node) => node.logSummary())).toEqual(
      Array(3).fill(["1/1", "2/2", "3/2", "4/3"]),
    );
  });
});
