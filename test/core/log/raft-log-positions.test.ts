// How the log moves: what an append replaces, and where committed, persisted and applied go. The promise behind all
// of it: nothing committed is ever replaced, and nothing is handed out to be applied before it is safe.

import { describe, expect, test } from "vitest";
import {
  InvariantViolation,
  MemoryStorage,
  NO_LIMIT,
  newConfState,
  newSnapshot,
} from "../../../src/core/index.js";
import { RaftLog } from "../../../src/core/log/raft-log.js";
import { entriesAt, places } from "../../support/entries.js";

const snapshotAt = (index: bigint, term: bigint) => newSnapshot(index, term, newConfState());

/** A log whose storage holds these terms behind (boundary, term). */
function logOf(boundary: readonly [index: bigint, term: bigint], ...terms: readonly bigint[]): RaftLog {
  const [index, term] = boundary;
  const storage = new MemoryStorage();
  storage.applySnapshot(snapshotAt(index, term));
  storage.append(entriesAt(index + 1n, ...terms));
  return new RaftLog(storage, 0n);
}

/** What an embedder does on `advanceAppendAsync`: the storage serves the tail from now on, durable or not. */
function handOver(log: RaftLog): void {
  const storage = storageOf(log);
  const { snapshot, entries } = log.unstable;
  if (snapshot?.metadata !== undefined) {
    storage.applySnapshot(snapshot);
    log.unstable.stableSnapshot(snapshot.metadata.index);
  }
  storage.append(entries);
  const last = entries.at(-1);
  if (last !== undefined) log.unstable.stableTo(last.index, last.term);
}

function storageOf(log: RaftLog): MemoryStorage {
  if (log.storage instanceof MemoryStorage) return log.storage;
  throw new Error("these logs lie in memory");
}

const all = (log: RaftLog): string[] =>
  places(log.slice(log.firstIndex(), log.lastIndex() + 1n, NO_LIMIT, { canAsync: false, purpose: "other" }));

describe("appending", () => {
  test.each([
    { why: "nothing", at: 3n, terms: [], last: 2n, holds: ["1/1", "2/2"], offset: 3n },
    { why: "at the end", at: 3n, terms: [2n], last: 3n, holds: ["1/1", "2/2", "3/2"], offset: 3n },
    { why: "over everything", at: 1n, terms: [2n], last: 1n, holds: ["1/2"], offset: 1n },
    { why: "over the last one", at: 2n, terms: [3n, 3n], last: 3n, holds: ["1/1", "2/3", "3/3"], offset: 2n },
  ])("$why: what is replaced becomes unstable again", ({ at, terms, last, holds, offset }) => {
    const log = logOf([0n, 0n], 1n, 2n);
    expect(log.append(entriesAt(at, ...terms))).toBe(last);
    expect(all(log)).toEqual(holds);
    expect(log.unstable.offset).toBe(offset);
  });

  test("never replaces what is committed", () => {
    const log = logOf([0n, 0n], 1n, 2n);
    log.commitTo(1n);
    expect(() => log.append(entriesAt(1n, 3n))).toThrow(InvariantViolation);
    expect(all(log)).toEqual(["1/1", "2/2"]);
  });
});

describe("an append of a leader, onto 1/1 2/2 3/3 with 1 committed", () => {
  const given = (): RaftLog => {
    const log = logOf([0n, 0n], 1n, 2n, 3n);
    log.commitTo(1n);
    return log;
  };

  test.each([
    { why: "another term stands before it", previous: [3n, 2n], at: 4n, terms: [4n], commit: 3n },
    { why: "nothing stands before it", previous: [4n, 3n], at: 5n, terms: [4n], commit: 3n },
    {
      why: "it names no term for a place behind the log (U7)",
      previous: [4n, 0n],
      at: 5n,
      terms: [4n],
      commit: 3n,
    },
  ] as const)("is refused: $why", ({ previous: [index, term], at, terms, commit }) => {
    const log = given();
    expect(log.maybeAppend({ index, term }, commit, entriesAt(at, ...terms))).toBeUndefined();
    expect(log).toMatchObject({ committed: 1n, persisted: 3n });
    expect(all(log)).toEqual(["1/1", "2/2", "3/3"]);
  });

  test.each([
    { after: [3n, 3n], terms: [], commit: 3n, matched: 3n, committed: 3n, persisted: 3n, why: "commits all" },
    { after: [3n, 3n], terms: [], commit: 4n, matched: 3n, committed: 3n, persisted: 3n, why: "not beyond" },
    {
      after: [3n, 3n],
      terms: [],
      commit: 2n,
      matched: 3n,
      committed: 2n,
      persisted: 3n,
      why: "as far as told",
    },
    { after: [3n, 3n], terms: [], commit: 0n, matched: 3n, committed: 1n, persisted: 3n, why: "never back" },
    // Only what this append vouches for, however long the log is (2.58).
    { after: [0n, 0n], terms: [], commit: 3n, matched: 0n, committed: 1n, persisted: 3n, why: "nothing new" },
    { after: [3n, 3n], terms: [4n], commit: 3n, matched: 4n, committed: 3n, persisted: 3n, why: "adds one" },
    {
      after: [3n, 3n],
      terms: [4n],
      commit: 4n,
      matched: 4n,
      committed: 4n,
      persisted: 3n,
      why: "commits it too",
    },
    {
      after: [3n, 3n],
      terms: [4n],
      commit: 5n,
      matched: 4n,
      committed: 4n,
      persisted: 3n,
      why: "not beyond",
    },
    {
      after: [3n, 3n],
      terms: [4n, 4n],
      commit: 5n,
      matched: 5n,
      committed: 5n,
      persisted: 3n,
      why: "adds two",
    },
    {
      after: [2n, 2n],
      terms: [4n],
      commit: 3n,
      matched: 3n,
      committed: 3n,
      persisted: 2n,
      why: "replaces 3",
    },
    {
      after: [1n, 1n],
      terms: [4n],
      commit: 3n,
      matched: 2n,
      committed: 2n,
      persisted: 1n,
      why: "replaces 2 and 3",
    },
    {
      after: [1n, 1n],
      terms: [4n, 4n],
      commit: 3n,
      matched: 3n,
      committed: 3n,
      persisted: 1n,
      why: "replaces both",
    },
    {
      after: [1n, 1n],
      terms: [2n, 4n, 4n],
      commit: 5n,
      matched: 4n,
      committed: 4n,
      persisted: 2n,
      why: "keeps 2",
    },
  ] as const)(
    "after $after: $why",
    ({ after: [index, term], terms, commit, matched, committed, persisted }) => {
      const log = given();
      const entries = entriesAt(index + 1n, ...terms);
      expect(log.maybeAppend({ index, term }, commit, entries)).toBe(matched);
      expect(log).toMatchObject({ committed, persisted });
      expect(all(log).slice(Number(index), Number(matched))).toEqual(places(entries));
    },
  );

  test("that comes late and repeats what is there truncates nothing (2.57)", () => {
    const log = given();
    expect(log.maybeAppend({ index: 0n, term: 0n }, 1n, entriesAt(1n, 1n, 2n))).toBe(2n);
    expect(all(log)).toEqual(["1/1", "2/2", "3/3"]);
    expect(log).toMatchObject({ committed: 1n, persisted: 3n });
  });

  test("that contradicts what is committed stops the node", () => {
    const log = given();
    expect(() => log.maybeAppend({ index: 0n, term: 0n }, 3n, entriesAt(1n, 4n))).toThrow(InvariantViolation);
    expect(all(log)).toEqual(["1/1", "2/2", "3/3"]);
  });
});

describe("the commit index", () => {
  test.each([
    { to: 3n, committed: 3n },
    { to: 1n, committed: 2n },
  ])("moves from 2 to $committed when told $to: never back", ({ to, committed }) => {
    const log = logOf([0n, 0n], 1n, 2n, 3n);
    log.commitTo(2n);
    log.commitTo(to);
    expect(log.committed).toBe(committed);
  });

  test("beyond the log means that this disk has lost data: the node stops and says what to do", () => {
    const log = logOf([0n, 0n], 1n, 2n, 3n);
    expect(() => log.commitTo(4n)).toThrow(/wipe it, add it again/);
    expect(log.committed).toBe(0n);
  });

  test.each([
    { index: 2n, term: 2n, moves: true },
    { index: 2n, term: 3n, moves: false },
    { index: 1n, term: 1n, moves: false },
    { index: 4n, term: 0n, moves: false },
  ])("moves to $index only if the entry there is of term $term: $moves", ({ index, term, moves }) => {
    const log = logOf([0n, 0n], 1n, 2n, 3n);
    log.commitTo(1n);
    expect(log.maybeCommit(index, term)).toBe(moves);
    expect(log.committed).toBe(moves ? index : 1n);
  });
});

describe("the persisted index, behind a snapshot at 5/2", () => {
  test.each([
    { index: 6n, term: 2n, added: [], persisted: 5n },
    { index: 5n, term: 2n, added: [], persisted: 5n },
    { index: 4n, term: 2n, added: [], persisted: 5n },
    { index: 6n, term: 3n, added: [], persisted: 5n },
    { index: 5n, term: 3n, added: [], persisted: 5n },
    { index: 4n, term: 3n, added: [], persisted: 5n },
    { index: 6n, term: 2n, added: [2n], persisted: 6n },
    { index: 5n, term: 2n, added: [2n], persisted: 5n },
    { index: 4n, term: 2n, added: [2n], persisted: 5n },
    { index: 6n, term: 3n, added: [2n], persisted: 5n },
    { index: 5n, term: 3n, added: [2n], persisted: 5n },
    { index: 4n, term: 3n, added: [2n], persisted: 5n },
  ])(
    "is $persisted after a write up to $index/$term, with $added behind",
    ({ index, term, added, persisted }) => {
      const log = logOf([5n, 2n]);
      log.append(entriesAt(6n, ...added));
      handOver(log);
      expect(log.maybePersist(index, term)).toBe(persisted > 5n);
      expect(log.persisted).toBe(persisted);
    },
  );

  test("never enters entries that the storage has not been handed", () => {
    const log = logOf([0n, 0n]);
    log.restore(snapshotAt(100n, 1n));
    for (const index of [101n, 102n]) {
      log.append(entriesAt(index, 1n));
      expect(log.maybePersist(index, 1n)).toBe(false);
    }
    expect(log.persisted).toBe(0n);
  });

  test("does not take A for durable when A was overwritten by B and came back, and only the first A is (ABA)", () => {
    const log = logOf([0n, 0n], 1n);
    log.append(entriesAt(2n, 2n));
    handOver(log);
    log.maybeAppend({ index: 1n, term: 1n }, 0n, entriesAt(2n, 3n));
    log.maybeAppend({ index: 1n, term: 1n }, 0n, entriesAt(2n, 2n));
    expect(log.maybePersist(2n, 2n)).toBe(false);
    expect(log.persisted).toBe(1n);
  });

  test("is not moved by a late write of entries that a snapshot has taken away since, while another waits", () => {
    const log = logOf([0n, 0n]);
    log.append(entriesAt(1n, 1n, 1n));
    handOver(log);
    log.restore(snapshotAt(1n, 1n));
    handOver(log);
    log.restore(snapshotAt(3n, 1n));
    expect(log.maybePersist(2n, 1n)).toBe(false);
    expect(log.persisted).toBe(0n);
  });

  test("is not moved by a write that ends where a snapshot ends that waits to replace it", () => {
    const log = logOf([0n, 0n]);
    log.append(entriesAt(1n, 1n, 1n, 1n));
    handOver(log);
    log.restore(snapshotAt(3n, 2n));
    expect(log.maybePersist(3n, 1n)).toBe(false);
    expect(log.maybePersist(2n, 1n), "what lies before it is on the disk").toBe(true);
    expect(log.persisted).toBe(2n);
  });

  test("is not moved by a write that ends where a snapshot of another term begins the log by now", () => {
    const log = logOf([0n, 0n]);
    log.append(entriesAt(1n, 1n, 1n));
    handOver(log);
    log.restore(snapshotAt(2n, 2n));
    handOver(log);
    expect(log.maybePersist(2n, 1n)).toBe(false);
    expect(log.persisted).toBe(0n);
  });

  test("does not need the term of an entry that is compacted by now", () => {
    const log = logOf([0n, 0n], 1n);
    log.append(entriesAt(2n, 1n, 1n, 1n));
    handOver(log);
    log.commitTo(4n);
    storageOf(log).compact(3n);
    expect(log.maybePersist(2n, 1n)).toBe(true);
    expect(log.persisted).toBe(2n);
  });
});

describe("a snapshot that replaces the log", () => {
  test("is committed at once and persisted when the disk has it", () => {
    const log = logOf([100n, 1n]);
    log.restore(snapshotAt(200n, 1n));
    expect(log).toMatchObject({ committed: 200n, persisted: 100n });
    log.append(entriesAt(201n, 1n, 1n));
    handOver(log);
    expect(log.maybePersistSnapshot(200n)).toBe(true);
    expect(log.maybePersist(202n, 1n)).toBe(true);
    expect(log.persisted).toBe(202n);
  });

  test("takes trust away from what was persisted beyond the old commit index (R21)", () => {
    const log = logOf([200n, 1n], 1n, 1n, 1n, 1n, 1n, 1n, 1n, 1n, 1n);
    expect(log.persisted).toBe(209n);
    log.restore(snapshotAt(205n, 1n));
    expect(log).toMatchObject({ committed: 205n, persisted: 200n });
    expect(() => log.restore(snapshotAt(204n, 1n))).toThrow(InvariantViolation);
  });

  test("an older one that reaches the disk later still counts (R23)", () => {
    const log = logOf([0n, 0n]);
    log.restore(snapshotAt(5n, 1n));
    handOver(log);
    log.restore(snapshotAt(8n, 1n));
    expect(log.maybePersistSnapshot(5n)).toBe(true);
    expect(log.maybePersistSnapshot(5n)).toBe(false);
    expect(log.persisted).toBe(5n);
  });

  test("that was never committed, or never handed over, cannot be on the disk", () => {
    const log = logOf([0n, 0n], 1n, 1n);
    expect(() => log.maybePersistSnapshot(3n)).toThrow(InvariantViolation);
    const longer = logOf([0n, 0n]);
    longer.append(entriesAt(1n, 1n, 1n, 1n));
    longer.commitTo(3n);
    for (const index of [1n, 2n, 3n]) {
      expect(() => longer.maybePersistSnapshot(index), "not handed over").toThrow(InvariantViolation);
    }
    expect(longer.persisted).toBe(0n);
    const uncommitted = logOf([0n, 0n]);
    uncommitted.append(entriesAt(1n, 1n, 1n, 1n));
    handOver(uncommitted);
    expect(() => uncommitted.maybePersistSnapshot(2n)).toThrow(InvariantViolation);
    expect(uncommitted.persisted).toBe(0n);
  });
});

describe("what may be applied, of 4 … 7 behind a snapshot at 3", () => {
  test.each([
    { applied: 0n, persisted: 3n, committed: 3n, next: [] },
    { applied: 0n, persisted: 3n, committed: 4n, next: [] },
    { applied: 0n, persisted: 4n, committed: 6n, next: [4] },
    { applied: 0n, persisted: 6n, committed: 4n, next: [4] },
    { applied: 0n, persisted: 5n, committed: 5n, next: [4, 5] },
    { applied: 0n, persisted: 5n, committed: 7n, next: [4, 5] },
    { applied: 0n, persisted: 7n, committed: 5n, next: [4, 5] },
    { applied: 3n, persisted: 4n, committed: 3n, next: [] },
    { applied: 3n, persisted: 5n, committed: 5n, next: [4, 5] },
    { applied: 3n, persisted: 6n, committed: 7n, next: [4, 5, 6] },
    { applied: 3n, persisted: 7n, committed: 6n, next: [4, 5, 6] },
    { applied: 4n, persisted: 5n, committed: 5n, next: [5] },
    { applied: 4n, persisted: 5n, committed: 7n, next: [5] },
    { applied: 4n, persisted: 7n, committed: 5n, next: [5] },
    { applied: 4n, persisted: 7n, committed: 7n, next: [5, 6, 7] },
    { applied: 5n, persisted: 5n, committed: 5n, next: [] },
    { applied: 5n, persisted: 7n, committed: 7n, next: [6, 7] },
    { applied: 7n, persisted: 7n, committed: 7n, next: [] },
  ])(
    "is $next behind $applied when $persisted are on this disk and $committed on a quorum's",
    ({ applied, persisted, committed, next }) =>
      expectNext({ applied, persisted, committed, limit: 0, next }),
  );

  test.each([
    { applied: 0n, persisted: 3n, committed: 3n, limit: 0, next: [] },
    { applied: 0n, persisted: 3n, committed: 4n, limit: 0, next: [] },
    { applied: 0n, persisted: 3n, committed: 4n, limit: NO_LIMIT, next: [4] },
    { applied: 0n, persisted: 4n, committed: 6n, limit: 0, next: [4] },
    { applied: 0n, persisted: 4n, committed: 6n, limit: 2, next: [4, 5, 6] },
    { applied: 0n, persisted: 4n, committed: 6n, limit: 6, next: [4, 5, 6] },
    { applied: 0n, persisted: 4n, committed: 10n, limit: 0, next: [4] },
    { applied: 0n, persisted: 4n, committed: 10n, limit: 2, next: [4, 5, 6] },
    { applied: 0n, persisted: 4n, committed: 10n, limit: 6, next: [4, 5, 6, 7, 8, 9, 10] },
    { applied: 0n, persisted: 4n, committed: 10n, limit: 7, next: [4, 5, 6, 7, 8, 9, 10] },
    { applied: 0n, persisted: 6n, committed: 4n, limit: 0, next: [4] },
    { applied: 0n, persisted: 6n, committed: 4n, limit: NO_LIMIT, next: [4] },
    { applied: 0n, persisted: 5n, committed: 5n, limit: 0, next: [4, 5] },
    { applied: 3n, persisted: 4n, committed: 3n, limit: NO_LIMIT, next: [] },
    { applied: 3n, persisted: 5n, committed: 5n, limit: NO_LIMIT, next: [4, 5] },
    { applied: 3n, persisted: 6n, committed: 7n, limit: NO_LIMIT, next: [4, 5, 6, 7] },
    { applied: 3n, persisted: 7n, committed: 6n, limit: NO_LIMIT, next: [4, 5, 6] },
    { applied: 4n, persisted: 5n, committed: 5n, limit: NO_LIMIT, next: [5] },
    { applied: 4n, persisted: 5n, committed: 7n, limit: NO_LIMIT, next: [5, 6, 7] },
    { applied: 4n, persisted: 5n, committed: 9n, limit: NO_LIMIT, next: [5, 6, 7, 8, 9] },
    { applied: 4n, persisted: 5n, committed: 10n, limit: NO_LIMIT, next: [5, 6, 7, 8, 9, 10] },
    { applied: 4n, persisted: 7n, committed: 5n, limit: NO_LIMIT, next: [5] },
    { applied: 4n, persisted: 7n, committed: 7n, limit: 0, next: [5, 6, 7] },
    { applied: 5n, persisted: 5n, committed: 5n, limit: 0, next: [] },
    { applied: 5n, persisted: 7n, committed: 7n, limit: NO_LIMIT, next: [6, 7] },
    { applied: 7n, persisted: 7n, committed: 7n, limit: NO_LIMIT, next: [] },
    // The limit was larger when 7 and 8 were applied (R6).
    { applied: 8n, persisted: 6n, committed: 8n, limit: 0, next: [] },
  ])(
    "is $next behind $applied, $limit entries ahead of the disk at $persisted, up to commit $committed",
    (row) => expectNext(row),
  );

  interface Row {
    readonly applied: bigint;
    readonly persisted: bigint;
    readonly committed: bigint;
    readonly limit: number;
    readonly next: readonly number[];
  }

  function expectNext({ applied, persisted, committed, limit, next }: Row): void {
    const log = logOf([3n, 1n]);
    log.maxApplyUnpersistedLogLimit = limit;
    log.append(entriesAt(4n, 1n, 1n, 1n, 1n, 1n, 1n, 1n));
    handOver(log);
    log.maybePersist(persisted, 1n);
    log.maybeCommit(committed, 1n);
    expect(log).toMatchObject({ persisted, committed });
    if (applied > 0n) log.appliedTo(applied);
    expect(log.hasNextEntriesSince(applied)).toBe(next.length > 0);
    expect(places(log.nextEntriesSince(applied, NO_LIMIT))).toEqual(next.map((index) => `${index}/1`));
  }

  test("goes forward only, and never beyond what is committed", () => {
    const log = logOf([3n, 1n], 1n, 1n);
    log.commitTo(4n);
    log.appliedTo(4n);
    expect(() => log.appliedTo(3n)).toThrow(InvariantViolation);
    expect(() => log.appliedTo(5n)).toThrow(InvariantViolation);
    expect(log.applied).toBe(4n);
  });
});

test("a vote message tells nothing of a commit index whose term the storage has compacted away", () => {
  const log = logOf([0n, 0n], 1n, 1n, 1n);
  log.commitTo(1n);
  storageOf(log).compact(3n);
  expect(log.commitInfo()).toEqual({ index: 0n, term: 0n });
});

test("a vote message tells how far the log is committed, and in which term", () => {
  const log = logOf([3n, 1n], 2n, 2n);
  expect(log.commitInfo()).toEqual({ index: 3n, term: 1n });
  log.commitTo(4n);
  expect(log.commitInfo()).toEqual({ index: 4n, term: 2n });
});
