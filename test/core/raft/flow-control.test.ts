// How much a leader sends to a peer that does not answer: a window of messages and bytes, which only acknowledgements
// open again. The peers are played by the test.

import { describe, expect, test } from "vitest";
import { type Message, MessageType } from "../../../src/core/index.js";
import { ack, heartbeatResponse, ofType, rejection } from "../../support/peer-messages.js";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

const WINDOW = 256;

/** Node 1 leading peers that have acknowledged its first entry and are streamed to. */
function leaderOf(voters: readonly bigint[], config: TestNodeOptions["config"] = {}): TestNode {
  const leader = new TestNode(1n, { voters, config }).forceLeader();
  leader.takeMessages();
  for (const id of voters) if (id !== 1n) leader.step(ack(leader, id, 1n));
  leader.takeMessages();
  return leader;
}

const appendsOf = (leader: TestNode): Message[] => ofType(leader.takeMessages(), MessageType.MsgAppend);

/** Proposes until the window of peer 2 is full: `WINDOW` messages of one entry each, from index 2 on. */
function fill(leader: TestNode): void {
  for (let count = 0; count < WINDOW; count += 1) {
    leader.propose("x");
    expect(appendsOf(leader)).toHaveLength(1);
  }
  expect(leader.progress(2).inflights.full()).toBe(true);
}

describe("a full window", () => {
  test("lets nothing more out, whatever is proposed", () => {
    const leader = leaderOf([1n, 2n]);
    fill(leader);
    for (let count = 0; count < 10; count += 1) {
      leader.propose("x");
      expect(appendsOf(leader)).toEqual([]);
    }
  });

  test("moves on with each acknowledgement, and not with those that come late", () => {
    const leader = leaderOf([1n, 2n]);
    fill(leader);
    for (let index = 2n; index < 40n; index += 1n) {
      leader.step(ack(leader, 2, index));
      expect(leader.progress(2).inflights.full()).toBe(false);
      appendsOf(leader);
      leader.propose("x");
      expect(appendsOf(leader)).toHaveLength(1);
      expect(leader.progress(2).inflights.full()).toBe(true);
      for (let late = 0n; late < index; late += 1n) {
        leader.step(ack(leader, 2, late));
        expect(leader.progress(2).inflights.full()).toBe(true);
      }
      leader.takeMessages();
    }
  });

  // In raft-rs each of these answers frees a slot, so that a stuck peer is sent entries without end (U5, E6).
  test("stays full when heartbeats are answered; each answer lets one append without entries through", () => {
    const leader = leaderOf([1n, 2n]);
    fill(leader);
    leader.propose("x");
    for (let round = 0; round < 5; round += 1) {
      leader.step(heartbeatResponse(leader, 2));
      expect(appendsOf(leader)).toMatchObject([{ index: 257n, entries: [] }]);
      expect(leader.progress(2).inflights.count).toBe(WINDOW);
      leader.propose("x");
      expect(appendsOf(leader)).toEqual([]);
    }
    // The empty append shows what has been lost on the way, and the peer says so.
    leader.step(ack(leader, 2, 257n, { reject: true, rejectHint: 1n }));
    expect(leader.progress(2)).toMatchObject({ state: "Probe", matched: 1n, nextIdx: 2n });
    expect(appendsOf(leader)).toMatchObject([{ index: 1n }]);
  });
});

test("a probe is one message; then the window's worth; then what is left, each of limited size", () => {
  const leader = new TestNode(1n, {
    voters: [1n, 2n],
    config: { maxInflightMsgs: 3, maxSizePerMsg: 2048 },
  }).forceLeader();
  leader.takeMessages();
  leader.progress(2).resume();
  const kilobyte = "a".repeat(1000);
  for (let count = 0; count < 10; count += 1) leader.propose(kilobyte);
  const sizesOf = (messages: readonly Message[]) =>
    messages.map(({ entries }) => entries.map(({ data }) => data.length));

  // The empty entry of the election and the first proposal: the others came while the probe was out.
  expect(sizesOf(appendsOf(leader))).toEqual([[0, 1000]]);
  leader.step(ack(leader, 2, 2n));
  const window = appendsOf(leader);
  expect(sizesOf(window)).toEqual([
    [1000, 1000],
    [1000, 1000],
    [1000, 1000],
  ]);
  leader.step(ack(leader, 2, window[2]?.entries[1]?.index ?? 0n));
  expect(sizesOf(appendsOf(leader))).toEqual([[1000, 1000], [1000]]);
});

test("a window of bytes fills before that of messages", () => {
  const leader = leaderOf([1n, 2n], { maxSizePerMsg: 1024, maxInflightBytes: 4096 });
  const sent: number[] = [];
  for (let count = 0; count < 10; count += 1) {
    leader.propose("a".repeat(1000));
    sent.push(appendsOf(leader).length);
  }
  expect(sent).toEqual([1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
  leader.step(ack(leader, 2, 3n));
  expect(appendsOf(leader).map(({ entries }) => entries.length)).toEqual([1, 1]);
});

describe("the memory of a window", () => {
  test("is taken when something is sent, and given back when a quiet window is asked for it", () => {
    const leader = leaderOf([1n, 2n, 3n]);
    const windows = () => [2, 3].map((id) => leader.progress(id).inflights);
    const shape = () => windows().map(({ count, bufferCapacity }) => ({ count, taken: bufferCapacity > 0 }));
    expect(shape()).toEqual([
      { count: 0, taken: false },
      { count: 0, taken: false },
    ]);

    leader.propose("x");
    leader.settle();
    expect(shape()).toEqual([
      { count: 1, taken: true },
      { count: 1, taken: true },
    ]);

    leader.step(ack(leader, 2, 2n));
    leader.propose("x");
    leader.settle();
    leader.step(ack(leader, 2, 3n));
    leader.act((raw) => raw.maybeFreeInflightBuffers());
    expect(shape()).toEqual([
      { count: 0, taken: false },
      { count: 2, taken: true },
    ]);
  });
});

describe("a window that is changed while the leader runs", () => {
  test("of no messages silences a peer, heartbeats aside; a larger one lets it go on", () => {
    const leader = leaderOf([1n, 2n]);
    leader.act((raw) => raw.adjustMaxInflightMsgs(2n, 0));
    for (let count = 0; count < 3; count += 1) leader.propose("x");
    leader.step(heartbeatResponse(leader, 2));
    expect(appendsOf(leader)).toEqual([]);
    leader.act((raw) => raw.ping());
    expect(leader.takeMessages()).toMatchObject([{ msgType: MessageType.MsgHeartbeat, to: 2n }]);

    leader.act((raw) => raw.adjustMaxInflightMsgs(2n, WINDOW));
    leader.propose("x");
    expect(appendsOf(leader)).toMatchObject([{ index: 1n, entries: { length: 4 } }]);
  });

  test("of no messages silences a peer that is being probed as well, whatever it answers", () => {
    const leader = leaderOf([1n, 2n]);
    leader.act((raw) => raw.adjustMaxInflightMsgs(2n, 0));
    leader.act((raw) => raw.reportUnreachable(2n));
    leader.propose("x");
    leader.step(heartbeatResponse(leader, 2));
    leader.step(rejection(leader, 2, 1n, 0n));
    expect(leader.progress(2).state).toBe("Probe");
    expect(appendsOf(leader)).toEqual([]);
    leader.act((raw) => raw.adjustMaxInflightMsgs(2n, WINDOW));
    leader.step(heartbeatResponse(leader, 2));
    expect(appendsOf(leader)).toHaveLength(1);
  });

  test("made smaller, is full until acknowledgements bring it below", () => {
    const leader = leaderOf([1n, 2n]);
    for (let count = 0; count < 4; count += 1) leader.propose("x");
    leader.act((raw) => raw.adjustMaxInflightMsgs(2n, 2));
    leader.takeMessages();
    leader.step(ack(leader, 2, 3n));
    leader.takeMessages();
    leader.propose("x");
    expect(appendsOf(leader)).toEqual([]);
    leader.step(ack(leader, 2, 4n));
    expect(appendsOf(leader).flatMap(({ entries }) => entries.map(({ index }) => index))).toEqual([6n]);
  });
});
