// What ports of raft-rs tend to get wrong and no scenario of its tests shows; docs/behaviour-coverage.md has the whole
// list, with these numbers.

import { describe, expect, test } from "vitest";
import {
  InvariantViolation,
  MemoryStorage,
  type Message,
  MessageType,
  newConfState,
  newHardState,
  newMessage,
} from "../../../src/core/index.js";
import { send } from "../../../src/core/raft/outbox.js";
import { change, changeV1 } from "../../support/conf-changes.js";
import { ack, fromPeer, heartbeatResponse, ofType } from "../../support/peer-messages.js";
import { bytes, snapshotOf, TestNode, type TestNodeOptions, text } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** Node 1, leading; peer 2 has its first entry, and with it that entry is committed. */
function leaderOf(voters: readonly bigint[], config: TestNodeOptions["config"] = {}): TestNode {
  const leader = new TestNode(1n, { voters, config }).forceLeader();
  leader.takeMessages();
  leader.step(ack(leader, 2, 1n));
  leader.takeMessages();
  return leader;
}

function types(messages: readonly Message[]): string[] {
  return messages.map(({ msgType }) => MessageType[msgType]);
}

describe("when a leader's election timeout has passed", () => {
  test("and nobody has spoken, it steps down first: no transfer is aborted, no heartbeat goes out (2.3)", () => {
    const leader = leaderOf(VOTERS, { checkQuorum: true, heartbeatTick: 9 });
    leader.tick(10);
    leader.act((raw) => raw.transferLeader(2n));
    leader.tick(9);
    leader.takeMessages();
    leader.trace.length = 0;
    leader.tick();
    expect(leader.trace.map(({ type }) => type)).toEqual(["quorumLost", "becameFollower"]);
    expect(leader.takeMessages()).toEqual([]);
  });

  test("and a quorum has spoken, it gives a transfer up and goes on with its heartbeats in the same tick (2.3)", () => {
    const leader = leaderOf(VOTERS, { checkQuorum: true });
    leader.act((raw) => raw.transferLeader(2n));
    leader.tick(9);
    leader.step(heartbeatResponse(leader, 2));
    leader.takeMessages();
    leader.trace.length = 0;
    leader.tick();
    expect(leader.trace).toEqual([{ type: "transferAborted", to: 2n }]);
    expect(types(leader.takeMessages())).toEqual(["MsgHeartbeat", "MsgHeartbeat"]);
  });
});

test("a single voter, too, answers reads only when it has committed in its term (2.14)", () => {
  const leader = new TestNode(1n, { voters: [1n], logTerms: [1n, 1n], commit: 1n });
  leader.node.campaign();
  const vote = leader.node.ready();
  leader.act((raw) => raw.advanceAppend(vote));
  expect([leader.role, leader.raft.log.committed]).toEqual(["leader", 1n]);
  leader.act((raw) => raw.readIndex(bytes("early")));
  expect(leader.node.ready().readStates).toEqual([]);
  leader.settle();
  expect(leader.readStates.map(({ index }) => index)).toEqual([3n]);
});

test("votes are never sent without a term, and requests never with one (2.16)", () => {
  const { raft } = new TestNode(1n, { voters: VOTERS, term: 4n });
  for (const msgType of [MessageType.MsgRequestVote, MessageType.MsgRequestPreVoteResponse]) {
    expect(() => send(raft, newMessage(msgType, 2n))).toThrow(InvariantViolation);
  }
  const request = newMessage(MessageType.MsgPropose, 2n, { term: 4n });
  send(raft, request);
  expect(request.term).toBe(0n);
});

test("a joint configuration is left even if its entry counts as applied before it is in force (2.36)", () => {
  const leader = new TestNode(1n, { voters: [1n], autoApply: false }).forceLeader();
  leader.settle();
  leader.proposeConfChange(change("v2 v3 r1"));
  leader.settle();
  leader.act((raw) => raw.advanceApply());
  leader.act((raw) => raw.applyConfChange(change("l2 l3")));
  expect(leader.node.status().confState.votersOutgoing).toEqual([1n]);
  leader.tick(2);
  expect(leader.raft.log.lastIndex()).toBe(3n);
});

describe("a new peer", () => {
  test("is probed from the leader's last entry on, so that its first refusal tells where it stands (2.40)", () => {
    const leader = leaderOf(VOTERS);
    leader.propose("x");
    leader.act((raw) => raw.applyConfChange(changeV1("v4")));
    expect(leader.progress(4)).toMatchObject({ nextIdx: 2n, matched: 0n, recentActive: true });
  });

  test("of a node without a log starts at 1, behind which there is nothing to step over (2.40)", () => {
    const node = new TestNode(1n, { voters: [1n] });
    node.act((raw) => raw.applyConfChange(changeV1("v2")));
    expect(node.progress(2).nextIdx).toBe(1n);
  });

  test("that needs what is compacted gets its snapshot at once, where raft-rs waits for its first word (2.61)", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotOf(5n, 1n, VOTERS));
    const leader = new TestNode(1n, { storage }).forceLeader();
    leader.settle();
    leader.takeMessages();
    for (const peer of [2, 3]) leader.step(ack(leader, peer, 6n));
    leader.takeMessages();
    storage.compact(6n);
    leader.act((raw) => raw.applyConfChange(changeV1("v4")));
    expect(types(leader.takeMessages().filter(({ to }) => to === 4n))).toEqual(["MsgSnapshot"]);
  });
});

describe("an acknowledgement", () => {
  test("that commits something is answered by the broadcast, once (2.50)", () => {
    const leader = leaderOf(VOTERS);
    leader.step(ack(leader, 3, 1n));
    leader.propose("x");
    leader.takeMessages();
    leader.step(ack(leader, 2, 2n));
    const sent = leader.takeMessages();
    expect(sent).toMatchObject([
      { to: 2n, commit: 2n, entries: [] },
      { to: 3n, commit: 2n, entries: [] },
    ]);
  });

  test("of a paused peer that commits nothing brings it one append, then all that its window takes (2.50)", () => {
    const leader = leaderOf([1n, 2n, 3n], { maxSizePerMsg: 0, maxInflightMsgs: 3 });
    for (let count = 0; count < 6; count += 1) leader.propose("x");
    leader.takeMessages();
    leader.step(ack(leader, 2, 7n));
    leader.takeMessages();
    // Peer 3 has been probed with entry 1 until now.
    leader.step(ack(leader, 3, 1n));
    const sent = ofType(leader.takeMessages(), MessageType.MsgAppend);
    expect(sent.map(({ to, entries }) => [to, entries.map(({ index }) => index)])).toEqual([
      [3n, [2n]],
      [3n, [3n]],
      [3n, [4n]],
    ]);
  });
});

test("waiting for entries to be fetched does not pause a peer (2.62)", () => {
  const leader = leaderOf(VOTERS);
  leader.act((raw) => raw.reportUnreachable(2n));
  leader.propose("x");
  leader.settle();
  leader.storage.triggerLogUnavailable(true);
  leader.step(heartbeatResponse(leader, 2));
  expect(leader.storage.takeGetEntriesContext()).toMatchObject({ to: 2n });
  expect(leader.progress(2)).toMatchObject({ state: "Probe", paused: false });
});

test("a follower that asks for a snapshot takes the commit index of a heartbeat, and answers with its request (2.76)", () => {
  const follower = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n], commit: 1n, term: 1n });
  follower.step(fromPeer(follower, 1, MessageType.MsgHeartbeat));
  follower.act((raw) => raw.requestSnapshot());
  follower.takeMessages();
  const heartbeat = fromPeer(follower, 1, MessageType.MsgHeartbeat, { commit: 2n, context: bytes("round") });
  follower.step(heartbeat);
  expect(follower.raft.log.committed).toBe(2n);
  expect(follower.takeMessages()).toMatchObject([
    { msgType: MessageType.MsgAppendResponse, requestSnapshot: 2n, commit: 2n },
  ]);
});

test("a read may have an empty context, which in raft-rs waits for ever (2.79)", () => {
  const leader = leaderOf(VOTERS);
  leader.act((raw) => raw.readIndex(new Uint8Array()));
  const [heartbeat] = ofType(leader.takeMessages(), MessageType.MsgHeartbeat);
  leader.step(heartbeatResponse(leader, 2, { context: heartbeat?.context ?? new Uint8Array() }));
  leader.settle();
  expect(leader.readStates).toEqual([{ index: 1n, requestCtx: new Uint8Array() }]);
});

describe("reads that are confirmed together", () => {
  test("are answered each with the commit index of its own time (2.80)", () => {
    const leader = leaderOf(VOTERS);
    leader.act((raw) => raw.readIndex(bytes("first")));
    leader.propose("x");
    leader.takeMessages();
    leader.step(ack(leader, 2, 2n));
    leader.takeMessages();
    leader.act((raw) => raw.readIndex(bytes("second")));
    const heartbeat = ofType(leader.takeMessages(), MessageType.MsgHeartbeat).at(-1);
    leader.step(heartbeatResponse(leader, 2, { context: heartbeat?.context ?? new Uint8Array() }));
    leader.settle();
    expect(leader.readStates.map(({ index, requestCtx }) => [text(requestCtx), index])).toEqual([
      ["first", 1n],
      ["second", 2n],
    ]);
  });

  test("are confirmed by voters: a learner's answer counts for nothing (2.81)", () => {
    const leader = new TestNode(1n, { voters: VOTERS, learners: [4n] }).forceLeader();
    leader.step(ack(leader, 2, 1n));
    leader.takeMessages();
    leader.act((raw) => raw.readIndex(bytes("who?")));
    const [heartbeat] = ofType(leader.takeMessages(), MessageType.MsgHeartbeat);
    const context = heartbeat?.context ?? new Uint8Array();
    leader.step(heartbeatResponse(leader, 4, { context }));
    leader.settle();
    expect(leader.readStates).toEqual([]);
    leader.step(heartbeatResponse(leader, 3, { context }));
    leader.settle();
    expect(leader.readStates).toHaveLength(1);
  });
});

test("a node whose commit index is beyond its log has lost entries, and does not start (2.89)", () => {
  const storage = new MemoryStorage();
  storage.setConfState(newConfState({ voters: VOTERS }));
  storage.setHardState(newHardState(1n, 0n, 3n));
  expect(() => new TestNode(1n, { storage })).toThrow(/commit 3 is beyond the end of the log, 0/);
});
