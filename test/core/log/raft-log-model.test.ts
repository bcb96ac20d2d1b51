// RaftLog against a plain array, and against the disk: whatever is appended, replaced, handed over, written,
// compacted or restored, in any order, the log answers as the array does, and every entry that it takes for
// persisted is on the disk as it is in the log.

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type Entry,
  type GetEntriesContext,
  InvariantViolation,
  MemoryStorage,
  NO_LIMIT,
  newConfState,
  newSnapshot,
  type Snapshot,
} from "../../../src/core/index.js";
import { RaftLog } from "../../../src/core/log/raft-log.js";
import { limitSize, snapshotPosition } from "../../../src/core/messages.js";
import { maxOf, minOf } from "../../../src/core/types.js";
import { entriesAt, errorCodeOf, places } from "../../support/entries.js";
import { propertyRuns } from "../../support/property.js";

const CONTEXT: GetEntriesContext = { canAsync: false, purpose: "other" };

/** A log as its terms: `terms[0]` is that of `boundary`, just before the first entry. */
class PlainLog {
  boundary = 0n;
  terms: bigint[] = [0n];

  get last(): bigint {
    return this.boundary + BigInt(this.terms.length) - 1n;
  }

  term(index: bigint): bigint | undefined {
    return index < this.boundary ? undefined : this.terms[Number(index - this.boundary)];
  }

  replaceFrom(index: bigint, terms: readonly bigint[]): void {
    this.terms = [...this.terms.slice(0, Number(index - this.boundary)), ...terms];
  }

  cutBefore(index: bigint): void {
    this.terms = this.terms.slice(Number(index - this.boundary));
    this.boundary = index;
  }

  become(index: bigint, term: bigint): void {
    this.boundary = index;
    this.terms = [term];
  }

  entries(): Entry[] {
    return entriesAt(this.boundary + 1n, ...this.terms.slice(1));
  }
}

/** One write that was handed to the disk. */
interface Write {
  readonly snapshot: Snapshot | undefined;
  readonly entries: readonly Entry[];
}

/** A log, its model, and a disk that is behind by the writes under way. */
class Bench {
  readonly storage = new MemoryStorage();
  readonly log = new RaftLog(this.storage, 0n);
  readonly plain = new PlainLog();
  readonly disk = new PlainLog();
  #underWay: Write[] = [];
  /** Which term stands before each `index/term` that there ever was. */
  readonly #termBefore = new Map<string, bigint>();
  committed = 0n;
  #newestTerm = 0n;

  /** A leader's append; `rise` of each entry is what its term is above the one before. */
  append(back: bigint, previousTermIsRight: boolean, rises: readonly bigint[], commit: bigint): void {
    const { log, plain } = this;
    const index = maxOf(plain.last - back, plain.boundary);
    const previousTerm = plain.term(index) ?? 0n;
    const previous = { index, term: previousTermIsRight ? previousTerm : previousTerm + 1n };
    let term = previousTerm;
    const terms = rises.map((rise) => {
      term += rise;
      this.#newestTerm = maxOf(this.#newestTerm, term);
      return term;
    });
    const entries = entriesAt(index + 1n, ...terms);
    if (!this.#keepsLogMatching(previousTerm, entries)) return;
    if (!previousTermIsRight) {
      expect(log.maybeAppend(previous, commit, entries)).toBeUndefined();
      return;
    }
    const conflict = entries.find((entry) => plain.term(entry.index) !== entry.term)?.index;
    expect(log.findConflict(entries)).toBe(conflict);
    if (conflict !== undefined && conflict <= this.committed) {
      expect(() => log.maybeAppend(previous, commit, entries)).toThrow(InvariantViolation);
      return;
    }
    const lastNew = index + BigInt(terms.length);
    expect(log.maybeAppend(previous, commit, entries)).toBe(lastNew);
    if (conflict !== undefined) plain.replaceFrom(conflict, terms.slice(Number(conflict - index - 1n)));
    this.committed = maxOf(this.committed, minOf(commit, lastNew));
  }

  /** In Raft an entry's index and term tell its whole past (paper §5.3); no leader sends anything else. */
  #keepsLogMatching(previousTerm: bigint, entries: readonly Entry[]): boolean {
    const before = entries.map((_, position) => entries[position - 1]?.term ?? previousTerm);
    const keys = places(entries);
    if (keys.some((key, position) => (this.#termBefore.get(key) ?? before[position]) !== before[position])) {
      return false;
    }
    for (const [position, term] of before.entries()) this.#termBefore.set(keys[position] ?? "", term);
    return true;
  }

  /** As `ready()` and `advanceAppendAsync`: the storage serves the tail from now on, the disk will follow. */
  handOver(): void {
    const { log, storage } = this;
    const { snapshot } = log.unstable;
    const entries = [...log.unstable.entries];
    if (snapshot !== undefined) {
      storage.applySnapshot(snapshot);
      log.unstable.stableSnapshot(snapshotPosition(snapshot).index);
    }
    storage.append(entries);
    const last = entries.at(-1);
    if (last !== undefined) log.unstable.stableTo(last.index, last.term);
    if (snapshot !== undefined || last !== undefined) this.#underWay.push({ snapshot, entries });
  }

  /** As `onPersistReady`: the oldest write has reached the disk. */
  completeWrite(): void {
    const write = this.#underWay.shift();
    if (write === undefined) return;
    const { snapshot, entries } = write;
    if (snapshot !== undefined) {
      const { index, term } = snapshotPosition(snapshot);
      this.disk.become(index, term);
      this.log.maybePersistSnapshot(index);
    }
    const [first] = entries;
    const last = entries.at(-1);
    if (first === undefined || last === undefined) return;
    this.disk.replaceFrom(
      first.index,
      entries.map(({ term }) => term),
    );
    this.log.maybePersist(last.index, last.term);
  }

  /** Applies what may be applied, then forgets some of it. */
  compact(back: bigint): void {
    const { log, plain, storage } = this;
    const next = log.nextEntriesSince(log.applied, NO_LIMIT).at(-1);
    if (next !== undefined) log.appliedTo(next.index);
    const upTo = log.applied - back;
    if (log.unstable.snapshot !== undefined || upTo <= plain.boundary || upTo > storage.lastIndex()) return;
    storage.compact(upTo);
    plain.cutBefore(upTo);
  }

  restore(ahead: bigint): void {
    const index = this.committed + ahead;
    if (index === 0n) return;
    // What is committed is the same everywhere; beyond, a leader of a new term may have gone on.
    this.#newestTerm += 1n;
    const term = (ahead === 0n ? this.plain.term(index) : undefined) ?? this.#newestTerm;
    this.log.restore(newSnapshot(index, term, newConfState()));
    this.plain.become(index, term);
    this.committed = index;
    // An embedder applies the snapshot when it takes it.
    this.log.appliedTo(index);
  }

  check(): void {
    const { log, plain } = this;
    expect([log.firstIndex(), log.lastIndex()]).toEqual([plain.boundary + 1n, plain.last]);
    expect(log.committed).toBe(this.committed);
    for (let index = plain.boundary; index <= plain.last; index += 1n) {
      expect(log.term(index)).toBe(plain.term(index));
      // The heart of it. A snapshot on the disk stands for everything up to its index.
      if (index <= log.persisted && index > this.disk.boundary) {
        expect(this.disk.term(index), `persisted ${log.persisted}, but not ${index}`).toBe(plain.term(index));
      }
    }
    if (plain.boundary > 0n) expect(errorCodeOf(() => log.term(plain.boundary - 1n))).toBe("compacted");
    expect(errorCodeOf(() => log.term(plain.last + 1n))).toBe("unavailable");
    expect(log.appliedIndexUpperBound()).toBe(minOf(log.committed, log.persisted));
  }

  /** Every slice, as a whole and within a limit. */
  checkSlices(maxBytes: number): void {
    const { log, plain } = this;
    const all = plain.entries();
    for (let from = 0; from <= all.length; from += 1) {
      for (let to = from; to <= all.length; to += 1) {
        const [low, high] = [plain.boundary + 1n + BigInt(from), plain.boundary + 1n + BigInt(to)];
        const whole = all.slice(from, to);
        expect(places(log.slice(low, high, NO_LIMIT, CONTEXT))).toEqual(places(whole));
        expect(places(log.slice(low, high, maxBytes, CONTEXT))).toEqual(places(limitSize(whole, maxBytes)));
      }
    }
  }

  /** The search jumps; walking down entry by entry must lead to the same place. */
  checkConflictSearch(): void {
    const { log, plain } = this;
    for (let from = plain.boundary; from <= plain.last; from += 1n) {
      for (let term = 0n; term <= log.lastTerm() + 1n; term += 1n) {
        let index = from;
        while (index >= plain.boundary && (plain.term(index) ?? 0n) > term) index -= 1n;
        const expected = { index: maxOf(index, 0n), term: plain.term(index) };
        expect(log.findConflictByTerm(from, term), `from ${from}, term ${term}`).toEqual(expected);
      }
    }
  }
}

const action = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      back: fc.bigInt(0n, 4n),
      right: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.constant(false)),
      rises: fc.array(fc.bigInt(0n, 2n), { maxLength: 4 }),
      commit: fc.bigInt(0n, 20n),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("handOver" as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("completeWrite" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.bigInt(0n, 3n) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restore" as const), ahead: fc.bigInt(0n, 4n) }) },
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

function take(bench: Bench, step: Action): void {
  switch (step.kind) {
    case "append":
      bench.append(step.back, step.right, step.rises, step.commit);
      return;
    case "handOver":
      bench.handOver();
      return;
    case "completeWrite":
      bench.completeWrite();
      return;
    case "compact":
      bench.compact(step.back);
      return;
    case "restore":
      bench.restore(step.ahead);
  }
}

test("a log answers as a plain array does, and takes for persisted only what the disk holds", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
      const bench = new Bench();
      for (const step of actions) {
        take(bench, step);
        bench.check();
      }
    }),
    propertyRuns(2_000),
  );
});

test("every slice of a log is that of a plain array, whole and within any limit", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 15 }), fc.nat(40), (actions, maxBytes) => {
      const bench = new Bench();
      for (const step of actions) take(bench, step);
      bench.checkSlices(maxBytes);
    }),
    propertyRuns(300),
  );
});

test("the search for where two logs part finds what walking down entry by entry finds", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 20 }), (actions) => {
      const bench = new Bench();
      for (const step of actions) take(bench, step);
      bench.checkConflictSearch();
    }),
    propertyRuns(500),
  );
});
