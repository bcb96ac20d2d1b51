// A follower that refuses an append says where the logs may agree, so that a leader needs at most one probe per term
// to find out (raft-rs: fast log rejection).

import { describe, expect, test } from "vitest";
import { type Message, MessageType, newMessage } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** One term per entry, from index 1 on. */
function terms(text: string): bigint[] {
  return text.split(" ").map(BigInt);
}

function entries(count: number, term: bigint): bigint[] {
  return new Array<bigint>(count).fill(term);
}

function only(messages: readonly Message[], to: bigint): Message {
  const [first, ...more] = messages.filter((message) => message.to === to);
  if (first === undefined || more.length > 0) throw new Error(`expected one message to ${to}`);
  return first;
}

describe("a refused append", () => {
  test.each([
    {
      why: "the leader skips a term that the follower does not have",
      leader: "1 2 2 4 4 4 4",
      follower: "1 2 2 3 3 3 3 3 3 3 3",
      hint: { rejectHint: 7n, logTerm: 3n },
      next: { index: 3n, logTerm: 2n },
    },
    {
      why: "the leader skips two terms",
      leader: "1 2 2 3 4 4 4 5",
      follower: "1 2 2 3 3 3 3 3 3 3 3",
      hint: { rejectHint: 8n, logTerm: 3n },
      next: { index: 4n, logTerm: 3n },
    },
    {
      why: "the follower skips terms that the leader does not have",
      leader: "1 1 1 1",
      follower: "1 2 2 4",
      hint: { rejectHint: 1n, logTerm: 1n },
      next: { index: 1n, logTerm: 1n },
    },
    {
      why: "the same, and the leader's log is longer",
      leader: "1 1 1 1 1 1",
      follower: "1 2 2 4",
      hint: { rejectHint: 1n, logTerm: 1n },
      next: { index: 1n, logTerm: 1n },
    },
    {
      why: "the same, and the follower's log is longer",
      leader: "1 1 1 1",
      follower: "1 2 2 4 4 4",
      hint: { rejectHint: 1n, logTerm: 1n },
      next: { index: 1n, logTerm: 1n },
    },
    {
      why: "the follower only lacks the end",
      leader: "1 1 1 4 5",
      follower: "1 1 1 4",
      hint: { rejectHint: 4n, logTerm: 4n },
      next: { index: 4n, logTerm: 4n },
    },
    {
      why: "the leader jumps over its whole last term",
      leader: "2 5 5 5 5 5 5 5 5",
      follower: "2 4 4 4 4 4",
      hint: { rejectHint: 6n, logTerm: 4n },
      next: { index: 1n, logTerm: 2n },
    },
    {
      why: "the follower jumps over its whole last term",
      leader: "2 2 2 2 2",
      follower: "2 4 4 4 4 4 4 4",
      hint: { rejectHint: 1n, logTerm: 2n },
      next: { index: 1n, logTerm: 2n },
    },
  ])("$why", ({ leader: leaderLog, follower: followerLog, hint, next }) => {
    const leader = new TestNode(1n, { voters: VOTERS, logTerms: terms(leaderLog), term: 5n }).forceLeader();
    const follower = new TestNode(2n, { voters: VOTERS, logTerms: terms(followerLog) });
    follower.step(only(leader.takeMessages(), 2n));
    const refusal = only(follower.takeMessages(), 1n);
    expect(refusal).toMatchObject({ msgType: MessageType.MsgAppendResponse, reject: true, ...hint });
    leader.step(refusal);
    expect(only(leader.takeMessages(), 2n)).toMatchObject({ msgType: MessageType.MsgAppend, ...next });
  });

  test("costs one probe per term, not per entry, and the logs end up equal", () => {
    const ours = [...entries(100, 1n), ...entries(100, 3n), ...entries(100, 5n)];
    const theirs = [...entries(50, 1n), ...entries(150, 2n), ...entries(300, 4n)];
    const leader = new TestNode(1n, { voters: VOTERS, logTerms: ours, term: 9n });
    const follower = new TestNode(2n, { voters: VOTERS, logTerms: theirs });
    const network = Network.of([leader, follower, new TestNode(3n, { voters: VOTERS })]);
    network.isolate(2);
    network.campaign(1);
    network.recover();
    network.delivered.length = 0;
    network.tick();
    const refusals = network.delivered.filter(({ from, reject }) => from === 2n && reject);
    expect(refusals).toHaveLength(3);
    expect(follower.logSummary()).toEqual(leader.logSummary());
  });
});

describe("a late refusal", () => {
  test("in Probe never leads to sending again what is known to be there (R7)", () => {
    const leader = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n, 1n, 1n] }).forceLeader();
    const { term } = leader.raft;
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term, index: 4n }));
    leader.act((raw) => raw.reportUnreachable(2n));
    leader.takeMessages();
    expect(leader.progress(2)).toMatchObject({ state: "Probe", matched: 4n, nextIdx: 5n });
    // Sent before the acknowledgement, with a hint that lies below it.
    leader.step(
      newMessage(MessageType.MsgAppendResponse, 1n, {
        from: 2n,
        term,
        reject: true,
        index: 4n,
        rejectHint: 1n,
        logTerm: 1n,
      }),
    );
    expect(leader.progress(2)).toMatchObject({ matched: 4n, nextIdx: 5n });
    expect(only(leader.takeMessages(), 2n)).toMatchObject({ index: 4n });
  });

  test("does not stop replication, in whatever order refusals and acknowledgements arrive", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 1n, 1n] }).forceLeader();
    const follower = new TestNode(2n, { voters: [1n, 2n], logTerms: [1n] });
    const [probe] = leader.takeMessages();
    if (probe === undefined) throw new Error("the leader does not probe");
    // The same probe arrives twice, the second answer is held back.
    follower.step(probe);
    const [refusal] = follower.takeMessages();
    if (refusal === undefined) throw new Error("the follower does not answer");
    leader.step(refusal);
    for (const message of leader.takeMessages()) follower.step(message);
    for (const message of follower.takeMessages()) leader.step(message);
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 4n });

    leader.step(refusal);
    leader.propose("goes on");
    for (const message of leader.takeMessages()) follower.step(message);
    for (const message of follower.takeMessages()) leader.step(message);
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 5n });
  });

  test("with a hint beyond the leader's log, or with nonsense in it, is survived", () => {
    const leader = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n, 1n] }).forceLeader();
    const { term } = leader.raft;
    for (const rejectHint of [0n, 3n, 4n, 99n, 2n ** 64n - 1n]) {
      for (const logTerm of [0n, 1n, 2n, 99n]) {
        const { nextIdx } = leader.progress(2);
        leader.step(
          newMessage(MessageType.MsgAppendResponse, 1n, {
            from: 2n,
            term,
            reject: true,
            index: nextIdx - 1n,
            rejectHint,
            logTerm,
          }),
        );
        expect(leader.progress(2).nextIdx).toBeLessThanOrEqual(nextIdx);
        leader.takeMessages();
      }
    }
  });
});
