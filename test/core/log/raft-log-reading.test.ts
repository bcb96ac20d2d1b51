// What can be read from a log that lies half in the storage and half in the unstable tail: terms, entries within
// limits, and where two logs part. Outside of the log the answers are typed errors, never a silent zero.

import { describe, expect, test } from "vitest";
import {
  type Entry,
  EntryType,
  type GetEntriesContext,
  InvariantViolation,
  MemoryStorage,
  NO_LIMIT,
  newConfState,
  newSnapshot,
} from "../../../src/core/index.js";
import { RaftLog } from "../../../src/core/log/raft-log.js";
import { entrySize, newEntry } from "../../../src/core/messages.js";
import { entriesAt, errorCodeOf, places } from "../../support/entries.js";

const CONTEXT: GetEntriesContext = { canAsync: false, purpose: "other" };

interface Given {
  /** The last position that is compacted. */
  readonly boundary?: { readonly index: bigint; readonly term: bigint };
  readonly stored?: readonly bigint[];
  readonly unstable?: readonly bigint[];
}

/** A log of these terms, behind `boundary`. */
function logOf({ boundary = { index: 0n, term: 0n }, stored = [], unstable = [] }: Given): {
  log: RaftLog;
  storage: MemoryStorage;
} {
  const storage = new MemoryStorage();
  storage.applySnapshot(newSnapshot(boundary.index, boundary.term, newConfState()));
  storage.append(entriesAt(boundary.index + 1n, ...stored));
  const log = new RaftLog(storage, 0n);
  log.append(entriesAt(boundary.index + 1n + BigInt(stored.length), ...unstable));
  return { log, storage };
}

/** A log whose entry at each index has that index as its term. */
function logCountingFrom(boundary: bigint, firstUnstable: bigint, last: bigint) {
  const terms = (from: bigint, to: bigint) =>
    Array.from({ length: Number(to - from) }, (_, position) => from + BigInt(position));
  return logOf({
    boundary: { index: boundary, term: boundary },
    stored: terms(boundary + 1n, firstUnstable),
    unstable: terms(firstUnstable, last + 1n),
  });
}

const read = (log: RaftLog, low: bigint, high: bigint, maxBytes = NO_LIMIT): string[] =>
  places(log.slice(low, high, maxBytes, CONTEXT));

const all = (log: RaftLog): string[] => read(log, log.firstIndex(), log.lastIndex() + 1n);

describe("a term", () => {
  const { log } = logOf({
    boundary: { index: 100n, term: 1n },
    unstable: Array.from({ length: 99 }, (_, position) => BigInt(position + 1)),
  });

  // raft-rs answers 0 at 99 and 200, and a message that names no term would match there (U7).
  test.each([
    { at: 99n, answer: "compacted", why: "before what is kept" },
    { at: 100n, answer: 1n, why: "just before the first entry" },
    { at: 150n, answer: 50n, why: "in the middle" },
    { at: 199n, answer: 99n, why: "of the last entry" },
    { at: 200n, answer: "unavailable", why: "behind the last entry" },
  ])("at $at is $answer: $why", ({ at, answer }) => {
    const ask = () => log.term(at);
    expect(typeof answer === "bigint" ? ask() : errorCodeOf(ask)).toBe(answer);
    expect(log.maybeTerm(at)).toBe(typeof answer === "bigint" ? answer : undefined);
    expect(log.matchTerm(at, 0n)).toBe(false);
  });

  test.each([
    { at: 10_064n, term: undefined, why: "what the storage holds is about to be replaced" },
    { at: 10_065n, term: undefined, why: "it lies between the storage and the snapshot" },
    { at: 10_068n, term: undefined, why: "it lies between the storage and the snapshot" },
    { at: 10_069n, term: 1n, why: "it is the snapshot's own" },
  ])("at $at under a snapshot that waits is $term: $why", ({ at, term }) => {
    const { log } = logOf({ boundary: { index: 10_064n, term: 1n } });
    log.restore(newSnapshot(10_069n, 1n, newConfState()));
    expect(log.maybeTerm(at)).toBe(term);
    if (term === undefined) expect(errorCodeOf(() => log.term(at))).toBe("compacted");
  });
});

describe("a log at its start", () => {
  test("stands at what the storage holds, and nothing of it is unstable", () => {
    const { log } = logOf({ boundary: { index: 1000n, term: 1000n }, stored: [1000n, 1001n] });
    expect(all(log)).toEqual(["1001/1000", "1002/1001"]);
    expect(log).toMatchObject({ committed: 1000n, persisted: 1002n, applied: 1000n });
    expect(log.unstable.offset).toBe(1003n);
    expect([1000n, 1001n, 1002n].map((index) => log.term(index))).toEqual([1000n, 1000n, 1001n]);
  });

  test.each([
    { stored: [1n, 2n], unstable: [], tail: [] },
    { stored: [], unstable: [1n, 2n], tail: ["1/1", "2/2"] },
  ])("hands out as unstable what the storage lacks: $tail", ({ stored, unstable, tail }) => {
    const { log } = logOf({ stored, unstable });
    expect(places(log.unstable.entries)).toEqual(tail);
    log.unstable.stableTo(2n, 2n);
    expect(log.unstable.entries).toEqual([]);
    expect(log.unstable.offset).toBe(3n);
  });
});

describe("a tail that replaces the end of what is stored", () => {
  const { log } = logOf({ stored: [1n, 1n, 1n, 1n, 1n] });
  log.append(entriesAt(3n, 2n));

  test("ends the log, whatever the storage still holds behind it", () => {
    expect(log.lastIndex()).toBe(3n);
    expect(errorCodeOf(() => log.term(4n))).toBe("unavailable");
    expect(log.maybeTerm(4n)).toBeUndefined();
    expect(errorCodeOf(() => read(log, 3n, 5n))).toBe("unavailable");
  });
});

test("a storage is told what each read is for", () => {
  const { storage } = logOf({ stored: [1n, 1n] });
  const contexts: GetEntriesContext[] = [];
  const read = storage.entries.bind(storage);
  storage.entries = (low, high, maxBytes, context) => {
    contexts.push(context);
    return read(low, high, maxBytes, context);
  };
  const log = new RaftLog(storage, 0n);
  log.commitTo(2n);
  expect(places(log.nextEntriesSince(0n, NO_LIMIT))).toEqual(["1/1", "2/1"]);
  expect(contexts).toEqual([{ canAsync: false, purpose: "ready" }]);
});

describe("compaction below a log", () => {
  test("takes nothing from the unstable tail, nor from the terms that are left", () => {
    const { log, storage } = logCountingFrom(0n, 751n, 1000n);
    expect(log.maybeCommit(1000n, 1000n)).toBe(true);
    storage.compact(500n);
    expect([log.firstIndex(), log.lastIndex()]).toEqual([501n, 1000n]);
    for (let index = 500n; index <= 1000n; index += 1n) expect(log.matchTerm(index, index)).toBe(true);
    expect(log.unstable.entries).toHaveLength(250);
    expect(log.unstable.entries[0]?.index).toBe(751n);
    expect(log.append(entriesAt(1001n, 1001n))).toBe(1001n);
    expect(read(log, 1001n, 1002n)).toEqual(["1001/1001"]);
  });

  test("leaves what follows, and a repeated or an older one is nothing", () => {
    const { log, storage } = logOf({ stored: new Array<bigint>(1000).fill(1n) });
    const left = [300n, 500n, 800n, 900n, 900n, 300n].map((upTo) => {
      storage.compact(upTo);
      return all(log).length;
    });
    expect(left).toEqual([700, 500, 200, 100, 100, 100]);
    expect(errorCodeOf(() => storage.compact(1001n))).toBe("unavailable");
  });
});

describe("a slice", () => {
  // 101 … 149 are stored, 150 … 199 unstable.
  const { log } = logCountingFrom(100n, 150n, 199n);
  const size = log.slice(150n, 151n, NO_LIMIT, CONTEXT).reduce((bytes, entry) => bytes + entrySize(entry), 0);

  test.each([
    { low: 99n, high: 101n, code: "compacted" },
    { low: 100n, high: 102n, code: "compacted" },
    { low: 100n, high: 101n, code: "compacted" },
    { low: 101n, high: 101n, code: undefined },
    { low: 151n, high: 151n, code: undefined },
    { low: 200n, high: 200n, code: undefined },
    { low: 199n, high: 200n, code: undefined },
    { low: 199n, high: 201n, code: "unavailable" },
    { low: 200n, high: 201n, code: "unavailable" },
  ])("of [$low, $high) fails with $code", ({ low, high, code }) => {
    expect(errorCodeOf(() => log.slice(low, high, NO_LIMIT, CONTEXT))).toBe(code);
  });

  test.each([
    { low: 101n, high: 102n, maxBytes: NO_LIMIT, has: [101] },
    { low: 149n, high: 151n, maxBytes: NO_LIMIT, has: [149, 150] },
    { low: 150n, high: 151n, maxBytes: NO_LIMIT, has: [150] },
    { low: 198n, high: 199n, maxBytes: NO_LIMIT, has: [198] },
    { low: 149n, high: 151n, maxBytes: 0, has: [149] },
    { low: 149n, high: 151n, maxBytes: size + 1, has: [149] },
    { low: 148n, high: 151n, maxBytes: size + 1, has: [148] },
    { low: 149n, high: 151n, maxBytes: size * 2, has: [149, 150] },
    { low: 149n, high: 152n, maxBytes: size * 3, has: [149, 150, 151] },
    { low: 149n, high: 152n, maxBytes: size * 3 - 1, has: [149, 150] },
    { low: 150n, high: 152n, maxBytes: size, has: [150] },
    { low: 150n, high: 152n, maxBytes: size * 2, has: [150, 151] },
  ])("of [$low, $high) within $maxBytes bytes has $has", ({ low, high, maxBytes, has }) => {
    expect(read(log, low, high, maxBytes)).toEqual(has.map((index) => `${index}/${index}`));
  });

  test("has nothing of what a waiting snapshot replaces, though the storage still serves it", () => {
    const { log } = logOf({ stored: [1n, 1n, 1n, 1n] });
    log.restore(newSnapshot(3n, 2n, newConfState()));
    expect(errorCodeOf(() => read(log, 1n, 3n))).toBe("compacted");
    expect(errorCodeOf(() => read(log, 3n, 4n))).toBe("compacted");
    expect(errorCodeOf(() => read(log, 4n, 5n))).toBe("unavailable");
  });

  test("from beyond the end on is empty, like one up to where it begins", () => {
    const { log } = logOf({ stored: [1n], unstable: [1n] });
    for (const low of [3n, 4n, 9n]) expect(log.entriesFrom(low, NO_LIMIT, CONTEXT)).toEqual([]);
    log.commitTo(2n);
    for (const since of [2n, 3n, 9n]) expect(log.nextEntriesSince(since, NO_LIMIT)).toEqual([]);
  });

  test("never glues the tail behind a gap when the storage returned fewer than asked (2.65)", () => {
    const { log } = logOf({ stored: [1n, 1n, 1n], unstable: [1n] });
    log.storage.entries = (low: bigint) => entriesAt(low, 1n);
    expect(read(log, 1n, 5n)).toEqual(["1/1"]);
  });
});

describe("looking for a membership change", () => {
  class CountingStorage extends MemoryStorage {
    reads = 0;
    override entries(...args: Parameters<MemoryStorage["entries"]>): readonly Entry[] {
      this.reads += 1;
      return super.entries(...args);
    }
  }

  const NONE = new Uint8Array(0);
  const entryAt = (index: bigint, changes: ReadonlySet<bigint>): Entry =>
    newEntry(changes.has(index) ? EntryType.EntryConfChangeV2 : EntryType.EntryNormal, 1n, index, NONE, NONE);

  /** Ten entries, the last three of them unstable. */
  function logWithChangesAt(...indexes: bigint[]): { log: RaftLog; storage: CountingStorage } {
    const changes = new Set(indexes);
    const storage = new CountingStorage();
    const entries = Array.from({ length: 10 }, (_, position) => entryAt(BigInt(position + 1), changes));
    storage.append(entries.slice(0, 7));
    const log = new RaftLog(storage, 0n);
    log.append(entries.slice(7));
    return { log, storage };
  }

  const size = entrySize(entryAt(1n, new Set()));

  test.each([0, 1, size, size + 1, 3 * size, NO_LIMIT])(
    "finds the same in pages of %d bytes as in one piece",
    (pageBytes) => {
      for (const at of [3n, 7n, 8n, 10n]) {
        const { log } = logWithChangesAt(at);
        for (let low = 1n; low <= 10n; low += 1n) {
          for (let high = low; high <= 11n; high += 1n) {
            const found = log.hasConfChange(low, high, pageBytes, CONTEXT);
            expect(found, `change at ${at}, [${low}, ${high})`).toBe(low <= at && at < high);
          }
        }
      }
    },
  );

  test("stops the node when the storage returns nothing for entries that it has, instead of asking for ever", () => {
    const { log, storage } = logWithChangesAt(10n);
    storage.entries = () => [];
    expect(() => log.hasConfChange(1n, 11n, NO_LIMIT, CONTEXT)).toThrow(InvariantViolation);
  });

  test("stops at the first page that has one, and fills its pages (R5)", () => {
    // A membership change is two bytes larger than an empty entry.
    const pageBytes = 2 * size + 2;
    const early = logWithChangesAt(2n);
    expect(early.log.hasConfChange(1n, 11n, pageBytes, CONTEXT)).toBe(true);
    expect(early.storage.reads).toBe(1);
    const late = logWithChangesAt(10n);
    expect(late.log.hasConfChange(1n, 11n, pageBytes, CONTEXT)).toBe(true);
    // 1 and 2, 3 and 4, 5 and 6, 7 with 8 from the tail; the rest needs no storage.
    expect(late.storage.reads).toBe(4);
  });
});

describe("whether another log is at least as complete", () => {
  const { log } = logOf({ unstable: [1n, 2n, 3n] });

  test.each([
    { lastIndex: 2n, lastTerm: 4n, upToDate: true, why: "the later term wins" },
    { lastIndex: 3n, lastTerm: 4n, upToDate: true, why: "the later term wins" },
    { lastIndex: 4n, lastTerm: 4n, upToDate: true, why: "the later term wins" },
    { lastIndex: 2n, lastTerm: 2n, upToDate: false, why: "the earlier term loses" },
    { lastIndex: 3n, lastTerm: 2n, upToDate: false, why: "the earlier term loses" },
    { lastIndex: 4n, lastTerm: 2n, upToDate: false, why: "the earlier term loses, however long" },
    { lastIndex: 2n, lastTerm: 3n, upToDate: false, why: "same term, shorter" },
    { lastIndex: 3n, lastTerm: 3n, upToDate: true, why: "the same end" },
    { lastIndex: 4n, lastTerm: 3n, upToDate: true, why: "same term, longer" },
  ])("$lastIndex/$lastTerm against 3/3 is $upToDate: $why", ({ lastIndex, lastTerm, upToDate }) => {
    expect(log.isUpToDate(lastIndex, lastTerm)).toBe(upToDate);
  });
});

describe("the first entry that is not in the log", () => {
  const { log } = logOf({ unstable: [1n, 2n, 3n] });

  test.each([
    { at: 1n, terms: [], conflict: undefined, why: "there are none" },
    { at: 1n, terms: [1n, 2n, 3n], conflict: undefined, why: "all are there" },
    { at: 2n, terms: [2n, 3n], conflict: undefined, why: "all are there" },
    { at: 3n, terms: [3n], conflict: undefined, why: "it is there" },
    { at: 1n, terms: [1n, 2n, 3n, 4n, 4n], conflict: 4n, why: "new" },
    { at: 2n, terms: [2n, 3n, 4n, 4n], conflict: 4n, why: "new" },
    { at: 3n, terms: [3n, 4n, 4n], conflict: 4n, why: "new" },
    { at: 4n, terms: [4n, 4n], conflict: 4n, why: "new" },
    { at: 1n, terms: [4n, 4n], conflict: 1n, why: "another stands there" },
    { at: 2n, terms: [1n, 4n, 4n], conflict: 2n, why: "another stands there" },
    { at: 3n, terms: [1n, 2n, 4n, 4n], conflict: 3n, why: "another stands there" },
  ])("of $terms from $at on is at $conflict: $why", ({ at, terms, conflict }) => {
    expect(log.findConflict(entriesAt(at, ...terms))).toBe(conflict);
  });
});

describe("the last place where a log of another term may agree", () => {
  const whole = logOf({ stored: [2n, 2n], unstable: [5n, 5n, 5n] }).log;
  const compacted = logOf({
    boundary: { index: 10n, term: 3n },
    stored: [3n, 3n],
    unstable: [4n, 4n, 4n],
  }).log;

  test.each([
    { from: 100n, term: 2n, index: 100n, known: undefined },
    { from: 5n, term: 6n, index: 5n, known: 5n },
    { from: 5n, term: 5n, index: 5n, known: 5n },
    { from: 5n, term: 4n, index: 2n, known: 2n },
    { from: 5n, term: 2n, index: 2n, known: 2n },
    { from: 5n, term: 1n, index: 0n, known: 0n },
    { from: 1n, term: 2n, index: 1n, known: 2n },
    { from: 1n, term: 1n, index: 0n, known: 0n },
    { from: 0n, term: 0n, index: 0n, known: 0n },
  ])("from $from down, term $term: $index in a whole log", ({ from, term, index, known }) => {
    expect(whole.findConflictByTerm(from, term)).toEqual({ index, term: known });
  });

  test.each([
    { from: 30n, term: 3n, index: 30n, known: undefined },
    { from: 14n, term: 9n, index: 14n, known: 4n },
    { from: 14n, term: 4n, index: 14n, known: 4n },
    { from: 14n, term: 3n, index: 12n, known: 3n },
    { from: 14n, term: 2n, index: 9n, known: undefined },
    { from: 11n, term: 5n, index: 11n, known: 3n },
    { from: 10n, term: 5n, index: 10n, known: 3n },
    { from: 10n, term: 3n, index: 10n, known: 3n },
    { from: 10n, term: 2n, index: 9n, known: undefined },
    { from: 9n, term: 2n, index: 9n, known: undefined },
    { from: 4n, term: 2n, index: 4n, known: undefined },
    { from: 0n, term: 0n, index: 0n, known: undefined },
  ])("from $from down, term $term: $index in a compacted log", ({ from, term, index, known }) => {
    expect(compacted.findConflictByTerm(from, term)).toEqual({ index, term: known });
  });
});
