// Two majorities that must agree: against the rules for each half, and the cases in which one half says nothing.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JointConfig } from "../../../src/core/quorum/joint.js";
import { type AckedIndex, MajorityConfig } from "../../../src/core/quorum/majority.js";
import { minOf, type NodeId } from "../../../src/core/types.js";
import { propertyRuns } from "../../support/property.js";
import { naiveCommittedIndex, naiveVoteResult } from "./naive-quorum.js";

const id = fc.bigInt(1n, 9n);
const half = fc.uniqueArray(id, { maxLength: 7 });
const acks = fc
  .array(fc.tuple(id, fc.record({ index: fc.bigInt(0n, 9n), groupId: fc.bigInt(0n, 2n) })))
  .map((entries) => new Map<NodeId, AckedIndex>(entries));
const votes = fc.array(fc.tuple(id, fc.boolean())).map((entries) => new Map<NodeId, boolean>(entries));

function joint(incoming: readonly NodeId[], outgoing: readonly NodeId[] = []): JointConfig {
  return new JointConfig(new MajorityConfig(incoming), new MajorityConfig(outgoing));
}

describe("a joint configuration", () => {
  test("commits what both halves have, in groups only if both decided by groups", () => {
    fc.assert(
      fc.property(half, half, acks, fc.boolean(), (incoming, outgoing, acked, useGroupCommit) => {
        const halves = [incoming, outgoing].map((ids) =>
          naiveCommittedIndex(
            ids.map((voter) => acked.get(voter)),
            useGroupCommit,
          ),
        );
        const config = joint(incoming, outgoing);
        expect(config.committedIndex(useGroupCommit, (voter) => acked.get(voter))).toEqual({
          index: halves.map(({ index }) => index).reduce(minOf),
          usedGroupCommit: halves.every(({ usedGroupCommit }) => usedGroupCommit),
        });
        expect(config.majorityIndex((voter) => acked.get(voter)?.index ?? 0n)).toBe(
          config.committedIndex(false, (voter) => acked.get(voter)).index,
        );
      }),
      propertyRuns(3_000),
    );
  });

  test("is won when both halves are, lost when one half is, and pending otherwise", () => {
    fc.assert(
      fc.property(half, half, votes, (incoming, outgoing, given) => {
        const results = [incoming, outgoing].map((ids) =>
          naiveVoteResult(ids.map((voter) => given.get(voter))),
        );
        const expected = results.includes("lost") ? "lost" : results.includes("pending") ? "pending" : "won";
        expect(joint(incoming, outgoing).voteResult((voter) => given.get(voter))).toBe(expected);
      }),
      propertyRuns(2_000),
    );
  });

  test("of a half with nobody or with itself decides as that half alone", () => {
    fc.assert(
      fc.property(half, acks, votes, fc.boolean(), (ids, acked, given, useGroupCommit) => {
        const alone = new MajorityConfig(ids);
        for (const config of [joint(ids), joint([], ids), joint(ids, ids)]) {
          expect(config.committedIndex(useGroupCommit, (voter) => acked.get(voter))).toEqual(
            alone.committedIndex(useGroupCommit, (voter) => acked.get(voter)),
          );
          expect(config.voteResult((voter) => given.get(voter))).toBe(
            alone.voteResult((voter) => given.get(voter)),
          );
        }
      }),
      propertyRuns(),
    );
  });

  test("contains the voters of both halves, and lists each once in id order", () => {
    const config = joint([9n, 1n, 4n], [4n, 2n]);
    expect(config.ids()).toEqual([1n, 2n, 4n, 9n]);
    expect([1n, 2n, 3n, 4n, 9n].map((voter) => config.contains(voter))).toEqual([
      true,
      true,
      false,
      true,
      true,
    ]);
    expect(Object.isFrozen(config.ids())).toBe(true);
  });

  test("is a singleton only with one voter and nothing to leave", () => {
    expect(joint([1n]).isSingleton()).toBe(true);
    expect(joint([1n], [1n]).isSingleton()).toBe(false);
    expect(joint([1n, 2n]).isSingleton()).toBe(false);
    expect(joint([], [1n]).isSingleton()).toBe(false);
    expect(joint([]).isSingleton()).toBe(false);
    expect([joint([1n]).isJoint(), joint([1n], [2n]).isJoint()]).toEqual([false, true]);
  });
});
