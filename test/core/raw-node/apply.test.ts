// Handing out committed entries: each once and in order, as many at a time as the budget allows, and only what is
// durable here unless the node may apply ahead of its disk.

import { describe, expect, test } from "vitest";
import {
  type Entry,
  type GetEntriesContext,
  InvariantViolation,
  MemoryStorage,
  MessageType,
  NO_LIMIT,
  newConfState,
  newHardState,
  newMessage,
} from "../../../src/core/index.js";
import { entriesSize } from "../../../src/core/messages.js";
import { CheckedNode } from "../../support/checked-node.js";
import { PLAIN, TestNode } from "../../support/test-node.js";
import { appendOf, entriesOf, range, store } from "./support.js";

const START = { index: 0n, term: 0n };

/** A follower of three that holds ten durable entries, committed up to `commit`, and has been handed none. */
function followerOf(limitBytes: number, commit = 10n): TestNode {
  const storage = new MemoryStorage();
  storage.setConfState(newConfState({ voters: [1n, 2n, 3n] }));
  storage.append(entriesOf(1n, 1n, 10n));
  storage.setHardState(newHardState(1n, 0n, commit));
  return new TestNode(1n, { storage, autoApply: false, config: { maxCommittedSizePerReady: limitBytes } });
}

const ONE_ENTRY = entriesSize(entriesOf(1n, 1n, 1n));

function takeCommitted(node: TestNode): string {
  const ready = node.node.ready();
  store(node.storage, ready);
  const light = node.act((raw) => raw.advanceAppend(ready));
  return range([...ready.committedEntries, ...light.committedEntries]);
}

describe("committed entries", () => {
  test("come in order however far the state machine is", () => {
    const leader = new TestNode(1n, { voters: [1n], autoApply: false }).forceLeader();
    leader.settle();
    let last = 1n;
    for (let round = 1n; round < 10n; round += 1n) {
      for (let count = 0n; count < round; count += 1n) leader.propose("hello world!");
      const ready = leader.node.ready();
      expect(range(ready.entries)).toBe(`${last + 1n}..${last + round}`);
      expect(ready.committedEntries).toEqual([]);
      store(leader.storage, ready);
      const light = leader.act((raw) => raw.advanceAppend(ready));
      expect(light.committedEntries).toEqual(ready.entries);
      expect(light.commitIndex).toBe(last + round);
      leader.act((raw) => raw.advanceApplyTo(last + 1n));
      expect(leader.node.hasReady()).toBe(false);
      last += round;
    }
  });

  test("are at least one at a time, and the rest comes when there is room", () => {
    const node = new TestNode(1n, { voters: [1n, 2n, 3n], autoApply: false });
    node.step(appendOf(1n, START, entriesOf(1n, 1n, 8n), 8n));
    const ready = node.node.ready();
    expect(ready.committedEntries).toEqual([]);
    store(node.storage, ready);
    node.act((raw) => raw.setMaxCommittedSizePerReady(0));
    expect(range(node.act((raw) => raw.advanceAppend(ready)).committedEntries)).toBe("1..1");
    expect(node.node.hasReady()).toBe(false);

    node.act((raw) => raw.setMaxCommittedSizePerReady(NO_LIMIT));
    expect(node.node.hasReady()).toBe(true);
    expect(range(node.node.ready().committedEntries)).toBe("2..8");
    expect(node.node.hasReady()).toBe(false);
  });

  test("are not more than the budget, over all Readys, until some of them are applied (E10)", () => {
    const node = followerOf(4 * ONE_ENTRY);
    expect(takeCommitted(node)).toBe("1..4");
    expect(node.node.hasReady()).toBe(false);
    node.act((raw) => raw.advanceApplyTo(1n));
    // The first four count together until all of them are applied.
    expect(node.node.hasReady()).toBe(false);
    node.act((raw) => raw.advanceApplyTo(4n));
    expect(takeCommitted(node)).toBe("5..8");
    node.act((raw) => raw.advanceApply());
    expect(takeCommitted(node)).toBe("9..10");
    node.act((raw) => raw.advanceApply());
    expect(node.node.hasReady()).toBe(false);
  });

  test("fill up what is left of the budget, and no more, while others are being applied", () => {
    const node = followerOf(4 * ONE_ENTRY, 3n);
    expect(takeCommitted(node)).toBe("1..3");
    node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 1n, commit: 10n }));
    expect(takeCommitted(node)).toBe("4..4");
    expect(node.node.hasReady()).toBe(false);
  });

  test("of a leader keep to the same budget while acknowledgements pour in", () => {
    const config = { maxCommittedSizePerReady: 100 };
    const leader = new TestNode(1n, { voters: [1n, 2n], autoApply: false, config }).forceLeader();
    leader.settle();
    for (let index = 2n; index <= 20n; index += 1n) {
      leader.propose("0123456789");
      leader.settle();
      leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index }));
      leader.settle();
    }
    expect(leader.raft.log.committed).toBe(20n);
    const outstanding = entriesSize(leader.committed.filter(({ index }) => index > leader.raft.log.applied));
    expect(outstanding).toBeLessThan(100 + 16);
    for (let round = 0; round < 20; round += 1) {
      leader.applyCommitted();
      leader.settle();
    }
    expect(leader.committed.map(({ index }) => index)).toEqual(
      Array.from({ length: 20 }, (_, position) => BigInt(position + 1)),
    );
  });

  test("are all handed out after a restart on a storage that pages differently (R24)", () => {
    class Generous extends MemoryStorage {
      override entries(
        low: bigint,
        high: bigint,
        _max: number,
        context: GetEntriesContext,
      ): readonly Entry[] {
        return super.entries(low, high, NO_LIMIT, context);
      }
    }
    const storage = new Generous();
    storage.setConfState(newConfState({ voters: [1n, 2n, 3n] }));
    storage.append(entriesOf(1n, 1n, 11n));
    storage.setHardState(newHardState(1n, 0n, 10n));
    const limit = entriesSize(entriesOf(1n, 1n, 10n)) - 1;
    const config = { ...PLAIN, id: 1n, randomInt: (min: number) => min, maxCommittedSizePerReady: limit };
    const node = new CheckedNode(config, storage);
    const handedOut: bigint[] = [];
    for (let round = 0; round < 4; round += 1) {
      const ready = node.ready();
      const light = node.advance(ready);
      handedOut.push(...[...ready.committedEntries, ...light.committedEntries].map(({ index }) => index));
      node.advanceApply();
      node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 1n, commit: 11n }));
    }
    expect(handedOut).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 10n, 11n]);
  });
});

describe("the applied index", () => {
  test("never goes back, and never beyond what is committed", () => {
    const node = followerOf(NO_LIMIT);
    takeCommitted(node);
    node.act((raw) => raw.advanceApplyTo(5n));
    expect(() => node.node.advanceApplyTo(4n)).toThrow(InvariantViolation);
    expect(() => node.node.advanceApplyTo(11n)).toThrow(InvariantViolation);
    expect(node.node.status().applied).toBe(5n);
  });

  test("of advance() is what was handed out before it, not what comes with its answer", () => {
    const node = new TestNode(1n, { voters: [1n, 2n], autoApply: false });
    node.step(appendOf(1n, START, entriesOf(1n, 1n, 3n), 3n));
    const ready = node.node.ready();
    store(node.storage, ready);
    const light = node.act((raw) => raw.advance(ready));
    expect(range(light.committedEntries)).toBe("1..3");
    expect(node.raft.log.applied).toBe(0n);
    node.act((raw) => raw.advance(raw.ready()));
    expect(node.raft.log.applied, "handed out by the answer to the first").toBe(3n);
  });
});

describe("applying ahead of the own disk", () => {
  /** A leader whose entries 2 to 11 are committed by the others and not on its disk. */
  function leaderAheadOfItsDisk(
    limit: number,
    setting: "configured" | "set before" | "set while leading",
  ): TestNode {
    const config = setting === "configured" ? { maxApplyUnpersistedLogLimit: limit } : {};
    const leader = new TestNode(1n, { voters: [1n, 2n, 3n], autoApply: false, config });
    if (setting === "set before") leader.act((raw) => raw.setMaxApplyUnpersistedLogLimit(limit));
    leader.forceLeader();
    leader.settle();
    if (setting === "set while leading") leader.act((raw) => raw.setMaxApplyUnpersistedLogLimit(limit));
    for (let count = 0; count < 10; count += 1) leader.propose("x");
    const ready = leader.node.ready();
    store(leader.storage, ready);
    leader.act((raw) => raw.advanceAppendAsync(ready));
    for (const from of [2n, 3n]) {
      leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from, term: 1n, index: 11n }));
    }
    expect(leader.raft.log).toMatchObject({ committed: 11n, persisted: 1n });
    return leader;
  }

  test.each([
    { limit: 0, expected: "1..1" },
    { limit: 3, expected: "1..4" },
    { limit: 100, expected: "1..11" },
    { limit: NO_LIMIT, expected: "1..11" },
  ])("may go $limit entries beyond it: $expected", ({ limit, expected }) => {
    const leader = leaderAheadOfItsDisk(limit, "set while leading");
    expect(range(leader.node.ready().committedEntries)).toBe(expected);
  });

  test("is a leader's privilege, whoever it is granted to and when", () => {
    const storage = new MemoryStorage();
    storage.setConfState(newConfState({ voters: [1n, 2n, 3n] }));
    const follower = new TestNode(1n, { storage, autoApply: false });
    follower.act((raw) => raw.setMaxApplyUnpersistedLogLimit(100));
    follower.step(appendOf(1n, START, entriesOf(1n, 1n, 3n), 3n));
    expect(follower.raft.log.committed).toBe(3n);
    const ready = follower.node.ready();
    store(storage, ready);
    follower.act((raw) => raw.advanceAppendAsync(ready));
    expect(ready.committedEntries).toEqual([]);
    expect(follower.node.hasReady(), "before its disk has them").toBe(false);
  });

  test("can be configured, which raft-rs forgets at the first election (U14)", () => {
    const leader = leaderAheadOfItsDisk(3, "configured");
    expect(range(leader.node.ready().committedEntries)).toBe("1..4");
  });

  test("can be allowed to a node that leads later", () => {
    const leader = leaderAheadOfItsDisk(3, "set before");
    expect(range(leader.node.ready().committedEntries)).toBe("1..4");
  });

  test("ends with the leadership: what was handed out stays so, and nothing more comes (R8)", () => {
    const leader = leaderAheadOfItsDisk(3, "set while leading");
    const ready = leader.node.ready();
    leader.act((raw) => raw.advanceAppendAsync(ready));
    leader.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n, commit: 11n }));
    expect(leader.node.ready().committedEntries).toEqual([]);
    leader.act((raw) => raw.advanceApplyTo(4n));
    expect(leader.raft.log).toMatchObject({ applied: 4n, persisted: 1n });
  });

  test("may be forbidden while it is ahead (R6)", () => {
    const leader = leaderAheadOfItsDisk(3, "set while leading");
    leader.node.ready();
    leader.act((raw) => raw.setMaxApplyUnpersistedLogLimit(0));
    leader.act((raw) => raw.advanceApplyTo(4n));
    expect(leader.node.hasReady()).toBe(false);
    leader.act((raw) => raw.onPersistReady(leader.node.ready().number));
    expect(range(leader.node.ready().committedEntries)).toBe("5..11");
  });
});
