// Majorities: what they have acknowledged and voted for, against rules written down by counting, over all sizes
// that are sorted in different ways; and that nothing handed out reaches inside.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type AckedIndex, INFINITE_INDEX, MajorityConfig } from "../../../src/core/quorum/majority.js";
import { NodeIdSet } from "../../../src/core/quorum/node-id-set.js";
import type { NodeId } from "../../../src/core/types.js";
import { propertyRuns } from "../../support/property.js";
import { naiveCommittedIndex, naiveVoteResult } from "./naive-quorum.js";

const index = fc.oneof(fc.bigInt(0n, 12n), fc.bigInt(0n, INFINITE_INDEX));
const ack = fc.option(fc.record({ index, groupId: fc.bigInt(0n, 3n) }), { nil: undefined });
/** Small groups mostly, as in practice, and some beyond what is sorted by insertion. */
const voters = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<Map<NodeId, T>> =>
  fc
    .oneof(
      { weight: 4, arbitrary: fc.uniqueArray(fc.bigInt(1n, 20n), { maxLength: 7 }) },
      {
        weight: 1,
        arbitrary: fc.uniqueArray(fc.bigInt(1n, INFINITE_INDEX), {
          minLength: 15,
          maxLength: 24,
          size: "max",
        }),
      },
    )
    .chain((ids) =>
      fc
        .array(value, { minLength: ids.length, maxLength: ids.length })
        .map((values) => new Map(ids.flatMap((id, at): [NodeId, T][] => pair(id, values, at)))),
    );

function pair<T>(id: NodeId, values: readonly T[], at: number): [NodeId, T][] {
  return values.slice(at, at + 1).map((value) => [id, value]);
}

describe("the index that a majority has acknowledged", () => {
  test("is the one that counting the holders of every index gives, with and without groups", () => {
    fc.assert(
      fc.property(voters<AckedIndex | undefined>(ack), fc.boolean(), (acks, useGroupCommit) => {
        const config = new MajorityConfig(acks.keys());
        const result = config.committedIndex(useGroupCommit, (id) => acks.get(id));
        expect(result).toEqual(naiveCommittedIndex([...acks.values()], useGroupCommit));
      }),
      propertyRuns(3_000),
    );
  });

  test("is the same without groups and allocations", () => {
    fc.assert(
      fc.property(voters(index), (matched) => {
        const config = new MajorityConfig(matched.keys());
        const slow = config.committedIndex(false, (id) => {
          const value = matched.get(id);
          return value === undefined ? undefined : { index: value, groupId: 0n };
        });
        expect(config.majorityIndex((id) => matched.get(id) ?? 0n)).toBe(slow.index);
      }),
      propertyRuns(),
    );
  });

  test("never falls when one voter acknowledges more", () => {
    fc.assert(
      fc.property(
        voters<AckedIndex | undefined>(ack),
        fc.boolean(),
        fc.nat(),
        index,
        (acks, groups, which, more) => {
          const config = new MajorityConfig(acks.keys());
          const before = config.committedIndex(groups, (id) => acks.get(id)).index;
          const id = config.ids()[which % Math.max(1, config.size)];
          const old = id === undefined ? undefined : acks.get(id);
          if (id === undefined || old === undefined) return;
          acks.set(id, { ...old, index: old.index + more });
          expect(config.committedIndex(groups, (voter) => acks.get(voter)).index).toBeGreaterThanOrEqual(
            before,
          );
        },
      ),
      propertyRuns(),
    );
  });

  test("is the second highest of the groups' highest, in whatever order the groups come", () => {
    const config = new MajorityConfig([1n, 2n, 3n]);
    for (const indexes of [
      [5n, 3n, 2n],
      [2n, 3n, 5n],
      [3n, 2n, 5n],
    ]) {
      const ack = (id: NodeId) => ({ index: indexes[Number(id) - 1] ?? 0n, groupId: id });
      expect(config.committedIndex(true, ack)).toEqual({ index: 3n, usedGroupCommit: true });
    }
  });

  test("is infinite without voters, so that an empty half of a joint configuration does not count", () => {
    expect(INFINITE_INDEX).toBe(18_446_744_073_709_551_615n);
    const nobody = new MajorityConfig();
    expect(nobody.majorityIndex(() => 5n)).toBe(INFINITE_INDEX);
    expect(nobody.committedIndex(false, () => undefined)).toEqual({
      index: INFINITE_INDEX,
      usedGroupCommit: true,
    });
  });

  test("forgets between two calls what was acknowledged before", () => {
    const config = new MajorityConfig([1n, 2n, 3n]);
    expect(config.majorityIndex(() => 9n)).toBe(9n);
    expect(config.majorityIndex((id) => (id === 1n ? 4n : 0n))).toBe(0n);
  });

  test("compares numbers, not their text", () => {
    const matched = [2n, 10n, 9n, 100n, 30n];
    const config = new MajorityConfig([0n, 1n, 2n, 3n, 4n]);
    expect(config.majorityIndex((id) => matched[Number(id)] ?? 0n)).toBe(10n);
  });
});

describe("the result of a vote", () => {
  test("is won or lost exactly when no missing vote can change it", () => {
    fc.assert(
      fc.property(voters(fc.option(fc.boolean(), { nil: undefined })), (votes) => {
        const config = new MajorityConfig(votes.keys());
        expect(config.voteResult((id) => votes.get(id))).toBe(naiveVoteResult([...votes.values()]));
      }),
      propertyRuns(2_000),
    );
  });

  test("asks every voter once and nobody else", () => {
    const asked: NodeId[] = [];
    new MajorityConfig([5n, 3n, 9n]).voteResult((id) => {
      asked.push(id);
      return true;
    });
    expect(asked).toEqual([3n, 5n, 9n]);
  });
});

describe("a set of ids", () => {
  test("holds each id once, in id order, whatever the order it was given in", () => {
    fc.assert(
      fc.property(fc.array(fc.bigInt(0n, 60n)), (ids) => {
        const set = new NodeIdSet(ids);
        const expected = [...new Set(ids)].sort((a, b) => Number(a - b));
        expect(set.ids()).toEqual(expected);
        expect([...set]).toEqual(expected);
        expect(set.size).toBe(expected.length);
        for (let id = 0n; id <= 61n; id++) expect(set.has(id)).toBe(expected.includes(id));
      }),
      propertyRuns(300),
    );
  });

  test("cannot be changed, neither through what it was made of nor through what it hands out", () => {
    const source = new Set([1n, 2n]);
    const config = new MajorityConfig(source);
    source.add(3n);
    expect(config.ids()).toEqual([1n, 2n]);
    expect(Object.isFrozen(config.ids())).toBe(true);
  });
});
