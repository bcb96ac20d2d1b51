// The rules of §5.1 of the Raft paper (Ongaro and Ousterhout, 2014): terms, and what a node does when it meets a
// later or an earlier one.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage, type MessageType as Type } from "../../../src/core/index.js";
import { TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

function nodeIn(role: string): TestNode {
  const node = new TestNode(1n, { voters: VOTERS, term: 2n });
  if (role === "leader") node.forceLeader();
  if (role === "candidate") node.forceCandidate();
  if (role === "preCandidate") {
    node.raft.settings.preVote = true;
    node.act((raw) => raw.campaign());
  }
  node.takeMessages();
  expect(node.role).toBe(role);
  return node;
}

describe("§5.1 a node that meets a later term", () => {
  test.each(["follower", "preCandidate", "candidate", "leader"])("adopts it and follows, as a %s", (role) => {
    const node = nodeIn(role);
    node.step(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: 9n }));
    expect(node.role).toBe("follower");
    expect(node.raft.term).toBe(9n);
    expect(node.leader).toBe(2n);
  });
});

describe("§5.1 a message of an earlier term", () => {
  const types: Type[] = [
    MessageType.MsgAppend,
    MessageType.MsgHeartbeat,
    MessageType.MsgSnapshot,
    MessageType.MsgRequestVote,
    MessageType.MsgRequestVoteResponse,
    MessageType.MsgAppendResponse,
    MessageType.MsgHeartbeatResponse,
    MessageType.MsgTimeoutNow,
    MessageType.MsgReadIndexResp,
  ];
  test.each(["follower", "candidate", "leader"])("is ignored, whatever it is, by a %s", (role) => {
    const node = nodeIn(role);
    node.settle();
    const before = node.node.status();
    for (const msgType of types) {
      node.step(newMessage(msgType, 1n, { from: 2n, term: node.raft.term - 1n, index: 1n, commit: 1n }));
      expect(node.trace.at(-1)).toEqual({ type: "messageIgnored", msgType, from: 2n, reason: "staleTerm" });
    }
    expect(node.node.status()).toEqual(before);
    expect(node.takeMessages()).toEqual([]);
  });

  test("is ignored by the only voter as well", () => {
    const node = new TestNode(1n, { voters: [1n], term: 2n });
    const before = node.node.status();
    node.step(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: 1n }));
    expect(node.node.status()).toEqual(before);
    expect(node.takeMessages()).toEqual([]);
  });
});

describe("§5.2 a node that starts", () => {
  test.each([0n, 7n])("is a follower of nobody, in the term that it remembers (%i)", (term) => {
    const node = new TestNode(1n, { voters: VOTERS, term });
    expect(node.role).toBe("follower");
    expect(node.leader).toBe(0n);
    expect(node.raft.term).toBe(term);
  });
});
