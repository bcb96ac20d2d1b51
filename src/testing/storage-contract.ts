// What every Storage must do, as cases that any test runner can run: one list for the project's own storages and for
// those of embedders. A case fails by throwing.

import assert from "node:assert/strict";
import { StorageError, type StorageErrorCode } from "../core/errors.js";
import type { GetEntriesContext, Storage } from "../core/log/storage.js";
import { entrySize, newConfState, newEntry, newNormalEntry } from "../core/messages.js";
import { type ConfState, type Entry, EntryType } from "../gen/eraftpb_pb.js";
import type { ContractCase } from "./contract-case.js";

/** A storage, and the writes that an embedder makes on behalf of a Ready. Each resolves when the core may read on. */
export interface StorageUnderTest {
  readonly storage: Storage;
  /** Replaces everything from the first entry's index on. */
  append(entries: readonly Entry[]): Promise<void>;
  /** Makes this the commit index, in term 1. */
  commitTo(index: bigint): Promise<void>;
  compact(index: bigint): Promise<void>;
  /** Replaces the log by a snapshot. */
  applySnapshot(index: bigint, term: bigint, confState: ConfState): Promise<void>;
  /** Closes and opens again whatever is behind it; absent for a storage that forgets. */
  reopen?(): Promise<StorageUnderTest>;
}

const NOW: GetEntriesContext = { canAsync: false, purpose: "other" };
const EVERYTHING = Number.POSITIVE_INFINITY;

/** `make` returns a blank storage: first index 1, last index 0. */
export function storageContract(make: () => Promise<StorageUnderTest>): readonly ContractCase[] {
  const cases: ContractCase[] = [];
  const add = (name: string, run: (log: StorageUnderTest) => Promise<void>): void => {
    cases.push({ name, run: async () => run(await make()) });
  };
  /** The same before and after whatever is behind the storage was closed and opened again. */
  const addDurable = (
    name: string,
    prepare: (log: StorageUnderTest) => Promise<void>,
    check: (log: StorageUnderTest) => void,
  ): void => {
    add(name, async (log) => {
      await prepare(log);
      check(log);
      if (log.reopen !== undefined) check(await log.reopen());
    });
  };

  addDurable(
    "a blank storage begins at 1 and holds nothing",
    async () => {},
    ({ storage }) => {
      assert.equal(storage.firstIndex(), 1n);
      assert.equal(storage.lastIndex(), 0n);
      assert.equal(storage.term(0n), 0n);
      const { hardState, confState } = storage.initialState();
      assert.deepEqual([hardState.term, hardState.vote, hardState.commit], [0n, 0n, 0n]);
      assert.deepEqual(confState, newConfState());
      assert.deepEqual(storage.entries(1n, 1n, EVERYTHING, NOW), []);
      assertStorageError("unavailable", () => storage.term(1n));
    },
  );

  addDurable(
    "entries come back as they were appended, field for field",
    async (log) => {
      await log.append(VARIED);
    },
    ({ storage }) => {
      assert.equal(storage.lastIndex(), BigInt(VARIED.length));
      const found = storage.entries(1n, BigInt(VARIED.length) + 1n, EVERYTHING, NOW);
      assert.deepEqual(found.map(plain), VARIED.map(plain));
    },
  );

  addDurable(
    "a range is half open and may lie anywhere in the log",
    (log) => log.append(run(1, 20, 1)),
    ({ storage }) => {
      assert.deepEqual(indexes(storage.entries(5n, 9n, EVERYTHING, NOW)), [5, 6, 7, 8]);
      assert.deepEqual(indexes(storage.entries(20n, 21n, EVERYTHING, NOW)), [20]);
      assert.deepEqual(storage.entries(7n, 7n, EVERYTHING, NOW), []);
      assert.deepEqual(storage.entries(21n, 21n, EVERYTHING, NOW), []);
    },
  );

  addDurable(
    "a size limit cuts the answer, but never below one entry",
    (log) => log.append(run(1, 20, 1)),
    ({ storage }) => {
      const size = entrySize(run(1, 1, 1)[0] ?? newNormalEntry(1n, 1n));
      assert.deepEqual(indexes(storage.entries(1n, 21n, 0, NOW)), [1]);
      assert.deepEqual(indexes(storage.entries(1n, 21n, size, NOW)), [1]);
      assert.deepEqual(indexes(storage.entries(1n, 21n, 3 * size, NOW)), [1, 2, 3]);
      assert.deepEqual(indexes(storage.entries(1n, 21n, 4 * size - 1, NOW)), [1, 2, 3]);
      assert.equal(storage.entries(1n, 21n, 20 * size, NOW).length, 20);
    },
  );

  addDurable(
    "every entry's term can be asked, no other index's",
    async (log) => {
      await log.append([...run(1, 3, 1), ...run(4, 4, 2), ...run(5, 9, 7)]);
    },
    ({ storage }) => {
      const terms = [0, 1, 1, 1, 2, 7, 7, 7, 7, 7];
      terms.forEach((term, index) => {
        assert.equal(storage.term(BigInt(index)), BigInt(term));
      });
      assertStorageError("unavailable", () => storage.term(10n));
    },
  );

  addDurable(
    "reading behind the last entry is unavailable",
    (log) => log.append(run(1, 5, 1)),
    ({ storage }) => {
      assertStorageError("unavailable", () => storage.entries(4n, 7n, EVERYTHING, NOW));
      assertStorageError("unavailable", () => storage.entries(9n, 10n, EVERYTHING, NOW));
    },
  );

  addDurable(
    "an append replaces everything from its first entry on",
    async (log) => {
      await log.append(run(1, 10, 1));
      await log.append(run(4, 5, 2));
    },
    ({ storage }) => {
      assert.equal(storage.lastIndex(), 5n);
      assert.deepEqual(terms(storage, 1n, 6n), [1, 1, 1, 2, 2]);
      assertStorageError("unavailable", () => storage.term(6n));
    },
  );

  addDurable(
    "an append may replace the whole log",
    async (log) => {
      await log.append(run(1, 3, 1));
      await log.append(run(1, 1, 2));
    },
    ({ storage }) => {
      assert.equal(storage.firstIndex(), 1n);
      assert.equal(storage.lastIndex(), 1n);
      assert.deepEqual(terms(storage, 1n, 2n), [2]);
    },
  );

  addDurable(
    "a suffix may be replaced again and again, longer and shorter",
    async (log) => {
      await log.append(run(1, 10, 1));
      await log.append(run(5, 30, 2));
      await log.append(run(8, 9, 3));
      await log.append(run(9, 12, 4));
      await log.append(run(13, 13, 4));
    },
    ({ storage }) => {
      assert.deepEqual(terms(storage, 1n, 14n), [1, 1, 1, 1, 2, 2, 2, 3, 4, 4, 4, 4, 4]);
      assert.equal(storage.lastIndex(), 13n);
    },
  );

  addDurable(
    "compaction keeps the term of the last entry that it takes away",
    async (log) => {
      await log.append([...run(1, 4, 1), ...run(5, 10, 3)]);
      await log.commitTo(10n);
      await log.compact(4n);
    },
    ({ storage }) => {
      assert.equal(storage.firstIndex(), 5n);
      assert.equal(storage.lastIndex(), 10n);
      assert.equal(storage.term(4n), 1n);
      assertStorageError("compacted", () => storage.term(3n));
      assertStorageError("compacted", () => storage.entries(4n, 6n, EVERYTHING, NOW));
      assert.deepEqual(indexes(storage.entries(5n, 11n, EVERYTHING, NOW)), [5, 6, 7, 8, 9, 10]);
    },
  );

  addDurable(
    "compacting everything leaves an empty log that goes on where it was",
    async (log) => {
      await log.append(run(1, 6, 2));
      await log.commitTo(6n);
      await log.compact(6n);
    },
    ({ storage }) => {
      assert.equal(storage.firstIndex(), 7n);
      assert.equal(storage.lastIndex(), 6n);
      assert.equal(storage.term(6n), 2n);
      assert.deepEqual(storage.entries(7n, 7n, EVERYTHING, NOW), []);
    },
  );

  addDurable(
    "appending goes on after everything was compacted",
    async (log) => {
      await log.append(run(1, 6, 2));
      await log.commitTo(6n);
      await log.compact(6n);
      await log.append(run(7, 8, 3));
    },
    ({ storage }) => {
      assert.deepEqual(indexes(storage.entries(7n, 9n, EVERYTHING, NOW)), [7, 8]);
      assert.equal(storage.term(6n), 2n);
      assert.equal(storage.term(7n), 3n);
    },
  );

  addDurable(
    "compacting what is compacted already changes nothing",
    async (log) => {
      await log.append(run(1, 6, 2));
      await log.commitTo(6n);
      await log.compact(4n);
      await log.compact(2n);
      await log.compact(4n);
    },
    ({ storage }) => {
      assert.equal(storage.firstIndex(), 5n);
      assert.equal(storage.term(4n), 2n);
    },
  );

  const members = newConfState({ voters: [1n, 2n], learners: [3n] });

  addDurable(
    "a snapshot replaces the whole log, entries behind it included",
    async (log) => {
      await log.append(run(1, 10, 1));
      await log.applySnapshot(5n, 2n, members);
    },
    ({ storage }) => {
      assert.equal(storage.firstIndex(), 6n);
      assert.equal(storage.lastIndex(), 5n);
      assert.equal(storage.term(5n), 2n);
      assertStorageError("compacted", () => storage.term(4n));
      assertStorageError("unavailable", () => storage.term(6n));
      const { hardState, confState } = storage.initialState();
      assert.ok(hardState.commit >= 5n, "the commit index lies before the snapshot");
      assert.deepEqual(confState, members);
    },
  );

  addDurable(
    "a snapshot far ahead of the log makes it go on from there",
    async (log) => {
      await log.append(run(1, 3, 1));
      await log.applySnapshot(1_000_000_000_000n, 9n, members);
      await log.append([newNormalEntry(9n, 1_000_000_000_001n), newNormalEntry(10n, 1_000_000_000_002n)]);
    },
    ({ storage }) => {
      assert.equal(storage.firstIndex(), 1_000_000_000_001n);
      assert.equal(storage.lastIndex(), 1_000_000_000_002n);
      assert.equal(storage.term(1_000_000_000_000n), 9n);
      assert.equal(storage.term(1_000_000_000_002n), 10n);
    },
  );

  addDurable(
    "entries that a snapshot dropped do not come back behind what is appended after it",
    async (log) => {
      await log.append(run(1, 10, 1));
      await log.applySnapshot(5n, 2n, members);
      await log.append(run(6, 7, 2));
    },
    ({ storage }) => {
      assert.equal(storage.lastIndex(), 7n);
      assert.deepEqual(terms(storage, 6n, 8n), [2, 2]);
      assertStorageError("unavailable", () => storage.term(8n));
    },
  );

  addDurable(
    "indexes and terms use all 64 bits",
    async (log) => {
      const index = 2n ** 63n;
      await log.applySnapshot(index, 2n ** 62n, members);
      await log.append([newNormalEntry(2n ** 64n - 1n, index + 1n)]);
    },
    ({ storage }) => {
      assert.equal(storage.lastIndex(), 2n ** 63n + 1n);
      assert.equal(storage.term(2n ** 63n + 1n), 2n ** 64n - 1n);
      assert.equal(storage.term(2n ** 63n), 2n ** 62n);
    },
  );

  addDurable(
    "the hard state is the one written last",
    async (log) => {
      await log.append(run(1, 10, 1));
      await log.commitTo(3n);
      await log.commitTo(7n);
    },
    ({ storage }) => {
      const { hardState } = storage.initialState();
      assert.deepEqual([hardState.term, hardState.commit], [1n, 7n]);
    },
  );

  add("what initialState returned is the caller's own", async (log) => {
    await log.applySnapshot(5n, 2n, members);
    log.storage.initialState().confState.voters.push(99n);
    log.storage.initialState().hardState.commit = 99n;
    assert.deepEqual(log.storage.initialState().confState, members);
    assert.equal(log.storage.initialState().hardState.commit, 5n);
  });

  return cases;
}

const VARIED: readonly Entry[] = [
  newNormalEntry(1n, 1n),
  newNormalEntry(1n, 2n, Uint8Array.of(1, 2, 3)),
  newNormalEntry(1n, 3n, new Uint8Array(0), Uint8Array.of(9)),
  newEntry(EntryType.EntryConfChange, 2n, 4n, Uint8Array.of(7), Uint8Array.of(8)),
  newEntry(EntryType.EntryConfChangeV2, 2n, 5n, new Uint8Array(100_000).fill(5), new Uint8Array(300).fill(6)),
  newNormalEntry(3n, 6n, new Uint8Array(4096).fill(1)),
];

function run(first: number, last: number, term: number): Entry[] {
  const entries: Entry[] = [];
  for (let index = first; index <= last; index += 1) {
    entries.push(newNormalEntry(BigInt(term), BigInt(index), new Uint8Array(10).fill(index)));
  }
  return entries;
}

function plain({ entryType, term, index, data, context }: Entry): unknown {
  return { entryType, term, index, data: [...data], context: [...context] };
}

function indexes(entries: readonly Entry[]): number[] {
  return entries.map((entry) => Number(entry.index));
}

/** The terms of a range, as the entries say and as `term` says. */
function terms(storage: Storage, low: bigint, high: bigint): number[] {
  const entries = storage.entries(low, high, EVERYTHING, NOW);
  for (const entry of entries) assert.equal(storage.term(entry.index), entry.term);
  return entries.map((entry) => Number(entry.term));
}

function assertStorageError(code: StorageErrorCode, run: () => unknown): void {
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof StorageError, `expected a StorageError, got ${String(error)}`);
    assert.equal(error.code, code);
    return true;
  });
}
