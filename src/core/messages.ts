// Factories for the generated message types, and the sizes that limits are measured in.
// Plain literals with every field in one order: `create()` of protobuf-es goes through reflection, which the
// hot path cannot afford, and one shape for all messages keeps every property access monomorphic.

import {
  type ConfState,
  type Entry,
  EntryType,
  type HardState,
  type Message,
  type MessageType,
  type Snapshot,
} from "../gen/eraftpb_pb.js";
import type { LogIndex, NodeId, Term } from "./types.js";

export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** A message with every field at its default but the given ones. */
export function newMessage(
  msgType: MessageType,
  to: NodeId,
  fields?: Partial<Omit<Message, "$typeName" | "$unknown" | "msgType" | "to">>,
): Message {
  const message: Message = {
    $typeName: "eraftpb.Message",
    msgType,
    to,
    from: 0n,
    term: 0n,
    logTerm: 0n,
    index: 0n,
    entries: [],
    commit: 0n,
    requestSnapshot: 0n,
    reject: false,
    rejectHint: 0n,
    context: NO_BYTES,
    deprecatedPriority: 0n,
    commitTerm: 0n,
    priority: 0n,
  };
  return fields === undefined ? message : Object.assign(message, fields);
}

export function newEntry(
  entryType: EntryType,
  term: Term,
  index: LogIndex,
  data: Uint8Array,
  context: Uint8Array,
): Entry {
  return { $typeName: "eraftpb.Entry", entryType, term, index, data, context, syncLog: false };
}

/** An entry of a command, with defaults for what a test does not care about. */
export function newNormalEntry(term: Term, index: LogIndex, data = NO_BYTES, context = NO_BYTES): Entry {
  return newEntry(EntryType.EntryNormal, term, index, data, context);
}

export function newHardState(term: Term, vote: NodeId, commit: LogIndex): HardState {
  return { $typeName: "eraftpb.HardState", term, vote, commit };
}

export function newConfState(fields: Partial<Omit<ConfState, "$typeName" | "$unknown">> = {}): ConfState {
  return {
    $typeName: "eraftpb.ConfState",
    voters: [],
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
    ...fields,
  };
}

export function newSnapshot(index: LogIndex, term: Term, confState: ConfState, data = NO_BYTES): Snapshot {
  return {
    $typeName: "eraftpb.Snapshot",
    data,
    metadata: { $typeName: "eraftpb.SnapshotMetadata", confState, index, term },
  };
}

/** Where a snapshot ends; (0, 0) for one without metadata, which is "no snapshot" on the wire. */
export function snapshotPosition(snapshot: Snapshot): { readonly index: LogIndex; readonly term: Term } {
  const { metadata } = snapshot;
  return metadata === undefined ? { index: 0n, term: 0n } : metadata;
}

/** An own copy of a membership: lists that callers keep must not be the core's. */
export function copyConfState(confState: ConfState): ConfState {
  return newConfState({
    voters: [...confState.voters],
    learners: [...confState.learners],
    votersOutgoing: [...confState.votersOutgoing],
    learnersNext: [...confState.learnersNext],
    autoLeave: confState.autoLeave,
  });
}

/** A snapshot that shares nothing changeable with the given one, its body included. */
export function copySnapshot(snapshot: Snapshot): Snapshot {
  const { metadata } = snapshot;
  const confState = metadata?.confState;
  return newSnapshot(
    metadata?.index ?? 0n,
    metadata?.term ?? 0n,
    confState === undefined ? newConfState() : copyConfState(confState),
    ownBytes(snapshot.data),
  );
}

/** A copy of bytes that somebody else holds: he may write over them, or they are a window on a larger buffer. */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  // Not `slice`: that of a Node Buffer, which is a Uint8Array too, copies nothing.
  return bytes.length === 0 ? NO_BYTES : new Uint8Array(bytes);
}

/** So little memory is kept alive by an entry that outlives its neighbours. */
const PIECE_BYTES = 8 * 1024;

/**
 * Copies the bytes of many entries into few pieces of memory: an allocation for each would cost more than everything
 * else that happens to a small one. What is larger than half a piece gets one of its own.
 */
export class EntryBytes {
  #piece = NO_BYTES;
  #used = 0;
  #left = 0;

  /** `entries` are those that will be copied. */
  constructor(entries: Iterable<{ readonly data: Uint8Array; readonly context: Uint8Array }>) {
    for (const { data, context } of entries) this.#left += shared(data) + shared(context);
  }

  own(bytes: Uint8Array): Uint8Array {
    const { length } = bytes;
    if (shared(bytes) === 0) return ownBytes(bytes);
    if (this.#used + length > this.#piece.length) {
      // The last, or the only one: a window on a piece costs ten times what a small array costs.
      if (length === this.#left) return ownBytes(bytes);
      this.#piece = new Uint8Array(Math.max(Math.min(this.#left, PIECE_BYTES), length));
      this.#used = 0;
    }
    const copy = this.#piece.subarray(this.#used, this.#used + length);
    copy.set(bytes);
    this.#used += length;
    this.#left -= length;
    return copy;
  }
}

function shared({ length }: Uint8Array): number {
  return length > PIECE_BYTES / 2 ? 0 : length;
}

/**
 * An entry that the core may keep: frozen, because from here on the log, messages and Readys share it. An entry
 * that is frozen already comes from a RawNode and is shared as it is.
 */
export function frozenEntry(entry: Entry): Entry {
  return Object.isFrozen(entry) ? entry : frozenCopy(entry, new EntryBytes([entry]));
}

function frozenCopy({ entryType, term, index, data, context }: Entry, bytes: EntryBytes): Entry {
  return Object.freeze(newEntry(entryType, term, index, bytes.own(data), bytes.own(context)));
}

/** A message of which the core may keep what it likes: its maker may do with his as he pleases. */
export function ownMessage(message: Message): Message {
  const { entries, context } = message;
  if (context.length === 0 && entries.every(isFrozen)) return message;
  const bytes = new EntryBytes(entries.filter((entry) => !isFrozen(entry)));
  const own = entries.map((entry) => (isFrozen(entry) ? entry : frozenCopy(entry, bytes)));
  return { ...message, entries: own, context: ownBytes(context) };
}

function isFrozen(entry: Entry): boolean {
  return Object.isFrozen(entry);
}

/** The payload that `maxUncommittedSize` counts: what the proposer sent, so that empty entries cost nothing. */
export function payloadSize(entry: Entry): number {
  return entry.data.length;
}

/** The encoded size of an entry, which `maxSizePerMsg` and the byte window count. raft-rs: `compute_size`. */
export function entrySize(entry: Entry): number {
  const type = entry.entryType === EntryType.EntryNormal ? 0 : 2;
  return (
    type + uintField(entry.term) + uintField(entry.index) + bytesField(entry.data) + bytesField(entry.context)
  );
}

export function entriesSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entrySize(entry);
  return size;
}

/**
 * The longest prefix whose encoded size fits, but at least the first entry: a limit below one entry's size, 0
 * included, must not stop replication. raft-rs: `limit_size`.
 */
export function limitSize(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  if (entries.length <= 1 || maxBytes === Number.POSITIVE_INFINITY) return entries;
  let size = 0;
  let count = 0;
  for (const entry of entries) {
    size += entrySize(entry);
    if (size > maxBytes && count > 0) return entries.slice(0, count);
    count += 1;
  }
  return entries;
}

const TAG = 1;

function uintField(value: bigint): number {
  return value === 0n ? 0 : TAG + varintSize(Number(value));
}

function bytesField(bytes: Uint8Array): number {
  return bytes.length === 0 ? 0 : TAG + varintSize(bytes.length) + bytes.length;
}

/** Seven bits a byte. Values beyond 2^53 may be a byte off, which no limit notices. */
function varintSize(value: number): number {
  let size = 1;
  for (let limit = 128; value >= limit; limit *= 128) size += 1;
  return size;
}
