// A look at a file before LMDB sees it: LMDB takes the process down over a file that is none of its own.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** lmdb 3.5: both meta pages start with a 24-byte page header, then magic and data format version. */
const MAGIC_OFFSET = 24;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const LEAST_BYTES = 2 * 4096;

/** What keeps `path` from being a healthy LMDB file, as words; undefined when nothing obvious does. */
export function lmdbFileProblem(path: string): string | undefined {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    if (size < LEAST_BYTES) return `it has ${size} bytes, an LMDB file has at least ${LEAST_BYTES}`;
    const head = Buffer.alloc(MAGIC_OFFSET + 8);
    readSync(file, head, 0, head.length, 0);
    if (head.readUInt32LE(MAGIC_OFFSET) !== MAGIC) return "it does not begin like an LMDB file";
    const version = head.readUInt32LE(MAGIC_OFFSET + 4);
    return version === DATA_VERSION ? undefined : `its LMDB data format is ${version}, not ${DATA_VERSION}`;
  } finally {
    closeSync(file);
  }
}
