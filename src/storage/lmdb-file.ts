// Looks at a file before lmdb does: lmdb takes a file that is no healthy environment with it into the grave, and
// the process too.

import { type FileHandle, open } from "node:fs/promises";
import { REBUILD_REMEDY, StorageFault } from "./storage-fault.js";

const PAGE_HEADER_BYTES = 24;
const MAGIC = 0xbeefc0de;
/** The data format of lmdb-js 3.5, which stock LMDB 0.9 cannot read. */
const DATA_VERSION = 2;
const P_META = 0x08;
const META_BYTES = 160;
const LAST_PAGE_AT = PAGE_HEADER_BYTES + 24 + 2 * 48;
const PAGE_SIZE_AT = PAGE_HEADER_BYTES + 24;

export interface MetaPage {
  readonly pageBytes: number;
  readonly lastPage: bigint;
  readonly transaction: bigint;
}

/**
 * Checks the two pages that say where everything else is.
 * @throws StorageFault `notLmdb`, `truncated` or `version`
 */
export async function inspectLmdbFile(file: string): Promise<MetaPage> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const first = await readMeta(handle, file, 0, size);
    const second = await readMeta(handle, file, first.pageBytes, size);
    const newest = second.transaction > first.transaction ? second : first;
    return newest;
  } finally {
    await handle.close();
  }
}

async function readMeta(handle: FileHandle, file: string, at: number, size: number): Promise<MetaPage> {
  const bytes = Buffer.alloc(META_BYTES);
  const { bytesRead } = await handle.read(bytes, 0, META_BYTES, at);
  if (bytesRead < META_BYTES) throw truncated(file, `it has ${size} bytes, less than two pages`);
  const flags = bytes.readUInt16LE(18);
  if (bytes.readUInt32LE(PAGE_HEADER_BYTES) !== MAGIC || flags !== P_META) throw notLmdb(file, at);
  const version = bytes.readUInt32LE(PAGE_HEADER_BYTES + 4);
  if (version !== DATA_VERSION) {
    throw new StorageFault("version", {
      file,
      problem: `it is an LMDB file of data version ${version}, this program reads version ${DATA_VERSION}`,
      remedy: "use the program that wrote it",
    });
  }
  const pageBytes = bytes.readUInt32LE(PAGE_SIZE_AT);
  if (pageBytes < 256 || pageBytes > 65_536 || (pageBytes & (pageBytes - 1)) !== 0) throw notLmdb(file, at);
  return {
    pageBytes,
    lastPage: bytes.readBigUInt64LE(LAST_PAGE_AT),
    transaction: bytes.readBigUInt64LE(LAST_PAGE_AT + 8),
  };
}

function notLmdb(file: string, at: number): StorageFault {
  return new StorageFault("notLmdb", {
    file,
    problem: `there is no LMDB meta page at byte ${at}: this is another kind of file, or its beginning is damaged`,
    remedy: `check the data folder's path; if it is right, ${REBUILD_REMEDY}`,
  });
}

function truncated(file: string, problem: string): StorageFault {
  return new StorageFault("truncated", { file, problem, remedy: REBUILD_REMEDY });
}
