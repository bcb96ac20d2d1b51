// Bugs in elections that raft-rs, etcd/raft or OpenRaft had or have. Each test is named after the bug and fails with it.

import { describe, expect, test } from "vitest";
import { MemoryStorage, MessageType, newConfState, newMessage } from "../../../src/core/index.js";
import { send } from "../../../src/core/raft/outbox.js";
import { CheckedNode } from "../../support/checked-node.js";
import { Network } from "../../support/network.js";
import { ack, fromPeer, ofType } from "../../support/peer-messages.js";
import { PLAIN, TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

describe("a vote for oneself", () => {
  test("U9, E3: a single voter sends nothing to its learner before its new term is on its disk", () => {
    const node = new TestNode(1n, { voters: [1n], learners: [2n] });
    node.act((raw) => raw.campaign());
    const ready = node.node.ready();
    expect(ready.hardState).toMatchObject({ term: 1n, vote: 1n });
    expect([ready.messages, ready.persistedMessages]).toEqual([[], []]);
    expect(node.role).toBe("candidate");

    const light = node.act((raw) => raw.advanceAppend(ready));
    expect(node.role).toBe("leader");
    expect(light.messages.map(({ msgType }) => msgType)).toEqual([MessageType.MsgAppend]);
  });

  test("E3: does not count with a peer's before it is durable, nor for a candidacy that is over by then", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.act((raw) => raw.campaign());
    node.step(fromPeer(node, 2, MessageType.MsgRequestVoteResponse));
    expect(node.role).toBe("candidate");
    const ready = node.node.ready();
    node.act((raw) => raw.advanceAppendAsync(ready));
    node.act((raw) => raw.campaign());
    node.step(fromPeer(node, 2, MessageType.MsgRequestVoteResponse));
    node.act((raw) => raw.onPersistReady(ready.number));
    expect(node.role).toBe("candidate");
    node.settle();
    expect(node.role).toBe("leader");
  });
});

test("U10: of two survivors the one with the newer last term wins, whatever their priorities", () => {
  const higher = { voters: VOTERS, logTerms: [1n, 1n], config: { priority: 5n } };
  const newer = { voters: VOTERS, logTerms: [1n, 2n], config: { priority: 0n } };
  const network = Network.of([new TestNode(2n, newer), new TestNode(3n, higher)]);
  network.campaign(3);
  expect(network.leader).toBeUndefined();
  network.campaign(2);
  expect(network.leader).toBe(network.node(2));
});

test("E18: a new leader counts itself as active", () => {
  const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
  expect(leader.progress(1).recentActive).toBe(true);
  expect(leader.node.status().progress?.[0]).toMatchObject({ id: 1n, recentActive: true });
});

test("E19: every election timeout is drawn from config.randomInt and from nothing else", () => {
  const storage = (): MemoryStorage => {
    const memory = new MemoryStorage();
    memory.setConfState(newConfState({ voters: [1n, 2n] }));
    return memory;
  };
  const draws = [17, 10, 19, 12];
  const asked: [number, number][] = [];
  const randomInt = (min: number, max: number): number => {
    asked.push([min, max]);
    return draws[asked.length - 1] ?? min;
  };
  const node = new CheckedNode({ ...PLAIN, id: 1n, randomInt }, storage());
  const fired: number[] = [];
  for (let tick = 1; tick <= 17 + 10 + 19; tick += 1) if (node.tick()) fired.push(tick);
  expect(fired).toEqual([17, 27, 46]);
  expect(asked).toEqual(Array(4).fill([10, 20]));
});

test("E22: nothing is ever addressed to the node itself or to nobody", () => {
  const node = new TestNode(1n, { voters: VOTERS });
  for (const to of [0n, 1n]) {
    expect(() => send(node.raft, newMessage(MessageType.MsgHeartbeat, to))).toThrow(/is addressed to/);
  }
  const network = Network.ofSize(3);
  network.campaign(1);
  network.propose(2, "x");
  network.tick(3);
  expect(network.delivered.filter(({ from, to }) => from === to)).toEqual([]);
});

test("R16: a leader knows its own commit index as it knows its peers'", () => {
  const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
  leader.takeMessages();
  leader.step(ack(leader, 2, 1n));
  expect(leader.progress(1).committedIndex).toBe(1n);
});

describe("OpenRaft", () => {
  test.each([
    { what: "shorter and newer", logTerms: [1n, 2n], granted: true },
    { what: "longer and older", logTerms: [1n, 1n, 1n, 1n, 1n], granted: false },
  ])(
    "O2: logs are compared by term, then by index: a $what one gets the vote: $granted",
    ({ logTerms, granted }) => {
      const voter = new TestNode(2n, {
        voters: VOTERS,
        logTerms: granted ? [1n, 1n, 1n, 1n] : [1n, 2n],
        term: 2n,
      });
      const candidate = new TestNode(1n, { voters: VOTERS, logTerms, term: 2n });
      candidate.act((raw) => raw.campaign());
      const request = ofType(candidate.takeMessages(), MessageType.MsgRequestVote).find(
        ({ to }) => to === 2n,
      );
      if (request === undefined) throw new Error("no vote was asked for");
      voter.step(request);
      expect(voter.takeMessages()).toMatchObject([{ reject: !granted }]);
    },
  );

  test("O7: a restarted follower waits no longer for a leader than any other", () => {
    const before = new TestNode(2n, { voters: VOTERS, logTerms: [1n, 1n], term: 1n, commit: 1n });
    const restarted = before.restart({ checkQuorum: true });
    restarted.tick(9);
    expect(restarted.role).toBe("follower");
    restarted.tick(1);
    expect(restarted.role).toBe("candidate");
  });

  test("O10: a node that has not joined yet keeps its vote on disk, so that it cannot vote twice in a term", () => {
    const blank = new TestNode(9n, { storage: new MemoryStorage() });
    const ask = (node: TestNode, from: bigint): boolean | undefined => {
      node.step(newMessage(MessageType.MsgRequestVote, 9n, { from, term: 4n, index: 3n, logTerm: 3n }));
      const [response] = node.takeMessages();
      return response?.reject;
    };
    expect(ask(blank, 1n)).toBe(false);
    expect(ask(blank.restart(), 2n)).toBe(true);
  });
});
