// Encoding is held to protobuf-es byte for byte over generated messages; decoding is shown every kind of message
// that must not reach the core, and bytes that are no message at all.

import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ConfStateSchema,
  EntrySchema,
  EntryType,
  type Message,
  MessageSchema,
  MessageType,
  SnapshotMetadataSchema,
  SnapshotSchema,
} from "../../src/gen/eraftpb_pb.js";
import { SendRaftMessageRequestSchema } from "../../src/gen/service_pb.js";
import {
  decodeMessage,
  EnvelopeError,
  type EnvelopeErrorCode,
  encodeEnvelope,
  encodeMessages,
  type MessageExpectation,
} from "../../src/transport/envelope.js";
import { messageBytesBound } from "../../src/transport/message-encoder.js";
import { propertyRuns } from "../support/property.js";
import { append, heartbeat, snapshotMessage } from "./support/doubles.js";

const uint64 = fc.oneof(
  fc.constantFrom(0n, 1n, 127n, 128n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const int64 = fc.oneof(
  fc.constantFrom(0n, 1n, -1n, -(2n ** 63n), 2n ** 63n - 1n),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);
const bytes = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.constant(new Uint8Array(20_000).fill(9)));
const entry = fc
  .record({
    entryType: fc.constantFrom(EntryType.EntryNormal, EntryType.EntryConfChange, EntryType.EntryConfChangeV2),
    term: uint64,
    index: uint64,
    data: bytes,
    context: bytes,
    syncLog: fc.boolean(),
  })
  .map((fields) => create(EntrySchema, fields));
const confState = fc
  .record({
    voters: fc.array(uint64),
    learners: fc.array(uint64),
    votersOutgoing: fc.array(uint64),
    learnersNext: fc.array(uint64),
    autoLeave: fc.boolean(),
  })
  .map((fields) => create(ConfStateSchema, fields));
const metadata = fc
  .record({ confState, index: uint64, term: uint64 }, { requiredKeys: ["index", "term"] })
  .map((fields) => create(SnapshotMetadataSchema, fields));
const snapshot = fc
  .record({ data: bytes, metadata }, { requiredKeys: ["data"] })
  .map((fields) => create(SnapshotSchema, fields));
const anyMessage: fc.Arbitrary<Message> = fc
  .record(
    {
      msgType: fc.integer({ min: 0, max: 18 }),
      to: uint64,
      from: uint64,
      term: uint64,
      logTerm: uint64,
      index: uint64,
      entries: fc.array(entry, { maxLength: 5 }),
      commit: uint64,
      snapshot,
      requestSnapshot: uint64,
      reject: fc.boolean(),
      rejectHint: uint64,
      context: bytes,
      deprecatedPriority: uint64,
      commitTerm: uint64,
      priority: int64,
    },
    {
      requiredKeys: ["msgType", "to", "from", "term", "entries"],
    },
  )
  .map((fields) => create(MessageSchema, fields));

describe("encoding", () => {
  it("writes the bytes that protobuf-es writes, within the announced bound", () => {
    fc.assert(
      fc.property(anyMessage, (message) => {
        const expected = toBinary(MessageSchema, message);
        const [encoded] = encodeMessages([message]);
        expect(Buffer.compare(encoded ?? new Uint8Array(0), expected)).toBe(0);
        expect(messageBytesBound(message)).toBeGreaterThanOrEqual(expected.length);
      }),
      propertyRuns(400),
    );
  });

  it("keeps several messages apart, and writes the envelope that protobuf-es writes", () => {
    fc.assert(
      fc.property(fc.array(anyMessage, { maxLength: 5 }), (messages) => {
        const expected = messages.map((message) => toBinary(MessageSchema, message));
        const encoded = encodeMessages(messages);
        expect(encoded.map((each) => Buffer.from(each).toString("hex"))).toEqual(
          expected.map((each) => Buffer.from(each).toString("hex")),
        );
        const envelope = toBinary(
          SendRaftMessageRequestSchema,
          create(SendRaftMessageRequestSchema, { message: expected }),
        );
        const bound = messages.reduce((sum, message) => sum + messageBytesBound(message), 0);
        expect(Buffer.compare(encodeEnvelope(messages, bound), envelope)).toBe(0);
      }),
      propertyRuns(100),
    );
  });

  it("is read back as what was written", () => {
    for (const message of [
      append(1n, 2n, 5n, 300, 4),
      heartbeat(1n, 2n),
      snapshotMessage(1n, 2n, "s-1", 10),
    ]) {
      const [encoded] = encodeMessages([message]);
      const decoded = decodeMessage(encoded ?? new Uint8Array(0), { self: 2n, sender: 1n });
      expect(toBinary(MessageSchema, decoded)).toEqual(toBinary(MessageSchema, message));
    }
  });
});

interface Refusal {
  readonly title: string;
  readonly code: EnvelopeErrorCode;
  readonly bytes: Uint8Array;
  readonly says: RegExp;
  readonly expect?: Partial<MessageExpectation>;
}

function encoded(fields: Partial<Omit<Message, "$typeName">>): Uint8Array {
  return toBinary(
    MessageSchema,
    create(MessageSchema, { msgType: MessageType.MsgHeartbeat, from: 1n, to: 2n, term: 3n, ...fields }),
  );
}

function entryAt(index: bigint, term: bigint, entryType = EntryType.EntryNormal) {
  return create(EntrySchema, { index, term, entryType });
}

function appendOf(...entries: ReturnType<typeof entryAt>[]): Uint8Array {
  return encoded({ msgType: MessageType.MsgAppend, index: 5n, logTerm: 2n, entries });
}

const metadataOf = (index: bigint, term: bigint) =>
  create(SnapshotMetadataSchema, { index, term, confState: create(ConfStateSchema, { voters: [1n] }) });

const REFUSALS: readonly Refusal[] = [
  {
    title: "a truncated message",
    code: "malformed",
    bytes: encoded({}).subarray(0, 3),
    says: /no eraftpb\.Message/,
  },
  { title: "text", code: "malformed", bytes: Buffer.from("hello, raft"), says: /no eraftpb\.Message/ },
  {
    title: "nothing at all, which decodes to MsgHup",
    code: "localType",
    bytes: new Uint8Array(0),
    says: /empty message/,
  },
  ...[
    MessageType.MsgHup,
    MessageType.MsgBeat,
    MessageType.MsgUnreachable,
    MessageType.MsgSnapStatus,
    MessageType.MsgCheckQuorum,
  ].map((msgType) => ({
    title: `the local ${MessageType[msgType]}`,
    code: "localType" as const,
    bytes: encoded({ msgType }),
    says: /never travels/,
  })),
  {
    title: "an unknown message type",
    code: "unknownEnum",
    bytes: encoded({ msgType: 19 as MessageType }),
    says: /message type 19/,
  },
  {
    title: "an unknown entry type",
    code: "unknownEnum",
    bytes: appendOf(entryAt(6n, 3n, 7 as EntryType)),
    says: /entry type 7 at index 6/,
  },
  {
    title: "another recipient",
    code: "wrongRecipient",
    bytes: encoded({ to: 9n }),
    says: /addressed to node 9/,
  },
  { title: "no sender", code: "wrongSender", bytes: encoded({ from: 0n }), says: /from nobody/ },
  {
    title: "this node as the sender",
    code: "wrongSender",
    bytes: encoded({ from: 2n }),
    says: /two nodes run with one id/,
  },
  {
    title: "another sender than the envelope's",
    code: "wrongSender",
    bytes: encoded({ from: 3n }),
    says: /node 1 sent it/,
    expect: { sender: 1n },
  },
  ...[
    MessageType.MsgAppend,
    MessageType.MsgAppendResponse,
    MessageType.MsgRequestVote,
    MessageType.MsgRequestVoteResponse,
    MessageType.MsgSnapshot,
    MessageType.MsgHeartbeat,
    MessageType.MsgHeartbeatResponse,
    MessageType.MsgTransferLeader,
    MessageType.MsgTimeoutNow,
    MessageType.MsgReadIndexResp,
    MessageType.MsgRequestPreVote,
    MessageType.MsgRequestPreVoteResponse,
  ].map((msgType) => ({
    title: `${MessageType[msgType]} without a term`,
    code: "termMissing" as const,
    bytes: encoded({ msgType, term: 0n }),
    says: /carries no term/,
  })),
  {
    title: "a forwarded proposal with a term",
    code: "malformed",
    bytes: encoded({ msgType: MessageType.MsgPropose, entries: [entryAt(0n, 0n)] }),
    says: /must have none/,
  },
  {
    title: "a proposal of nothing",
    code: "malformed",
    bytes: encoded({ msgType: MessageType.MsgPropose, term: 0n }),
    says: /proposes nothing/,
  },
  {
    title: "a read without its context",
    code: "malformed",
    bytes: encoded({ msgType: MessageType.MsgReadIndex, term: 0n }),
    says: /0 entries where one is due/,
  },
  {
    title: "entries with a gap",
    code: "malformed",
    bytes: appendOf(entryAt(6n, 3n), entryAt(8n, 3n)),
    says: /7 is due/,
  },
  {
    title: "entries out of order",
    code: "malformed",
    bytes: appendOf(entryAt(7n, 3n), entryAt(6n, 3n)),
    says: /6 is due/,
  },
  { title: "an entry of index 0", code: "malformed", bytes: appendOf(entryAt(0n, 3n)), says: /6 is due/ },
  { title: "an entry of term 0", code: "malformed", bytes: appendOf(entryAt(6n, 0n)), says: /of term 0/ },
  {
    title: "an entry of a later term than the message",
    code: "malformed",
    bytes: appendOf(entryAt(6n, 4n)),
    says: /of term 4/,
  },
  {
    title: "entries of falling terms",
    code: "malformed",
    bytes: appendOf(entryAt(6n, 3n), entryAt(7n, 2n)),
    says: /of term 2 after one of term 3/,
  },
  {
    title: "entries on a heartbeat",
    code: "malformed",
    bytes: encoded({ entries: [entryAt(6n, 3n)] }),
    says: /must not carry entries/,
  },
  {
    title: "a snapshot without metadata",
    code: "malformed",
    bytes: encoded({ msgType: MessageType.MsgSnapshot, snapshot: create(SnapshotSchema, {}) }),
    says: /no metadata/,
  },
  {
    title: "a snapshot message without a snapshot",
    code: "malformed",
    bytes: encoded({ msgType: MessageType.MsgSnapshot }),
    says: /no metadata/,
  },
  {
    title: "a snapshot of index 0",
    code: "malformed",
    bytes: encoded({
      msgType: MessageType.MsgSnapshot,
      snapshot: create(SnapshotSchema, { metadata: metadataOf(0n, 2n) }),
    }),
    says: /covers index 0/,
  },
  {
    title: "a snapshot of a later term than the message",
    code: "malformed",
    bytes: encoded({
      msgType: MessageType.MsgSnapshot,
      snapshot: create(SnapshotSchema, { metadata: metadataOf(5n, 4n) }),
    }),
    says: /of term 4/,
  },
  {
    title: "a message beyond the limit",
    code: "tooLarge",
    bytes: encoded({ context: new Uint8Array(1000) }),
    says: /maxMessageBytes/,
    expect: { maxMessageBytes: 500 },
  },
];

describe("decoding", () => {
  it.each(REFUSALS)("refuses $title as $code", ({ bytes: given, code, says, expect: expected }) => {
    let thrown: unknown;
    try {
      decodeMessage(given, { self: 2n, ...expected });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(EnvelopeError);
    expect(thrown).toMatchObject({ code });
    expect(String(thrown)).toMatch(says);
  });

  it("takes what nodes forward for others, even when it comes back to the node that asked", () => {
    const forwarded: Partial<Omit<Message, "$typeName">>[] = [
      { msgType: MessageType.MsgPropose, term: 0n, entries: [entryAt(0n, 0n)] },
      { msgType: MessageType.MsgReadIndex, term: 0n, entries: [entryAt(0n, 0n)] },
      { msgType: MessageType.MsgTransferLeader, term: 3n },
    ];
    for (const fields of forwarded) {
      for (const from of [2n, 5n]) {
        expect(decodeMessage(encoded({ ...fields, from }), { self: 2n, sender: 1n }).from).toBe(from);
      }
    }
  });

  it("throws EnvelopeError and nothing else, whatever the bytes", () => {
    const mutated = fc
      .tuple(anyMessage, fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat())
      .map(([message, at, value, cut]) => {
        const intact = toBinary(MessageSchema, message);
        if (intact.length > 0) intact[at % intact.length] = value;
        return intact.subarray(0, intact.length - (cut % 3));
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated), (given) => {
        try {
          decodeMessage(given, { self: 2n });
        } catch (error) {
          expect(error).toBeInstanceOf(EnvelopeError);
        }
      }),
      propertyRuns(2_000),
    );
  });
});
