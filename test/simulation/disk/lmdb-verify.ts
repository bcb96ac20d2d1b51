// Takes the place of src/storage/lmdb-verify.ts: walks the records on a simulated disk. Pages there are none to check.

import { ENTRIES_DATABASE, entryKey } from "../../../src/storage/keys.js";
import type { LmdbRecordVisitor } from "../../../src/storage/lmdb-verify.js";
import { diskOf } from "./disk.js";

export async function verifyLmdbFile(
  path: string,
  root: LmdbRecordVisitor,
  databases: ReadonlyMap<string, LmdbRecordVisitor>,
): Promise<void> {
  const disk = diskOf(path);
  await disk.pause();
  for (const [key, record] of disk.log?.records ?? []) root(Buffer.from(key, "latin1"), record);
  const entries = [...(disk.log?.entries ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  const visit = databases.get(ENTRIES_DATABASE);
  for (const [index, record] of entries) visit?.(entryKey(index), record);
}
