// Changes of membership through RawNode, by hand: proposed, found in the log bit by bit, applied, and left.

import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  type ConfChange,
  ConfChangeTransition,
  type ConfChangeV2,
  type ConfState,
  decodeConfChange,
  type Entry,
  EntryType,
  MessageType,
  newMessage,
} from "../../../src/core/index.js";
import { ConfChangeSchema, ConfChangeV2Schema } from "../../../src/gen/eraftpb_pb.js";
import { change, changeV1 } from "../../support/conf-changes.js";
import { bytes, TestNode, text } from "../../support/test-node.js";

const { Explicit, Implicit } = ConfChangeTransition;

type Members = Partial<
  Pick<ConfState, "voters" | "learners" | "votersOutgoing" | "learnersNext" | "autoLeave">
>;

const PLAIN_MEMBERS = { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

function encoded(confChange: ConfChange | ConfChangeV2): Uint8Array {
  return confChange.$typeName === "eraftpb.ConfChange"
    ? toBinary(ConfChangeSchema, confChange)
    : toBinary(ConfChangeV2Schema, confChange);
}

/** A leader alone that applies nothing by itself. */
function singleton(): TestNode {
  const leader = new TestNode(1n, { voters: [1n], autoApply: false }).forceLeader();
  leader.settle();
  leader.applyCommitted();
  return leader;
}

function lastEntries(node: TestNode, count: bigint): readonly Entry[] {
  const { log } = node.raft;
  const end = log.lastIndex() + 1n;
  return log.slice(end - count, end, Number.POSITIVE_INFINITY, { canAsync: false, purpose: "other" });
}

describe("a change that is proposed behind a command", () => {
  const swap = "v2 l1 l3";
  const swapped = { voters: [2n], learners: [3n], votersOutgoing: [1n], learnersNext: [1n] };
  const swapLeft = { voters: [2n], learners: [1n, 3n] };
  const joint = { voters: [1n], learners: [2n], votersOutgoing: [1n] };
  const jointLeft = { voters: [1n], learners: [2n] };

  test.each<{
    readonly what: string;
    readonly confChange: ConfChange | ConfChangeV2;
    readonly entered: Members;
    readonly left?: Members;
  }>([
    { what: "a voter, in the older form", confChange: changeV1("v2"), entered: { voters: [1n, 2n] } },
    { what: "a voter", confChange: change("v2"), entered: { voters: [1n, 2n] } },
    { what: "a learner", confChange: change("l2"), entered: { voters: [1n], learners: [2n] } },
    { what: "a learner, explicitly", confChange: change("l2", Explicit), entered: joint, left: jointLeft },
    {
      what: "a learner, implicitly",
      confChange: change("l2", Implicit),
      entered: { ...joint, autoLeave: true },
      left: jointLeft,
    },
    {
      what: "another voter",
      confChange: change(swap),
      entered: { ...swapped, autoLeave: true },
      left: swapLeft,
    },
    {
      what: "another voter, explicitly",
      confChange: change(swap, Explicit),
      entered: swapped,
      left: swapLeft,
    },
    {
      what: "another voter, implicitly",
      confChange: change(swap, Implicit),
      entered: { ...swapped, autoLeave: true },
      left: swapLeft,
    },
  ])("adds $what", ({ confChange, entered, left }) => {
    const leader = singleton();
    leader.propose("somedata");
    leader.proposeConfChange(confChange);
    leader.settle();
    const [command, proposed] = lastEntries(leader, 2n);
    expect(text(command?.data ?? bytes(""))).toBe("somedata");
    expect(proposed?.data).toEqual(encoded(confChange));
    expect(proposed?.entryType).toBe(
      confChange.$typeName === "eraftpb.ConfChange" ? EntryType.EntryConfChange : EntryType.EntryConfChangeV2,
    );
    const proposedAt = leader.raft.log.lastIndex();
    leader.applyCommitted();
    expect(leader.confStates.at(-1)).toMatchObject({ ...PLAIN_MEMBERS, ...entered });

    if (left === undefined) {
      expect(leader.raft.log.lastIndex()).toBe(proposedAt);
      return;
    }
    // Left by itself, or by a proposal that names who has asked for it.
    const context = entered.autoLeave === true ? "" : "manual";
    if (context !== "") {
      expect(leader.raft.log.lastIndex()).toBe(proposedAt);
      leader.proposeConfChange(create(ConfChangeV2Schema, { context: bytes(context) }));
    }
    expect(leader.raft.log.lastIndex()).toBe(proposedAt + 1n);
    const [leaving] = lastEntries(leader, 1n);
    if (leaving === undefined) throw new Error("nothing leaves");
    const leave = decodeConfChange(leaving.entryType, leaving.data);
    expect(leave.changes).toEqual([]);
    expect(text(leave.context)).toBe(context);
    // As if it were committed: the other voters do not exist.
    expect(leader.act((raw) => raw.applyConfChange(leave))).toMatchObject({ ...PLAIN_MEMBERS, ...left });
  });

  test("that is a duplicate is no obstacle to the next", () => {
    const leader = singleton();
    for (const confChange of [changeV1("v1"), changeV1("v1"), changeV1("v2")]) {
      leader.proposeConfChange(confChange);
      leader.settle();
      leader.applyCommitted();
    }
    expect(lastEntries(leader, 3n).map(({ data }) => data)).toEqual([
      encoded(changeV1("v1")),
      encoded(changeV1("v1")),
      encoded(changeV1("v2")),
    ]);
    expect(leader.confStates.at(-1)?.voters).toEqual([1n, 2n]);
  });

  test("is told, with its context, to whoever applies it", () => {
    const leader = singleton();
    leader.act((raw) => raw.proposeConfChange(bytes("asked by 7"), changeV1("l2")));
    leader.settle();
    expect(text(leader.committed.at(-1)?.context ?? bytes(""))).toBe("asked by 7");
  });

  test("may be turned down by the application, which then does not apply it: the next one goes through", () => {
    const leader = singleton();
    leader.proposeConfChange(changeV1("l2"));
    leader.settle();
    leader.act((raw) => raw.advanceApply());
    expect(leader.node.status().confState.learners).toEqual([]);
    leader.proposeConfChange(changeV1("l3"));
    expect(lastEntries(leader, 1n)[0]?.data).toEqual(encoded(changeV1("l3")));
  });

  test("with data that is no change is refused whole", () => {
    const leader = singleton();
    const before = leader.raft.log.lastIndex();
    const [valid] = lastEntries(singleton(), 1n);
    if (valid === undefined) throw new Error("the log is empty");
    const malformed = { ...valid, entryType: EntryType.EntryConfChange, data: new Uint8Array([0xff, 0xff]) };
    const outcome = leader.step(
      newMessage(MessageType.MsgPropose, 1n, { from: 1n, entries: [{ ...valid }, malformed] }),
    );
    expect(outcome).toEqual({ accepted: false, reason: "malformedConfChange" });
    expect(leader.raft.log.lastIndex()).toBe(before);
  });
});

test("a joint configuration that was entered by a leader deposed in between is left when it leads again", () => {
  const node = singleton();
  node.propose("somedata");
  node.proposeConfChange(change("l2", Implicit));
  node.settle();
  node.step(newMessage(MessageType.MsgHeartbeatResponse, 1n, { from: 1n, term: node.raft.term + 1n }));
  expect(node.role).toBe("follower");
  node.applyCommitted();
  expect(node.confStates.at(-1)).toMatchObject({ votersOutgoing: [1n], autoLeave: true });
  const enteredAt = node.raft.log.lastIndex();
  node.settle();
  expect(node.raft.log.lastIndex()).toBe(enteredAt);

  node.forceLeader();
  node.settle();
  expect(node.raft.log.lastIndex()).toBe(enteredAt + 1n);
  node.applyCommitted();
  const [leaving] = lastEntries(node, 1n);
  expect(leaving).toMatchObject({ entryType: EntryType.EntryConfChangeV2, index: enteredAt + 2n });
  node.settle();
  node.applyCommitted();
  expect(node.confStates.at(-1)).toMatchObject({ ...PLAIN_MEMBERS, voters: [1n], learners: [2n] });
});
