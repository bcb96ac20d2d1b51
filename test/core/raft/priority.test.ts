// Election priority (raft-rs): among equally complete logs, a node does not vote for one of lower priority.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** Three nodes; a long log has one entry more, of the same term. */
function networkOf(priorities: readonly bigint[], long: readonly boolean[] = []): Network {
  return Network.of(
    VOTERS.map((id, position) => {
      const logTerms = long[position] === true ? [1n, 1n] : [1n];
      return new TestNode(id, { voters: VOTERS, logTerms, config: { priority: priorities[position] ?? 0n } });
    }),
  );
}

describe("node 1 campaigns", () => {
  test.each([
    { long: [true, false, false], priorities: [3n, 1n, 1n], wins: true },
    { long: [true, false, false], priorities: [2n, 2n, 2n], wins: true },
    { long: [true, false, false], priorities: [1n, 3n, 3n], wins: true },
    { long: [true, true, true], priorities: [3n, 1n, 1n], wins: true },
    { long: [true, true, true], priorities: [2n, 2n, 2n], wins: true },
    { long: [true, true, true], priorities: [1n, 3n, 3n], wins: false },
    { long: [false, true, true], priorities: [3n, 1n, 1n], wins: false },
    { long: [false, true, true], priorities: [2n, 2n, 2n], wins: false },
    { long: [false, true, true], priorities: [1n, 3n, 3n], wins: false },
    { long: [false, false, true], priorities: [1n, 3n, 1n], wins: false },
    { long: [false, false, true], priorities: [1n, 1n, 3n], wins: true },
  ])("among long logs $long with priorities $priorities: wins $wins", ({ long, priorities, wins }) => {
    const network = networkOf(priorities, long);
    network.campaign(1);
    expect(network.node(1).role).toBe(wins ? "leader" : "follower");
  });
});

describe("a priority", () => {
  test("can be changed while running, and counts from the next election on", () => {
    const network = networkOf([0n, 2n, 3n]);
    const node = network.node(1);
    network.campaign(1);
    expect(node.role).toBe("follower");
    for (const [priority, role] of [
      [1n, "follower"],
      [2n, "leader"],
      [3n, "leader"],
      [0n, "follower"],
    ] as const) {
      if (node.role === "leader") {
        // Deposed by a message of a higher term.
        node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: node.raft.term + 1n }));
        network.settle();
      }
      node.act((raw) => raw.setPriority(priority));
      network.campaign(1);
      expect(node.role, `with priority ${priority}`).toBe(role);
    }
  });

  test("does not stand against a log with a newer last term, however short (U10)", () => {
    const voter = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n], config: { priority: 9n } });
    voter.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term: 3n, index: 2n, logTerm: 2n }));
    voter.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 3n, term: 4n, index: 1n, logTerm: 2n }));
    expect(voter.takeMessages()).toMatchObject([
      { to: 2n, reject: false },
      { to: 3n, reject: false },
    ]);
  });

  test("may be negative: such a node is voted for only when its log is ahead", () => {
    const network = networkOf([-1n, 0n, 0n]);
    network.campaign(1);
    expect(network.node(1).role).toBe("follower");
    const ahead = networkOf([-1n, 0n, 0n], [true, false, false]);
    ahead.campaign(1);
    expect(ahead.node(1).role).toBe("leader");
  });

  test.each([
    { priority: 7n, deprecatedPriority: 7n },
    { priority: 0n, deprecatedPriority: 0n },
    { priority: -7n, deprecatedPriority: 0n },
  ])("of $priority is told in both fields, as far as the older one can hold it", (fields) => {
    const node = new TestNode(1n, { voters: VOTERS, config: { priority: fields.priority } });
    node.act((raw) => raw.campaign());
    expect(node.takeMessages()).toMatchObject([fields, fields]);
  });

  test("that an older node tells in the older field alone counts", () => {
    const voter = new TestNode(1n, { voters: VOTERS, config: { priority: 5n } });
    voter.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term: 1n, deprecatedPriority: 4n }));
    voter.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 3n, term: 2n, deprecatedPriority: 5n }));
    expect(voter.takeMessages()).toMatchObject([
      { to: 2n, reject: true },
      { to: 3n, reject: false },
    ]);
  });
});
