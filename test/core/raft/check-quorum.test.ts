// Check-quorum (thesis §6.2, §6.4.1): a leader that hears from no quorum steps down, and nodes that hear from their
// leader help nobody to depose it.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];
const BOTH = { config: { preVote: true, checkQuorum: true } } as const;

function roles(network: Network): string[] {
  return network.nodes.map(({ role }) => role);
}

describe("check-quorum", () => {
  test("can be switched on and off while the node leads", () => {
    const leader = new TestNode(1n, { voters: VOTERS, config: { checkQuorum: true } }).forceLeader();
    leader.tick(10);
    expect(leader.role).toBe("follower");

    leader.forceLeader().act((raw) => raw.setCheckQuorum(false));
    leader.tick(50);
    expect(leader.role).toBe("leader");

    leader.act((raw) => raw.setCheckQuorum(true));
    leader.tick(10);
    expect(leader.role).toBe("follower");
  });

  test("asks every fixed election timeout, not every random one (2.2)", () => {
    const config = { checkQuorum: true, randomInt: (_min: number, max: number) => max - 1 };
    const leader = new TestNode(1n, { voters: VOTERS, config }).forceLeader();
    leader.tick(9);
    expect(leader.role).toBe("leader");
    leader.tick();
    expect(leader.role).toBe("follower");
  });

  test("leaves a leader alone that a quorum answers", () => {
    const network = Network.ofSize(3, { config: { checkQuorum: true } });
    network.campaign(1);
    network.isolate(3);
    network.tick(30);
    expect(network.node(1).role).toBe("leader");
    network.isolate(2);
    network.tick(20);
    expect(network.node(1).role).toBe("follower");
  });

  test("makes a leader forget its transfer and its pending reads when it steps down", () => {
    const leader = new TestNode(1n, { voters: VOTERS, config: { checkQuorum: true } }).forceLeader();
    leader.act((raw) => raw.readIndex(new Uint8Array([1])));
    leader.act((raw) => raw.transferLeader(2n));
    leader.tick(10);
    expect(leader.role).toBe("follower");
    expect(leader.node.status().leadTransferee).toBeUndefined();
    leader.settle();
    expect(leader.readStates).toEqual([]);
  });
});

describe("the lease of a leader", () => {
  function request(voter: TestNode, fields: object = {}): void {
    const { term, log } = voter.raft;
    voter.step(
      newMessage(MessageType.MsgRequestVote, 1n, {
        from: 2n,
        term: term + 1n,
        index: log.lastIndex(),
        logTerm: log.lastTerm(),
        ...fields,
      }),
    );
  }

  function followerOfThree(): TestNode {
    const voter = new TestNode(1n, { voters: VOTERS, logTerms: [1n], config: { checkQuorum: true } });
    voter.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 3n, term: 1n }));
    voter.takeMessages();
    return voter;
  }

  test("makes its followers ignore votes for others, without an answer and without taking their term", () => {
    const voter = followerOfThree();
    voter.tick(9);
    request(voter);
    expect(voter.takeMessages()).toEqual([]);
    expect(voter.raft.term).toBe(1n);
    expect(voter.trace.at(-1)).toMatchObject({ type: "messageIgnored", reason: "leaderLease" });
  });

  test("ends one election timeout after its last word", () => {
    const voter = followerOfThree();
    voter.raft.randomizedElectionTimeout = 19;
    voter.tick(10);
    request(voter);
    expect(voter.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgRequestVoteResponse, reject: false },
    ]);
  });

  test("does not hold against an election that the leader itself has asked for", () => {
    const voter = followerOfThree();
    request(voter, { context: new TextEncoder().encode("CampaignTransfer") });
    expect(voter.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgRequestVoteResponse, reject: false },
    ]);
  });

  test("is not given to a leader that a node has not heard from since it started", () => {
    const voter = new TestNode(1n, { voters: VOTERS, logTerms: [1n], config: { checkQuorum: true } });
    request(voter);
    expect(voter.takeMessages()).toMatchObject([{ reject: false }]);
  });

  test("is still honoured by a node that restarts within it, when reads rely on it", () => {
    const config = { checkQuorum: true, readOnlyOption: "leaseBased" } as const;
    const voter = new TestNode(1n, { voters: VOTERS, logTerms: [2n], config });
    request(voter);
    expect(voter.takeMessages()).toEqual([]);
    voter.raft.randomizedElectionTimeout = 19;
    voter.tick(10);
    request(voter);
    expect(voter.takeMessages()).toMatchObject([{ reject: false }]);
  });
});

test("a pre-candidate forgets the leader, so that it can vote for a node that has lost it too", () => {
  const network = Network.ofSize(3, { term: 1n, ...BOTH });
  network.campaign(1);
  network.isolate(3);
  network.campaign(3);
  expect(roles(network)).toEqual(["leader", "follower", "preCandidate"]);
  for (const [asked, to] of [
    [1, 2n],
    [2, 1n],
  ] as const) {
    network.node(asked).act((raw) => raw.transferLeader(to));
    network.settle();
  }
  expect(roles(network)).toEqual(["leader", "follower", "preCandidate"]);
  expect(network.nodes.map(({ raft }) => raft.term)).toEqual([4n, 4n, 2n]);

  // Node 1 dies. Node 3 still knows it as the leader of term 2, but has given it up.
  network.recover();
  network.isolate(1);
  network.node(3).timeOut();
  network.campaign(2);
  expect(roles(network)).toEqual(["leader", "leader", "follower"]);
  expect(network.node(2).raft.term).toBe(5n);
});
