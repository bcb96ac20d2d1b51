// Votes, seen from both sides: who is asked, whose answer counts, what asking and voting do to the election clock.
// Which logs win is in the tests of the paper's §5.4.1.

import { describe, expect, test } from "vitest";
import { type Message, MessageType, newMessage } from "../../../src/core/index.js";
import { change } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

function voteRequest(to: bigint, from: bigint, term: bigint): Message {
  return newMessage(MessageType.MsgRequestVote, to, { from, term, index: 99n, logTerm: term });
}

function answer(from: bigint, term: bigint, reject = false): Message {
  return newMessage(MessageType.MsgRequestVoteResponse, 1n, { from, term, reject });
}

describe("a campaign", () => {
  test.each([{ preVote: false }, { preVote: true }])(
    "is nothing to a leader (pre-vote: $preVote)",
    ({ preVote }) => {
      const network = Network.ofSize(1, { config: { preVote } });
      network.campaign(1);
      const node = network.node(1);
      expect(node.role).toBe("leader");
      const before = node.node.status();
      network.campaign(1);
      expect(node.act((raw) => raw.campaign())).toEqual({ accepted: true });
      expect(node.node.status()).toEqual(before);
    },
  );

  test("asks every voter of both halves, and nobody else", () => {
    const node = new TestNode(1n, { voters: VOTERS, learners: [4n] });
    node.act((raw) => raw.applyConfChange(change("v5 r3")));
    node.act((raw) => raw.campaign());
    expect(node.takeMessages().map(({ to }) => to)).toEqual([2n, 3n, 5n]);
  });

  test("is decided by voters alone: learners and strangers may answer as they like", () => {
    const node = new TestNode(1n, { voters: VOTERS, learners: [4n, 5n] }).forceCandidate();
    for (const from of [4n, 5n, 6n, 7n]) node.step(answer(from, 1n));
    expect(node.role).toBe("candidate");
    for (const from of [4n, 5n]) node.step(answer(from, 1n, true));
    node.step(answer(2n, 1n));
    expect(node.role).toBe("leader");
  });

  test("goes by the first answer of each voter (2.28)", () => {
    const node = new TestNode(1n, { voters: [1n, 2n, 3n, 4n, 5n] }).forceCandidate();
    node.step(answer(2n, 1n, true));
    node.step(answer(2n, 1n));
    node.step(answer(3n, 1n));
    expect(node.role).toBe("candidate");
    node.step(answer(4n, 1n));
    expect(node.role).toBe("leader");
  });

  test("that is lost ends at the same term, with the vote still given", () => {
    const node = new TestNode(1n, { voters: VOTERS }).forceCandidate();
    for (const from of [2n, 3n]) node.step(answer(from, 1n, true));
    expect(node.role).toBe("follower");
    node.step(voteRequest(1n, 2n, 1n));
    expect(node.takeMessages()).toMatchObject([{ to: 2n, reject: true }]);
  });
});

describe("a vote", () => {
  test.each([
    { what: "a learner", options: { voters: [2n, 3n], learners: [1n] } },
    { what: "a node that is no member of its own configuration", options: { voters: [2n, 3n] } },
  ])("is given by $what too: it may not know yet that it has become a voter (2.26)", ({ options }) => {
    const voter = new TestNode(1n, options);
    voter.step(voteRequest(1n, 2n, 1n));
    expect(voter.takeMessages()).toMatchObject([{ to: 2n, reject: false }]);
    expect(voter.node.status().hardState).toMatchObject({ term: 1n, vote: 2n });
  });

  test("for a later term is given, and told, again and again to the same node", () => {
    const voter = new TestNode(1n, { voters: VOTERS });
    for (let times = 0; times < 3; times += 1) voter.step(voteRequest(1n, 2n, 1n));
    expect(voter.takeMessages().map(({ reject }) => reject)).toEqual([false, false, false]);
  });

  test("is not given in a term whose leader is known, even to a longer log (2.24)", () => {
    const voter = new TestNode(1n, { voters: VOTERS, term: 1n });
    voter.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 3n, term: 1n }));
    voter.takeMessages();
    voter.step(voteRequest(1n, 2n, 1n));
    expect(voter.takeMessages()).toMatchObject([{ to: 2n, reject: true }]);
  });

  test("of an earlier term is answered with silence", () => {
    const voter = new TestNode(1n, { voters: VOTERS, term: 5n });
    voter.step(voteRequest(1n, 2n, 4n));
    expect(voter.takeMessages()).toEqual([]);
    expect(voter.trace.at(-1)).toMatchObject({ type: "messageIgnored", reason: "staleTerm" });
  });

  test("that was given before a crash binds the node after it", () => {
    const voter = new TestNode(1n, { voters: VOTERS });
    voter.step(voteRequest(1n, 2n, 1n));
    voter.takeMessages();
    const restarted = voter.restart();
    restarted.step(voteRequest(1n, 3n, 1n));
    restarted.step(voteRequest(1n, 2n, 1n));
    expect(restarted.takeMessages()).toMatchObject([
      { to: 3n, reject: true },
      { to: 2n, reject: false },
    ]);
  });
});

describe("the election clock", () => {
  test("starts again when a vote is given, and not when one is refused or a pre-vote is given (2.25)", () => {
    const voter = new TestNode(1n, { voters: VOTERS, logTerms: [1n], config: { randomInt: () => 19 } });
    voter.tick(5);
    voter.step(newMessage(MessageType.MsgRequestPreVote, 1n, { from: 2n, term: 2n, index: 9n, logTerm: 1n }));
    expect(voter.raft.electionElapsed).toBe(5);
    voter.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term: 1n, index: 0n }));
    expect(voter.raft.electionElapsed).toBe(5);
    voter.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 3n, term: 1n, index: 1n, logTerm: 1n }));
    expect(voter.raft.electionElapsed).toBe(0);
  });

  test("starts again when a campaign is refused: the node waits for another whole timeout (2.4)", () => {
    const network = Network.ofSize(3, { autoApply: false });
    network.campaign(1);
    network.node(1).applyCommitted();
    network.node(1).proposeConfChange(change("l3"));
    network.settle();
    const node = network.node(2);
    node.timeOut();
    expect(node.trace.at(-1)).toEqual({ type: "campaignRefused", reason: "pendingConfChange" });
    node.applyCommitted();
    node.tick(9);
    expect(node.role).toBe("follower");
    node.tick();
    expect(node.role).toBe("candidate");
  });

  test("of a pre-candidate keeps the timeout that was drawn; a candidate draws another (2.5)", () => {
    let drawn = 10;
    const randomInt = (): number => drawn++;
    const node = new TestNode(1n, { voters: VOTERS, config: { preVote: true, randomInt } });
    const timeout = node.raft.randomizedElectionTimeout;
    node.tick(timeout);
    expect(node.role).toBe("preCandidate");
    expect(node.raft.randomizedElectionTimeout).toBe(timeout);
    node.forceCandidate();
    expect(node.raft.randomizedElectionTimeout).not.toBe(timeout);
  });
});
