// A call that throws leaves the node and its storage as they were, to the last byte: every error of a change of
// membership, of a storage, of a setting and of a broken promise. See test/support/state-image.ts for what is compared.

import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  ConfChangeError,
  ConfChangeTransition,
  ConfigInvalid,
  decodeConfChange,
  EntryType,
  InvariantViolation,
  MemoryStorage,
  MessageType,
  newConfState,
  newMessage,
  newSnapshot,
  type RawNode,
  StorageError,
} from "../../src/core/index.js";
import { ConfChangeSchema } from "../../src/gen/eraftpb_pb.js";
import { change, changeV1, leaveJoint } from "../support/conf-changes.js";
import { entriesAt } from "../support/entries.js";
import { ack, heartbeatResponse } from "../support/peer-messages.js";
import { imageOf, stateImage } from "../support/state-image.js";
import { snapshotOf, TestNode } from "../support/test-node.js";

const VOTERS = [1n, 2n, 3n];
const { Explicit } = ConfChangeTransition;

function leader(): TestNode {
  const node = new TestNode(1n, { voters: VOTERS, learners: [4n] }).forceLeader();
  node.takeMessages();
  node.step(ack(node, 2, 1n));
  node.propose("under way");
  node.tick(3);
  node.takeMessages();
  return node;
}

function jointLeader(): TestNode {
  const node = leader();
  node.act((raw) => raw.applyConfChange(change("v5 r2", Explicit)));
  node.takeMessages();
  return node;
}

/** The error that the call throws, when the node is the same before and after it. */
function refusal(node: TestNode, call: (raw: RawNode) => unknown): unknown {
  const before = stateImage(node.node);
  try {
    node.act(call);
  } catch (error) {
    expect(stateImage(node.node)).toBe(before);
    return error;
  }
  throw new Error("it was not refused");
}

describe("a change of membership that cannot be applied changes nothing:", () => {
  test.each([
    { says: "can't apply simple config change in joint config", node: jointLeader, to: change("v6") },
    { says: "config is already joint", node: jointLeader, to: change("v6", Explicit) },
    { says: "can't leave a non-joint config", node: leader, to: leaveJoint() },
    { says: "removed all voters", node: leader, to: change("r1 r2 r3") },
    { says: "unknown type 9", node: leader, to: unknownType() },
    { says: "unknown transition 99", node: leader, to: { ...change("v6"), transition: 99 } },
  ])("$says", ({ says, node, to }) => {
    const error = refusal(node(), (raw) => raw.applyConfChange(to));
    expect(error).toBeInstanceOf(ConfChangeError);
    expect(String(error)).toContain(says);
  });

  test("can't make a zero-voter config joint", () => {
    const blank = new TestNode(1n, { storage: new MemoryStorage() });
    const error = refusal(blank, (raw) => raw.applyConfChange(change("v1 v2")));
    expect(String(error)).toContain("can't make a zero-voter config joint");
  });
});

describe("a change of membership that cannot be proposed changes nothing:", () => {
  test.each([
    { what: "an id that is no uint64", to: { ...changeV1("v5"), nodeId: -1n } },
    { what: "an unknown type", to: unknownType() },
    { what: "an unknown transition", to: { ...change("v5"), transition: 99 } },
  ])("$what", ({ to }) => {
    const error = refusal(leader(), (raw) => raw.proposeConfChange(new Uint8Array(), to));
    expect(error).toBeInstanceOf(ConfChangeError);
  });

  test.each([
    { what: "bytes that are no change", type: EntryType.EntryConfChangeV2, data: new Uint8Array([7, 7]) },
    { what: "an entry that is none", type: EntryType.EntryNormal, data: new Uint8Array() },
  ])("nor does one that cannot be read: $what", ({ type, data }) => {
    expect(refusal(leader(), () => decodeConfChange(type, data))).toBeInstanceOf(ConfChangeError);
  });
});

function unknownType() {
  // As it comes from the wire, where enums are open.
  return fromBinary(ConfChangeSchema, new Uint8Array([16, 9, 24, 5]));
}

describe("a storage that cannot serve changes nothing", () => {
  test("compacted, unavailable: in the log", () => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n, 1n, 1n], commit: 3n });
    node.storage.compact(2n);
    const any = { canAsync: false, purpose: "other" } as const;
    const reads: ((raw: RawNode) => unknown)[] = [
      ({ raft }) => raft.log.term(1n),
      ({ raft }) => raft.log.slice(2n, 4n, 100, any),
      ({ raft }) => raft.log.term(5n),
      ({ raft }) => raft.log.slice(3n, 6n, 100, any),
    ];
    const codes = reads.map((read) => codeOf(refusal(node, read)));
    expect(codes).toEqual(["compacted", "compacted", "unavailable", "unavailable"]);
  });

  test("logTemporarilyUnavailable: however often a peer is to be sent what is still being fetched", () => {
    const node = leader();
    node.storage.triggerLogUnavailable(true);
    node.act((raw) => raw.reportUnreachable(2n));
    const fetch = (): void => {
      node.act((raw) => raw.step(heartbeatResponse(node, 2)));
      const context = node.storage.takeGetEntriesContext();
      expect(context).toMatchObject({ purpose: "sendAppend", to: 2n });
      if (context !== undefined) node.act((raw) => raw.onEntriesFetched(context));
      node.storage.takeGetEntriesContext();
    };
    fetch();
    const before = stateImage(node.node);
    fetch();
    expect(stateImage(node.node)).toBe(before);
  });

  test("snapshotTemporarilyUnavailable: however often a peer needs a snapshot that is not there yet", () => {
    class WithoutSnapshot extends MemoryStorage {
      override snapshot(): never {
        throw new StorageError("snapshotTemporarilyUnavailable");
      }
    }
    const storage = new WithoutSnapshot();
    storage.applySnapshot(snapshotOf(5n, 1n, VOTERS));
    const node = new TestNode(1n, { storage }).forceLeader();
    node.takeMessages();
    node.step(ack(node, 2, 5n, { reject: true }));
    const before = stateImage(node.node);
    node.act((raw) => raw.step(heartbeatResponse(node, 2)));
    expect(stateImage(node.node)).toBe(before);
    expect(node.takeMessages()).toEqual([]);
  });

  test.each([
    { code: "snapshotOutOfDate", call: (own: MemoryStorage) => own.applySnapshot(snapshotOf(1n, 1n, [1n])) },
    { code: "snapshotTemporarilyUnavailable", call: (own: MemoryStorage) => own.snapshot(9n, 2n) },
    { code: "unavailable", call: (own: MemoryStorage) => own.compact(9n) },
    { code: undefined, call: (own: MemoryStorage) => own.append(entriesAt(9n, 1n)) },
    { code: undefined, call: (own: MemoryStorage) => own.append(entriesAt(2n, 1n)) },
  ])("$code: in MemoryStorage", ({ code, call }) => {
    const storage = new MemoryStorage();
    storage.append(entriesAt(1n, 1n, 1n, 1n, 1n));
    storage.compact(2n);
    const before = imageOf(storage);
    let thrown: unknown;
    try {
      call(storage);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(code === undefined ? InvariantViolation : StorageError);
    expect(codeOf(thrown)).toBe(code);
    expect(imageOf(storage)).toBe(before);
  });
});

function codeOf(error: unknown): string | undefined {
  return error instanceof StorageError ? error.code : undefined;
}

describe("a call that must not be changes nothing:", () => {
  test.each<{
    what: string;
    call: (raw: RawNode) => unknown;
    type: typeof ConfigInvalid | typeof InvariantViolation;
  }>([
    { what: "a negative window", call: (raw) => raw.adjustMaxInflightMsgs(2n, -1), type: ConfigInvalid },
    {
      what: "a commit group of nobody",
      call: (raw) =>
        raw.assignCommitGroups([
          { id: 2n, groupId: 7n },
          { id: 3n, groupId: 0n },
        ]),
      type: ConfigInvalid,
    },
    {
      what: "applied beyond the commit index",
      call: (raw) => raw.advanceApplyTo(9n),
      type: InvariantViolation,
    },
    { what: "applied less than before", call: (raw) => raw.advanceApplyTo(0n), type: InvariantViolation },
    {
      what: "entries fetched for a read that could not wait",
      call: (raw) => raw.onEntriesFetched({ canAsync: false, purpose: "ready" }),
      type: InvariantViolation,
    },
  ])("$what", ({ call, type }) => {
    expect(refusal(leader(), call)).toBeInstanceOf(type);
  });

  test("a heartbeat that commits what this log does not have", () => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n], commit: 2n, term: 2n });
    node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n }));
    const beyond = newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n, commit: 9n });
    const error = refusal(node, (raw) => raw.step(beyond));
    expect(error).toBeInstanceOf(InvariantViolation);
  });

  test("a node on a storage that contradicts itself is not made", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(newSnapshot(5n, 1n, newConfState({ voters: [1n, 1n] })));
    const before = imageOf(storage);
    expect(() => new TestNode(1n, { storage })).toThrow(ConfChangeError);
    expect(imageOf(storage)).toBe(before);
  });
});
