// The two messages that every Set has encoded, a SetCommand and a KvRecord, byte for byte as protobuf-es encodes them,
// into memory of the right size at once: its writer grows step by step, and the garbage of that is much of a Set's price.

import { toBinary } from "@bufbuild/protobuf";
import type { KvRecord } from "../../gen/records_pb.js";
import { type WriteId, WriteIdSchema } from "../../gen/service_pb.js";

// Field number and wire type.
const SET = (1 << 3) | 2;
const SET_KEY = (1 << 3) | 2;
const SET_VALUE = (2 << 3) | 2;
const SET_IF_MOD_REVISION = 3 << 3;
const WRITE_ID = (15 << 3) | 2;
const RECORD_VALUE = (1 << 3) | 2;
const RECORD_CREATE_REVISION = 2 << 3;
const RECORD_MOD_REVISION = 3 << 3;
const RECORD_VERSION = 4 << 3;

/** A KvCommand that holds a SetCommand. Nobody else knows the memory. */
export function encodeSetCommand(
  key: string,
  value: Uint8Array,
  ifModRevision: bigint | undefined,
  writeId: WriteId | undefined,
): Uint8Array {
  const keyBytes = Buffer.byteLength(key, "utf8");
  const id = writeId && toBinary(WriteIdSchema, writeId);
  const setBytes =
    fieldBytes(keyBytes) +
    fieldBytes(value.length) +
    (ifModRevision === undefined ? 0 : 1 + varintBytes(ifModRevision));
  const idBytes = id === undefined ? 0 : 1 + varintBytes(id.length) + id.length;
  const target = Buffer.from(new ArrayBuffer(1 + varintBytes(setBytes) + setBytes + idBytes));
  let at = putVarint(target, putTag(target, 0, SET), setBytes);
  if (keyBytes > 0) {
    at = putVarint(target, putTag(target, at, SET_KEY), keyBytes);
    at += target.write(key, at, "utf8");
  }
  at = putBytes(target, at, SET_VALUE, value);
  if (ifModRevision !== undefined) {
    at = putVarint(target, putTag(target, at, SET_IF_MOD_REVISION), ifModRevision);
  }
  if (id !== undefined) {
    at = putVarint(target, putTag(target, at, WRITE_ID), id.length);
    target.set(id, at);
  }
  // Not as a Buffer, whose `slice` would be a view.
  return new Uint8Array(target.buffer);
}

/** What `putRecord` writes. */
export function recordBytes({ value, createRevision, modRevision, version }: KvRecord): number {
  return (
    fieldBytes(value.length) + numberBytes(createRevision) + numberBytes(modRevision) + numberBytes(version)
  );
}

/** Writes a record of which all fields are known here. */
export function putRecord(target: Uint8Array, offset: number, record: KvRecord): void {
  let at = putBytes(target, offset, RECORD_VALUE, record.value);
  at = putNumber(target, at, RECORD_CREATE_REVISION, record.createRevision);
  at = putNumber(target, at, RECORD_MOD_REVISION, record.modRevision);
  putNumber(target, at, RECORD_VERSION, record.version);
}

/** What is empty, or 0, is left out. */
function fieldBytes(length: number): number {
  return length === 0 ? 0 : 1 + varintBytes(length) + length;
}

function numberBytes(value: bigint): number {
  return value === 0n ? 0 : 1 + varintBytes(value);
}

function putBytes(target: Uint8Array, offset: number, tag: number, bytes: Uint8Array): number {
  if (bytes.length === 0) return offset;
  const at = putVarint(target, putTag(target, offset, tag), bytes.length);
  target.set(bytes, at);
  return at + bytes.length;
}

function putNumber(target: Uint8Array, offset: number, tag: number, value: bigint): number {
  return value === 0n ? offset : putVarint(target, putTag(target, offset, tag), value);
}

function putTag(target: Uint8Array, offset: number, tag: number): number {
  target[offset] = tag;
  return offset + 1;
}

function varintBytes(value: bigint | number): number {
  let bytes = 1;
  let rest = value;
  // Above what a number holds exactly, step by step as a bigint.
  for (; typeof rest === "bigint" && rest > Number.MAX_SAFE_INTEGER; rest >>= 7n) bytes += 1;
  for (let small = Number(rest); small >= 0x80; small = Math.floor(small / 0x80)) bytes += 1;
  return bytes;
}

function putVarint(target: Uint8Array, offset: number, value: bigint | number): number {
  let at = offset;
  let rest = value;
  for (; typeof rest === "bigint" && rest > Number.MAX_SAFE_INTEGER; rest >>= 7n) {
    target[at] = Number(rest & 0x7fn) | 0x80;
    at += 1;
  }
  let small = Number(rest);
  for (; small >= 0x80; small = Math.floor(small / 0x80)) {
    target[at] = (small % 0x80) | 0x80;
    at += 1;
  }
  target[at] = small;
  return at + 1;
}
