// Fetches a backup from a node into a file. The file has its name when it is complete and on disk, never before.

import { access, open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { SnapshotInfo } from "../../gen/service_pb.js";
import type { PlacementClient } from "../../placement/client.js";
import { syncFolder } from "../../storage/storage-files.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { BackupWriter } from "./backup-file.js";
import { type BackupContents, verifyBackup } from "./verify-backup.js";

export interface SaveRequest {
  readonly file: string;
  /** Undefined: the leader. */
  readonly endpoint: string | undefined;
  readonly overwrite: boolean;
  readonly deadlineMs: number;
  /** Gives it up. */
  readonly signal: AbortSignal;
}

export interface SavedBackup {
  readonly info: SnapshotInfo;
  readonly contents: BackupContents;
  readonly endpoint: string;
}

/**
 * From the leader, the backup contains every write that was acknowledged before; from a node that was named, what that
 * node has applied. It is read again and checked before it gets its name.
 * @throws CommandError, PlacementError; no file is left behind
 */
export async function saveBackup(
  client: PlacementClient,
  request: SaveRequest,
  progress: (doneBytes: bigint, ofBytes: bigint) => void,
): Promise<SavedBackup> {
  const file = resolve(request.file);
  if (!request.overwrite) await requireNoFile(file);
  const least = request.endpoint === undefined ? await revisionNow(client, request.deadlineMs) : 0n;
  const endpoint = request.endpoint ?? (await leaderAddress(client, request.deadlineMs));
  const partial = `${file}.partial`;
  try {
    const info = await download(client, endpoint, partial, request.signal, progress);
    const contents = await verifyBackup(partial);
    if (contents.revision < least) {
      throw new CommandError(
        ExitStatus.unavailable,
        `${endpoint} is behind: its snapshot is of revision ${contents.revision}, the store was at ${least}; try again`,
        "behind",
      );
    }
    await rename(partial, file);
    await syncFolder(dirname(file));
    return { info, contents, endpoint };
  } catch (error) {
    if (!request.signal.aborted) throw error;
    throw new CommandError(ExitStatus.failed, "given up: there is no backup", "interrupted");
  } finally {
    await rm(partial, { force: true });
  }
}

async function download(
  client: PlacementClient,
  endpoint: string,
  partial: string,
  signal: AbortSignal,
  progress: (doneBytes: bigint, ofBytes: bigint) => void,
): Promise<SnapshotInfo> {
  let info: SnapshotInfo | undefined;
  const handle = await openForWriting(partial);
  try {
    const writer = new BackupWriter(handle);
    for await (const part of client.downloadSnapshot(endpoint, { take: true, signal })) {
      if (part.kind === "info") info = part.info;
      else progress(BigInt(await writer.write(part.data)), info?.sizeBytes ?? 0n);
    }
    if (info === undefined) {
      throw new CommandError(ExitStatus.failed, `${endpoint} sent no snapshot`, "snapshotDamaged");
    }
    await writer.finish(info);
    return info;
  } finally {
    await handle.close();
  }
}

async function openForWriting(file: string) {
  try {
    return await open(file, "w", 0o600);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.failed, `the backup cannot be written: ${why}`, "backupUnwritable");
  }
}

async function requireNoFile(file: string): Promise<void> {
  const exists = await access(file).then(
    () => true,
    () => false,
  );
  if (!exists) return;
  throw new CommandError(
    ExitStatus.failed,
    `${file} is there already: choose another name, or give --overwrite`,
    "fileExists",
  );
}

/** What a backup that is begun now must contain. */
async function revisionNow(client: PlacementClient, deadlineMs: number): Promise<bigint> {
  const { revision } = await client.range({ prefix: "" }, { limit: 1, keysOnly: true, deadlineMs });
  return revision;
}

async function leaderAddress(client: PlacementClient, deadlineMs: number): Promise<string> {
  const { id, address } = await client.leader({ deadlineMs });
  if (id !== undefined && address !== "") return address;
  throw new CommandError(
    ExitStatus.unavailable,
    "no leader is known: wait until there is one, or name a node with --from",
    "noLeader",
  );
}
