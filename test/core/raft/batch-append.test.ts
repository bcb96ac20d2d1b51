// Batched appends (raft-rs: batch_append): new entries join a MsgAppend that has not been taken yet.

import { describe, expect, test } from "vitest";
import { type ConfigInput, type Message, MessageType, newMessage } from "../../../src/core/index.js";
import { TestNode } from "../../support/test-node.js";

/** A leader of three whose peers replicate and have everything. */
function leaderOfThree(config: Partial<ConfigInput> = {}): TestNode {
  const leader = new TestNode(1n, {
    voters: [1n, 2n, 3n],
    config: { batchAppend: true, ...config },
  }).forceLeader();
  leader.takeMessages();
  for (const from of [2n, 3n]) {
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from, term: 1n, index: 1n }));
  }
  leader.takeMessages();
  return leader;
}

function propose(leader: TestNode, times: number): void {
  for (let count = 0; count < times; count += 1) leader.propose("0123456789");
}

/** `to: previous index + entries`, in the order they are sent. */
function summary(messages: readonly Message[]): string[] {
  return messages.map(({ to, index, entries }) => `${to}: ${index}+${entries.length}`);
}

describe("batched appends", () => {
  test("put ten proposals into one message for each peer", () => {
    const leader = leaderOfThree();
    propose(leader, 10);
    expect(summary(leader.takeMessages())).toEqual(["2: 1+10", "3: 1+10"]);
    expect(leader.progress(2).inflights.count).toBe(1);
  });

  test("can be switched off while running", () => {
    const leader = leaderOfThree();
    leader.act((raw) => raw.setBatchAppend(false));
    propose(leader, 2);
    expect(summary(leader.takeMessages())).toEqual(["2: 1+1", "3: 1+1", "2: 2+1", "3: 2+1"]);
  });

  test("join nothing that was made before it was switched on", () => {
    const leader = leaderOfThree();
    leader.act((raw) => raw.setBatchAppend(false));
    propose(leader, 1);
    leader.act((raw) => raw.setBatchAppend(true));
    propose(leader, 2);
    expect(summary(leader.takeMessages())).toEqual(["2: 1+1", "3: 1+1", "2: 2+2", "3: 2+2"]);
  });

  test("that join an append without entries make it a message of the window", () => {
    const leader = leaderOfThree();
    propose(leader, 1);
    leader.takeMessages();
    // Committed by the other peer, which tells peer 2 so in an append without entries.
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 3n, term: 1n, index: 2n }));
    expect(leader.raft.log.committed).toBe(2n);
    propose(leader, 1);
    expect(leader.progress(2).inflights.count).toBe(2);
    expect(summary(leader.takeMessages())).toEqual(["2: 2+1", "3: 2+1"]);
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 2n }));
    expect(leader.progress(2).inflights.count).toBe(1);
  });

  test("do not keep a peer whose window is free again from getting all that fits into it", () => {
    const leader = leaderOfThree({ maxSizePerMsg: 50, maxInflightMsgs: 2, skipBcastCommit: true });
    propose(leader, 10);
    expect(summary(leader.takeMessages()).filter((line) => line.startsWith("2"))).toEqual([
      "2: 1+3",
      "2: 4+1",
    ]);
    const { term } = leader.raft;
    // Answered while the window is full, by an append without entries.
    leader.step(newMessage(MessageType.MsgHeartbeatResponse, 1n, { from: 2n, term }));
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term, index: 5n }));
    expect(summary(leader.takeMessages())).toEqual(["2: 5+3", "2: 8+3"]);
  });

  test("start a new message when what is to be sent does not follow on the last one", () => {
    const leader = leaderOfThree();
    propose(leader, 3);
    leader.step(
      newMessage(MessageType.MsgAppendResponse, 1n, {
        from: 2n,
        term: 1n,
        index: 4n,
        reject: true,
        rejectHint: 1n,
        logTerm: 1n,
      }),
    );
    expect(summary(leader.takeMessages())).toEqual(["2: 1+3", "3: 1+3", "2: 1+3"]);
  });

  test("keep to the limit on the size of a message, which raft-rs ignores (2.63)", () => {
    const leader = leaderOfThree({ maxSizePerMsg: 50 });
    propose(leader, 6);
    const messages = leader.takeMessages().filter(({ to }) => to === 2n);
    expect(messages.map(({ entries }) => entries.length)).toEqual([3, 3]);
  });

  test("carry the newest commit index", () => {
    const leader = leaderOfThree();
    propose(leader, 1);
    leader.node.ready();
    propose(leader, 1);
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 2n }));
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 3n, term: 1n, index: 2n }));
    const { messages } = leader.node.ready();
    expect(messages.map(({ to, index, commit }) => [to, index, commit])).toEqual([
      [2n, 2n, 2n],
      [3n, 2n, 2n],
    ]);
  });

  test("never touch a message that has been taken", () => {
    const leader = leaderOfThree();
    propose(leader, 1);
    const ready = leader.node.ready();
    leader.storage.append(ready.entries);
    leader.node.advanceAppend(ready);
    propose(leader, 1);
    expect(summary(ready.messages)).toEqual(["2: 1+1", "3: 1+1"]);
    expect(summary(leader.takeMessages())).toEqual(["2: 2+1", "3: 2+1"]);
  });
});
