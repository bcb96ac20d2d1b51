// A stored membership comes back as it was, in whatever order it lists its members; one that no change could have
// led to is refused, and leaves the tracker empty.

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { confStateEquals } from "../../../src/core/confchange/conf-change.js";
import { restore } from "../../../src/core/confchange/restore.js";
import { ConfChangeError } from "../../../src/core/errors.js";
import { ProgressTracker } from "../../../src/core/tracker/progress-tracker.js";
import { NO_LIMIT } from "../../../src/core/types.js";
import { type ConfState, ConfStateSchema } from "../../../src/gen/eraftpb_pb.js";
import { propertyRuns } from "../../support/property.js";

type Fields = Partial<Omit<ConfState, "$typeName" | "$unknown">>;

const confState = (fields: Fields): ConfState => create(ConfStateSchema, fields);
const newTracker = (): ProgressTracker => new ProgressTracker(10, NO_LIMIT);

/** Ids dealt out to roles, as a group in or out of a joint configuration may have them. */
const soundConfState: fc.Arbitrary<ConfState> = fc
  .record({
    ids: fc.shuffledSubarray([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n], { minLength: 1 }),
    roles: fc.array(fc.constantFrom("voter", "both", "outgoing", "next", "learner"), {
      minLength: 8,
      maxLength: 8,
    }),
    isJoint: fc.boolean(),
    autoLeave: fc.boolean(),
  })
  .map(({ ids, roles, isJoint, autoLeave }) => {
    // The first is a voter in any case, and of both halves if there are two.
    const withRole = (...wanted: string[]): bigint[] =>
      ids.filter((_, at) => wanted.includes(at === 0 ? "both" : (roles[at] ?? "")));
    return isJoint
      ? confState({
          voters: withRole("voter", "both"),
          votersOutgoing: withRole("both", "outgoing", "next"),
          learners: withRole("learner"),
          learnersNext: withRole("next"),
          autoLeave,
        })
      : confState({ voters: withRole("voter", "both"), learners: withRole("learner", "next", "outgoing") });
  });

describe("a stored membership", () => {
  test("comes back as it was, with a fresh progress for every member", () => {
    fc.assert(
      fc.property(soundConfState, (stored) => {
        const tracker = newTracker();
        restore(tracker, 20n, stored);
        expect(confStateEquals(tracker.toConfState(), stored)).toBe(true);
        const members = new Set([...stored.voters, ...stored.votersOutgoing, ...stored.learners]);
        expect(new Set(tracker.ids())).toEqual(members);
        for (const id of tracker.ids()) {
          expect(tracker.get(id)).toMatchObject({
            nextIdx: 20n,
            matched: 0n,
            recentActive: true,
            isLearner: stored.learners.includes(id),
          });
        }
      }),
      propertyRuns(),
    );
  });

  test("of nobody is a node that has not joined yet", () => {
    const tracker = newTracker();
    restore(tracker, 5n, confState({}));
    expect(tracker.ids()).toEqual([]);
  });

  test("is not tied to the message that it came from", () => {
    const stored = confState({ voters: [1n, 2n] });
    const tracker = newTracker();
    restore(tracker, 1n, stored);
    stored.voters.push(3n);
    expect(tracker.toConfState().voters).toEqual([1n, 2n]);
  });

  test.for<{ readonly why: string; readonly fields: Fields }>([
    { why: "learners without a voter", fields: { learners: [1n] } },
    { why: "an outgoing half without an incoming one", fields: { votersOutgoing: [1n] } },
    { why: "a learner that votes", fields: { voters: [1n, 2n], learners: [2n] } },
    { why: "a learner that still votes", fields: { voters: [1n], votersOutgoing: [1n, 2n], learners: [2n] } },
    {
      why: "a learner to be that does not vote",
      fields: { voters: [1n], votersOutgoing: [1n], learnersNext: [2n] },
    },
    {
      why: "a learner to be that goes on voting",
      fields: { voters: [1n], votersOutgoing: [1n], learnersNext: [1n] },
    },
    { why: "a learner to be outside a joint configuration", fields: { voters: [1n], learnersNext: [1n] } },
    { why: "leaving what is not joint", fields: { voters: [1n], autoLeave: true } },
    { why: "leaving nothing", fields: { autoLeave: true } },
    { why: "node 0", fields: { voters: [0n, 1n] } },
    { why: "learner 0", fields: { voters: [1n], learners: [0n] } },
    { why: "a node twice", fields: { voters: [1n, 1n, 2n] } },
  ])("with $why is refused, and nothing is in force", ({ fields }) => {
    const tracker = newTracker();
    expect(() => restore(tracker, 1n, confState(fields))).toThrow(ConfChangeError);
    expect(tracker.ids()).toEqual([]);
    expect(tracker.toConfState()).toEqual(confState({}));
  });

  test("is not put over another one", () => {
    const tracker = newTracker();
    restore(tracker, 1n, confState({ voters: [1n] }));
    expect(() => restore(tracker, 1n, confState({ voters: [2n] }))).toThrow(ConfChangeError);
    expect(tracker.ids()).toEqual([1n]);
    tracker.clear();
    restore(tracker, 1n, confState({ voters: [2n] }));
    expect(tracker.ids()).toEqual([2n]);
  });
});
