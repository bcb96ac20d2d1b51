// How a record stands in LMDB: CRC-32 of key and body, then the body. The key is part of the checksum, so that a
// record found under another key is not mistaken for a good one.

import type { KvRecord } from "../../gen/records_pb.js";
import { crc32 } from "../../storage/checksum.js";
import { REBUILD_REMEDY, StorageFault } from "../../storage/storage-fault.js";
import { putRecord, recordBytes } from "./kv-wire.js";

const CHECKSUM_BYTES = 4;
const ARENA_PIECE_BYTES = 64 * 1024;

/**
 * Memory for the records of one batch, a large piece at a time: a small buffer of its own for each costs more than all
 * the rest of writing it. Nothing is handed out twice, because LMDB reads the memory later.
 */
export class RecordArena {
  #piece = Buffer.alloc(0);
  #used = 0;

  take(bytes: number): Buffer {
    if (this.#used + bytes > this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(Math.max(bytes, ARENA_PIECE_BYTES));
      this.#used = 0;
    }
    this.#used += bytes;
    return this.#piece.subarray(this.#used - bytes, this.#used);
  }
}

/** Puts the checksum before `body`. */
export function sealRecord(key: Uint8Array, body: Uint8Array, arena: RecordArena): Buffer {
  const stored = arena.take(CHECKSUM_BYTES + body.length);
  stored.set(body, CHECKSUM_BYTES);
  stored.writeUInt32BE(crc32(body, crc32(key)), 0);
  return stored;
}

/** As `sealRecord`, for a record that is encoded on the way. */
export function sealKvRecord(key: Uint8Array, record: KvRecord, arena: RecordArena): Buffer {
  const stored = arena.take(CHECKSUM_BYTES + recordBytes(record));
  putRecord(stored, CHECKSUM_BYTES, record);
  stored.writeUInt32BE(crc32(stored.subarray(CHECKSUM_BYTES), crc32(key)), 0);
  return stored;
}

/**
 * The body of a stored record, a view into `stored`.
 * @param file where it was read from, for the message.
 * @throws StorageFault `checksum`
 */
export function openRecord(file: string, key: Uint8Array, stored: Uint8Array): Uint8Array {
  const body = stored.subarray(CHECKSUM_BYTES);
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  if (stored.length < CHECKSUM_BYTES || view.getUint32(0) !== crc32(body, crc32(key))) {
    throw new StorageFault("checksum", {
      file,
      key: JSON.stringify(Buffer.from(key).toString("utf8")),
      problem: "the record is not what was written",
      remedy: REBUILD_REMEDY,
    });
  }
  return body;
}
