// How a proposed change is read: which way it is carried out, that both forms on the wire come back as proposed, and
// that bytes which are none are refused without harm.

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  asV2,
  confStateEquals,
  decodeConfChange,
  encodeConfChange,
  enterJointMode,
  isV2,
  leavesJoint,
} from "../../../src/core/confchange/conf-change.js";
import { ConfChangeError } from "../../../src/core/errors.js";
import {
  ConfChangeSchema,
  ConfChangeTransition,
  ConfChangeType,
  ConfChangeV2Schema,
  ConfStateSchema,
  EntryType,
} from "../../../src/gen/eraftpb_pb.js";
import { propertyRuns } from "../../support/property.js";

const { Auto, Implicit, Explicit } = ConfChangeTransition;
const nodeId = fc.bigInt(0n, 2n ** 64n - 1n);
const context = fc.uint8Array({ maxLength: 20 });
const type = fc.constantFrom(
  ConfChangeType.AddNode,
  ConfChangeType.RemoveNode,
  ConfChangeType.AddLearnerNode,
);
const v1 = fc
  .record({ id: nodeId, changeType: type, nodeId, context })
  .map((fields) => create(ConfChangeSchema, fields));
const v2 = fc
  .record({
    transition: fc.constantFrom(Auto, Implicit, Explicit),
    changes: fc.array(fc.record({ type, nodeId }), { maxLength: 5 }),
    context,
  })
  .map((fields) => create(ConfChangeV2Schema, fields));

function changeOf(transition: ConfChangeTransition, count: number) {
  return create(ConfChangeV2Schema, {
    transition,
    changes: Array.from({ length: count }, (_, at) => ({
      type: ConfChangeType.AddNode,
      nodeId: BigInt(at + 1),
    })),
  });
}

describe("a change", () => {
  test.for([
    { transition: Auto, count: 1, mode: "simple" },
    { transition: Auto, count: 2, mode: "auto" },
    { transition: Implicit, count: 1, mode: "auto" },
    { transition: Implicit, count: 2, mode: "auto" },
    { transition: Explicit, count: 1, mode: "manual" },
    { transition: Explicit, count: 2, mode: "manual" },
  ] as const)(
    "with transition $transition of $count nodes is carried out: $mode",
    ({ transition, count, mode }) => {
      expect(enterJointMode(changeOf(transition, count))).toBe(mode);
    },
  );

  test.for([Auto, Implicit, Explicit])(
    "without changes leaves the joint configuration, also with transition %s and a context",
    (transition) => {
      expect(leavesJoint(create(ConfChangeV2Schema, { transition, context: Uint8Array.of(1) }))).toBe(true);
      expect(leavesJoint(changeOf(transition, 1))).toBe(false);
    },
  );

  test("of the older form says the same as one of the newer", () => {
    const older = create(ConfChangeSchema, {
      id: 5n,
      changeType: ConfChangeType.AddLearnerNode,
      nodeId: 7n,
      context: Uint8Array.of(1, 2),
    });
    expect([isV2(older), isV2(asV2(older))]).toEqual([false, true]);
    expect(asV2(older)).toEqual(
      create(ConfChangeV2Schema, {
        transition: Auto,
        changes: [{ type: ConfChangeType.AddLearnerNode, nodeId: 7n }],
        context: Uint8Array.of(1, 2),
      }),
    );
    expect(enterJointMode(asV2(older))).toBe("simple");
    expect(leavesJoint(asV2(create(ConfChangeSchema))), "a node 0 is a change turned down, not a leave").toBe(
      false,
    );
  });

  test("with a transition that this version does not know is refused", () => {
    const unknown = Object.assign(changeOf(Auto, 1), { transition: 9 });
    expect(() => enterJointMode(unknown)).toThrow(new ConfChangeError("unknown transition 9"));
  });
});

describe("on the wire", () => {
  test("a change of either form comes back as proposed", () => {
    fc.assert(
      fc.property(fc.oneof(v1, v2), (change) => {
        const { entryType, data } = encodeConfChange(change);
        expect(entryType).toBe(isV2(change) ? EntryType.EntryConfChangeV2 : EntryType.EntryConfChange);
        expect(decodeConfChange(entryType, data)).toEqual(asV2(change));
      }),
      propertyRuns(),
    );
  });

  test("an entry without data is the change that says nothing: V2 leaves, V1 changes nobody", () => {
    expect(leavesJoint(decodeConfChange(EntryType.EntryConfChangeV2, new Uint8Array()))).toBe(true);
    expect(decodeConfChange(EntryType.EntryConfChange, new Uint8Array()).changes).toMatchObject([
      { nodeId: 0n },
    ]);
  });

  test("any bytes are either read or refused with a ConfChangeError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.boolean(), (data, newer) => {
        const entryType = newer ? EntryType.EntryConfChangeV2 : EntryType.EntryConfChange;
        try {
          const change = decodeConfChange(entryType, data);
          expect(["simple", "auto", "manual"]).toContain(enterJointMode(change));
        } catch (error) {
          expect(error).toBeInstanceOf(ConfChangeError);
        }
      }),
      propertyRuns(5_000),
    );
  });

  test.for([
    { what: "cut short", data: [0x12, 0x04, 0x08] },
    { what: "no message at all", data: [0xff, 0xff, 0xff] },
    { what: "an unknown transition", data: [0x08, 0x07] },
    { what: "an unknown type of change", data: [0x12, 0x04, 0x08, 0x03, 0x10, 0x01] },
  ])("$what is refused", ({ data }) => {
    expect(() => decodeConfChange(EntryType.EntryConfChangeV2, Uint8Array.from(data))).toThrow(
      ConfChangeError,
    );
  });

  test("data that cannot be read is told apart from an entry of another type, which is no change", () => {
    const cutShort = Uint8Array.of(0x12, 0x04, 0x08);
    const unreadable = refusalOf(() => decodeConfChange(EntryType.EntryConfChangeV2, cutShort));
    expect(unreadable.message).toBe("the entry's data is no change of membership");
    expect(unreadable.cause).toBeInstanceOf(Error);
    const another = refusalOf(() => decodeConfChange(EntryType.EntryNormal, new Uint8Array()));
    expect(another.message).toBe("an entry of type EntryNormal changes no membership");
  });

  test("a change that cannot be written down is refused before it is proposed", () => {
    const tooLarge = create(ConfChangeSchema, { nodeId: 2n ** 64n });
    expect(refusalOf(() => encodeConfChange(tooLarge)).cause).toBeInstanceOf(Error);
    const unknown = Object.assign(changeOf(Auto, 1), { transition: 9 });
    expect(() => encodeConfChange(unknown)).toThrow(ConfChangeError);
  });

  test("what is read shares no memory with the entry", () => {
    const { entryType, data } = encodeConfChange(
      create(ConfChangeV2Schema, { context: Uint8Array.of(1, 2, 3) }),
    );
    const change = decodeConfChange(entryType, data);
    change.context.fill(9);
    expect(decodeConfChange(entryType, data).context).toEqual(Uint8Array.of(1, 2, 3));
  });
});

describe("two memberships", () => {
  const base = { voters: [1n, 2n, 3n], votersOutgoing: [3n, 4n], learners: [5n, 6n], learnersNext: [4n] };

  test("are equal whatever the order of their members", () => {
    const shuffled = {
      voters: [3n, 1n, 2n],
      votersOutgoing: [4n, 3n],
      learners: [6n, 5n],
      learnersNext: [4n],
    };
    const [left, right] = [create(ConfStateSchema, base), create(ConfStateSchema, shuffled)];
    expect(confStateEquals(left, right)).toBe(true);
    expect(left.voters, "comparing must not sort what it is given").toEqual([1n, 2n, 3n]);
    expect(right.voters).toEqual([3n, 1n, 2n]);
  });

  test.for([
    { what: "lacks a voter", difference: { voters: [1n, 2n] } },
    { what: "has another voter", difference: { voters: [1n, 2n, 4n] } },
    { what: "has a voter twice", difference: { voters: [1n, 2n, 3n, 3n] } },
    { what: "has a voter twice instead of another", difference: { voters: [1n, 2n, 2n] } },
    { what: "is not joint", difference: { votersOutgoing: [] } },
    { what: "lacks a learner", difference: { learners: [5n] } },
    { what: "has another learner to be", difference: { learnersNext: [3n] } },
    { what: "is left by itself", difference: { autoLeave: true } },
  ])("differ when one $what", ({ difference }) => {
    const [left, right] = [
      create(ConfStateSchema, base),
      create(ConfStateSchema, { ...base, ...difference }),
    ];
    expect(confStateEquals(left, right)).toBe(false);
    expect(confStateEquals(right, left)).toBe(false);
  });
});

function refusalOf(input: () => unknown): ConfChangeError {
  try {
    input();
  } catch (error) {
    if (error instanceof ConfChangeError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}
