// How entries reach everybody and when they are committed (paper §5.3, §5.4): whole groups in memory, a leader whose
// followers the test plays, and a follower whose leader the test plays.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { entriesAt } from "../../support/entries.js";
import { Network } from "../../support/network.js";
import { ack, fromPeer } from "../../support/peer-messages.js";
import { TestNode } from "../../support/test-node.js";

const committedOf = (network: Network): bigint[] => network.nodes.map(({ raft }) => raft.log.committed);

describe("a log", () => {
  test("is the same and committed everywhere", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    network.propose(1, "a");
    expect(committedOf(network)).toEqual([2n, 2n, 2n]);
    for (const node of network.nodes) expect(node.committedData()).toEqual(["a"]);
  });

  test("goes on under another leader", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    network.propose(1, "a");
    network.campaign(2);
    network.propose(2, "b");
    expect(committedOf(network)).toEqual([4n, 4n, 4n]);
    for (const node of network.nodes) {
      expect(node.committedData()).toEqual(["a", "b"]);
      expect(node.logSummary()).toEqual(["1/1", "2/1", "3/2", "4/2"]);
    }
  });

  test("of a single voter commits what is on its own disk", () => {
    const network = Network.ofSize(1);
    network.campaign(1);
    network.propose(1, "a");
    network.propose(1, "b");
    expect(committedOf(network)).toEqual([3n]);
    expect(network.node(1).committedData()).toEqual(["a", "b"]);
  });

  test("is not touched by an append of a leader of the past", () => {
    const network = Network.ofSize(3);
    for (const id of [1, 2, 1]) network.campaign(id);
    expect(network.node(1).raft.term).toBe(3n);
    network.send(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: 2n, entries: entriesAt(3n, 2n) }));
    network.propose(1, "a");
    for (const node of network.nodes) {
      expect(node.logSummary()).toEqual(["1/1", "2/2", "3/3", "4/3"]);
      expect(node.raft.log.committed).toBe(4n);
    }
  });
});

describe("entries of an earlier leader", () => {
  /** Five nodes; the first leader left two entries on itself and node 2 only, and can reach everybody again. */
  function leftBehind(): Network {
    const network = Network.ofSize(5);
    network.campaign(1);
    for (const id of [3, 4, 5]) network.cut(1, id);
    network.propose(1, "a");
    network.propose(1, "b");
    expect(network.node(1).raft.log.committed).toBe(1n);
    network.recover();
    return network;
  }

  test("are committed only behind an entry of the new leader's own term (§5.4.2)", () => {
    const network = leftBehind();
    network.ignore(MessageType.MsgAppend);
    network.campaign(2);
    const leader = network.node(2);
    expect(leader.role).toBe("leader");
    expect(leader.raft.log.committed).toBe(1n);

    network.recover();
    leader.act((raw) => raw.ping());
    network.settle();
    network.propose(2, "c");
    expect(leader.raft.log.committed).toBe(5n);
    expect(network.node(5).committedData()).toEqual(["a", "b", "c"]);
  });

  test("need no proposal for that: the empty entry of the election is enough (§8)", () => {
    const network = leftBehind();
    network.campaign(2);
    expect(committedOf(network)).toEqual([4n, 4n, 4n, 4n, 4n]);
  });
});

// Entries 1 and 2 are of term 1, 3 is the empty entry of the leader's own term 2, 4 a proposal in it. All four are on
// the leader's own disk; the acknowledgements are the followers'.
describe("a leader commits what a quorum holds, if that is of its own term", () => {
  test.each([
    { size: 1, acks: [], committed: 4n },
    { size: 2, acks: [2n], committed: 0n },
    { size: 2, acks: [3n], committed: 3n },
    { size: 2, acks: [4n], committed: 4n },
    { size: 3, acks: [2n, 2n], committed: 0n },
    { size: 3, acks: [3n, 0n], committed: 3n },
    { size: 3, acks: [2n, 3n], committed: 3n },
    { size: 3, acks: [4n, 3n], committed: 4n },
    { size: 4, acks: [4n, 0n, 0n], committed: 0n },
    { size: 4, acks: [4n, 2n, 0n], committed: 0n },
    { size: 4, acks: [3n, 3n, 0n], committed: 3n },
    { size: 4, acks: [4n, 3n, 2n], committed: 3n },
    { size: 4, acks: [4n, 4n, 2n], committed: 4n },
    { size: 4, acks: [2n, 2n, 2n], committed: 0n },
  ])("$size nodes, followers at $acks: $committed", ({ size, acks, committed }) => {
    const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
    const leader = new TestNode(1n, { voters, logTerms: [1n, 1n] }).forceLeader();
    leader.propose("x");
    leader.settle();
    for (const [position, index] of acks.entries()) {
      if (index > 0n) leader.step(ack(leader, position + 2, index));
    }
    expect(leader.raft.log.committed).toBe(committed);
  });

  test("also what its own disk does not hold yet: the others are enough, but applying it has to wait (2.46)", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n, 3n] }).forceLeader();
    expect(leader.progress(1).matched).toBe(0n);
    leader.step(ack(leader, 2, 1n));
    expect(leader.raft.log.committed).toBe(0n);
    leader.step(ack(leader, 3, 1n));
    expect(leader.raft.log.committed).toBe(1n);
    expect(leader.raft.log.appliedIndexUpperBound()).toBe(0n);
    leader.settle();
    expect(leader.raft.log.appliedIndexUpperBound()).toBe(1n);
  });
});

// The follower's log is 1/1 2/2, nothing of it known to be committed; all appends are of term 2.
describe("a follower answers an append", () => {
  const follower = () => new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 2n] });

  test.each([
    { after: [2n, 3n], terms: [], commit: 3n, why: "another term stands there" },
    { after: [3n, 3n], terms: [], commit: 3n, why: "nothing stands there" },
  ] as const)("after $after with a refusal: $why", ({ after: [index, logTerm], commit }) => {
    const node = follower();
    node.step(fromPeer(node, 2, MessageType.MsgAppend, { index, logTerm, commit }));
    expect(node.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgAppendResponse, to: 2n, reject: true, index, commit: 0n },
    ]);
    expect(node.logSummary()).toEqual(["1/1", "2/2"]);
    expect(node.raft.log.committed).toBe(0n);
  });

  test.each([
    { after: [1n, 1n], terms: [], commit: 1n, matched: 1n, last: 2n, committed: 1n, why: "nothing new" },
    { after: [0n, 0n], terms: [2n], commit: 1n, matched: 1n, last: 1n, committed: 1n, why: "replaces all" },
    { after: [2n, 2n], terms: [2n, 2n], commit: 3n, matched: 4n, last: 4n, committed: 3n, why: "adds two" },
    { after: [2n, 2n], terms: [2n], commit: 4n, matched: 3n, last: 3n, committed: 3n, why: "adds one" },
    { after: [1n, 1n], terms: [2n], commit: 4n, matched: 2n, last: 2n, committed: 2n, why: "repeats one" },
    {
      after: [1n, 1n],
      terms: [],
      commit: 3n,
      matched: 1n,
      last: 2n,
      committed: 1n,
      why: "vouches for 1 only",
    },
    { after: [1n, 1n], terms: [2n], commit: 3n, matched: 2n, last: 2n, committed: 2n, why: "vouches for 2" },
    { after: [2n, 2n], terms: [], commit: 3n, matched: 2n, last: 2n, committed: 2n, why: "vouches for 2" },
    { after: [2n, 2n], terms: [], commit: 4n, matched: 2n, last: 2n, committed: 2n, why: "to its end" },
  ] as const)(
    "after $after with $terms and commit $commit: matches to $matched, commits $committed: $why",
    ({ after: [index, logTerm], terms, commit, matched, last, committed }) => {
      const node = follower();
      const entries = entriesAt(index + 1n, ...terms);
      node.step(fromPeer(node, 2, MessageType.MsgAppend, { index, logTerm, commit, entries }));
      expect(node.takeMessages()).toMatchObject([
        { msgType: MessageType.MsgAppendResponse, to: 2n, reject: false, index: matched, commit: committed },
      ]);
      expect(node.raft.log.lastIndex()).toBe(last);
      expect(node.raft.log.committed).toBe(committed);
    },
  );

  test("that lies before its commit index by telling how far that is, and ignores the entries (2.56)", () => {
    const node = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 2n], commit: 2n });
    const entries = entriesAt(2n, 3n);
    node.step(fromPeer(node, 2, MessageType.MsgAppend, { term: 3n, index: 1n, logTerm: 1n, entries }));
    expect(node.takeMessages()).toMatchObject([{ reject: false, index: 2n, commit: 2n }]);
    expect(node.logSummary()).toEqual(["1/1", "2/2"]);
  });
});
