// Raft messages to bytes and back. What comes from the network is judged here, message by message, before the
// core sees it: the core may then take for granted what raft-rs only hopes for.

import { fromBinary } from "@bufbuild/protobuf";
import type { NodeId } from "../core/types.js";
import { EntryType, type Message, MessageSchema, MessageType } from "../gen/eraftpb_pb.js";
import { BackwardWriter, encodeMessageInto, messageBytesBound } from "./message-encoder.js";

/**
 * Why bytes are not taken for a message.
 *
 * | code | meaning |
 * | --- | --- |
 * | `malformed` | no protobuf, or fields that contradict each other |
 * | `unknownEnum` | a message or entry type of a newer version, or of another protocol |
 * | `termMissing` | term 0 where the sender must have a term |
 * | `wrongRecipient` | addressed to another node |
 * | `wrongSender` | from nobody, from this node itself, or not from the node that sent the envelope |
 * | `localType` | a type that never travels |
 * | `tooLarge` | larger than the limit |
 */
export type EnvelopeErrorCode =
  | "malformed"
  | "unknownEnum"
  | "termMissing"
  | "wrongRecipient"
  | "wrongSender"
  | "localType"
  | "tooLarge";

export class EnvelopeError extends Error {
  override readonly name = "EnvelopeError";
  constructor(
    readonly code: EnvelopeErrorCode,
    message: string,
  ) {
    super(message);
  }
}

export interface MessageExpectation {
  /** The node that reads: the only `to` that is taken. */
  readonly self: NodeId;
  /** The node that sent the envelope, if it is known. */
  readonly sender?: NodeId | undefined;
  /** Limit for one message. */
  readonly maxMessageBytes?: number | undefined;
}

/** Encodes each message by itself. The arrays share one buffer and must not be changed. */
export function encodeMessages(messages: readonly Message[]): Uint8Array[] {
  let bound = 0;
  for (const message of messages) bound += messageBytesBound(message);
  const writer = new BackwardWriter(Buffer.allocUnsafe(bound));
  const ends: Uint8Array[] = [];
  for (let at = messages.length - 1; at >= 0; at -= 1) {
    const message = messages[at];
    if (message === undefined) continue;
    const end = writer.position;
    encodeMessageInto(writer, message);
    ends.push(writer.written().subarray(0, end - writer.position));
  }
  return ends.reverse();
}

/** Tag and length of a message in an envelope. */
const ENVELOPE_PREFIX_BYTES = 8;

/**
 * A whole encoded SendRaftMessageRequest, without a copy per message.
 * @param bound the sum of `messageBytesBound` of all of them
 */
export function encodeEnvelope(messages: readonly Message[], bound: number): Uint8Array {
  const writer = new BackwardWriter(Buffer.allocUnsafe(bound + messages.length * ENVELOPE_PREFIX_BYTES));
  for (let at = messages.length - 1; at >= 0; at -= 1) {
    const message = messages[at];
    if (message === undefined) continue;
    const end = writer.position;
    encodeMessageInto(writer, message);
    writer.close(1, end);
  }
  return writer.written();
}

// Unknown fields could not be written back by `encodeMessages`, so they are not kept.
const READ_OPTIONS = { readUnknownFields: false };

/**
 * Decodes one message and checks everything about it that can be checked without the node's state.
 * @throws EnvelopeError; nothing else.
 */
export function decodeMessage(bytes: Uint8Array, expect: MessageExpectation): Message {
  const limit = expect.maxMessageBytes ?? Number.POSITIVE_INFINITY;
  if (bytes.length > limit) {
    throw new EnvelopeError(
      "tooLarge",
      `a message of ${bytes.length} bytes exceeds the limit of ${limit} (maxMessageBytes): raise it on every node, or lower maxSizePerMsg`,
    );
  }
  let message: Message;
  try {
    message = fromBinary(MessageSchema, bytes, READ_OPTIONS);
  } catch (error) {
    throw new EnvelopeError(
      "malformed",
      `${bytes.length} bytes are no eraftpb.Message: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  judgeType(message);
  judgeParties(message, expect);
  judgeTerm(message);
  judgeEntries(message);
  if (message.msgType === MessageType.MsgSnapshot) judgeSnapshot(message);
  return message;
}

/** Types that a node forwards for another one: their `from` stays the original asker's. */
function isForwardable(type: MessageType): boolean {
  return (
    type === MessageType.MsgPropose ||
    type === MessageType.MsgReadIndex ||
    type === MessageType.MsgTransferLeader
  );
}

function typeName(message: Message): string {
  return MessageType[message.msgType] ?? `message type ${message.msgType}`;
}

function judgeType(message: Message): void {
  if (MessageType[message.msgType] === undefined) {
    throw new EnvelopeError(
      "unknownEnum",
      `unknown message type ${message.msgType}: the sender is newer than this node, or speaks another protocol`,
    );
  }
  switch (message.msgType) {
    case MessageType.MsgHup:
    case MessageType.MsgBeat:
    case MessageType.MsgUnreachable:
    case MessageType.MsgSnapStatus:
    case MessageType.MsgCheckQuorum:
      throw new EnvelopeError(
        "localType",
        `${typeName(message)} is local to a node and never travels (an empty message decodes to MsgHup)`,
      );
    default:
  }
  for (const entry of message.entries) {
    if (EntryType[entry.entryType] === undefined) {
      throw new EnvelopeError(
        "unknownEnum",
        `unknown entry type ${entry.entryType} at index ${entry.index}: the sender is newer than this node`,
      );
    }
  }
}

function judgeParties(message: Message, expect: MessageExpectation): void {
  if (message.to !== expect.self) {
    throw new EnvelopeError(
      "wrongRecipient",
      `${typeName(message)} is addressed to node ${message.to}, but this is node ${expect.self}: check the addresses in the membership`,
    );
  }
  if (message.from === 0n) {
    throw new EnvelopeError("wrongSender", `${typeName(message)} is from nobody (from = 0)`);
  }
  if (isForwardable(message.msgType)) return;
  if (message.from === expect.self) {
    throw new EnvelopeError(
      "wrongSender",
      `${typeName(message)} is from this node itself (${expect.self}): two nodes run with one id, or an address points back here`,
    );
  }
  if (expect.sender !== undefined && message.from !== expect.sender) {
    throw new EnvelopeError(
      "wrongSender",
      `${typeName(message)} is from node ${message.from}, but node ${expect.sender} sent it`,
    );
  }
}

function judgeTerm(message: Message): void {
  // Forwarded proposals and reads travel without a term; term 0 means "local" to the core, which then checks nothing.
  if (message.msgType === MessageType.MsgPropose || message.msgType === MessageType.MsgReadIndex) {
    if (message.term !== 0n) {
      throw new EnvelopeError(
        "malformed",
        `${typeName(message)} carries term ${message.term}, but must have none`,
      );
    }
    return;
  }
  if (message.term === 0n) {
    throw new EnvelopeError("termMissing", `${typeName(message)} from node ${message.from} carries no term`);
  }
}

function judgeEntries(message: Message): void {
  const count = message.entries.length;
  switch (message.msgType) {
    case MessageType.MsgAppend:
      judgeAppendedEntries(message);
      return;
    case MessageType.MsgPropose:
      if (count === 0) throw new EnvelopeError("malformed", "MsgPropose proposes nothing");
      return;
    case MessageType.MsgReadIndex:
    case MessageType.MsgReadIndexResp:
      // The one entry holds the context of the read.
      if (count !== 1) {
        throw new EnvelopeError("malformed", `${typeName(message)} has ${count} entries where one is due`);
      }
      return;
    default:
      if (count > 0) throw new EnvelopeError("malformed", `${typeName(message)} must not carry entries`);
  }
}

function judgeAppendedEntries(message: Message): void {
  let expected = message.index + 1n;
  let term = message.logTerm;
  for (const entry of message.entries) {
    if (entry.index !== expected) {
      throw new EnvelopeError(
        "malformed",
        `MsgAppend after index ${message.index} has entry ${entry.index} where ${expected} is due`,
      );
    }
    if (entry.term === 0n || entry.term < term || entry.term > message.term) {
      throw new EnvelopeError(
        "malformed",
        `MsgAppend of term ${message.term} has entry ${entry.index} of term ${entry.term} after one of term ${term}`,
      );
    }
    term = entry.term;
    expected += 1n;
  }
}

function judgeSnapshot(message: Message): void {
  const metadata = message.snapshot?.metadata;
  if (metadata === undefined || metadata.confState === undefined) {
    throw new EnvelopeError("malformed", "MsgSnapshot carries no metadata, or metadata without a membership");
  }
  if (metadata.index === 0n || metadata.term === 0n || metadata.term > message.term) {
    throw new EnvelopeError(
      "malformed",
      `MsgSnapshot of term ${message.term} covers index ${metadata.index} of term ${metadata.term}`,
    );
  }
}
