// The keys of the log's environment, and how an index becomes a key that sorts like the index.

import type { LogIndex } from "../core/types.js";

/** Raised when a program could no longer read, or would misread, what the version before it wrote. */
export const FORMAT_VERSION = 1;

/** The single records. They live in the root database of the environment. */
export const RECORD_KEYS = Object.freeze({
  format: "/raft/format",
  identity: "/raft/identity",
  firstIndex: "/raft/first_index",
  lastIndex: "/raft/last_index",
  boundary: "/raft/boundary",
  hardState: "/raft/hard_state",
  confState: "/raft/conf_state",
  snapshot: "/raft/snapshot",
});

export type RecordKey = (typeof RECORD_KEYS)[keyof typeof RECORD_KEYS];

const RECORD_KEY_BYTES = new Map<RecordKey, Buffer>(
  Object.values(RECORD_KEYS).map((key) => [key, Buffer.from(key)]),
);

/** The bytes of a key; never to be changed. */
export function recordKeyBytes(key: RecordKey): Buffer {
  return RECORD_KEY_BYTES.get(key) ?? Buffer.from(key);
}

/**
 * Entries live in a named database of their own: they are then always appended at the right end of a tree, and
 * pages fill up instead of being split in half before the single records.
 */
export const ENTRIES_DATABASE = "entries";

const ENTRY_PREFIX = Buffer.from("/raft/entry/");
export const ENTRY_KEY_BYTES = ENTRY_PREFIX.length + 8;

/** A fresh key: `/raft/entry/` and the index, 8 bytes big-endian. */
export function entryKey(index: LogIndex): Buffer {
  const key = Buffer.allocUnsafeSlow(ENTRY_KEY_BYTES);
  ENTRY_PREFIX.copy(key);
  key.writeBigUInt64BE(index, ENTRY_PREFIX.length);
  return key;
}

const scratch = entryKey(0n);
const scratchView = new DataView(scratch.buffer, scratch.byteOffset, scratch.byteLength);

/** The same bytes in a buffer that the next call overwrites: for callees that copy the key before they return. */
export function transientEntryKey(index: LogIndex): Buffer {
  scratchView.setBigUint64(ENTRY_PREFIX.length, index);
  return scratch;
}

/** The index in a key, or undefined when the bytes are no entry's key. */
export function entryKeyIndex(key: Uint8Array): LogIndex | undefined {
  if (key.length !== ENTRY_KEY_BYTES) return undefined;
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  if (bytes.compare(ENTRY_PREFIX, 0, ENTRY_PREFIX.length, 0, ENTRY_PREFIX.length) !== 0) return undefined;
  return bytes.readBigUInt64BE(ENTRY_PREFIX.length);
}

/** How a person reads an entry's key. */
export function entryKeyName(index: LogIndex): string {
  return `/raft/entry/${index}`;
}
