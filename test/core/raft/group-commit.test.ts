// Group commit (raft-rs): an entry is committed when a majority holds it and it is in at least two groups, data
// centres for instance. Node 1 leads; the others acknowledge as the rows say.

import { describe, expect, test } from "vitest";
import { ConfigInvalid, MessageType, newMessage } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";

interface Row {
  readonly matched: readonly bigint[];
  /** The commit group of each node; 0 for none. */
  readonly groups: readonly bigint[];
}

/** The leader of term 1 whose log has as many entries as it matches itself, with nothing acknowledged yet. */
function leaderOf({ matched, groups }: Row): TestNode {
  const voters = matched.map((_, position) => BigInt(position + 1));
  const leader = new TestNode(1n, { voters });
  leader.node.enableGroupCommit(true);
  assign(leader, groups);
  leader.forceLeader();
  for (let index = 1n; index < (matched[0] ?? 0n); index += 1n) leader.propose(`${index}`);
  leader.settle();
  return leader;
}

function assign(node: TestNode, groups: readonly bigint[]): void {
  const assigned = groups.map((groupId, position) => ({ id: BigInt(position + 1), groupId }));
  node.act((raw) => raw.assignCommitGroups(assigned.filter(({ groupId }) => groupId > 0n)));
}

function acknowledge(leader: TestNode, matched: readonly bigint[]): void {
  for (const [position, index] of matched.entries()) {
    if (position === 0 || index === 0n) continue;
    const from = BigInt(position + 1);
    const { term } = leader.raft;
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from, term, index }));
  }
  leader.settle();
}

describe("what is committed", () => {
  test.each([
    { matched: [1n], groups: [0n], byGroups: 1n, plainly: 1n },
    { matched: [1n], groups: [1n], byGroups: 1n, plainly: 1n },
    { matched: [2n, 2n, 1n], groups: [1n, 2n, 1n], byGroups: 2n, plainly: 2n },
    { matched: [2n, 2n, 1n], groups: [1n, 1n, 2n], byGroups: 1n, plainly: 2n },
    { matched: [2n, 2n, 1n], groups: [1n, 0n, 1n], byGroups: 1n, plainly: 2n },
    { matched: [2n, 2n, 1n], groups: [0n, 0n, 0n], byGroups: 1n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [0n, 0n, 0n, 0n], byGroups: 1n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [1n, 0n, 0n, 0n], byGroups: 1n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [0n, 1n, 0n, 2n], byGroups: 2n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [0n, 2n, 1n, 0n], byGroups: 1n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [1n, 1n, 1n, 1n], byGroups: 2n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [1n, 1n, 2n, 1n], byGroups: 1n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [1n, 2n, 1n, 1n], byGroups: 2n, plainly: 2n },
    { matched: [4n, 2n, 1n, 3n], groups: [4n, 3n, 2n, 1n], byGroups: 2n, plainly: 2n },
  ])("of $matched in groups $groups: $byGroups, and $plainly once groups do not count", (row) => {
    const leader = leaderOf(row);
    acknowledge(leader, row.matched);
    expect(leader.raft.log.committed).toBe(row.byGroups);
    leader.act((raw) => raw.enableGroupCommit(false));
    expect(leader.raft.log.committed).toBe(row.plainly);
  });

  test("grows at once, and is told to the others, when groups are assigned", () => {
    const leader = leaderOf({ matched: [2n, 2n, 1n], groups: [1n, 1n, 0n] });
    acknowledge(leader, [2n, 2n, 1n]);
    expect(leader.raft.log.committed).toBe(1n);
    leader.takeMessages();
    assign(leader, [1n, 2n, 1n]);
    expect(leader.raft.log.committed).toBe(2n);
    expect(leader.takeMessages().map(({ to, commit }) => [to, commit])).toEqual([
      [2n, 2n],
      [3n, 2n],
    ]);
  });

  test("does not change on a follower that groups are assigned on", () => {
    const follower = new TestNode(1n, { voters: [1n, 2n, 3n], logTerms: [1n, 1n] });
    follower.node.enableGroupCommit(true);
    assign(follower, [1n, 2n, 3n]);
    follower.node.enableGroupCommit(false);
    expect(follower.raft.log.committed).toBe(0n);
  });

  test("waits for the other data centre in a running group, and goes on without it on demand", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    const leader = network.node(1);
    leader.node.enableGroupCommit(true);
    assign(leader, [1n, 1n, 2n]);
    network.propose(1, "everywhere");
    expect(network.node(2).committedData()).toEqual(["everywhere"]);

    network.isolate(3);
    network.propose(1, "at home");
    expect(leader.committedData()).toEqual(["everywhere"]);
    leader.act((raw) => raw.enableGroupCommit(false));
    network.settle();
    expect(network.node(2).committedData()).toEqual(["everywhere", "at home"]);
  });
});

describe("commit groups", () => {
  test("belong to the node that they were assigned on and are lost with its memory", () => {
    const node = new TestNode(1n, { voters: [1n, 2n] });
    assign(node, [1n, 2n]);
    expect(node.progress(2).commitGroupId).toBe(2n);
    expect(node.restart().progress(2).commitGroupId).toBe(0n);
  });

  test("outlive elections, and are lost when a snapshot brings another membership (2.77, 2.85)", () => {
    const node = new TestNode(1n, { voters: [1n, 2n] });
    assign(node, [1n, 2n]);
    node.forceLeader();
    expect(node.progress(2).commitGroupId).toBe(2n);
    const snapshot = snapshotOf(9n, 9n, [1n, 2n]);
    node.step(newMessage(MessageType.MsgSnapshot, 1n, { from: 2n, term: 9n, snapshot }));
    expect(node.progress(2).commitGroupId).toBe(0n);
  });

  test("can be cleared, all at once", () => {
    const node = new TestNode(1n, { voters: [1n, 2n, 3n] });
    assign(node, [1n, 2n, 3n]);
    node.act((raw) => raw.clearCommitGroup());
    expect(node.node.status().progress).toBeUndefined();
    expect([1, 2, 3].map((id) => node.progress(id).commitGroupId)).toEqual([0n, 0n, 0n]);
  });

  test("have no number 0, and strangers are in none", () => {
    const node = new TestNode(1n, { voters: [1n, 2n] });
    const groups = [
      { id: 1n, groupId: 1n },
      { id: 2n, groupId: 0n },
    ];
    expect(() => node.act((raw) => raw.assignCommitGroups(groups))).toThrow(ConfigInvalid);
    expect(node.progress(1).commitGroupId).toBe(0n);
    node.act((raw) => raw.assignCommitGroups([{ id: 9n, groupId: 1n }]));
    expect(node.raft.tracker.get(9n)).toBeUndefined();
  });
});

describe("whether all that is committed is in two groups", () => {
  /** Five entries of term 1, then three of term 2, in which node 1 leads. */
  function leaderOfTermTwo({ matched, groups }: Row, applied: bigint): TestNode {
    const voters = matched.map((_, position) => BigInt(position + 1));
    const leader = new TestNode(1n, { voters, logTerms: [1n, 1n, 1n, 1n, 1n], autoApply: false });
    assign(leader, groups);
    leader.node.enableGroupCommit(true);
    leader.forceLeader();
    leader.propose("7");
    leader.propose("8");
    leader.settle();
    acknowledge(leader, matched);
    leader.act((raw) => raw.advanceApplyTo(applied));
    return leader;
  }

  test.each([
    { why: "a single node without a group", matched: [8n], groups: [0n], applied: 6n, expected: false },
    { why: "nothing of this term applied", matched: [8n], groups: [1n], applied: 5n, expected: undefined },
    {
      why: "nothing of this term committed",
      matched: [8n, 2n, 0n],
      groups: [1n, 2n, 1n],
      applied: 0n,
      expected: undefined,
    },
    { why: "two groups have it", matched: [8n, 2n, 6n], groups: [1n, 1n, 2n], applied: 6n, expected: true },
    {
      why: "committed, not applied",
      matched: [8n, 2n, 6n],
      groups: [1n, 1n, 2n],
      applied: 5n,
      expected: undefined,
    },
    { why: "no groups", matched: [8n, 6n, 6n], groups: [0n, 0n, 0n], applied: 6n, expected: false },
    { why: "one group", matched: [8n, 6n, 6n], groups: [1n, 1n, 1n], applied: 6n, expected: false },
    {
      why: "one group and one in none",
      matched: [8n, 6n, 6n],
      groups: [1n, 1n, 0n],
      applied: 6n,
      expected: false,
    },
  ])("is $expected: $why", ({ applied, expected, ...row }) => {
    const leader = leaderOfTermTwo(row, applied);
    expect(leader.node.checkGroupCommitConsistent()).toBe(expected);
    leader.act((raw) => raw.enableGroupCommit(false));
    expect(leader.node.checkGroupCommitConsistent()).toBe(expected === undefined ? undefined : false);
  });

  test("is no while more is committed than two groups have, as when groups begin to count later", () => {
    const leader = leaderOfTermTwo({ matched: [8n, 6n, 2n], groups: [1n, 1n, 2n] }, 0n);
    leader.act((raw) => raw.enableGroupCommit(false));
    leader.settle();
    leader.applyCommitted();
    leader.node.enableGroupCommit(true);
    expect(leader.raft.log.committed).toBe(6n);
    expect(leader.node.checkGroupCommitConsistent()).toBe(false);
    acknowledge(leader, [8n, 6n, 6n]);
    expect(leader.node.checkGroupCommitConsistent()).toBe(true);
  });

  test.each(["follower", "preCandidate", "candidate"])("is unknown to a %s", (role) => {
    const leader = leaderOfTermTwo({ matched: [8n, 2n, 6n], groups: [1n, 1n, 2n] }, 6n);
    expect(leader.node.checkGroupCommitConsistent()).toBe(true);
    leader.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 3n }));
    leader.raft.settings.preVote = role === "preCandidate";
    if (role !== "follower") leader.act((raw) => raw.campaign());
    expect(leader.role).toBe(role);
    expect(leader.node.checkGroupCommitConsistent()).toBeUndefined();
  });
});
