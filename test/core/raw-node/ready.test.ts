// What a Ready holds, field by field: after a start, a restart, an election, a proposal, a snapshot, an overwritten
// log. The storage is in memory and does only what the test says.

import { describe, expect, test } from "vitest";
import {
  MemoryStorage,
  MessageType,
  newConfState,
  newHardState,
  newMessage,
  newSnapshot,
  type Ready,
} from "../../../src/core/index.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";
import { appendOf, entriesOf, range, store, typesOf } from "./support.js";

/** The Ready of a node that has nothing to do. */
const NOTHING = {
  softState: undefined,
  hardState: undefined,
  readStates: [],
  entries: [],
  snapshot: undefined,
  committedEntries: [],
  messages: [],
  persistedMessages: [],
  mustSync: false,
} satisfies Omit<Ready, "number">;

const QUIET_LIGHT = { commitIndex: undefined, committedEntries: [], messages: [] };

/** Takes a Ready, stores and applies it; what follows from that is in the LightReady. */
function storeAndAdvance(node: TestNode, ready: Ready) {
  store(node.storage, ready);
  return node.act((raw) => raw.advance(ready));
}

function singleton(): TestNode {
  return new TestNode(1n, { storage: MemoryStorage.withConfState({ voters: [1n] }) });
}

describe("a node that starts alone", () => {
  test("has nothing to do, is elected, commits its first entry and then a command, Ready by Ready", () => {
    const node = singleton();
    expect(node.node.hasReady()).toBe(false);
    const first = node.node.ready();
    expect(first).toEqual({ ...NOTHING, number: 1 });
    expect(storeAndAdvance(node, first)).toEqual(QUIET_LIGHT);

    // Upstream's singleton leads at once; here its vote for itself counts when it is durable (E3).
    node.act((raw) => raw.campaign());
    const vote = node.node.ready();
    expect(vote).toEqual({
      ...NOTHING,
      number: 2,
      softState: { leaderId: 0n, raftState: "candidate" },
      hardState: newHardState(2n, 1n, 1n),
      mustSync: true,
    });
    expect(storeAndAdvance(node, vote)).toEqual(QUIET_LIGHT);

    const [election] = entriesOf(2n, 2n, 2n).map((entry) => ({ ...entry, data: new Uint8Array() }));
    const elected = node.node.ready();
    expect(elected).toEqual({
      ...NOTHING,
      number: 3,
      softState: { leaderId: 1n, raftState: "leader" },
      entries: [election],
      mustSync: true,
    });
    expect(storeAndAdvance(node, elected)).toEqual({
      ...QUIET_LIGHT,
      commitIndex: 2n,
      committedEntries: [election],
    });
    expect(node.node.hasReady()).toBe(false);

    node.propose("3");
    const command = entriesOf(2n, 3n, 3n);
    const proposed = node.node.ready();
    expect(proposed).toEqual({ ...NOTHING, number: 4, entries: command, mustSync: true });
    expect(storeAndAdvance(node, proposed)).toEqual({
      ...QUIET_LIGHT,
      commitIndex: 3n,
      committedEntries: command,
    });
    expect(node.node.hasReady()).toBe(false);
  });
});

describe("a node that restarts", () => {
  test("is handed the committed entries that it has not applied, and nothing to store", () => {
    const storage = new MemoryStorage();
    storage.setConfState(newConfState({ voters: [1n, 2n] }));
    storage.append(entriesOf(1n, 1n, 2n));
    storage.setHardState(newHardState(1n, 0n, 1n));
    const node = new TestNode(1n, { storage });
    const ready = node.node.ready();
    expect(ready).toEqual({ ...NOTHING, number: 1, committedEntries: entriesOf(1n, 1n, 1n) });
    expect(storeAndAdvance(node, ready)).toEqual(QUIET_LIGHT);
    expect(node.node.hasReady()).toBe(false);
  });

  test("goes on behind the snapshot that its log begins with", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotOf(2n, 1n, [1n, 2n]));
    storage.append(entriesOf(1n, 3n, 3n));
    storage.setHardState(newHardState(1n, 0n, 3n));
    const node = new TestNode(1n, { storage });
    const ready = node.node.ready();
    expect(ready).toEqual({ ...NOTHING, number: 1, committedEntries: entriesOf(1n, 3n, 3n) });
    storeAndAdvance(node, ready);
    expect(node.node.hasReady()).toBe(false);
  });

  test("is handed nothing that it says it has applied", () => {
    const storage = new MemoryStorage();
    storage.setConfState(newConfState({ voters: [1n, 2n] }));
    storage.append(entriesOf(1n, 1n, 5n));
    storage.setHardState(newHardState(1n, 0n, 4n));
    const node = new TestNode(1n, { storage, config: { applied: 3n } });
    expect(range(node.node.ready().committedEntries)).toBe("4..4");
  });
});

describe("mustSync", () => {
  const VOTERS = [1n, 2n, 3n];
  const heard = (fields: object) =>
    newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n, ...fields });

  test.each([
    { what: "a later term", message: heard({ term: 3n }), mustSync: true },
    {
      what: "a vote",
      message: newMessage(MessageType.MsgRequestVote, 1n, { from: 3n, term: 2n, index: 9n, logTerm: 9n }),
      mustSync: true,
    },
    {
      what: "entries (R17)",
      message: appendOf(2n, { index: 2n, term: 2n }, entriesOf(2n, 3n, 3n), 0n),
      mustSync: true,
    },
    {
      what: "a snapshot (R17)",
      message: newMessage(MessageType.MsgSnapshot, 1n, {
        from: 2n,
        term: 2n,
        snapshot: snapshotOf(9n, 2n, VOTERS),
      }),
      mustSync: true,
    },
    { what: "a commit index alone", message: heard({ commit: 1n }), mustSync: false },
    { what: "an answer alone", message: heard({}), mustSync: false },
  ])("of a Ready with $what is $mustSync", ({ message, mustSync }) => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 2n], term: 2n });
    node.step(message);
    expect(node.node.ready().mustSync).toBe(mustSync);
  });
});

describe("a follower's Ready", () => {
  /** Node 1 of two, born at (1, 1). */
  function follower(): TestNode {
    return new TestNode(1n, { storage: MemoryStorage.withConfState({ voters: [1n, 2n] }), autoApply: false });
  }

  test("with a snapshot has the entries behind it and no committed ones: those wait until it is applied", () => {
    const node = follower();
    const early = entriesOf(2n, 2n, 19n);
    node.step(appendOf(2n, { index: 1n, term: 1n }, early, 5n));
    const first = node.node.ready();
    expect(first).toEqual({
      ...NOTHING,
      number: 1,
      softState: { leaderId: 2n, raftState: "follower" },
      hardState: newHardState(2n, 0n, 5n),
      entries: early,
      persistedMessages: first.persistedMessages,
      mustSync: true,
    });
    expect(typesOf(first.persistedMessages)).toEqual(["MsgAppendResponse"]);
    expect(storeAndAdvance(node, first)).toEqual({ ...QUIET_LIGHT, committedEntries: early.slice(0, 4) });
    node.act((raw) => raw.advanceApply());

    const snapshot = newSnapshot(10n, 3n, newConfState({ voters: [1n, 2n] }));
    const late = entriesOf(3n, 11n, 13n);
    node.step(newMessage(MessageType.MsgSnapshot, 1n, { from: 2n, term: 3n, snapshot }));
    node.step(appendOf(3n, { index: 10n, term: 3n }, late, 12n));
    const second = node.node.ready();
    expect(second).toEqual({
      ...NOTHING,
      number: 2,
      hardState: newHardState(3n, 0n, 12n),
      snapshot,
      entries: late,
      persistedMessages: second.persistedMessages,
      mustSync: true,
    });
    expect(typesOf(second.persistedMessages)).toEqual(["MsgAppendResponse", "MsgAppendResponse"]);
    store(node.storage, second);
    // Upstream hands out committed entries here, beside a snapshot that is still being applied (E5).
    expect(node.act((raw) => raw.advanceAppend(second))).toEqual(QUIET_LIGHT);
    expect(node.node.hasReady()).toBe(false);
    node.act((raw) => raw.advanceApplyTo(10n));
    expect(node.node.ready().committedEntries).toEqual(late.slice(0, 2));
  });

  test("holds a snapshot, as it does entries, until it is told that the storage has it", () => {
    const node = follower();
    const snapshot = newSnapshot(10n, 3n, newConfState({ voters: [1n, 2n] }));
    node.step(newMessage(MessageType.MsgSnapshot, 1n, { from: 2n, term: 3n, snapshot }));
    expect(node.node.ready().snapshot).toEqual(snapshot);
    expect(node.node.hasReady()).toBe(true);
    const again = node.node.ready();
    expect(again.snapshot).toEqual(snapshot);
    expect(storeAndAdvance(node, again)).toEqual(QUIET_LIGHT);
    expect(node.node.hasReady()).toBe(false);
  });

  test("hands out of an overwritten log only what is still on the disk", () => {
    const storage = MemoryStorage.withConfState({ voters: [1n, 2n, 3n] });
    const node = new TestNode(1n, { storage, autoApply: false });
    const old = entriesOf(2n, 2n, 4n);
    node.step(appendOf(2n, { index: 1n, term: 1n }, old, 1n));
    expect(storeAndAdvance(node, node.node.ready())).toEqual(QUIET_LIGHT);

    const overwriting = entriesOf(3n, 4n, 6n);
    node.step(appendOf(3n, { index: 3n, term: 2n }, overwriting, 5n));
    const ready = node.node.ready();
    expect(ready).toMatchObject({ hardState: newHardState(3n, 0n, 5n), entries: overwriting });
    expect(ready.committedEntries).toEqual(old.slice(0, 2));
    expect(storeAndAdvance(node, ready)).toEqual({
      ...QUIET_LIGHT,
      committedEntries: overwriting.slice(0, 2),
    });
  });
});

describe("a Ready", () => {
  test("holds what is new since the one before, once (E23)", () => {
    const node = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n], term: 1n });
    node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n, commit: 1n }));
    expect(node.node.ready()).toMatchObject({ hardState: newHardState(2n, 0n, 1n), messages: [{ to: 2n }] });
    expect(node.node.hasReady()).toBe(false);
    expect(node.node.ready()).toEqual({ ...NOTHING, number: 2 });
  });

  test("that is advanced a second time is old news", () => {
    const node = new TestNode(1n, { voters: [1n] });
    node.act((raw) => raw.campaign());
    const ready = node.node.ready();
    store(node.storage, ready);
    node.act((raw) => raw.advanceAppend(ready));
    const { entries } = node.raft.log.unstable;
    expect(node.act((raw) => raw.advanceAppend(ready))).toEqual(QUIET_LIGHT);
    expect(node.raft.log.unstable.entries).toEqual(entries);
  });

  test("does not lose a message that is made before the one before it has been advanced", () => {
    const node = new TestNode(1n, { voters: [1n, 2n] });
    node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n }));
    const ready = node.node.ready();
    node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n, context: new Uint8Array([7]) }));
    store(node.storage, ready);
    const light = node.node.advanceAppend(ready);
    expect([...light.messages, ...node.node.ready().messages]).toMatchObject([
      { context: new Uint8Array([7]) },
    ]);
  });

  test("belongs to the embedder: the node goes on whatever is done to its lists (E13)", () => {
    const node = singleton();
    node.forceLeader();
    node.settle();
    node.propose("3");
    const ready = node.node.ready();
    store(node.storage, ready);
    for (const list of [ready.entries, ready.messages, ready.committedEntries]) {
      if (Array.isArray(list)) list.length = 0;
    }
    if (ready.hardState !== undefined) ready.hardState.term = 99n;
    expect(node.raft.log.unstable.entries).toHaveLength(1);
    node.act((raw) => raw.onPersistReady(ready.number));
    expect(node.raft.term).toBe(2n);
  });

  test("is announced by hasReady, which says no when there is nothing in it", () => {
    const node = new TestNode(1n, { voters: [1n, 2n] });
    for (let round = 0; round < 200; round += 1) {
      node.tick();
      const announced = node.node.hasReady();
      const { number: _, ...ready } = node.node.ready();
      expect(JSON.stringify(ready, plain) === JSON.stringify(NOTHING, plain), `round ${round}`).toBe(
        !announced,
      );
    }
  });
});

function plain(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}` : value;
}
