// What a backup holds: read from its beginning, or all of it with every checksum on the way.

import type { KvStoreState } from "../../gen/records_pb.js";
import { KvSnapshotInvalid, readSnapshot } from "../../placement/kv/kv-snapshot-format.js";
import { StorageFault } from "../../storage/storage-fault.js";
import { BackupFile, notSound } from "./backup-file.js";

export interface BackupContents {
  /** Of the store. */
  readonly revision: bigint;
  readonly keys: bigint;
  /** Clients whose last writes are remembered, so that they take effect once. */
  readonly sessions: bigint;
}

/** What its first bytes announce; the rest is not looked at. @throws CommandError */
export async function readContents(backup: BackupFile): Promise<BackupContents> {
  return explained(backup.path, async () => {
    for await (const part of readSnapshot(backup.body())) {
      if (part.kind === "header") return contentsOf(part.state);
    }
    throw notSound(backup.path, "it is empty");
  });
}

/** Reads everything. @throws CommandError when anything is not as it was written */
export async function verifyBackup(
  path: string,
  onProgress: (readBytes: number, ofBytes: bigint) => void = () => {},
): Promise<BackupContents> {
  const backup = await BackupFile.open(path);
  try {
    return await explained(path, async () => {
      let contents: BackupContents | undefined;
      const { sizeBytes, index } = backup.info;
      for await (const part of readSnapshot(backup.body((read) => onProgress(read, sizeBytes)))) {
        if (part.kind !== "header") continue;
        contents = contentsOf(part.state);
        if (part.state.appliedIndex === index) continue;
        throw notSound(
          path,
          `it is as of entry ${part.state.appliedIndex}, but is said to be as of ${index}`,
        );
      }
      if (contents === undefined) throw notSound(path, "it is empty");
      return contents;
    });
  } finally {
    await backup.close();
  }
}

function contentsOf({ revision, recordCount, sessionCount }: KvStoreState): BackupContents {
  return { revision, keys: recordCount, sessions: sessionCount };
}

async function explained<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof KvSnapshotInvalid || error instanceof StorageFault) {
      throw notSound(path, error.message);
    }
    throw error;
  }
}
