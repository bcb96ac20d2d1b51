// Changes of membership against a model of plain sets, in random sequences; that a refused change and a computed one
// leave the tracker alone; and every rule that a membership is checked by.

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkMembership, enterJoint, leaveJoint, simple } from "../../../src/core/confchange/changer.js";
import { ConfChangeError } from "../../../src/core/errors.js";
import { JointConfig } from "../../../src/core/quorum/joint.js";
import { MajorityConfig } from "../../../src/core/quorum/majority.js";
import { NodeIdSet } from "../../../src/core/quorum/node-id-set.js";
import type { Configuration } from "../../../src/core/tracker/configuration.js";
import { ProgressTracker } from "../../../src/core/tracker/progress-tracker.js";
import { inIdOrder, NO_LIMIT, type NodeId } from "../../../src/core/types.js";
import {
  type ConfChangeSingle,
  ConfChangeSingleSchema,
  ConfChangeType,
} from "../../../src/gen/eraftpb_pb.js";
import { propertyRuns } from "../../support/property.js";
import { describeConfiguration, parseChanges } from "./confchange-commands.js";

const change: fc.Arbitrary<ConfChangeSingle> = fc
  .record({
    type: fc.constantFrom(ConfChangeType.AddNode, ConfChangeType.RemoveNode, ConfChangeType.AddLearnerNode),
    nodeId: fc.bigInt(0n, 6n),
  })
  .map((fields) => create(ConfChangeSingleSchema, fields));

type Command =
  | { readonly kind: "simple"; readonly changes: readonly ConfChangeSingle[] }
  | { readonly kind: "enter"; readonly changes: readonly ConfChangeSingle[]; readonly autoLeave: boolean }
  | { readonly kind: "leave" };

const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant("simple" as const), changes: fc.array(change, { maxLength: 3 }) }),
  fc.record({
    kind: fc.constant("enter" as const),
    changes: fc.array(change, { maxLength: 5 }),
    autoLeave: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("leave" as const) }),
);

/** Role by role, as a person would note it down. `wanted`: what each member is to be once nothing is joint. */
interface Model {
  readonly wanted: ReadonlyMap<NodeId, "voter" | "learner">;
  readonly outgoing: ReadonlySet<NodeId>;
  readonly autoLeave: boolean;
}

const votersOf = (model: Model): NodeId[] =>
  inIdOrder([...model.wanted].filter(([, role]) => role === "voter").map(([id]) => id));

/** The model after a command; undefined if the command must be refused. */
function afterCommand(model: Model, step: Command): Model | undefined {
  const isJoint = model.outgoing.size > 0;
  if (step.kind === "leave") {
    return isJoint ? { wanted: model.wanted, outgoing: new Set(), autoLeave: false } : undefined;
  }
  if (isJoint) return undefined;
  const before = votersOf(model);
  if (step.kind === "enter" && before.length === 0) return undefined;
  const wanted = new Map(model.wanted);
  for (const { type, nodeId } of step.changes) {
    if (nodeId === 0n) continue;
    if (type === ConfChangeType.RemoveNode) wanted.delete(nodeId);
    else wanted.set(nodeId, type === ConfChangeType.AddNode ? "voter" : "learner");
  }
  const next: Model = {
    wanted,
    outgoing: new Set(step.kind === "enter" ? before : []),
    autoLeave: step.kind === "enter" && step.autoLeave,
  };
  const after = votersOf(next);
  if (after.length === 0) return undefined;
  const differing = [...before, ...after].filter((id) => before.includes(id) !== after.includes(id));
  return step.kind === "simple" && differing.length > 1 ? undefined : next;
}

function describeModel(model: Model): string {
  const learners = [...model.wanted].filter(([, role]) => role === "learner").map(([id]) => id);
  return describeConfiguration({
    voters: new JointConfig(new MajorityConfig(votersOf(model)), new MajorityConfig(model.outgoing)),
    learners: new NodeIdSet(learners.filter((id) => !model.outgoing.has(id))),
    learnersNext: new NodeIdSet(learners.filter((id) => model.outgoing.has(id))),
    autoLeave: model.autoLeave,
  });
}

function carryOut(tracker: ProgressTracker, step: Command) {
  switch (step.kind) {
    case "simple":
      return simple(tracker, step.changes);
    case "enter":
      return enterJoint(tracker, step.autoLeave, step.changes);
    case "leave":
      return leaveJoint(tracker);
  }
}

function trackerAfter(...inputs: readonly string[]): ProgressTracker {
  const tracker = new ProgressTracker(10, NO_LIMIT);
  for (const input of inputs) {
    const { conf, changes } = simple(tracker, parseChanges(input));
    tracker.applyConf(conf, changes, 1n);
  }
  return tracker;
}

describe("a sequence of changes", () => {
  test("leads where plain sets lead, is refused when they say so, and tracks exactly the members", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 25 }), (commands) => {
        const tracker = trackerAfter("v1");
        let model: Model = { wanted: new Map([[1n, "voter"]]), outgoing: new Set(), autoLeave: false };
        for (const step of commands) {
          const before = describeConfiguration(tracker.conf);
          const next = afterCommand(model, step);
          if (next === undefined) {
            expect(() => carryOut(tracker, step)).toThrow(ConfChangeError);
            expect(describeConfiguration(tracker.conf)).toBe(before);
            continue;
          }
          const { conf, changes } = carryOut(tracker, step);
          expect(describeConfiguration(tracker.conf), "nothing is in force before it is applied").toBe(
            before,
          );
          tracker.applyConf(conf, changes, 5n);
          model = next;
          expect(describeConfiguration(tracker.conf)).toBe(describeModel(model));
          expect(tracker.ids()).toEqual(inIdOrder(new Set([...model.wanted.keys(), ...model.outgoing])));
          for (const id of tracker.ids()) {
            expect(tracker.get(id)?.isLearner).toBe(
              model.wanted.get(id) === "learner" && !model.outgoing.has(id),
            );
          }
        }
      }),
      propertyRuns(2_000),
    );
  });

  test("done simply, one by one, or jointly at once ends in the same membership", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), (changes) => {
        // Node 9 is never among the changes, so that there always is a voter.
        const [oneByOne, atOnce] = [trackerAfter("v9"), trackerAfter("v9")];
        for (const single of changes) {
          const result = simple(oneByOne, [single]);
          oneByOne.applyConf(result.conf, result.changes, 1n);
        }
        for (const work of [() => enterJoint(atOnce, false, changes), () => leaveJoint(atOnce)]) {
          const result = work();
          atOnce.applyConf(result.conf, result.changes, 1n);
        }
        expect(describeConfiguration(atOnce.conf)).toBe(describeConfiguration(oneByOne.conf));
        expect(atOnce.ids()).toEqual(oneByOne.ids());
      }),
      propertyRuns(),
    );
  });

  test("keeps the progress of everybody who stays a member throughout", () => {
    const tracker = trackerAfter("v1", "v2", "v3");
    const progress = tracker.get(3n);
    for (const work of [
      () => enterJoint(tracker, false, parseChanges("l3")),
      () => leaveJoint(tracker),
      () => enterJoint(tracker, false, parseChanges("v3 r1")),
      () => leaveJoint(tracker),
    ]) {
      const { conf, changes } = work();
      tracker.applyConf(conf, changes, 9n);
      expect(tracker.get(3n)).toBe(progress);
    }
    expect(tracker.ids()).toEqual([2n, 3n]);
  });
});

describe("a change", () => {
  test("shares nothing that can be changed with the membership before it", () => {
    const tracker = trackerAfter("v1", "v2", "l3");
    const { conf } = enterJoint(tracker, false, parseChanges("v3 l2"));
    expect(describeConfiguration(tracker.conf)).toBe("voters=(1 2) learners=(3)");
    expect(describeConfiguration(conf)).toBe("voters=(1 3)&&(1 2) learners_next=(2)");
    expect(Object.isFrozen(conf)).toBe(true);
  });

  test("of a type that this version does not know is refused by name", () => {
    const unknown = create(ConfChangeSingleSchema, { nodeId: 4n });
    Object.assign(unknown, { type: 3 });
    expect(() => simple(trackerAfter("v1"), [unknown])).toThrow(
      new ConfChangeError("unknown type 3 of a change of node 4"),
    );
  });

  test("that would lead to a broken membership is refused", () => {
    const broken = { conf: trackerAfter("v1").conf, get: () => undefined };
    expect(() => simple(broken, [])).toThrow(new ConfChangeError("no progress for voter 1"));
  });
});

describe("a membership", () => {
  const ids = (...values: bigint[]): NodeIdSet => new NodeIdSet(values);
  const joint = (incoming: bigint[], outgoing: bigint[] = []): JointConfig =>
    new JointConfig(new MajorityConfig(incoming), new MajorityConfig(outgoing));
  const sound: Configuration = {
    voters: joint([1n]),
    learners: ids(),
    learnersNext: ids(),
    autoLeave: false,
  };

  test.for<{ readonly conf: Configuration; readonly tracked: readonly bigint[]; readonly message: string }>([
    { conf: sound, tracked: [], message: "no progress for voter 1" },
    { conf: { ...sound, voters: joint([1n], [2n]) }, tracked: [1n], message: "no progress for voter 2" },
    { conf: { ...sound, learners: ids(2n) }, tracked: [1n], message: "no progress for learner 2" },
    { conf: { ...sound, learners: ids(1n) }, tracked: [1n], message: "1 is in learners and incoming voters" },
    {
      conf: { ...sound, voters: joint([1n], [2n]), learners: ids(2n) },
      tracked: [1n, 2n],
      message: "2 is in learners and outgoing voters",
    },
    {
      conf: { ...sound, voters: joint([1n], [1n]), learnersNext: ids(2n) },
      tracked: [1n],
      message: "no progress for learner(next) 2",
    },
    {
      conf: { ...sound, voters: joint([1n], [1n]), learnersNext: ids(2n) },
      tracked: [1n, 2n],
      message: "2 is in learners_next and not in outgoing voters",
    },
    {
      conf: { ...sound, voters: joint([1n], [1n]), learnersNext: ids(1n) },
      tracked: [1n],
      message: "1 is in learners_next and incoming voters",
    },
    {
      conf: { ...sound, autoLeave: true },
      tracked: [1n],
      message: "auto_leave must be false when not joint",
    },
  ])("is refused: $message", ({ conf, tracked, message }) => {
    expect(() => checkMembership(conf, (id) => tracked.includes(id))).toThrow(new ConfChangeError(message));
  });
});
