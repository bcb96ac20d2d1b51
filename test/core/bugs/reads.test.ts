// Bugs in linearizable reads that raft-rs, etcd/raft or OpenRaft had or have. Each test is named after the bug and
// fails with it.

import { describe, expect, test } from "vitest";
import { type Message, MessageType, newMessage, newNormalEntry } from "../../../src/core/index.js";
import { changeV1 } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { ack, heartbeatResponse, ofType } from "../../support/peer-messages.js";
import { bytes, TestNode, text } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** Node 1, leading, with its first entry committed by the answer of peer 2. */
function leaderOf(voters: readonly bigint[]): TestNode {
  const leader = new TestNode(1n, { voters }).forceLeader();
  for (const peer of voters.filter((id) => id !== 1n)) leader.step(ack(leader, peer, 1n));
  leader.takeMessages();
  return leader;
}

function read(leader: TestNode, context: string): Message[] {
  leader.act((raw) => raw.readIndex(bytes(context)));
  return ofType(leader.takeMessages(), MessageType.MsgHeartbeat);
}

function answer(leader: TestNode, peer: bigint, heartbeat: Message | undefined): void {
  if (heartbeat === undefined) throw new Error("no heartbeat was sent");
  leader.step(heartbeatResponse(leader, peer, { context: heartbeat.context }));
  leader.settle();
}

function answers(node: TestNode): string[] {
  return node.readStates.splice(0).map(({ requestCtx }) => text(requestCtx));
}

test("U1, E1: a late answer to the first use of a context does not confirm its second use", () => {
  const leader = leaderOf(VOTERS);
  const [firstRound] = read(leader, "balance");
  read(leader, "newer");
  read(leader, "balance");

  answer(leader, 2n, firstRound);
  expect(answers(leader)).toEqual(["balance"]);
});

test("U1, E1: a leader that has been deposed without knowing confirms nothing with answers from before", () => {
  const network = Network.ofSize(3);
  network.campaign(1);
  const deposed = network.node(1);
  const late = read(deposed, "balance");
  network.isolate(1);
  network.campaign(2);
  network.propose(2, "news");

  const [again] = read(deposed, "balance");
  expect(again).toBeDefined();
  for (const heartbeat of late) answer(deposed, heartbeat.to, heartbeat);
  // The first read began before the news; the second one did not.
  expect(answers(deposed)).toEqual(["balance"]);
});

test("U13: a read that comes before the leader's first commit waits for it instead of vanishing", () => {
  const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
  leader.act((raw) => raw.readIndex(bytes("early")));
  leader.takeMessages();
  expect(answers(leader)).toEqual([]);

  leader.step(ack(leader, 2n, 1n));
  const [heartbeat] = ofType(leader.takeMessages(), MessageType.MsgHeartbeat);
  answer(leader, 2n, heartbeat);
  expect(leader.readStates).toMatchObject([{ index: 1n }]);
  expect(answers(leader)).toEqual(["early"]);
});

test("R9: one answer to a heartbeat releases every read that waits for it, not only the last", () => {
  const leader = leaderOf(VOTERS);
  read(leader, "a");
  read(leader, "b");
  const [lastRound] = read(leader, "c");
  answer(leader, 3n, lastRound);
  expect(answers(leader)).toEqual(["a", "b", "c"]);
});

test("R11: a leader that decides alone answers a learner's read to the learner", () => {
  const leader = new TestNode(1n, { voters: [1n], learners: [2n] }).forceLeader();
  leader.takeMessages();
  leader.step(
    newMessage(MessageType.MsgReadIndex, 1n, {
      from: 2n,
      entries: [newNormalEntry(0n, 0n, bytes("learner's"))],
    }),
  );
  expect(ofType(leader.takeMessages(), MessageType.MsgReadIndexResp)).toMatchObject([{ to: 2n, index: 1n }]);
  expect(answers(leader)).toEqual([]);
});

test("R15: a read is released when the quorum shrinks to those that have answered", () => {
  const leader = leaderOf([1n, 2n, 3n, 4n]);
  const [heartbeat] = read(leader, "patient");
  answer(leader, 2n, heartbeat);
  expect(answers(leader)).toEqual([]);

  leader.act((raw) => raw.applyConfChange(changeV1("r4")));
  leader.settle();
  expect(answers(leader)).toEqual(["patient"]);
});

test("R18: a read that is forwarded twice still names the node that asked first", () => {
  const between = new TestNode(2n, { voters: VOTERS, term: 1n });
  between.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 1n, term: 1n }));
  between.takeMessages();
  between.step(
    newMessage(MessageType.MsgReadIndex, 2n, {
      from: 3n,
      entries: [newNormalEntry(0n, 0n, bytes("three's"))],
    }),
  );
  expect(between.takeMessages()).toMatchObject([{ from: 3n, to: 1n, term: 0n }]);
});

describe("OpenRaft", () => {
  test.each([
    { size: 3, needed: 1 },
    { size: 4, needed: 2 },
    { size: 5, needed: 2 },
  ])(
    "O1: a read in a group of $size needs the answers of $needed peers, a whole majority",
    ({ size, needed }) => {
      const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
      const leader = leaderOf(voters);
      const [heartbeat] = read(leader, "counted");
      for (let answered = 1; answered <= needed; answered += 1) {
        expect(answers(leader)).toEqual([]);
        answer(leader, BigInt(answered + 1), heartbeat);
      }
      expect(answers(leader)).toEqual(["counted"]);
    },
  );
});
