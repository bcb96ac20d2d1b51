// What each role does with a vote request and with a message of a higher term, and which role may follow on which.
// One node is put into a role and spoken to; the peers are played by the test.

import { describe, expect, test } from "vitest";
import { InvariantViolation, MessageType, type NodeId, newMessage } from "../../../src/core/index.js";
import {
  becomeCandidate,
  becomeFollower,
  becomeLeader,
  becomePreCandidate,
} from "../../../src/core/raft/roles.js";
import type { RaftState } from "../../../src/core/raft/state.js";
import { fromPeer } from "../../support/peer-messages.js";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

const ROLES = ["follower", "preCandidate", "candidate", "leader"] as const;
type RoleName = (typeof ROLES)[number];

const VOTES = [
  { request: MessageType.MsgRequestVote, response: MessageType.MsgRequestVoteResponse, name: "vote" },
  {
    request: MessageType.MsgRequestPreVote,
    response: MessageType.MsgRequestPreVoteResponse,
    name: "pre-vote",
  },
];

/** Node 1 of three in the given role; a follower follows 3. What it said on the way is thrown away. */
function nodeAs(role: RoleName, options: TestNodeOptions = {}): TestNode {
  const node = new TestNode(1n, { voters: [1n, 2n, 3n], ...options });
  switch (role) {
    case "follower":
      node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 3n, term: node.raft.term }));
      break;
    case "preCandidate":
      node.raft.settings.preVote = true;
      node.act((raw) => raw.campaign());
      break;
    case "candidate":
      node.forceCandidate();
      break;
    case "leader":
      node.forceLeader();
  }
  node.takeMessages();
  expect(node.role).toBe(role);
  return node;
}

describe.each(VOTES)("a $name", ({ request, response, name }) => {
  test.each(ROLES)("for a later term, of a log that is far ahead, is granted by a %s", (role) => {
    const node = nodeAs(role, { term: 1n });
    const before = { role: node.role, term: node.raft.term, vote: node.raft.vote, leader: node.leader };
    const term = before.term + 1n;
    node.step(fromPeer(node, 2, request, { term, logTerm: term, index: 42n }));
    expect(node.takeMessages()).toMatchObject([{ msgType: response, to: 2n, term, reject: false }]);
    if (name === "vote") {
      expect(node.role).toBe("follower");
      expect(node.raft).toMatchObject({ term, vote: 2n });
    } else {
      // Asking around changes nobody (2.20).
      expect(node.leader).toBe(before.leader);
      expect(node.role).toBe(before.role);
      expect(node.raft).toMatchObject({ term: before.term, vote: before.vote });
    }
  });

  // The log of the node that is asked is 1/2 2/2.
  test.each([
    { index: 0n, logTerm: 0n, vote: 0n, granted: false },
    { index: 0n, logTerm: 1n, vote: 0n, granted: false },
    { index: 0n, logTerm: 2n, vote: 0n, granted: false },
    { index: 0n, logTerm: 3n, vote: 0n, granted: true },
    { index: 1n, logTerm: 0n, vote: 0n, granted: false },
    { index: 1n, logTerm: 1n, vote: 0n, granted: false },
    { index: 1n, logTerm: 2n, vote: 0n, granted: false },
    { index: 1n, logTerm: 3n, vote: 0n, granted: true },
    { index: 2n, logTerm: 0n, vote: 0n, granted: false },
    { index: 2n, logTerm: 1n, vote: 0n, granted: false },
    { index: 2n, logTerm: 2n, vote: 0n, granted: true },
    { index: 2n, logTerm: 3n, vote: 0n, granted: true },
    { index: 3n, logTerm: 0n, vote: 0n, granted: false },
    { index: 3n, logTerm: 1n, vote: 0n, granted: false },
    { index: 3n, logTerm: 2n, vote: 0n, granted: true },
    { index: 3n, logTerm: 3n, vote: 0n, granted: true },
    { index: 3n, logTerm: 2n, vote: 2n, granted: true },
    { index: 3n, logTerm: 2n, vote: 3n, granted: false },
  ])(
    "for a log that ends at $index/$logTerm, when the term's vote went to $vote: granted is $granted",
    ({ index, logTerm, vote, granted }) => {
      const term = logTerm > 2n ? logTerm : 2n;
      const node = new TestNode(1n, { voters: [1n, 2n, 3n], logTerms: [2n, 2n], term, vote });
      node.step(fromPeer(node, 2, request, { index, logTerm }));
      expect(node.takeMessages()).toMatchObject([{ msgType: response, to: 2n, term, reject: !granted }]);
    },
  );

  test.each(["candidate", "leader"] as const)(
    "for its own term is refused by a %s: it has voted for itself",
    (role) => {
      const node = nodeAs(role, { logTerms: [2n, 2n] });
      node.step(fromPeer(node, 2, request, { index: 9n, logTerm: node.raft.term }));
      expect(node.takeMessages()).toMatchObject([{ msgType: response, reject: true, term: node.raft.term }]);
      expect(node.role).toBe(role);
    },
  );

  test("for its own term is refused by a pre-candidate that has voted in it", () => {
    const node = nodeAs("preCandidate", { logTerms: [2n, 2n], vote: 1n });
    node.step(fromPeer(node, 2, request, { index: 9n, logTerm: 2n }));
    expect(node.takeMessages()).toMatchObject([{ msgType: response, reject: true, term: 2n }]);
  });
});

describe.each(ROLES)("a %s", (role) => {
  test.each([
    { type: MessageType.MsgRequestVote, name: "a vote request", leader: 0n },
    { type: MessageType.MsgAppend, name: "an append", leader: 2n },
  ])("follows into a higher term on $name, and then knows leader $leader", ({ type, leader }) => {
    const node = nodeAs(role, { term: 1n });
    const log = node.logSummary();
    node.step(fromPeer(node, 2, type, { term: 3n, logTerm: 3n }));
    expect(node.role).toBe("follower");
    expect(node.raft.term).toBe(3n);
    expect(node.leader).toBe(leader);
    // Neither says anything about entries that it holds.
    expect(node.logSummary()).toEqual(log);
  });
});

describe("the ways between the roles", () => {
  interface Arrival {
    readonly term: bigint;
    readonly leader: NodeId;
  }

  const ways: Readonly<Record<RoleName, (raft: RaftState) => void>> = {
    follower: (raft) => becomeFollower(raft, raft.term + 1n, 0n),
    preCandidate: becomePreCandidate,
    candidate: becomeCandidate,
    leader: becomeLeader,
  };

  const next = (raft: RaftState): Arrival => ({ term: raft.term + 1n, leader: 0n });
  const same = (raft: RaftState): Arrival => ({ term: raft.term, leader: 0n });
  const leads = (raft: RaftState): Arrival => ({ term: raft.term, leader: raft.id });

  // raft-rs also lets a pre-candidate and a leader become leader; no input of a node can ask for that.
  test.each([
    { from: "follower", to: "follower", arrives: next },
    { from: "follower", to: "preCandidate", arrives: same },
    { from: "follower", to: "candidate", arrives: next },
    { from: "preCandidate", to: "follower", arrives: next },
    { from: "preCandidate", to: "preCandidate", arrives: same },
    { from: "preCandidate", to: "candidate", arrives: next },
    { from: "candidate", to: "follower", arrives: next },
    { from: "candidate", to: "preCandidate", arrives: same },
    { from: "candidate", to: "candidate", arrives: next },
    { from: "candidate", to: "leader", arrives: leads },
    { from: "leader", to: "follower", arrives: next },
  ] as const)("lead from $from to $to", ({ from, to, arrives }) => {
    const node = nodeAs(from);
    const expected = arrives(node.raft);
    node.act(() => ways[to](node.raft));
    expect(node.role).toBe(to);
    expect({ term: node.raft.term, leader: node.leader }).toEqual(expected);
  });

  test.each([
    { from: "follower", to: "leader" },
    { from: "leader", to: "preCandidate" },
    { from: "leader", to: "candidate" },
  ] as const)("never lead from $from to $to", ({ from, to }) => {
    const node = nodeAs(from);
    const before = node.node.status();
    expect(() => ways[to](node.raft)).toThrow(InvariantViolation);
    expect(node.node.status()).toEqual(before);
  });
});
