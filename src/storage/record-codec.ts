// How records look on disk. Each begins with a CRC-32 that also covers its place, so that a record that turns up
// under another key is noticed as surely as a flipped bit.

import type { LogIndex } from "../core/types.js";
import type { Entry } from "../gen/eraftpb_pb.js";
import { crc32 } from "./checksum.js";
import { RECORD_KEYS, type RecordKey, recordKeyBytes } from "./keys.js";

const CRC_BYTES = 4;

/** What the checksum of a record goes on from. */
const KEY_CHECKSUMS: ReadonlyMap<string, number> = new Map(
  Object.values(RECORD_KEYS).map((key) => [key, crc32(recordKeyBytes(key))]),
);

/** A single record: the checksum of key and payload, then the payload. The result is never changed again. */
export function sealRecord(key: RecordKey, payload: Uint8Array): Buffer {
  const record = Buffer.allocUnsafe(CRC_BYTES + payload.length);
  record.set(payload, CRC_BYTES);
  record.writeUInt32BE(crc32(payload, KEY_CHECKSUMS.get(key)), 0);
  return record;
}

/** The payload of a single record, or undefined when it is not what was sealed under this key. */
export function unsealRecord(key: RecordKey, record: Uint8Array): Uint8Array | undefined {
  if (record.length < CRC_BYTES) return undefined;
  const payload = record.subarray(CRC_BYTES);
  const stored = Buffer.from(record.buffer, record.byteOffset, CRC_BYTES).readUInt32BE(0);
  return stored === crc32(payload, KEY_CHECKSUMS.get(key)) ? payload : undefined;
}

// An entry: checksum of all that follows, index, term, type, flags, length of the context; context; data.
// The type takes four bytes because protobuf keeps types that this program does not know yet.
const INDEX_AT = 4;
const TERM_AT = 12;
const TYPE_AT = 20;
const FLAGS_AT = 24;
const CONTEXT_LENGTH_AT = 25;
/** Bytes of an entry record before its context and data. */
export const ENTRY_HEADER_BYTES = 29;
const SYNC_LOG_FLAG = 1;

export function entryRecordBytes(entry: Entry): number {
  return ENTRY_HEADER_BYTES + entry.context.length + entry.data.length;
}

/** Writes the record of `entry` at `offset`, and returns it: a view of {@link entryRecordBytes} bytes. */
export function writeEntryRecord(entry: Entry, target: DataView, offset: number): Buffer {
  const { context, data } = entry;
  target.setBigUint64(offset + INDEX_AT, entry.index);
  target.setBigUint64(offset + TERM_AT, entry.term);
  target.setInt32(offset + TYPE_AT, entry.entryType);
  target.setUint8(offset + FLAGS_AT, entry.syncLog ? SYNC_LOG_FLAG : 0);
  target.setUint32(offset + CONTEXT_LENGTH_AT, context.length);
  const record = Buffer.from(target.buffer, target.byteOffset + offset, entryRecordBytes(entry));
  if (context.length > 0) record.set(context, ENTRY_HEADER_BYTES);
  if (data.length > 0) record.set(data, ENTRY_HEADER_BYTES + context.length);
  target.setUint32(offset, crc32(record.subarray(INDEX_AT)));
  return record;
}

/** What makes an entry's record unusable: "checksum" covers a record under another entry's key. */
export type EntryRecordProblem = "checksum" | "malformed";

/** Why the record is not the entry at `index`, or undefined when it is. */
export function entryRecordProblem(index: LogIndex, record: Buffer): EntryRecordProblem | undefined {
  if (record.length < ENTRY_HEADER_BYTES) return "checksum";
  if (record.readUInt32BE(0) !== crc32(record.subarray(INDEX_AT))) return "checksum";
  if (record.readBigUInt64BE(INDEX_AT) !== index) return "checksum";
  if (record.readUInt32BE(CONTEXT_LENGTH_AT) > record.length - ENTRY_HEADER_BYTES) return "malformed";
  return undefined;
}

/** The term in a record that {@link entryRecordProblem} found no fault with. */
export function entryRecordTerm(record: Buffer): bigint {
  return record.readBigUInt64BE(TERM_AT);
}

/** The entry in a record without a problem. Its bytes are views of the record: the caller gives it away. */
export function readEntryRecord(record: Buffer): Entry {
  const contextLength = record.readUInt32BE(CONTEXT_LENGTH_AT);
  const contextAt = record.byteOffset + ENTRY_HEADER_BYTES;
  const dataLength = record.length - ENTRY_HEADER_BYTES - contextLength;
  return {
    $typeName: "eraftpb.Entry",
    entryType: record.readInt32BE(TYPE_AT),
    term: record.readBigUInt64BE(TERM_AT),
    index: record.readBigUInt64BE(INDEX_AT),
    data: new Uint8Array(record.buffer, contextAt + contextLength, dataLength),
    context: new Uint8Array(record.buffer, contextAt, contextLength),
    syncLog: (record.readUInt8(FLAGS_AT) & SYNC_LOG_FLAG) !== 0,
  };
}
