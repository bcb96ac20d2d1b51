// What a node says to itself counts only when it is on its disk: its vote as a candidate, its acknowledgement as a
// leader. Otherwise a crash could take back what an election or a commit was built on (E3, U9).

import { describe, expect, test } from "vitest";
import { MemoryStorage, MessageType, newMessage } from "../../../src/core/index.js";
import { TestNode } from "../../support/test-node.js";
import { store, typesOf } from "./support.js";

const VOTERS = [1n, 2n, 3n];

function answer(node: TestNode, from: bigint, reject: boolean, term = node.raft.term): void {
  node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from, term, reject }));
}

describe("a candidate's vote for itself", () => {
  test("counts when it is durable, and not before", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.act((raw) => raw.campaign());
    const ready = node.node.ready();
    store(node.storage, ready);
    node.act((raw) => raw.advanceAppendAsync(ready));
    answer(node, 2n, false);
    expect(node.role).toBe("candidate");
    node.act((raw) => raw.onPersistReady(ready.number));
    expect(node.role).toBe("leader");
  });

  test("makes nobody leader by itself alone, unless it is the only voter", () => {
    for (const { voters, role } of [
      { voters: [1n], role: "leader" },
      { voters: [1n, 2n], role: "candidate" },
    ]) {
      const node = new TestNode(1n, { voters });
      node.act((raw) => raw.campaign());
      expect(node.role).toBe("candidate");
      const ready = node.node.ready();
      store(node.storage, ready);
      node.act((raw) => raw.advanceAppend(ready));
      expect(node.role).toBe(role);
    }
  });

  test.each([{ preVote: false }, { preVote: true }])(
    "that becomes durable after the election was lost does not bring it back (pre-vote: $preVote)",
    ({ preVote }) => {
      const node = new TestNode(1n, { voters: VOTERS, config: { preVote } });
      node.act((raw) => raw.campaign());
      if (preVote) {
        node.step(newMessage(MessageType.MsgRequestPreVoteResponse, 1n, { from: 2n, term: 1n }));
        expect(node.role).toBe("candidate");
      }
      const ready = node.node.ready();
      store(node.storage, ready);
      node.act((raw) => raw.advanceAppendAsync(ready));
      for (const from of [2n, 3n]) answer(node, from, true);
      expect(node.role).toBe("follower");
      node.act((raw) => raw.onPersistReady(ready.number));
      answer(node, 2n, false);
      expect(node.role).toBe("follower");
    },
  );

  test("of an earlier campaign is no vote in the next", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.act((raw) => raw.campaign());
    const first = node.node.ready();
    store(node.storage, first);
    node.act((raw) => raw.advanceAppendAsync(first));
    node.act((raw) => raw.campaign());
    const second = node.node.ready();
    store(node.storage, second);
    node.act((raw) => raw.advanceAppendAsync(second));
    answer(node, 2n, false);
    node.act((raw) => raw.onPersistReady(first.number));
    expect(node.role).toBe("candidate");
    node.act((raw) => raw.onPersistReady(second.number));
    expect(node.role).toBe("leader");
  });

  test("counts at once in a pre-vote, which promises nothing", () => {
    const node = new TestNode(1n, { voters: VOTERS, config: { preVote: true } });
    node.act((raw) => raw.campaign());
    node.step(newMessage(MessageType.MsgRequestPreVoteResponse, 1n, { from: 2n, term: 1n }));
    expect(node.role).toBe("candidate");
    // The answer to the pre-vote is no vote: nobody but the node itself has voted.
    node.settle();
    expect(node.role).toBe("candidate");
  });
});

describe("a leader", () => {
  test("of one voter and a learner sends nothing of a term that its disk does not know (U9)", () => {
    const storage = MemoryStorage.withConfState({ voters: [1n], learners: [2n] });
    const node = new TestNode(1n, { storage });
    node.act((raw) => raw.campaign());
    const campaign = node.node.ready();
    expect(campaign.hardState).toMatchObject({ term: 2n, vote: 1n });
    expect([...campaign.messages, ...campaign.persistedMessages]).toEqual([]);
    store(storage, campaign);
    const light = node.act((raw) => raw.advanceAppend(campaign));
    expect(typesOf(light.messages)).toEqual(["MsgAppend"]);
    expect(storage.initialState().hardState).toMatchObject({ term: 2n, vote: 1n });
  });

  test("of one voter commits nothing that is not on its disk (E2)", () => {
    const leader = new TestNode(1n, { voters: [1n] }).forceLeader();
    leader.settle();
    leader.propose("x");
    const ready = leader.node.ready();
    expect(ready).toMatchObject({ hardState: undefined, committedEntries: [] });
    store(leader.storage, ready);
    leader.act((raw) => raw.advanceAppendAsync(ready));
    expect(leader.raft.log.committed).toBe(1n);
    expect(leader.node.hasReady()).toBe(false);
    leader.act((raw) => raw.onPersistReady(ready.number));
    expect(leader.raft.log.committed).toBe(2n);
  });

  test("does not count entries of an earlier leadership that were replaced before they were durable", () => {
    const node = new TestNode(1n, { voters: VOTERS }).forceLeader();
    node.propose("lost");
    const early = node.node.ready();
    store(node.storage, early);
    node.act((raw) => raw.advanceAppendAsync(early));
    const { term } = node.raft;
    node.step(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: term + 1n, entries: [] }));
    const replacing = new TestNode(2n, { voters: VOTERS, term: term + 1n, logTerms: [term + 1n] }).storage;
    const entries = [...replacing.entries(1n, 2n, 0, { canAsync: false, purpose: "other" })];
    node.step(newMessage(MessageType.MsgAppend, 1n, { from: 2n, term: term + 1n, entries }));
    node.act((raw) => raw.onPersistReady(early.number));
    expect(node.raft.log.persisted).toBe(0n);
    expect(node.logSummary()).toEqual([`1/${term + 1n}`]);
  });
});
