// Bringing a peer up by a snapshot (paper §7): when a leader sends one, what it sends meanwhile, how that ends, and
// what a follower makes of it.

import { describe, expect, test } from "vitest";
import { MemoryStorage, type Message, MessageType, type Snapshot } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { ack, fromPeer, heartbeatResponse, ofType, rejection } from "../../support/peer-messages.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";

/** Storage of a node whose log begins behind (11, 11) in a group of nodes 1 and 2. */
function compactedAtEleven(): MemoryStorage {
  const storage = new MemoryStorage();
  storage.applySnapshot(snapshotOf(11n, 11n, [1n, 2n]));
  return storage;
}

/** Node 1, leading node 2 in term 12 with an empty entry at 12 behind its snapshot at 11. */
function compactedLeader(): TestNode {
  const leader = new TestNode(1n, { storage: compactedAtEleven() }).forceLeader();
  leader.takeMessages();
  return leader;
}

/** The same, when peer 2 has turned out to need the snapshot and has been sent it. */
function leaderSendingSnapshot(): TestNode {
  const leader = compactedLeader();
  leader.step(rejection(leader, 2, 11n, 0n));
  expect(leader.progress(2)).toMatchObject({ state: "Snapshot", pendingSnapshot: 11n, matched: 0n });
  leader.takeMessages();
  return leader;
}

const snapshotsIn = (messages: readonly Message[]) => ofType(messages, MessageType.MsgSnapshot);

describe("a leader sends a snapshot", () => {
  test("to a peer that lacks what is compacted, and remembers which", () => {
    const leader = compactedLeader();
    leader.step(rejection(leader, 2, 11n, 0n));
    expect(leader.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgSnapshot, to: 2n, snapshot: { metadata: { index: 11n, term: 11n } } },
    ]);
    expect(leader.progress(2)).toMatchObject({ state: "Snapshot", pendingSnapshot: 11n });
  });

  test("not to a peer that has not been heard of: it would be built and shipped for nothing (2.68)", () => {
    const leader = compactedLeader();
    const progress = leader.progress(2);
    progress.nextIdx = 11n;
    progress.resume();
    progress.recentActive = false;
    leader.propose("x");
    expect(leader.takeMessages()).toEqual([]);
    expect(progress.state).toBe("Probe");

    leader.step(heartbeatResponse(leader, 2));
    expect(snapshotsIn(leader.takeMessages())).toHaveLength(1);
  });

  test("later, if the storage has none yet: the next answer of the peer asks again", () => {
    const leader = compactedLeader();
    leader.storage.triggerSnapshotUnavailable();
    leader.step(rejection(leader, 2, 11n, 0n));
    expect(leader.takeMessages()).toEqual([]);
    expect(leader.progress(2).state).toBe("Probe");
    leader.step(heartbeatResponse(leader, 2));
    expect(snapshotsIn(leader.takeMessages())).toHaveLength(1);
  });

  test("and nothing else until that has ended", () => {
    const leader = leaderSendingSnapshot();
    leader.propose("x");
    leader.step(heartbeatResponse(leader, 2));
    expect(leader.takeMessages()).toEqual([]);
  });
});

describe("a snapshot on its way ends", () => {
  test("with a report of its failure: probing starts over, when the peer has shown that it lives", () => {
    const leader = leaderSendingSnapshot();
    leader.act((raw) => raw.reportSnapshot(2n, "failure"));
    expect(leader.progress(2)).toMatchObject({
      state: "Probe",
      pendingSnapshot: 0n,
      nextIdx: 1n,
      paused: true,
    });
    leader.propose("x");
    expect(leader.takeMessages()).toEqual([]);
    leader.step(heartbeatResponse(leader, 2));
    expect(snapshotsIn(leader.takeMessages())).toHaveLength(1);
  });

  test("with a report of its delivery: probing goes on behind it, when the peer has said something", () => {
    const leader = leaderSendingSnapshot();
    leader.act((raw) => raw.reportSnapshot(2n, "finish"));
    expect(leader.progress(2)).toMatchObject({
      state: "Probe",
      pendingSnapshot: 0n,
      nextIdx: 12n,
      paused: true,
    });
    leader.step(ack(leader, 2, 11n));
    expect(leader.progress(2).state).toBe("Replicate");
    expect(leader.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgAppend, index: 11n, entries: [{ index: 12n }] },
    ]);
  });

  test("with the peer's acknowledgement, report or not: streaming goes on behind it", () => {
    const leader = leaderSendingSnapshot();
    leader.step(ack(leader, 2, 11n));
    expect(leader.progress(2)).toMatchObject({
      state: "Replicate",
      matched: 11n,
      pendingSnapshot: 0n,
      // The entry behind it has been sent already.
      nextIdx: 13n,
    });
    const after = leader.node.status();
    leader.act((raw) => raw.reportSnapshot(2n, "finish"));
    expect(leader.node.status()).toEqual(after);
  });

  test("with any acknowledgement from which the log can go on, whichever snapshot that was (U6, E16)", () => {
    const leader = leaderSendingSnapshot();
    leader.progress(2).becomeSnapshot(12n);
    leader.step(ack(leader, 2, 10n));
    expect(leader.progress(2)).toMatchObject({ state: "Snapshot", matched: 10n });
    leader.step(ack(leader, 2, 11n));
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 11n });
  });
});

describe("a snapshot that a follower has asked for", () => {
  /** Peer 2 streams, matches 11, and asks for a snapshot of that much. */
  function askedLeader(): TestNode {
    const leader = compactedLeader();
    leader.step(ack(leader, 2, 11n));
    leader.takeMessages();
    expect(leader.progress(2).state).toBe("Replicate");
    return leader;
  }

  const request = (leader: TestNode, index: bigint): Message =>
    ack(leader, 2, index, { reject: true, rejectHint: 0n, requestSnapshot: 11n });

  test("can be asked for only by a follower that knows its leader", () => {
    const node = new TestNode(1n, { storage: compactedAtEleven() });
    const refused = { accepted: false, reason: "requestSnapshotDropped" };
    expect(node.act((raw) => raw.requestSnapshot())).toEqual(refused);
    node.forceLeader();
    expect(node.act((raw) => raw.requestSnapshot())).toEqual(refused);
  });

  test("is not sent for a request that came late: the peer has acknowledged more since", () => {
    const leader = askedLeader();
    leader.step(request(leader, 9n));
    expect(leader.progress(2).state).toBe("Replicate");
    expect(leader.takeMessages()).toEqual([]);
  });

  test("is sent, and ends with a report of its delivery, not with old acknowledgements", () => {
    const leader = askedLeader();
    leader.step(request(leader, 11n));
    const onItsWay = { state: "Snapshot", pendingSnapshot: 11n, nextIdx: 12n };
    expect(leader.progress(2)).toMatchObject(onItsWay);
    expect(snapshotsIn(leader.takeMessages())).toMatchObject([{ snapshot: { metadata: { index: 11n } } }]);

    leader.step(ack(leader, 2, 11n));
    leader.step(heartbeatResponse(leader, 2));
    expect(leader.progress(2)).toMatchObject(onItsWay);
    expect(leader.takeMessages()).toEqual([]);

    leader.act((raw) => raw.reportSnapshot(2n, "finish"));
    expect(leader.progress(2)).toMatchObject({
      state: "Probe",
      pendingSnapshot: 0n,
      pendingRequestSnapshot: 0n,
      nextIdx: 12n,
      paused: true,
    });
  });
});

describe("a follower that receives a snapshot", () => {
  const snapshot = snapshotOf(11n, 11n, [1n, 2n, 3n]);
  const given = (node: TestNode, what: Snapshot, term = 12n): Message =>
    fromPeer(node, 1, MessageType.MsgSnapshot, { term, snapshot: what });

  test("takes over its place, its term and its members, and learns who leads", () => {
    const node = new TestNode(2n, { voters: [1n, 2n] });
    node.step(given(node, snapshot));
    expect(node.leader).toBe(1n);
    const [answer] = node.takeMessages();
    expect(answer).toMatchObject({ msgType: MessageType.MsgAppendResponse, index: 11n, reject: false });
    expect(node.node.status()).toMatchObject({
      firstIndex: 12n,
      lastIndex: 11n,
      confState: { voters: [1n, 2n, 3n] },
    });
    expect(node.raft.log.term(11n)).toBe(11n);
    expect(node.raft.log.committed).toBe(11n);
  });

  test("hears its leader in it, in its own term as well, and is patient again", () => {
    const node = new TestNode(2n, { voters: [1n, 2n], term: 12n });
    node.tick(9);
    node.step(given(node, snapshot));
    expect(node.leader).toBe(1n);
    node.takeMessages();
    node.tick(9);
    expect(node.role).toBe("follower");
    node.tick();
    expect(node.role).toBe("candidate");
  });

  test("has no use for it a second time, and says how far it is", () => {
    const node = new TestNode(2n, { voters: [1n, 2n] });
    node.step(given(node, snapshot));
    node.takeMessages();
    const before = node.node.status();
    node.step(given(node, snapshot));
    expect(node.takeMessages()).toMatchObject([{ msgType: MessageType.MsgAppendResponse, index: 11n }]);
    expect(node.node.status()).toEqual(before);
    expect(node.trace.at(-1)).toMatchObject({ type: "snapshotIgnored", because: "alreadyInLog" });
  });

  test.each([
    { index: 0n, committed: 1n, because: "behindCommit", why: "it is older than what is committed" },
    { index: 1n, committed: 1n, because: "alreadyInLog", why: "it is what is committed" },
    { index: 2n, committed: 2n, because: "alreadyInLog", why: "the log has all of it, committed or not" },
  ])(
    "keeps its log, and commits up to $committed, given one at $index: $why",
    ({ index, committed, because }) => {
      const node = new TestNode(2n, { voters: [1n, 2n], logTerms: [1n, 1n, 1n], commit: 1n });
      node.step(given(node, snapshotOf(index, 1n, [1n, 2n]), 1n));
      expect(node.raft.log.committed).toBe(committed);
      expect(node.logSummary()).toEqual(["1/1", "2/1", "3/1"]);
      expect(node.trace.at(-1)).toMatchObject({ type: "snapshotIgnored", because });
      expect(node.takeMessages()).toMatchObject([{ index: committed, reject: false }]);
    },
  );
});

describe("a peer that is brought up", () => {
  test("after it was away for long gets the snapshot, then what came after it", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    network.isolate(3);
    for (let count = 0; count < 100; count += 1) network.propose(1, `${count}`);
    const leader = network.node(1);
    leader.storage.compact(leader.raft.log.applied);
    expect(leader.raft.log.firstIndex()).toBe(102n);

    network.recover();
    network.tick();
    network.propose(1, "behind it");
    const behind = network.node(3);
    expect(behind.raft.log.firstIndex()).toBe(102n);
    expect(behind.raft.log.committed).toBe(leader.raft.log.committed);
    expect(behind.committedData()).toEqual(["behind it"]);
  });

  test.each([{ preVote: false }, { preVote: true }])(
    "blank cannot miss how its group was born, as that is only in a snapshot (R10), pre-vote $preVote",
    ({ preVote }) => {
      const config = { preVote };
      const network = Network.of([
        new TestNode(1n, { storage: MemoryStorage.withConfState({ voters: [1n, 2n] }), config }),
        new TestNode(2n, { config }),
      ]);
      network.campaign(1);
      const blank = network.node(2);
      expect([blank.raft.log.firstIndex(), blank.raft.log.lastIndex()]).toEqual([2n, 2n]);
      expect(blank.node.status().confState.voters).toEqual([1n, 2n]);
    },
  );
});
