// Bugs between raft and its storage that raft-rs or etcd/raft had or have. Each test is named after the bug and fails
// with it.

import { describe, expect, test } from "vitest";
import {
  type Entry,
  type GetEntriesContext,
  MemoryStorage,
  newConfState,
  newHardState,
  newNormalEntry,
  StorageError,
} from "../../../src/core/index.js";
import { changeV1 } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { snapshotOf, TestNode } from "../../support/test-node.js";

/** Entries 1 to 4 of terms 1, 1, 2, 2, all committed by a node that has gone on to term 7. */
function filled(): MemoryStorage {
  const storage = new MemoryStorage();
  storage.append([1n, 1n, 2n, 2n].map((term, position) => newNormalEntry(term, BigInt(position + 1))));
  storage.setConfState(newConfState({ voters: [1n, 2n] }));
  storage.setHardState(newHardState(7n, 2n, 4n));
  return storage;
}

describe("MemoryStorage", () => {
  test("U11: knows the term before the first entry after compaction", () => {
    const storage = filled();
    storage.compact(2n);
    expect([storage.firstIndex(), storage.term(2n)]).toEqual([3n, 1n]);
    expect(new TestNode(1n, { storage }).raft.log.commitInfo()).toEqual({ index: 4n, term: 2n });
  });

  test("U11: stays where it is when everything is compacted, and does not fall back to an older snapshot", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotOf(5n, 1n, [1n]));
    storage.append([newNormalEntry(1n, 6n), newNormalEntry(1n, 7n)]);
    storage.compact(7n);
    expect([storage.firstIndex(), storage.lastIndex(), storage.term(7n)]).toEqual([8n, 7n, 1n]);
  });

  test("U11: has no snapshot for what is not applied yet, instead of another index on the same one", () => {
    expect(() => filled().snapshot(5n, 2n)).toThrow(StorageError);
  });

  test("U11: keeps its term when the commit index moves", () => {
    const storage = filled();
    storage.setHardState(newHardState(7n, 2n, 1n));
    storage.commitTo(3n);
    expect(storage.initialState().hardState).toMatchObject({ term: 7n, vote: 2n, commit: 3n });
  });

  test("R19: gives a snapshot the term of its last entry, not that of the hard state", () => {
    expect(filled().snapshot(0n, 2n).metadata).toMatchObject({ index: 4n, term: 2n });
  });
});

test("R10: a group is born in term 1 at index 1, so that a blank node that joins gets its first membership by snapshot", () => {
  const storage = MemoryStorage.withConfState({ voters: [1n] });
  expect([storage.firstIndex(), storage.term(1n)]).toEqual([2n, 1n]);
  const founder = new TestNode(1n, { storage });
  const blank = new TestNode(2n, { storage: new MemoryStorage() });
  const network = Network.of([founder, blank]);
  network.campaign(1);
  expect(founder.raft.term).toBe(2n);
  founder.proposeConfChange(changeV1("v2"));
  network.settle();
  network.tick(2);
  expect(blank.node.status().confState.voters).toEqual([1n, 2n]);
  expect(blank.raft.log.firstIndex()).toBeGreaterThan(1n);
});

describe("a storage that returns fewer entries than asked for", () => {
  /** One entry at a time, whatever the limit. */
  class Stingy extends MemoryStorage {
    override entries(low: bigint, high: bigint, maxBytes: number, context: GetEntriesContext): Entry[] {
      return super.entries(low, high, maxBytes, context).slice(0, 1);
    }
  }

  test("R24: loses nothing when a node restarts with entries to apply and takes more on", () => {
    const storage = new Stingy();
    storage.append([1n, 2n, 3n].map((index) => newNormalEntry(1n, index)));
    storage.setConfState(newConfState({ voters: [1n] }));
    storage.setHardState(newHardState(1n, 1n, 3n));
    const node = new TestNode(1n, { storage });
    node.node.campaign();
    node.settle();
    node.propose("x");
    node.settle();
    expect(node.committed.map(({ index }) => index)).toEqual([1n, 2n, 3n, 4n, 5n]);
  });

  test("R24: never gets entries of the unstable tail glued behind the gap", () => {
    const storage = new Stingy();
    storage.append([1n, 2n, 3n].map((index) => newNormalEntry(1n, index)));
    storage.setConfState(newConfState({ voters: [1n, 2n] }));
    storage.setHardState(newHardState(1n, 1n, 3n));
    const config = { maxApplyUnpersistedLogLimit: 10 };
    const { raft } = new TestNode(1n, { storage, config });
    raft.log.append([newNormalEntry(1n, 4n)]);
    const served = raft.log.slice(1n, 5n, Number.POSITIVE_INFINITY, { canAsync: false, purpose: "other" });
    expect(served.map(({ index }) => index)).toEqual([1n]);
  });
});
