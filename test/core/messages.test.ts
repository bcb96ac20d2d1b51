// The factories against the generated code that they stand in for, the sizes against the encoder, and what copies
// share: nothing that its owner may still write over, and no more memory than they need.

import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  copyConfState,
  copySnapshot,
  EntryBytes,
  entriesSize,
  entrySize,
  frozenEntry,
  limitSize,
  NO_BYTES,
  newConfState,
  newEntry,
  newHardState,
  newMessage,
  newNormalEntry,
  newSnapshot,
  ownBytes,
  ownMessage,
  snapshotPosition,
} from "../../src/core/messages.js";
import {
  ConfStateSchema,
  EntrySchema,
  EntryType,
  HardStateSchema,
  MessageSchema,
  MessageType,
  SnapshotMetadataSchema,
  SnapshotSchema,
} from "../../src/gen/eraftpb_pb.js";
import { bytes } from "../support/test-node.js";

const filled = (length: number): Uint8Array => new Uint8Array(length).fill(7);

describe("what is made without reflection is what the generated code would make:", () => {
  /** Equal field by field, the name of the type included, and as bytes. */
  function expectSame<T extends DescMessage>(schema: T, made: MessageShape<T>, expected: MessageShape<T>) {
    expect({ ...made }).toEqual({ ...expected });
    expect(toBinary(schema, made)).toEqual(toBinary(schema, expected));
  }

  test("a message", () => {
    const plain = { msgType: MessageType.MsgAppend, to: 2n };
    expectSame(MessageSchema, newMessage(plain.msgType, plain.to), create(MessageSchema, plain));
    const fields = { from: 1n, term: 3n, index: 4n, commit: 5n, reject: true };
    expectSame(
      MessageSchema,
      newMessage(plain.msgType, plain.to, fields),
      create(MessageSchema, { ...plain, ...fields }),
    );
  });

  test("an entry, which asks for no sync of its own", () => {
    const made = newEntry(EntryType.EntryConfChangeV2, 1n, 2n, bytes("data"), bytes("context"));
    const fields = { entryType: made.entryType, term: 1n, index: 2n };
    expectSame(
      EntrySchema,
      made,
      create(EntrySchema, { ...fields, data: bytes("data"), context: bytes("context") }),
    );
    expectSame(EntrySchema, newNormalEntry(1n, 2n), create(EntrySchema, { term: 1n, index: 2n }));
  });

  test("a hard state and a membership", () => {
    expectSame(
      HardStateSchema,
      newHardState(1n, 2n, 3n),
      create(HardStateSchema, { term: 1n, vote: 2n, commit: 3n }),
    );
    const fields = {
      voters: [1n],
      learners: [2n],
      votersOutgoing: [3n],
      learnersNext: [3n],
      autoLeave: true,
    };
    expectSame(ConfStateSchema, newConfState(fields), create(ConfStateSchema, fields));
    expectSame(ConfStateSchema, newConfState(), create(ConfStateSchema));
  });

  test("a snapshot", () => {
    const confState = newConfState({ voters: [1n] });
    const made = newSnapshot(5n, 2n, confState, bytes("body"));
    const metadata = create(SnapshotMetadataSchema, { index: 5n, term: 2n, confState });
    expectSame(SnapshotSchema, made, create(SnapshotSchema, { data: bytes("body"), metadata }));
    expect({ ...made.metadata }).toEqual({ ...metadata });
  });
});

describe("a copy", () => {
  test("of a membership has all of its lists, as lists of its own", () => {
    const original = newConfState({
      voters: [1n, 2n],
      learners: [3n],
      votersOutgoing: [4n],
      learnersNext: [4n],
      autoLeave: true,
    });
    const copy = copyConfState(original);
    expect(copy).toEqual(original);
    for (const list of ["voters", "learners", "votersOutgoing", "learnersNext"] as const) {
      expect(copy[list], list).not.toBe(original[list]);
    }
  });

  test("of a snapshot without metadata stands before the first entry, in a group without members", () => {
    const blank = create(SnapshotSchema);
    expect(snapshotPosition(blank)).toEqual({ index: 0n, term: 0n });
    expect(copySnapshot(blank)).toEqual(newSnapshot(0n, 0n, newConfState()));
    const memberless = create(SnapshotSchema, { metadata: { index: 5n, term: 2n } });
    expect(copySnapshot(memberless)).toEqual(newSnapshot(5n, 2n, newConfState()));
  });

  test("of bytes does not change with them, even if they are a Node Buffer", () => {
    const original = Buffer.from("abc");
    const copy = ownBytes(original);
    original.fill(0);
    expect(copy).toEqual(bytes("abc"));
  });

  test("of a message takes its context and the entries that nobody has frozen, and shares those that are", () => {
    const frozen = frozenEntry(newNormalEntry(1n, 1n, bytes("a")));
    const loose = newNormalEntry(1n, 2n, bytes("b"), bytes("c"));
    for (const entries of [[frozen, loose], [loose, frozen], [loose], [frozen]]) {
      const context = bytes("mark");
      const message = newMessage(MessageType.MsgAppend, 1n, { entries, context });
      const own = ownMessage(message);
      expect(own).toEqual(message);
      expect(own.context).not.toBe(context);
      for (const [position, entry] of own.entries.entries()) {
        expect(Object.isFrozen(entry)).toBe(true);
        expect(entry === entries[position]).toBe(entries[position] === frozen);
      }
    }
  });

  test("of a message that holds nothing but frozen entries is the message itself", () => {
    const entries = [frozenEntry(newNormalEntry(1n, 1n, bytes("a")))];
    const message = newMessage(MessageType.MsgAppend, 1n, { entries });
    expect(ownMessage(message)).toBe(message);
    const marked = newMessage(MessageType.MsgAppend, 1n, { entries, context: bytes("mark") });
    expect(ownMessage(marked)).not.toBe(marked);
    const mixed = newMessage(MessageType.MsgAppend, 1n, { entries: [...entries, newNormalEntry(1n, 2n)] });
    expect(ownMessage(mixed)).not.toBe(mixed);
  });
});

describe("the bytes of entries that are copied together", () => {
  const KIB = 1024;
  const pieceOf = (copy: Uint8Array) => copy.buffer;

  /** Copies data of these sizes together. */
  function copiesOf(...sizes: readonly number[]): Uint8Array[] {
    const parts = sizes.map((size) => ({ data: filled(size), context: NO_BYTES }));
    const memory = new EntryBytes(parts);
    return parts.map(({ data }) => memory.own(data));
  }

  test("lie side by side in one piece of memory that is not larger than all of them", () => {
    const entries = [1, 2, 3].map((size) => ({ data: filled(size), context: filled(10 * size) }));
    const memory = new EntryBytes(entries);
    const copies = entries.flatMap(({ data, context }) => [memory.own(data), memory.own(context)]);
    expect(copies).toEqual(entries.flatMap(({ data, context }) => [data, context]));
    expect(new Set(copies.map(pieceOf)).size).toBe(1);
    expect(copies[0]?.buffer.byteLength).toBe(66);
    expect(copies.map(({ byteOffset }) => byteOffset)).toEqual([0, 1, 11, 13, 33, 36]);
  });

  test("of one entry need no more memory than they have", () => {
    const entry = frozenEntry(newNormalEntry(1n, 1n, filled(100), filled(20)));
    expect(entry.data.buffer.byteLength).toBe(120);
    expect(entry.context.buffer).toBe(entry.data.buffer);
  });

  test("of a message count only those entries that are copied", () => {
    const frozen = frozenEntry(newNormalEntry(1n, 1n, filled(500)));
    const loose = [newNormalEntry(1n, 2n, filled(30)), newNormalEntry(1n, 3n, filled(40))];
    const own = ownMessage(newMessage(MessageType.MsgAppend, 1n, { entries: [frozen, ...loose] }));
    expect(own.entries.map(({ data }) => data.buffer.byteLength)).toEqual([500, 70, 70]);
  });

  test("never keep more than 8 KiB of their neighbours alive: then another piece begins", () => {
    const copies = copiesOf(4 * KIB, 4 * KIB, 3 * KIB, 2 * KIB, 1 * KIB, 3 * KIB);
    expect(copies.map(({ buffer }) => buffer.byteLength / KIB)).toEqual([8, 8, 8, 8, 8, 3]);
    expect(new Set(copies.map(pieceOf)).size).toBe(3);
  });

  test("that fit into what is left of a piece only by a byte too few begin another, as large as they need", () => {
    const copies = copiesOf(4 * KIB, 4 * KIB - 1, 2, 4 * KIB);
    expect(copies.map(({ buffer }) => buffer.byteLength)).toEqual([
      8 * KIB,
      8 * KIB,
      4 * KIB + 2,
      4 * KIB + 2,
    ]);
  });

  test("of more than half a piece have memory of their own, which the others are not charged for", () => {
    const copies = copiesOf(10, 4 * KIB + 1, 20 * KIB, 20);
    expect(copies.map(({ buffer }) => buffer.byteLength)).toEqual([30, 4 * KIB + 1, 20 * KIB, 30]);
    expect(pieceOf(copiesOf(10, 4 * KIB)[1] ?? NO_BYTES).byteLength).toBe(10 + 4 * KIB);
  });

  test("that nobody has announced are copied all the same", () => {
    expect(new EntryBytes([]).own(filled(3))).toEqual(filled(3));
  });
});

describe("the size of an entry", () => {
  test.each([
    { what: "without anything", entry: newNormalEntry(0n, 0n) },
    { what: "with small numbers", entry: newNormalEntry(1n, 127n) },
    { what: "with larger ones", entry: newNormalEntry(128n, 16_383n) },
    { what: "with large ones", entry: newNormalEntry(16_384n, 2n ** 40n) },
    { what: "with data", entry: newNormalEntry(1n, 1n, filled(100)) },
    { what: "with much data and a context", entry: newNormalEntry(1n, 1n, filled(200), filled(130)) },
    {
      what: "that changes the membership",
      entry: newEntry(EntryType.EntryConfChangeV2, 3n, 4n, filled(9), NO_BYTES),
    },
  ])("$what is what it takes on the wire", ({ entry }) => {
    expect(entrySize(entry)).toBe(toBinary(EntrySchema, entry).length);
  });

  test("counts once for each of a list", () => {
    const entries = [newNormalEntry(1n, 1n), newNormalEntry(1n, 2n, filled(10))];
    expect(entriesSize(entries)).toBe(entries.reduce((sum, entry) => sum + entrySize(entry), 0));
  });
});

test("a list is cut where the limit is passed, behind its first entry at the earliest, and else is itself", () => {
  const entries = [1n, 2n, 3n].map((index) => newNormalEntry(1n, index, filled(10)));
  const size = entrySize(newNormalEntry(1n, 1n, filled(10)));
  const within = (maxBytes: number) => limitSize(entries, maxBytes).length;
  expect([0, size, 2 * size - 1, 2 * size, 3 * size - 1].map(within)).toEqual([1, 1, 1, 2, 2]);
  for (const maxBytes of [3 * size, Number.POSITIVE_INFINITY])
    expect(limitSize(entries, maxBytes)).toBe(entries);
  expect(limitSize([], 0)).toEqual([]);
});
