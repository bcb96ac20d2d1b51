// What a leader knows about each peer and what it therefore sends: the peers are played by the test, message by
// message.

import { describe, expect, test } from "vitest";
import { type Message, MessageType } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import {
  ack,
  fromPeer,
  heartbeatResponse,
  ofType,
  rejection,
  renderAppend,
} from "../../support/peer-messages.js";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

/** Node 1, leading; what its election made it send is thrown away. */
function leaderOf(voters: readonly bigint[], options: TestNodeOptions = {}): TestNode {
  const leader = new TestNode(1n, { voters, ...options }).forceLeader();
  leader.takeMessages();
  return leader;
}

const appendsOf = (messages: readonly Message[]): string[] =>
  ofType(messages, MessageType.MsgAppend).map(renderAppend);

describe("the commit index that peers report", () => {
  const reported = (leader: TestNode): bigint[] => [1, 2, 3].map((id) => leader.progress(id).committedIndex);

  test("follows their answers through losses, refusals and leaders", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    const first = network.node(1);
    expect(reported(first)).toEqual([1n, 1n, 1n]);

    network.cut(1, 3);
    network.propose(1, "a");
    network.propose(1, "b");
    network.recover();
    expect(reported(first)).toEqual([3n, 3n, 1n]);

    first.act((raw) => raw.ping());
    network.settle();
    expect(reported(first)).toEqual([3n, 3n, 3n]);

    network.campaign(2);
    const second = network.node(2);
    expect(reported(second)).toEqual([4n, 4n, 4n]);

    network.isolate(2);
    network.propose(2, "c");
    network.propose(2, "d");
    network.recover();
    network.propose(2, "e");
    expect(ofType(network.delivered, MessageType.MsgAppendResponse).some(({ reject }) => reject)).toBe(true);
    expect(reported(second)).toEqual([7n, 7n, 7n]);
  });

  test("is also learnt from a refusal and from a heartbeat's answer, and never goes back on a late message", () => {
    const leader = leaderOf([1n, 2n, 3n], { logTerms: [1n, 1n, 1n, 1n] });
    leader.step(rejection(leader, 2, 4n, 2n));
    expect(leader.progress(2).committedIndex).toBe(0n);
    leader.step(ack(leader, 2, 5n, { commit: 4n }));
    leader.step(ack(leader, 3, 5n, { commit: 4n }));
    leader.step(heartbeatResponse(leader, 2, { commit: 5n }));
    expect(reported(leader)).toEqual([5n, 5n, 4n]);
    leader.step(ack(leader, 2, 5n, { commit: 4n }));
    leader.step(heartbeatResponse(leader, 2, { commit: 3n }));
    expect(reported(leader)).toEqual([5n, 5n, 4n]);
  });
});

test("the leader's own progress streams and grows with each proposal that reaches its disk", () => {
  const leader = leaderOf([1n, 2n]);
  for (let index = 1n; index <= 5n; index += 1n) {
    expect(leader.progress(1)).toMatchObject({ state: "Replicate", matched: index, nextIdx: index + 1n });
    leader.propose("x");
    expect(leader.progress(1).matched).toBe(index);
    leader.settle();
  }
});

describe("a peer that is being probed", () => {
  test("gets one append for three proposals", () => {
    const leader = leaderOf([1n, 2n]);
    leader.progress(2).resume();
    for (const data of ["a", "b", "c"]) leader.propose(data);
    expect(appendsOf(leader.takeMessages())).toEqual(["1→2 after 0/0: 1/1 2/1, commit 0"]);
  });

  test("stays paused when a heartbeat is sent to it, and not when it answers one", () => {
    const leader = leaderOf([1n, 2n]);
    expect(leader.progress(2).isPaused()).toBe(true);
    leader.act((raw) => raw.ping());
    expect(leader.progress(2).isPaused()).toBe(true);
    leader.takeMessages();

    leader.step(heartbeatResponse(leader, 2));
    expect(appendsOf(leader.takeMessages())).toEqual(["1→2 after 0/0: 1/1, commit 0"]);
    // What it was sent now is the next probe.
    expect(leader.progress(2).isPaused()).toBe(true);
  });

  test("gets one append in each round of heartbeats, however much is proposed", () => {
    const leader = leaderOf([1n, 2n]);
    for (const round of [1, 2, 3]) {
      for (let count = 0; count < 10; count += 1) leader.propose(`${round}.${count}`);
      expect(leader.takeMessages()).toEqual([]);
      leader.act((raw) => raw.ping());
      expect(leader.takeMessages()).toMatchObject([{ msgType: MessageType.MsgHeartbeat, to: 2n }]);
      expect(leader.progress(2)).toMatchObject({ state: "Probe", paused: true, nextIdx: 1n });

      leader.step(heartbeatResponse(leader, 2));
      const appends = ofType(leader.takeMessages(), MessageType.MsgAppend);
      expect(appends).toMatchObject([{ to: 2n, index: 0n }]);
      expect(appends[0]?.entries).toHaveLength(1 + 10 * round);
    }
  });

  test("is set free by its own answer only, not by that of another", () => {
    const leader = leaderOf([1n, 2n, 3n]);
    leader.step(ack(leader, 2, 1n));
    expect(leader.raft.log.committed).toBe(1n);
    leader.takeMessages();

    leader.propose("a");
    expect(appendsOf(leader.takeMessages())).toEqual(["1→2 after 1/1: 2/1, commit 1"]);
    leader.step(ack(leader, 3, 1n));
    expect(appendsOf(leader.takeMessages())).toEqual(["1→3 after 1/1: 2/1, commit 1"]);
  });
});

describe("what the next append begins with", () => {
  test.each([
    { state: "Replicate", nextIdx: 2n, nextAfter: 6n, why: "streaming reckons with its arrival" },
    { state: "Probe", nextIdx: 2n, nextAfter: 2n, why: "a probe has to be answered first" },
  ] as const)("after a proposal, in $state: $why", ({ state, nextIdx, nextAfter }) => {
    const leader = leaderOf([1n, 2n], { logTerms: [1n, 1n, 1n] });
    const progress = leader.progress(2);
    progress.matched = 1n;
    if (state === "Replicate") progress.becomeReplicate();
    else progress.becomeProbe();
    expect(progress.nextIdx).toBe(nextIdx);
    leader.propose("x");
    expect(progress.nextIdx).toBe(nextAfter);
  });

  // Entries 1 and 2 are old, 3 is the leader's own; the probe in flight stands behind 2.
  test.each([
    {
      answer: (leader: TestNode) => rejection(leader, 2, 3n, 3n),
      what: "a refusal of something that was not asked",
      known: { matched: 0n, nextIdx: 3n },
      sent: [],
      committed: 0n,
    },
    {
      answer: (leader: TestNode) => rejection(leader, 2, 2n, 1n),
      what: "a refusal",
      known: { matched: 0n, nextIdx: 2n },
      sent: ["1→2 after 1/1: 2/1 3/2, commit 0"],
      committed: 0n,
    },
    {
      answer: (leader: TestNode) => ack(leader, 2, 2n),
      what: "an acknowledgement of old entries",
      known: { matched: 2n, nextIdx: 4n },
      sent: ["1→2 after 2/1: 3/2, commit 0"],
      committed: 0n,
    },
    {
      // Peer 3 has not answered its own probe and hears of the commit with the next one.
      answer: (leader: TestNode) => ack(leader, 2, 3n),
      what: "an acknowledgement that commits",
      known: { matched: 3n, nextIdx: 4n },
      sent: ["1→2 after 3/2: nothing, commit 3"],
      committed: 3n,
    },
    {
      answer: (leader: TestNode) => ack(leader, 2, 0n, { commit: 0n }),
      what: "an acknowledgement of nothing",
      // It does answer, and that ends the probing; raft-rs stays in Probe here (U4).
      known: { matched: 0n, nextIdx: 4n },
      sent: ["1→2 after 0/0: 1/1 2/1 3/2, commit 0"],
      committed: 0n,
    },
  ])("after $what", ({ answer, known, sent, committed }) => {
    const leader = leaderOf([1n, 2n, 3n], { logTerms: [1n, 1n] });
    leader.step(answer(leader));
    expect(leader.progress(2)).toMatchObject(known);
    expect(appendsOf(leader.takeMessages())).toEqual(sent);
    expect(leader.raft.log.committed).toBe(committed);
  });
});

describe("a peer that is being streamed to", () => {
  test("gets an append for each proposal", () => {
    const leader = leaderOf([1n, 2n]);
    leader.step(ack(leader, 2, 1n));
    leader.takeMessages();
    for (let index = 2n; index <= 11n; index += 1n) {
      leader.propose("x");
      expect(appendsOf(leader.takeMessages())).toEqual([`1→2 after ${index - 1n}/1: ${index}/1, commit 1`]);
    }
  });

  test("is probed again, behind what it is known to hold, when the transport could not deliver", () => {
    const leader = leaderOf([1n, 2n], { logTerms: [1n, 1n, 1n] });
    leader.step(ack(leader, 2, 3n));
    leader.propose("x");
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 3n, nextIdx: 6n });
    leader.act((raw) => raw.reportUnreachable(2n));
    expect(leader.progress(2)).toMatchObject({ state: "Probe", matched: 3n, nextIdx: 4n });
  });

  test.each(["Probe", "Snapshot"] as const)("only then: a report of %s changes nothing (2.54)", (state) => {
    const leader = leaderOf([1n, 2n]);
    if (state === "Snapshot") leader.progress(2).becomeSnapshot(1n);
    const before = leader.node.status();
    leader.act((raw) => raw.reportUnreachable(2n));
    expect(leader.node.status()).toEqual(before);
  });
});

test("a peer that waits for a snapshot gets no append", () => {
  const leader = leaderOf([1n, 2n]);
  leader.progress(2).becomeSnapshot(10n);
  for (let count = 0; count < 10; count += 1) {
    leader.propose("x");
    leader.step(heartbeatResponse(leader, 2));
    expect(leader.takeMessages()).toEqual([]);
  }
});

test("an answer of a stranger is nothing", () => {
  const leader = leaderOf([1n, 2n]);
  const before = leader.node.status();
  leader.step(fromPeer(leader, 9, MessageType.MsgAppendResponse, { index: 1n }));
  expect(leader.act((raw) => raw.step(ack(leader, 9, 1n)))).toEqual({
    accepted: false,
    reason: "unknownPeer",
  });
  expect(leader.node.status()).toEqual(before);
});
