// The rules of §5.2 and §5.4.1 of the Raft paper: how leaders are elected, one per term, and why one that lacks
// committed entries cannot be.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];
const ELECTION_TICK = 10;

function votersOf(size: number): bigint[] {
  return Array.from({ length: size }, (_, position) => BigInt(position + 1));
}

/** A source of chance that always gives the same sequence. */
function chance(seed: number): (min: number, max: number) => number {
  let state = seed;
  return (min, max) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return min + Math.floor((state / 2 ** 32) * (max - min));
  };
}

describe("§5.2 heartbeats", () => {
  test("go from a leader to every other node, without entries or a place in the log", () => {
    const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
    for (let count = 0; count < 10; count += 1) leader.propose("x");
    leader.takeMessages();
    leader.tick();
    const heartbeat = {
      msgType: MessageType.MsgHeartbeat,
      from: 1n,
      term: 1n,
      index: 0n,
      logTerm: 0n,
      commit: 0n,
    };
    expect(leader.takeMessages()).toMatchObject([
      { ...heartbeat, to: 2n, entries: [] },
      { ...heartbeat, to: 3n, entries: [] },
    ]);
  });
});

describe("§5.2 an election", () => {
  test.each(["follower", "candidate"])(
    "is begun by a %s that hears nothing for a timeout: next term, own vote, requests to all others",
    (role) => {
      const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n], term: 1n });
      if (role === "candidate") node.forceCandidate();
      const { term } = node.raft;
      node.tick(ELECTION_TICK - 1);
      expect(node.raft.term).toBe(term);
      node.tick();
      expect(node.role).toBe("candidate");
      expect(node.node.status().hardState).toMatchObject({ term: term + 1n, vote: 1n });
      const request = { msgType: MessageType.MsgRequestVote, term: term + 1n, index: 1n, logTerm: 1n };
      expect(node.takeMessages()).toMatchObject([
        { ...request, to: 2n },
        { ...request, to: 3n },
      ]);
    },
  );

  test.each([
    { size: 1, granted: [], refused: [], role: "leader" },
    { size: 3, granted: [2n, 3n], refused: [], role: "leader" },
    { size: 3, granted: [2n], refused: [], role: "leader" },
    { size: 5, granted: [2n, 3n, 4n, 5n], refused: [], role: "leader" },
    { size: 5, granted: [2n, 3n, 4n], refused: [], role: "leader" },
    { size: 5, granted: [2n, 3n], refused: [], role: "leader" },
    { size: 3, granted: [], refused: [2n, 3n], role: "follower" },
    { size: 5, granted: [], refused: [2n, 3n, 4n, 5n], role: "follower" },
    { size: 5, granted: [2n], refused: [3n, 4n, 5n], role: "follower" },
    { size: 3, granted: [], refused: [], role: "candidate" },
    { size: 5, granted: [2n], refused: [], role: "candidate" },
    { size: 5, granted: [], refused: [2n, 3n], role: "candidate" },
    { size: 5, granted: [], refused: [], role: "candidate" },
  ])(
    "among $size with votes of $granted against $refused makes a $role",
    ({ size, granted, refused, role }) => {
      const node = new TestNode(1n, { voters: votersOf(size) }).forceCandidate();
      for (const from of [...granted, ...refused]) {
        const reject = refused.includes(from);
        node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from, term: 1n, reject }));
      }
      expect(node.role).toBe(role);
      expect(node.raft.term).toBe(1n);
    },
  );

  test.each([
    { vote: 0n, asker: 2n, granted: true },
    { vote: 0n, asker: 3n, granted: true },
    { vote: 2n, asker: 2n, granted: true },
    { vote: 3n, asker: 3n, granted: true },
    { vote: 2n, asker: 3n, granted: false },
    { vote: 3n, asker: 2n, granted: false },
  ])(
    "gets one vote per term of each, first come first served: $vote has it, $asker asks",
    ({ vote, asker, granted }) => {
      const voter = new TestNode(1n, { voters: VOTERS, logTerms: [1n], term: 1n, vote });
      voter.step(
        newMessage(MessageType.MsgRequestVote, 1n, { from: asker, term: 1n, index: 1n, logTerm: 1n }),
      );
      expect(voter.takeMessages()).toMatchObject([
        { msgType: MessageType.MsgRequestVoteResponse, to: asker, term: 1n, reject: !granted },
      ]);
    },
  );

  test.each([1n, 2n])("ends for a candidate of term 1 when it hears from a leader of term %i", (term) => {
    const node = new TestNode(1n, { voters: VOTERS }).forceCandidate();
    node.step(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term }));
    expect(node.role).toBe("follower");
    expect(node.raft.term).toBe(term);
    expect(node.leader).toBe(2n);
  });
});

describe("§5.2 election timeouts", () => {
  function waitUntilTimeout(node: TestNode): number {
    const { term } = node.raft;
    for (let ticks = 1; ticks <= 2 * ELECTION_TICK; ticks += 1) {
      node.tick();
      if (node.raft.term > term) return ticks;
    }
    throw new Error("the node does not time out");
  }

  /** Draws another timeout, as a follower of a new term or as a candidate. */
  function draw(node: TestNode, role: string): void {
    const term = node.raft.term + 1n;
    node.step(newMessage(MessageType.MsgHeartbeat, node.id, { from: 9n, term }));
    if (role === "candidate") node.forceCandidate();
    node.takeMessages();
  }

  test.each(["follower", "candidate"])("of a %s take every value of [10, 20), and no other", (role) => {
    const node = new TestNode(1n, { voters: VOTERS, config: { randomInt: chance(7) } });
    const seen = new Set<number>();
    for (let round = 0; round < 500; round += 1) {
      draw(node, role);
      seen.add(waitUntilTimeout(node));
    }
    expect([...seen].sort((a, b) => a - b)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  });

  // Five independent draws from ten values share their smallest one in about a quarter of all cases.
  test.each(["follower", "candidate"])("of five %ss seldom end in the same tick", (role) => {
    const nodes = votersOf(5).map(
      (id) => new TestNode(id, { voters: votersOf(5), config: { randomInt: chance(Number(id)) } }),
    );
    let conflicts = 0;
    for (let round = 0; round < 500; round += 1) {
      for (const node of nodes) draw(node, role);
      const timeouts = nodes.map(({ raft }) => raft.randomizedElectionTimeout);
      const first = Math.min(...timeouts);
      if (timeouts.filter((timeout) => timeout === first).length > 1) conflicts += 1;
    }
    expect(conflicts / 500).toBeLessThanOrEqual(0.3);
  });
});

describe("§5.4.1 a request for a vote", () => {
  test.each([
    { logTerms: [1n], index: 1n, logTerm: 1n },
    { logTerms: [1n, 2n], index: 2n, logTerm: 2n },
  ])("names the last entry of the log $logTerms", ({ logTerms, index, logTerm }) => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms });
    node.timeOut();
    expect(node.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgRequestVote, to: 2n, term: logTerm + 1n, index, logTerm },
      { msgType: MessageType.MsgRequestVote, to: 3n, term: logTerm + 1n, index, logTerm },
    ]);
  });

  const same = { logTerms: [1n] } satisfies TestNodeOptions;
  const longer = { logTerms: [1n, 1n] } satisfies TestNodeOptions;
  const newer = { logTerms: [2n] } satisfies TestNodeOptions;
  const longAndNewer = { logTerms: [1n, 2n] } satisfies TestNodeOptions;
  test.each([
    { voter: same, logTerm: 1n, index: 1n, granted: true },
    { voter: same, logTerm: 1n, index: 2n, granted: true },
    { voter: longer, logTerm: 1n, index: 1n, granted: false },
    { voter: same, logTerm: 2n, index: 1n, granted: true },
    { voter: same, logTerm: 2n, index: 2n, granted: true },
    { voter: longer, logTerm: 2n, index: 1n, granted: true },
    { voter: newer, logTerm: 1n, index: 1n, granted: false },
    { voter: newer, logTerm: 1n, index: 2n, granted: false },
    // Upstream's last row has terms that fall along a log, which cannot be; this one keeps its point.
    { voter: longAndNewer, logTerm: 1n, index: 9n, granted: false },
  ])(
    "for a log that ends at $index of term $logTerm, asked of $voter.logTerms: granted $granted",
    ({ voter: options, logTerm, index, granted }) => {
      const voter = new TestNode(1n, { voters: [1n, 2n], ...options });
      voter.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term: 3n, logTerm, index }));
      expect(voter.takeMessages()).toMatchObject([
        { msgType: MessageType.MsgRequestVoteResponse, reject: !granted },
      ]);
    },
  );
});
