// Asynchronous Readys: stored now, durable later. What a node may count, apply and answer follows from what is durable,
// in the order in which that becomes known, whatever else has happened meanwhile.

import { describe, expect, test } from "vitest";
import {
  MemoryStorage,
  type Message,
  MessageType,
  newHardState,
  newMessage,
  type Ready,
} from "../../../src/core/index.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";
import { appendOf, entriesOf, range, store, typesOf } from "./support.js";

/** Node 1 of `size`, born at (1, 1), which does nothing by itself. */
function nodeOf(size: number): TestNode {
  const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
  return new TestNode(1n, { storage: MemoryStorage.withConfState({ voters }), autoApply: false });
}

/** Takes the next Ready and stores it, as far as reading goes. */
function takeAsync(node: TestNode): Ready {
  const ready = node.act((raw) => raw.ready());
  store(node.storage, ready);
  node.act((raw) => raw.advanceAppendAsync(ready));
  return ready;
}

function acknowledge(node: TestNode, from: bigint, index: bigint): void {
  const { term } = node.raft;
  node.step(newMessage(MessageType.MsgAppendResponse, 1n, { from, term, index }));
}

function snapshotMessage(index: bigint): Message {
  return newMessage(MessageType.MsgSnapshot, 1n, {
    from: 2n,
    term: 2n,
    snapshot: snapshotOf(index, 2n, [1n, 2n]),
  });
}

describe("a leader with asynchronous Readys", () => {
  /** Leads since index 2, which is stored; node 2 takes appends without being waited for. */
  function leaderOfThree(): TestNode {
    const leader = nodeOf(3).forceLeader();
    leader.settle();
    acknowledge(leader, 2n, 1n);
    leader.takeMessages();
    return leader;
  }

  /** Ten Readys of ten commands each, none of them durable. */
  function proposeAHundred(leader: TestNode): Ready[] {
    return Array.from({ length: 10 }, () => {
      for (let count = 0; count < 10; count += 1) leader.propose("hello world!");
      return takeAsync(leader);
    });
  }

  test("sends before its own disk has anything, and every Ready has the next number", () => {
    const leader = leaderOfThree();
    const readys = proposeAHundred(leader);
    const first = readys[0]?.number ?? 0;
    for (const [position, ready] of readys.entries()) {
      expect(ready.number).toBe(first + position);
      expect(range(ready.entries)).toBe(`${3 + 10 * position}..${12 + 10 * position}`);
      expect(new Set(typesOf(ready.messages))).toEqual(new Set(["MsgAppend"]));
      expect(ready).toMatchObject({ persistedMessages: [], committedEntries: [], mustSync: true });
    }
  });

  test("counts itself for what its disk has, and the others for what they say", () => {
    const leader = leaderOfThree();
    const readys = proposeAHundred(leader);
    const numberOf = (position: number): number => readys[position - 1]?.number ?? 0;
    leader.act((raw) => raw.onPersistReady(numberOf(3)));
    expect(leader.node.hasReady()).toBe(false);

    acknowledge(leader, 2n, 102n);
    const byAcknowledgement = takeAsync(leader);
    expect(byAcknowledgement.hardState).toEqual(newHardState(2n, 1n, 32n));
    expect(range(byAcknowledgement.committedEntries)).toBe("2..32");
    expect(byAcknowledgement.messages).not.toEqual([]);

    leader.act((raw) => raw.onPersistReady(numberOf(7)));
    const byDisk = leader.node.ready();
    store(leader.storage, byDisk);
    expect(byDisk.hardState).toEqual(newHardState(2n, 1n, 72n));
    expect(range(byDisk.committedEntries)).toBe("33..72");
    expect(byDisk.persistedMessages).toEqual([]);
    const light = leader.act((raw) => raw.advanceAppend(byDisk));
    expect(light.commitIndex).toBe(102n);
    expect(range(light.committedEntries)).toBe("73..102");
    expect(light.messages).not.toEqual([]);
  });

  test("commits without its own disk, and applies only with it", () => {
    const leader = leaderOfThree();
    for (let count = 0; count < 10; count += 1) leader.propose("hello world!");
    const proposed = takeAsync(leader);
    acknowledge(leader, 2n, 11n);
    acknowledge(leader, 3n, 12n);
    const committed = leader.node.ready();
    expect(committed).toMatchObject({
      hardState: newHardState(2n, 1n, 11n),
      entries: [],
      persistedMessages: [],
      mustSync: false,
    });
    expect(range(committed.committedEntries)).toBe("2..2");
    expect(committed.messages.at(-1)).toMatchObject({ msgType: MessageType.MsgAppend, commit: 11n });
    leader.act((raw) => raw.onPersistReady(proposed.number));
    const light = leader.act((raw) => raw.advanceAppend(committed));
    expect(light.commitIndex).toBe(12n);
    expect(range(light.committedEntries)).toBe("3..12");
  });

  test("does not count, in a later leadership, what it stored in an earlier one until that is durable", () => {
    const leader = leaderOfThree();
    leader.propose("3");
    const early = takeAsync(leader);
    leader.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 3n }));
    expect(leader.role).toBe("follower");
    leader.act((raw) => raw.onPersistReady(early.number));
    expect(leader.raft.log.persisted).toBe(3n);
    expect(leader.raft.log.committed).toBe(1n);
  });
});

describe("a follower with asynchronous Readys", () => {
  test("answers and applies as its disk catches up, over many Readys and a snapshot between them", () => {
    const node = nodeOf(2);
    let last = { index: 1n, term: 1n };
    for (let round = 0; round < 3; round += 1) {
      const begin = last.index;
      const readys: Ready[] = [];
      for (let count = 0; count < 10; count += 1) {
        const next = last.index + 3n;
        node.step(appendOf(2n, last, entriesOf(2n, last.index + 1n, next), next));
        const ready = takeAsync(node);
        expect(ready.hardState).toEqual(newHardState(2n, 0n, next));
        expect(ready).toMatchObject({ committedEntries: [], messages: [] });
        expect(typesOf(ready.persistedMessages)).toEqual(["MsgAppendResponse"]);
        readys.push(ready);
        last = { index: next, term: 2n };
      }
      node.act((raw) => raw.onPersistReady(readys[3]?.number ?? 0));
      const partly = node.node.ready();
      expect(range(partly.committedEntries)).toBe(`${begin + 1n}..${begin + 12n}`);
      expect(partly).toMatchObject({ hardState: undefined, messages: [], persistedMessages: [] });
      const light = node.act((raw) => raw.advanceAppend(partly));
      expect(range(light.committedEntries)).toBe(`${begin + 13n}..${begin + 30n}`);
      expect(light).toMatchObject({ commitIndex: undefined, messages: [] });
    }

    node.step(snapshotMessage(96n));
    const withSnapshot = takeAsync(node);
    expect(withSnapshot).toMatchObject({
      hardState: newHardState(2n, 0n, 96n),
      entries: [],
      committedEntries: [],
    });
    node.step(appendOf(2n, { index: 96n, term: 2n }, entriesOf(2n, 97n, 105n), 99n));
    const behindIt = takeAsync(node);
    expect(behindIt).toMatchObject({
      hardState: newHardState(2n, 0n, 99n),
      committedEntries: [],
      mustSync: true,
    });

    node.act((raw) => raw.onPersistReady(withSnapshot.number));
    expect(node.raft.log.persisted).toBe(96n);
    node.act((raw) => raw.advanceApplyTo(96n));
    expect(node.node.hasReady()).toBe(false);
    node.act((raw) => raw.onPersistReady(behindIt.number));
    expect(range(node.node.ready().committedEntries)).toBe("97..99");
  });

  test("takes note of an older snapshot that becomes durable while a newer one is pending (R23)", () => {
    const node = nodeOf(2);
    node.step(snapshotMessage(10n));
    node.step(appendOf(2n, { index: 10n, term: 2n }, entriesOf(2n, 11n, 13n), 12n));
    const older = takeAsync(node);
    expect(older).toMatchObject({
      snapshot: snapshotOf(10n, 2n, [1n, 2n]),
      committedEntries: [],
      mustSync: true,
    });
    expect(range(older.entries)).toBe("11..13");

    node.step(snapshotMessage(20n));
    node.act((raw) => raw.onPersistReady(older.number));
    expect(node.raft.log.persisted).toBe(13n);
    node.act((raw) => raw.advanceApplyTo(10n));

    const newer = node.node.ready();
    expect(newer).toMatchObject({ hardState: newHardState(2n, 0n, 20n), entries: [], committedEntries: [] });
    expect(newer.snapshot).toEqual(snapshotOf(20n, 2n, [1n, 2n]));
    store(node.storage, newer);
    const light = node.act((raw) => raw.advanceAppend(newer));
    expect(light).toEqual({ commitIndex: undefined, committedEntries: [], messages: [] });
    expect(node.raft.log.persisted).toBe(20n);
    node.act((raw) => raw.advanceApplyTo(20n));
    expect(node.node.hasReady()).toBe(false);
  });

  test("does not take a snapshot for durable before it is (R21)", () => {
    const node = nodeOf(2);
    node.step(appendOf(2n, { index: 1n, term: 1n }, entriesOf(2n, 2n, 5n), 3n));
    node.settle();
    expect(node.raft.log.persisted).toBe(5n);
    node.step(snapshotMessage(10n));
    expect(node.raft.log.persisted).toBe(3n);
    const ready = takeAsync(node);
    expect(node.raft.log.persisted).toBe(3n);
    node.act((raw) => raw.onPersistReady(ready.number));
    expect(node.raft.log.persisted).toBe(10n);
  });

  describe("whose entries are overwritten while they are on their way to the disk (E9)", () => {
    /** Entry 2 of term 2 is stored, then entry 2 of term 3 in its place; neither is durable. */
    function overwritten(): { readonly node: TestNode; readonly first: Ready; readonly second: Ready } {
      const node = nodeOf(3);
      node.step(appendOf(2n, { index: 1n, term: 1n }, entriesOf(2n, 2n, 2n), 1n));
      const first = takeAsync(node);
      node.step(appendOf(3n, { index: 1n, term: 1n }, entriesOf(3n, 2n, 2n), 1n));
      const second = takeAsync(node);
      return { node, first, second };
    }

    test("counts the later write, not the earlier", () => {
      const { node, first, second } = overwritten();
      node.act((raw) => raw.onPersistReady(first.number));
      expect(node.raft.log.persisted).toBe(1n);
      node.act((raw) => raw.onPersistReady(second.number));
      expect(node.raft.log.persisted).toBe(2n);
    });

    test("does not take the first write for the third when the third restores what the first had (A, B, A)", () => {
      const { node, first, second } = overwritten();
      // The leader of term 4 has the entry of term 2 in its log, and commits it.
      node.step(
        appendOf(4n, { index: 1n, term: 1n }, [...entriesOf(2n, 2n, 2n), ...entriesOf(4n, 3n, 3n)], 3n),
      );
      const third = takeAsync(node);
      expect(third.committedEntries).toEqual([]);
      for (const ready of [first, second]) {
        node.act((raw) => raw.onPersistReady(ready.number));
        // On the disk is, or will be next, the entry of term 3: it must not be applied as if it were the other.
        expect(node.raft.log.persisted).toBe(1n);
        expect(node.node.hasReady()).toBe(false);
      }
      node.act((raw) => raw.onPersistReady(third.number));
      expect(node.node.ready().committedEntries.map(({ index, term }) => `${index}/${term}`)).toEqual([
        "2/2",
        "3/4",
      ]);
    });

    test("counts all of them when they become durable together", () => {
      const { node, second } = overwritten();
      node.step(appendOf(4n, { index: 1n, term: 1n }, entriesOf(2n, 2n, 2n), 2n));
      const third = takeAsync(node);
      expect(second.number).toBeLessThan(third.number);
      node.act((raw) => raw.onPersistReady(third.number));
      expect(node.raft.log.persisted).toBe(2n);
    });
  });
});

describe("a candidate with asynchronous Readys", () => {
  test("lets votes and refusals wait for its disk, and sends its first appends at once when it has won", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotOf(5n, 5n, [1n, 2n, 3n]));
    const node = new TestNode(1n, { storage });
    node.timeOut();
    const campaign = node.node.ready();
    expect(campaign).toMatchObject({
      softState: { leaderId: 0n, raftState: "candidate" },
      hardState: newHardState(6n, 1n, 5n),
      messages: [],
      mustSync: true,
    });
    expect(typesOf(campaign.persistedMessages)).toEqual(["MsgRequestVote", "MsgRequestVote"]);
    store(storage, campaign);
    node.act((raw) => raw.advanceAppend(campaign));

    for (const from of [2n, 3n]) {
      node.step(newMessage(MessageType.MsgRequestVote, 1n, { from, term: 6n, index: 4n, logTerm: 4n }));
      const refusal = takeAsync(node);
      expect(refusal).toMatchObject({ hardState: undefined, messages: [], mustSync: false });
      expect(typesOf(refusal.persistedMessages)).toEqual(["MsgRequestVoteResponse"]);
    }

    node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from: 2n, term: 6n }));
    const elected = node.node.ready();
    expect(elected).toMatchObject({
      softState: { leaderId: 1n, raftState: "leader" },
      hardState: undefined,
      persistedMessages: [],
      mustSync: true,
    });
    expect(typesOf(elected.messages)).toEqual(["MsgAppend", "MsgAppend"]);
    store(storage, elected);
    const light = node.act((raw) => raw.advanceAppend(elected));
    expect(light).toEqual({ commitIndex: undefined, committedEntries: [], messages: [] });
  });
});
