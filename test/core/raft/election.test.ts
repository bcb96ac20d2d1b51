// Who wins an election, and what it does to the others: several nodes in memory, messages carried between them until
// it is quiet, some nodes dead or behind. Each case runs with and without pre-vote.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

const WITH_AND_WITHOUT_PRE_VOTE = [{ preVote: false }, { preVote: true }];

/** `size` voters of which only `alive` run; `past` gives some of them a history. */
function groupOf(
  size: number,
  alive: readonly number[],
  preVote: boolean,
  past: Readonly<Record<number, TestNodeOptions>> = {},
): Network {
  const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
  return Network.of(
    alive.map((id) => new TestNode(BigInt(id), { voters, config: { preVote }, ...past[id] })),
  );
}

const rolesOf = (network: Network): string[] => network.nodes.map((node) => node.role);
const termsOf = (network: Network): bigint[] => network.nodes.map((node) => node.raft.term);

describe.each(WITH_AND_WITHOUT_PRE_VOTE)("a first election, pre-vote $preVote", ({ preVote }) => {
  test.each([
    { size: 3, alive: [1, 2, 3] },
    { size: 3, alive: [1, 2] },
    { size: 5, alive: [1, 4, 5] },
    { size: 1, alive: [1] },
  ])("is won with $alive of $size alive", ({ size, alive }) => {
    const network = groupOf(size, alive, preVote);
    network.campaign(1);
    expect(network.node(1).role).toBe("leader");
    expect(network.node(1).raft.term).toBe(1n);
    expect(network.nodes.slice(1).every((node) => node.leader === 1n)).toBe(true);
  });

  test.each([
    { size: 3, alive: [1] },
    { size: 4, alive: [1, 4] },
  ])(
    "stays open with $alive of $size alive; a pre-candidate has not even raised its term",
    ({ size, alive }) => {
      const network = groupOf(size, alive, preVote);
      network.campaign(1);
      expect(network.node(1).role).toBe(preVote ? "preCandidate" : "candidate");
      expect(network.node(1).raft.term).toBe(preVote ? 0n : 1n);
    },
  );

  test("is lost to those whose logs are longer, and they know the term already", () => {
    const network = groupOf(5, [1, 2, 3, 4, 5], preVote, {
      2: { logTerms: [1n] },
      3: { logTerms: [1n] },
      4: { logTerms: [1n, 1n] },
    });
    network.campaign(1);
    expect(network.node(1).role).toBe("follower");
    expect(network.node(1).raft.term).toBe(1n);
  });
});

describe.each(WITH_AND_WITHOUT_PRE_VOTE)("later elections, pre-vote $preVote", ({ preVote }) => {
  test("each of three nodes can win in its turn, and the others follow", () => {
    const network = groupOf(3, [1, 2, 3], preVote);
    for (const id of [1, 2, 3, 1]) {
      network.campaign(id);
      expect(rolesOf(network)).toEqual([1, 2, 3].map((other) => (other === id ? "leader" : "follower")));
    }
    expect(termsOf(network)).toEqual([4n, 4n, 4n]);
  });

  // Node 1 won term 1 and reached node 2 with one entry; node 3 won term 2 with the votes of 4 and 5 and reached nobody.
  test("may be won by an older entry over a newer one, as long as that is not committed (§5.4.1)", () => {
    const network = groupOf(5, [1, 2, 3, 4, 5], preVote, {
      1: { logTerms: [1n] },
      2: { logTerms: [1n] },
      3: { logTerms: [2n] },
      4: { term: 2n, vote: 3n },
      5: { term: 2n, vote: 3n },
    });
    network.campaign(1);
    expect(network.node(1).role).toBe("follower");
    expect(network.node(1).raft.term).toBe(2n);

    network.campaign(1);
    expect(network.node(1).role).toBe("leader");
    expect(network.node(1).raft.term).toBe(3n);
    for (const node of network.nodes) expect(node.logSummary()).toEqual(["1/1", "2/3"]);
  });
});

describe("a single voter", () => {
  test.each(WITH_AND_WITHOUT_PRE_VOTE)(
    "elects itself when its own vote is on its disk, and not before (E3, U9); pre-vote $preVote",
    ({ preVote }) => {
      const node = new TestNode(1n, { voters: [1n], config: { preVote } });
      node.act((raw) => raw.campaign());
      expect(node.role).toBe("candidate");
      node.settle();
      expect(node.role).toBe("leader");
      expect(node.raft.term).toBe(1n);
    },
  );
});

describe("two candidates that cannot reach each other", () => {
  function duel(preVote: boolean): Network {
    const network = groupOf(3, [1, 2, 3], preVote);
    network.cut(1, 3);
    network.campaign(1);
    network.campaign(3);
    expect(network.node(1).role).toBe("leader");
    return network;
  }

  const positionsOf = (network: Network) =>
    network.nodes.map(({ raft }) => [raft.log.committed, raft.log.lastIndex()]);

  test("without pre-vote the loser comes back, deposes the leader, and nobody leads", () => {
    const network = duel(false);
    expect(network.node(3).role).toBe("candidate");
    network.recover();
    network.campaign(3);
    expect(rolesOf(network)).toEqual(["follower", "follower", "follower"]);
    expect(termsOf(network)).toEqual([2n, 2n, 2n]);
    expect(positionsOf(network)).toEqual([
      [1n, 1n],
      [1n, 1n],
      [0n, 0n],
    ]);
  });

  test("with pre-vote it comes back and disturbs nobody", () => {
    const network = duel(true);
    // Node 2 refuses in term 1; the asker is still in term 0 and follows into it.
    expect(network.node(3).role).toBe("follower");
    network.recover();
    network.campaign(3);
    expect(rolesOf(network)).toEqual(["leader", "follower", "follower"]);
    expect(termsOf(network)).toEqual([1n, 1n, 1n]);
    expect(positionsOf(network)).toEqual([
      [1n, 1n],
      [1n, 1n],
      [0n, 0n],
    ]);
  });
});

describe("a candidate that was cut off", () => {
  test("gives up when it hears from the leader of its term, and catches up", () => {
    const network = groupOf(3, [1, 2, 3], false);
    network.isolate(1);
    network.campaign(1);
    network.campaign(3);
    expect(network.node(1).role).toBe("candidate");
    network.recover();
    network.node(3).act((raw) => raw.ping());
    network.settle();
    network.propose(3, "go on");
    expect(network.node(1).role).toBe("follower");
    expect(network.node(1).raft.term).toBe(1n);
    for (const { raft } of network.nodes) {
      expect([raft.log.committed, raft.log.lastIndex()]).toEqual([2n, 2n]);
    }
  });

  test.each([
    { type: MessageType.MsgHeartbeat, name: "a heartbeat" },
    { type: MessageType.MsgAppend, name: "an append" },
  ])("follows a leader of its own, higher term at once: $name", ({ type }) => {
    const network = groupOf(3, [1, 2, 3], false);
    network.campaign(1);
    network.isolate(3);
    network.campaign(2);
    network.campaign(1);
    // Its own campaign takes it to term 2; the leader of the others is in term 3 by now.
    network.node(3).timeOut();
    expect(network.node(3).role).toBe("candidate");
    expect(network.node(3).raft.term).toBe(2n);
    network.node(3).takeMessages();

    network.recover();
    const leader = network.node(1);
    network.send(newMessage(type, 3n, { from: 1n, term: leader.raft.term }));
    expect(network.node(3).role).toBe("follower");
    expect(network.node(3).raft.term).toBe(leader.raft.term);
    expect(network.node(3).leader).toBe(1n);
  });
});

test("the timeout is drawn from [min, max): of ten draws, so many have fired after so many ticks", () => {
  const draws = Array.from({ length: 10 }, (_, position) => 10 + position);
  const firedAfter = (ticks: number): number =>
    draws.filter((draw) => {
      const node = new TestNode(1n, { voters: [1n, 2n], config: { randomInt: () => draw } });
      node.tick(ticks);
      return node.role === "candidate";
    }).length;
  expect([5, 9, 10, 13, 15, 18, 19].map(firedAfter)).toEqual([0, 0, 1, 4, 6, 9, 10]);

  const asked: [number, number][] = [];
  const config = {
    electionTick: 10,
    randomInt: (min: number, max: number) => {
      asked.push([min, max]);
      return min;
    },
  };
  new TestNode(1n, { voters: [1n], config });
  expect(asked).toEqual([[10, 20]]);
});

describe("before a campaign the node looks for a committed change of membership that it has not applied", () => {
  test("in those entries only, and says what for", () => {
    const node = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 1n, 1n], commit: 3n, autoApply: false });
    node.settle();
    node.act((raw) => raw.advanceApplyTo(1n));
    const reads: unknown[] = [];
    const read = node.storage.entries.bind(node.storage);
    node.storage.entries = (low, high, maxBytes, context) => {
      reads.push([low, high, context]);
      return read(low, high, maxBytes, context);
    };
    expect(node.act((raw) => raw.campaign())).toEqual({ accepted: true });
    expect(reads).toEqual([[2n, 4n, { canAsync: false, purpose: "confChangeScan" }]]);
  });
});

describe("a new leader", () => {
  test("counts itself for what its disk holds, and for what it knows to be committed, before its first entry", () => {
    const node = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 1n, 1n], commit: 2n });
    node.forceCandidate();
    const { term } = node.raft;
    node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from: 2n, term }));
    const [own] = node.node.status().progress ?? [];
    expect(own).toMatchObject({ id: 1n, state: "Replicate", matched: 3n, committedIndex: 2n });
  });

  test("has a whole election timeout to hear from a quorum, however long it was a candidate", () => {
    const node = new TestNode(1n, { voters: [1n, 2n, 3n], config: { checkQuorum: true } });
    node.forceCandidate();
    node.tick(9);
    const { term } = node.raft;
    node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from: 2n, term }));
    expect(node.role).toBe("leader");
    node.tick(9);
    expect(node.role).toBe("leader");
    node.tick();
    expect(node.role).toBe("follower");
  });
});

test("a vote for itself that reaches the disk after another has won that term elects nobody", () => {
  const node = new TestNode(1n, { voters: [1n] });
  node.act((raw) => raw.campaign());
  const { term } = node.raft;
  node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term }));
  node.settle();
  expect([node.role, node.leader, node.raft.term]).toEqual(["follower", 2n, term]);
});
