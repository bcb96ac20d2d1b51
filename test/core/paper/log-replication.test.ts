// The rules of §5.3 and §5.4.2 of the Raft paper: how the log gets to the others, when an entry is committed, and how
// logs that differ become equal.

import { describe, expect, test } from "vitest";
import {
  type Entry,
  type Message,
  MessageType,
  newMessage,
  newNormalEntry,
} from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { bytes, TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** What a follower answers that takes all of it. */
function acceptance({ to, from, term, index, entries }: Message): Message {
  const last = index + BigInt(entries.length);
  return newMessage(MessageType.MsgAppendResponse, from, { from: to, term, index: last });
}

/** Lets the given followers take what has been sent to them. */
function acceptBy(leader: TestNode, followers: readonly bigint[]): void {
  const appends = leader.takeMessages().filter(({ msgType }) => msgType === MessageType.MsgAppend);
  for (const message of appends) if (followers.includes(message.to)) leader.step(acceptance(message));
  leader.settle();
}

/** The leader of `size` nodes, whose first entry is committed everywhere. */
function settledLeader(size = 3): TestNode {
  const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
  const leader = new TestNode(1n, { voters });
  leader.act((raw) => raw.campaign());
  leader.settle();
  for (const from of voters.slice(1)) {
    leader.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from, term: 1n }));
  }
  acceptBy(leader, voters);
  leader.takeMessages();
  return leader;
}

/** Entries from `first` on, one per term. */
function entries(first: bigint, terms: readonly bigint[]): Entry[] {
  return terms.map((term, position) => newNormalEntry(term, first + BigInt(position)));
}

describe("§5.3 a leader", () => {
  test("appends a command and sends it to all, behind the entry that precedes it", () => {
    const leader = settledLeader();
    const lastIndex = leader.raft.log.lastIndex();
    leader.propose("command");
    const ready = leader.node.ready();
    const append = {
      msgType: MessageType.MsgAppend,
      term: 1n,
      index: lastIndex,
      logTerm: 1n,
      commit: lastIndex,
    };
    const sent = [{ term: 1n, index: lastIndex + 1n, data: bytes("command") }];
    expect(ready.messages).toMatchObject([
      { ...append, to: 2n, entries: sent },
      { ...append, to: 3n, entries: sent },
    ]);
    expect(ready.entries).toMatchObject(sent);
    expect(leader.raft.log.committed).toBe(lastIndex);
  });

  test("commits what is on a majority, applies it, and tells the others with what it sends next", () => {
    const leader = settledLeader();
    const index = leader.raft.log.lastIndex() + 1n;
    leader.propose("command");
    acceptBy(leader, VOTERS);
    expect(leader.raft.log.committed).toBe(index);
    expect(leader.committedData()).toEqual(["command"]);
    expect(leader.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgAppend, to: 2n, commit: index },
      { msgType: MessageType.MsgAppend, to: 3n, commit: index },
    ]);
  });

  test.each([
    { size: 1, accepted: [], committed: true },
    { size: 3, accepted: [], committed: false },
    { size: 3, accepted: [2n], committed: true },
    { size: 3, accepted: [2n, 3n], committed: true },
    { size: 5, accepted: [], committed: false },
    { size: 5, accepted: [2n], committed: false },
    { size: 5, accepted: [2n, 3n], committed: true },
    { size: 5, accepted: [2n, 3n, 4n], committed: true },
    { size: 5, accepted: [2n, 3n, 4n, 5n], committed: true },
  ])(
    "of $size commits with the acknowledgements of $accepted: $committed",
    ({ size, accepted, committed }) => {
      const leader = settledLeader(size);
      const index = leader.raft.log.lastIndex() + 1n;
      leader.propose("command");
      acceptBy(leader, accepted);
      expect(leader.raft.log.committed).toBe(committed ? index : index - 1n);
    },
  );

  test.each([{ logTerms: [] }, { logTerms: [2n] }, { logTerms: [1n, 2n] }, { logTerms: [1n] }])(
    "commits, with an entry of its own, all before it of earlier leaders: $logTerms",
    ({ logTerms }) => {
      const leader = new TestNode(1n, { voters: VOTERS, logTerms, term: 2n }).forceLeader();
      leader.propose("command");
      // The probe first, and what follows on it then.
      acceptBy(leader, VOTERS);
      acceptBy(leader, VOTERS);
      expect(leader.committed.map(({ index, term }) => `${index}/${term}`)).toEqual(
        [...logTerms, 3n, 3n].map((term, position) => `${position + 1}/${term}`),
      );
    },
  );
});

describe("§5.3 a follower", () => {
  test.each([
    { data: ["a"], commit: 1n },
    { data: ["a", "b"], commit: 2n },
    { data: ["b", "a"], commit: 2n },
    { data: ["a", "b"], commit: 1n },
  ])("that is sent $data and told that $commit is committed applies so far, in order", ({ data, commit }) => {
    const follower = new TestNode(1n, { voters: VOTERS });
    const sent = data.map((text, position) => newNormalEntry(1n, BigInt(position + 1), bytes(text)));
    follower.step(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: 1n, commit, entries: sent }));
    follower.settle();
    expect(follower.raft.log.committed).toBe(commit);
    expect(follower.committedData()).toEqual(data.slice(0, Number(commit)));
  });

  // The follower's log is 1/1 2/2, and the first entry is committed.
  test.each([
    { at: "before what is committed", index: 0n, logTerm: 0n, answer: { index: 1n, reject: false } },
    { at: "at what is committed", index: 1n, logTerm: 1n, answer: { index: 1n, reject: false } },
    { at: "at what is not committed", index: 2n, logTerm: 2n, answer: { index: 2n, reject: false } },
    {
      at: "at an entry that differs",
      index: 2n,
      logTerm: 1n,
      answer: { index: 2n, reject: true, rejectHint: 1n, logTerm: 1n },
    },
    {
      at: "beyond the log",
      index: 3n,
      logTerm: 3n,
      answer: { index: 3n, reject: true, rejectHint: 2n, logTerm: 2n },
    },
  ])("takes an append only if its log matches before it: $at", ({ index, logTerm, answer }) => {
    const follower = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 2n], commit: 1n });
    follower.step(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: 3n, index, logTerm }));
    expect(follower.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgAppendResponse, to: 2n, term: 3n, ...answer },
    ]);
  });

  test.each([
    {
      what: "appends what is new",
      index: 2n,
      logTerm: 2n,
      terms: [3n],
      log: ["1/1", "2/2", "3/3"],
      stored: 1,
    },
    {
      what: "replaces what conflicts",
      index: 1n,
      logTerm: 1n,
      terms: [3n, 4n],
      log: ["1/1", "2/3", "3/4"],
      stored: 2,
    },
    { what: "keeps what it has", index: 0n, logTerm: 0n, terms: [1n], log: ["1/1", "2/2"], stored: 0 },
    { what: "replaces all", index: 0n, logTerm: 0n, terms: [3n], log: ["1/3"], stored: 1 },
  ])("$what: $terms behind $index", ({ index, logTerm, terms, log, stored }) => {
    const follower = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 2n] });
    const sent = entries(index + 1n, terms);
    follower.step(
      newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: 4n, index, logTerm, entries: sent }),
    );
    expect(follower.logSummary()).toEqual(log);
    expect(follower.raft.log.unstable.entries).toHaveLength(stored);
    follower.settle();
    expect(follower.logSummary()).toEqual(log);
  });
});

describe("§5.3, figure 7: a new leader makes the log of a follower equal to its own", () => {
  const LEADER = [1n, 1n, 1n, 4n, 4n, 5n, 5n, 6n, 6n, 6n];
  test.each([
    { follower: "a, which lacks one entry", logTerms: [1n, 1n, 1n, 4n, 4n, 5n, 5n, 6n, 6n] },
    { follower: "b, which lacks many", logTerms: [1n, 1n, 1n, 4n] },
    { follower: "c, which has one more", logTerms: [1n, 1n, 1n, 4n, 4n, 5n, 5n, 6n, 6n, 6n, 6n] },
    {
      follower: "d, which has two of a later term",
      logTerms: [1n, 1n, 1n, 4n, 4n, 5n, 5n, 6n, 6n, 6n, 7n, 7n],
    },
    { follower: "e, which lacks some and has others", logTerms: [1n, 1n, 1n, 4n, 4n, 4n, 4n] },
    { follower: "f, which went its own way", logTerms: [1n, 1n, 1n, 2n, 2n, 2n, 3n, 3n, 3n, 3n, 3n] },
  ])("$follower", ({ logTerms }) => {
    const leader = new TestNode(1n, { voters: VOTERS, logTerms: LEADER, term: 8n });
    const follower = new TestNode(2n, { voters: VOTERS, logTerms });
    const network = Network.of([leader, follower]);
    // The follower may be ahead and refuse; node 3 votes and says no more.
    network.campaign(1);
    network.send(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from: 3n, term: 9n }));
    network.propose(1, "");
    expect(follower.logSummary()).toEqual(leader.logSummary());
    expect(follower.logSummary()).toHaveLength(12);
    expect(follower.raft.log.committed).toBe(12n);
  });
});

describe("§5.4.2 an entry of an earlier term", () => {
  test.each([
    { acknowledged: 1n, committed: 0n },
    { acknowledged: 2n, committed: 0n },
    { acknowledged: 3n, committed: 3n },
    { acknowledged: 4n, committed: 4n },
  ])(
    "is not committed by counting: with $acknowledged on a majority, $committed is",
    ({ acknowledged, committed }) => {
      const leader = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n, 2n] }).forceLeader();
      leader.propose("4");
      leader.settle();
      leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 3n, index: acknowledged }));
      expect(leader.raft.log.committed).toBe(committed);
    },
  );
});
