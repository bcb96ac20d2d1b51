// Pre-votes (thesis §9.6): asking whether an election could be won before disturbing anybody. Here: mixed terms,
// nodes that have been away, and a group that is being moved to pre-votes while it runs.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];
const PRE_VOTE = { config: { preVote: true } } as const;

function roles(network: Network): string[] {
  return network.nodes.map(({ role }) => role);
}

function terms(network: Network): bigint[] {
  return network.nodes.map(({ raft }) => raft.term);
}

describe("a request for a pre-vote", () => {
  // The voter's log ends with entry 2 of term 2.
  test.each([
    { index: 0n, logTerm: 0n, granted: false },
    { index: 0n, logTerm: 1n, granted: false },
    { index: 0n, logTerm: 2n, granted: false },
    { index: 0n, logTerm: 3n, granted: true },
    { index: 1n, logTerm: 0n, granted: false },
    { index: 1n, logTerm: 1n, granted: false },
    { index: 1n, logTerm: 2n, granted: false },
    { index: 1n, logTerm: 3n, granted: true },
    { index: 2n, logTerm: 0n, granted: false },
    { index: 2n, logTerm: 1n, granted: false },
    { index: 2n, logTerm: 2n, granted: true },
    { index: 2n, logTerm: 3n, granted: true },
    { index: 3n, logTerm: 0n, granted: false },
    { index: 3n, logTerm: 1n, granted: false },
    { index: 3n, logTerm: 2n, granted: true },
    { index: 3n, logTerm: 3n, granted: true },
  ])("of a log that ends at $index of term $logTerm: granted $granted", ({ index, logTerm, granted }) => {
    const voter = new TestNode(1n, { voters: VOTERS, logTerms: [2n, 2n], term: 3n, ...PRE_VOTE });
    voter.step(newMessage(MessageType.MsgRequestPreVote, 1n, { from: 2n, term: 4n, index, logTerm }));
    // A grant names the term that was asked for, a refusal the voter's own.
    expect(voter.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgRequestPreVoteResponse, to: 2n, reject: !granted, term: granted ? 4n : 3n },
    ]);
    expect(voter.node.status().hardState).toMatchObject({ term: 3n, vote: 0n });
  });

  test.each([
    { vote: 2n, granted: true },
    { vote: 3n, granted: false },
  ])("for the term that the voter is in follows its vote for $vote", ({ vote, granted }) => {
    const voter = new TestNode(1n, { voters: VOTERS, logTerms: [2n, 2n], term: 2n, vote, ...PRE_VOTE });
    voter.step(newMessage(MessageType.MsgRequestPreVote, 1n, { from: 2n, term: 2n, index: 3n, logTerm: 2n }));
    expect(voter.takeMessages()).toMatchObject([{ reject: !granted }]);
  });

  test.each(["preCandidate", "candidate", "leader"])(
    "for the term that it is in is refused by a %s",
    (role) => {
      const node = new TestNode(1n, { voters: VOTERS, logTerms: [2n, 2n], term: 2n, ...PRE_VOTE });
      if (role === "leader") node.forceLeader();
      else if (role === "candidate") node.forceCandidate();
      else node.act((raw) => raw.campaign());
      node.takeMessages();
      // A pre-candidate has not voted, so that its term is one that others may still ask for.
      const term = role === "preCandidate" ? node.raft.term - 1n : node.raft.term;
      node.step(newMessage(MessageType.MsgRequestPreVote, 1n, { from: 2n, term, index: 9n, logTerm: 2n }));
      expect(node.takeMessages()).toMatchObject([{ to: 2n, reject: true, term: node.raft.term }]);
      expect(node.role).toBe(role);
    },
  );
});

describe("with pre-votes", () => {
  test("a node that missed a term and one that did not elect a leader when the last one is gone", () => {
    const network = Network.ofSize(3, { term: 1n, ...PRE_VOTE });
    network.isolate(3);
    network.campaign(1);
    expect(roles(network)).toEqual(["leader", "follower", "follower"]);
    network.campaign(3);
    network.campaign(2);
    expect(roles(network)).toEqual(["follower", "leader", "preCandidate"]);
    expect(terms(network)).toEqual([3n, 3n, 1n]);

    network.recover();
    network.isolate(2);
    network.campaign(3);
    network.campaign(1);
    expect(network.nodes.filter(({ role, id }) => id !== 2n && role === "leader")).toHaveLength(1);
  });

  test("a split vote is decided in the next round", () => {
    const network = Network.ofSize(3, { term: 1n, ...PRE_VOTE });
    network.campaign(1);
    network.isolate(1);
    network.send(newMessage(MessageType.MsgHup, 2n), newMessage(MessageType.MsgHup, 3n));
    expect(roles(network).slice(1)).toEqual(["candidate", "candidate"]);
    expect(terms(network).slice(1)).toEqual([3n, 3n]);

    network.campaign(2);
    expect(roles(network).slice(1)).toEqual(["leader", "follower"]);
    expect(terms(network).slice(1)).toEqual([4n, 4n]);
  });

  test("a campaign that nobody answers changes neither term nor vote, however often it is tried", () => {
    const network = Network.ofSize(3, PRE_VOTE);
    network.isolate(3);
    for (let attempt = 0; attempt < 5; attempt += 1) network.node(3).timeOut();
    expect(network.node(3).role).toBe("preCandidate");
    expect(network.node(3).node.status().hardState).toMatchObject({ term: 0n, vote: 0n });
  });

  test("a node that everybody refuses follows again, at its own term", () => {
    const network = Network.ofSize(3, { ...PRE_VOTE, term: 1n });
    network.campaign(1);
    network.isolate(3);
    network.propose(1, "missed");
    network.recover();
    network.campaign(3);
    expect(roles(network)).toEqual(["leader", "follower", "follower"]);
    expect(terms(network)).toEqual([2n, 2n, 2n]);
  });

  test("answers of the other phase count for nothing", () => {
    const node = new TestNode(1n, { voters: VOTERS, ...PRE_VOTE });
    node.act((raw) => raw.campaign());
    node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from: 2n, term: node.raft.term }));
    expect(node.role).toBe("preCandidate");
    node.forceCandidate();
    node.step(newMessage(MessageType.MsgRequestPreVoteResponse, 1n, { from: 2n, term: node.raft.term }));
    node.settle();
    expect(node.role).toBe("candidate");
  });
});

describe("while pre-votes are being switched on", () => {
  /** 1 leads in term 2 and 2 follows; 3, the last without pre-votes, came to term 4 alone and now has them too. */
  function halfMigrated(): Network {
    const network = Network.of(
      VOTERS.map((id) => new TestNode(id, { voters: VOTERS, term: 1n, config: { preVote: id !== 3n } })),
    );
    network.campaign(1);
    network.isolate(3);
    network.propose(1, "missed by three");
    network.campaign(3);
    network.campaign(3);
    expect(roles(network)).toEqual(["leader", "follower", "candidate"]);
    expect(terms(network)).toEqual([2n, 2n, 4n]);
    network.node(3).raft.settings.preVote = true;
    network.recover();
    return network;
  }

  test("a node of a higher term with a shorter log and one of a lower term elect a leader", () => {
    const network = halfMigrated();
    network.isolate(1);
    network.campaign(3);
    network.campaign(2);
    expect(roles(network).slice(1)).toEqual(["follower", "preCandidate"]);
    network.campaign(3);
    network.campaign(2);
    expect(network.node(2).role).toBe("leader");
  });

  test("a node of a higher term that cannot win is set free when it hears of the leader", () => {
    const network = halfMigrated();
    network.campaign(3);
    network.campaign(3);
    expect(roles(network)).toEqual(["leader", "follower", "preCandidate"]);

    network.tick();
    expect(network.node(1).role).toBe("follower");
    expect(network.node(1).raft.term).toBe(network.node(3).raft.term);
    network.campaign(1);
    expect(roles(network)).toEqual(["leader", "follower", "follower"]);
    network.tick();
    expect(network.node(3).committedData()).toEqual(["missed by three"]);
  });
});
