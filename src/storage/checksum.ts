// CRC-32 (IEEE 802.3): the checksum of every record and of every snapshot body.

import * as zlib from "node:zlib";

type Crc32 = (data: Uint8Array, previous?: number) => number;

// Node 20.15, 22.2 and later have a native one; 21 and the first 22s satisfy `engines` without it.
const native: Crc32 | undefined = "crc32" in zlib ? zlib.crc32 : undefined;

/** Goes on from `previous`, the checksum of the bytes before `data`. */
export const crc32: Crc32 = native ?? crc32ByTable;

/** The same without the native function. */
export function crc32ByTable(data: Uint8Array, previous = 0): number {
  let crc = ~previous;
  for (const byte of data) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});
