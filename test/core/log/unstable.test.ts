// The unstable tail by itself: what it knows of the log's ends and terms, what leaves it when the storage has taken
// over, and that its array equals a plain array whatever is appended, dropped or replaced.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Entry,
  InvariantViolation,
  newConfState,
  newSnapshot,
  type Snapshot,
} from "../../../src/core/index.js";
import { Unstable } from "../../../src/core/log/unstable.js";
import { maxOf, minOf } from "../../../src/core/types.js";
import { entriesAt, places } from "../../support/entries.js";
import { propertyRuns } from "../../support/property.js";

const snapshotAt = (index: bigint, term: bigint): Snapshot => newSnapshot(index, term, newConfState());

/** A tail from `offset` on that holds entries of these terms. */
function tail(offset: bigint, terms: readonly bigint[], snapshot?: Snapshot): Unstable {
  const unstable = new Unstable(offset);
  unstable.snapshot = snapshot;
  unstable.truncateAndAppend(entriesAt(offset, ...terms));
  return unstable;
}

const SNAPSHOT = snapshotAt(4n, 1n);

describe("what the tail knows of the log", () => {
  test.each([
    { what: "entries alone", of: tail(5n, [1n]), firstIndex: undefined },
    { what: "nothing", of: tail(1n, []), firstIndex: undefined },
    { what: "a snapshot and entries", of: tail(5n, [1n], SNAPSHOT), firstIndex: 5n },
    { what: "a snapshot alone", of: tail(5n, [], SNAPSHOT), firstIndex: 5n },
  ])("its first index comes only from a snapshot: $what", ({ of, firstIndex }) => {
    expect(of.maybeFirstIndex()).toBe(firstIndex);
  });

  test.each([
    { what: "entries alone", of: tail(5n, [1n]), lastIndex: 5n },
    { what: "a snapshot and entries", of: tail(5n, [1n], SNAPSHOT), lastIndex: 5n },
    { what: "a snapshot alone", of: tail(5n, [], SNAPSHOT), lastIndex: 4n },
    { what: "nothing", of: tail(1n, []), lastIndex: undefined },
  ])("its last index comes from the last entry, else from the snapshot: $what", ({ of, lastIndex }) => {
    expect(of.maybeLastIndex()).toBe(lastIndex);
  });

  test.each([
    { at: 5n, of: tail(5n, [1n]), term: 1n, why: "of an entry" },
    { at: 6n, of: tail(5n, [1n]), term: undefined, why: "behind the last entry" },
    { at: 4n, of: tail(5n, [1n]), term: undefined, why: "before the first entry" },
    { at: 5n, of: tail(5n, [1n], SNAPSHOT), term: 1n, why: "of an entry behind a snapshot" },
    { at: 6n, of: tail(5n, [1n], SNAPSHOT), term: undefined, why: "behind the last entry" },
    { at: 4n, of: tail(5n, [1n], SNAPSHOT), term: 1n, why: "of the snapshot" },
    { at: 3n, of: tail(5n, [1n], SNAPSHOT), term: undefined, why: "inside the snapshot" },
    { at: 5n, of: tail(5n, [], SNAPSHOT), term: undefined, why: "behind a snapshot without entries" },
    { at: 4n, of: tail(5n, [], SNAPSHOT), term: 1n, why: "of a snapshot without entries" },
    { at: 5n, of: tail(1n, []), term: undefined, why: "of an empty tail" },
  ])("the term at $at is $term: $why", ({ at, of, term }) => {
    expect(of.maybeTerm(at)).toBe(term);
  });
});

describe("a snapshot", () => {
  test("takes the place of everything that was there", () => {
    const unstable = tail(5n, [1n], SNAPSHOT);
    const newer = snapshotAt(6n, 2n);
    unstable.restore(newer);
    expect(unstable).toMatchObject({ offset: 7n, entries: [], snapshot: newer });
  });

  test("leaves when the storage has it, the entries behind it leave later", () => {
    const unstable = tail(5n, [1n, 2n], SNAPSHOT);
    unstable.stableSnapshot(4n);
    unstable.stableSnapshot(4n);
    expect(unstable.snapshot, "told once more, it is gone all the same").toBeUndefined();
    expect(places(unstable.entries)).toEqual(["5/1", "6/2"]);
    unstable.stableTo(6n, 2n);
    expect(unstable).toMatchObject({ offset: 7n, entries: [] });
  });

  test("stays when the storage speaks of an older one", () => {
    const unstable = tail(5n, [], SNAPSHOT);
    unstable.stableSnapshot(3n);
    expect(unstable.snapshot).toBe(SNAPSHOT);
  });
});

describe("entries leave when the storage has them", () => {
  test.each([
    { why: "the first of two", stable: [5n, 1n], left: ["6/1"], offset: 6n },
    { why: "both", stable: [6n, 1n], left: [], offset: 7n },
    { why: "none, another term stands there now", stable: [5n, 2n], left: ["5/1", "6/1"], offset: 5n },
    { why: "none, what is there now was never written", stable: [7n, 1n], left: ["5/1", "6/1"], offset: 5n },
    { why: "none, they left long ago", stable: [4n, 1n], left: ["5/1", "6/1"], offset: 5n },
  ] as const)("$why: up to $stable", ({ stable: [index, term], left, offset }) => {
    const unstable = tail(5n, [1n, 1n]);
    unstable.stableTo(index, term);
    expect(places(unstable.entries)).toEqual(left);
    expect(unstable.offset).toBe(offset);
  });

  test("an acknowledgement at the index of a waiting snapshot does not take the entries behind it along", () => {
    for (const offset of [5n, 6n, 7n]) {
      const unstable = tail(offset, [1n], SNAPSHOT);
      unstable.stableTo(4n, 1n);
      expect(places(unstable.entries)).toEqual([`${offset}/1`]);
      expect(unstable.offset).toBe(offset);
    }
  });
});

describe("appending", () => {
  test.each([
    { why: "at the end", had: [1n], at: 6n, add: [1n, 1n], offset: 5n, has: ["5/1", "6/1", "7/1"] },
    { why: "over all of it", had: [1n], at: 5n, add: [2n, 2n], offset: 5n, has: ["5/2", "6/2"] },
    { why: "into the storage", had: [1n], at: 4n, add: [2n, 2n, 2n], offset: 4n, has: ["4/2", "5/2", "6/2"] },
    { why: "over the last two", had: [1n, 1n, 1n], at: 6n, add: [2n], offset: 5n, has: ["5/1", "6/2"] },
    {
      why: "over the last",
      had: [1n, 1n, 1n],
      at: 7n,
      add: [2n, 2n],
      offset: 5n,
      has: ["5/1", "6/1", "7/2", "8/2"],
    },
    { why: "nowhere when there are none", had: [1n], at: 9n, add: [], offset: 5n, has: ["5/1"] },
  ])("puts entries $why", ({ had, at, add, offset, has }) => {
    const unstable = tail(5n, had);
    unstable.truncateAndAppend(entriesAt(at, ...add));
    expect(unstable.offset).toBe(offset);
    expect(places(unstable.entries)).toEqual(has);
  });

  test("never leaves a gap", () => {
    const unstable = tail(5n, [1n]);
    expect(() => unstable.truncateAndAppend(entriesAt(7n, 1n))).toThrow(InvariantViolation);
    expect(places(unstable.entries)).toEqual(["5/1"]);
  });
});

test.each([
  { low: 4n, high: 6n },
  { low: 6n, high: 8n },
  { low: 7n, high: 6n },
])("a slice [$low, $high) outside of the tail is refused, not cut short", ({ low, high }) => {
  expect(() => tail(5n, [1n, 1n]).slice(low, high)).toThrow(InvariantViolation);
});

/** The same in the plainest way: where it begins, and the terms from there on. */
class PlainTail {
  first = 1n;
  terms: bigint[] = [];
  snapshotIndex: bigint | undefined;

  get end(): bigint {
    return this.first + BigInt(this.terms.length);
  }

  replaceFrom(at: bigint, terms: readonly bigint[]): void {
    const kept = at > this.first ? this.terms.slice(0, Number(at - this.first)) : [];
    this.first = minOf(at, this.first);
    this.terms = [...kept, ...terms];
  }
}

/** What is done to a tail. Places are counted from its ends, so that most of them mean something. */
const action = fc.oneof(
  fc.record({
    kind: fc.constant("append" as const),
    back: fc.bigInt(0n, 4n),
    terms: fc.array(fc.bigInt(1n, 3n), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("stable" as const), position: fc.nat(6), rightTerm: fc.boolean() }),
  fc.record({ kind: fc.constant("restore" as const), ahead: fc.bigInt(0n, 3n) }),
  fc.record({ kind: fc.constant("stableSnapshot" as const) }),
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

function take(unstable: Unstable, plain: PlainTail, step: Action): void {
  switch (step.kind) {
    case "append": {
      const at = maxOf(plain.end - step.back, (plain.snapshotIndex ?? 0n) + 1n);
      unstable.truncateAndAppend(entriesAt(at, ...step.terms));
      plain.replaceFrom(at, step.terms);
      return;
    }
    case "stable": {
      const term = plain.terms[step.position];
      if (term === undefined) return;
      const index = plain.first + BigInt(step.position);
      unstable.stableTo(index, step.rightTerm ? term : term + 1n);
      if (!step.rightTerm) return;
      plain.first = index + 1n;
      plain.terms = plain.terms.slice(step.position + 1);
      return;
    }
    case "restore":
      plain.snapshotIndex = plain.end + step.ahead;
      plain.first = plain.snapshotIndex + 1n;
      plain.terms = [];
      unstable.restore(snapshotAt(plain.snapshotIndex, 3n));
      return;
    case "stableSnapshot":
      if (plain.snapshotIndex !== undefined) unstable.stableSnapshot(plain.snapshotIndex);
      plain.snapshotIndex = undefined;
  }
}

test("a tail equals a plain array of terms, and copies that left it never change", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
      const unstable = new Unstable(1n);
      const plain = new PlainTail();
      const left: { readonly copy: readonly Entry[]; readonly before: readonly string[] }[] = [];
      for (const step of actions) {
        take(unstable, plain, step);
        const copy = unstable.slice(plain.first, plain.end);
        left.push({ copy, before: places(copy) });
        expect(places(copy)).toEqual(places(entriesAt(plain.first, ...plain.terms)));
        expect(unstable.offset).toBe(plain.first);
        expect(unstable.maybeFirstIndex()).toBe(plain.snapshotIndex && plain.snapshotIndex + 1n);
        expect(unstable.maybeLastIndex()).toBe(plain.terms.length > 0 ? plain.end - 1n : plain.snapshotIndex);
        expect(unstable.maybeTerm(plain.end)).toBeUndefined();
      }
      for (const { copy, before } of left) expect(places(copy)).toEqual(before);
    }),
    propertyRuns(),
  );
});
