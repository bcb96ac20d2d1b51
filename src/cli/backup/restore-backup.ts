// Makes the data folder of one member of a new cluster out of a backup, with nothing running: exactly what a node has that
// was sent the backup as a snapshot. Every member begins from the same backup, at the same place of the log.

import { readdir, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { create } from "@bufbuild/protobuf";
import { newConfState, newHardState } from "../../core/messages.js";
import type { NodeId } from "../../core/types.js";
import { SnapshotMetadataSchema } from "../../gen/eraftpb_pb.js";
import { MembershipRecordSchema } from "../../gen/records_pb.js";
import { KvStateMachine } from "../../placement/kv/kv-state-machine.js";
import { FolderLock } from "../../storage/folder-lock.js";
import { LmdbStorage } from "../../storage/lmdb-storage.js";
import { SnapshotFiles } from "../../storage/snapshot-files.js";
import { freeBytesOf } from "../../storage/space-guard.js";
import { makeFolderDurable, syncFolder } from "../../storage/storage-files.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { BackupFile } from "./backup-file.js";
import { type BackupContents, verifyBackup } from "./verify-backup.js";

export interface RestoreRequest {
  readonly file: string;
  /** Must not exist, or be empty. */
  readonly folder: string;
  readonly nodeId: NodeId;
  readonly clusterId: string;
  /** Voters, all restored from the same file with the same list. */
  readonly members: ReadonlyMap<NodeId, string>;
  /** The cluster that the backup is of is gone for good: the new one may have its id. */
  readonly reuseClusterId: boolean;
}

/** The body as a snapshot, the state that is made of it, and room for pages that are not full. */
const ROOM_PER_BYTE = 3n;

/** @throws CommandError, StorageFault; the folder is as it was */
export async function restoreBackup(
  request: RestoreRequest,
  progress: (what: string, doneBytes: number, ofBytes: bigint) => void,
): Promise<BackupContents> {
  const folder = resolve(request.folder);
  await requireBlank(folder);
  requireMember(request);
  const contents = await verifyBackup(request.file, (done, of) => progress("checked", done, of));
  const backup = await BackupFile.open(request.file);
  const building = `${folder}.restoring`;
  try {
    requireOtherCluster(request, backup.info.clusterId);
    await rm(building, { recursive: true, force: true });
    await makeFolderDurable(building);
    await requireRoom(building, backup.info.sizeBytes);
    await build(building, request, backup, progress);
    await takePlace(building, folder);
    return contents;
  } finally {
    await backup.close();
    await rm(building, { recursive: true, force: true });
  }
}

async function build(
  folder: string,
  { nodeId, clusterId, members }: RestoreRequest,
  backup: BackupFile,
  progress: (what: string, doneBytes: number, ofBytes: bigint) => void,
): Promise<void> {
  const lock = await FolderLock.acquire(folder);
  const { index, term, sizeBytes } = backup.info;
  const confState = newConfState({ voters: [...members.keys()] });
  const addresses = [...members].map(([id, address]) => ({ id, address }));
  try {
    const snapshots = await SnapshotFiles.open(join(folder, "snapshots"));
    const snapshot = await snapshots.create(
      create(SnapshotMetadataSchema, { index, term, confState }),
      create(MembershipRecordSchema, { confState, index, addresses }),
      async (sink) => {
        for await (const piece of backup.body((done) => progress("copied", done, sizeBytes)))
          await sink(piece);
      },
    );
    const log = await LmdbStorage.open({ dir: join(folder, "log"), clusterId, nodeId, snapshots });
    try {
      const hardState = newHardState(term, 0n, index);
      await log.append({ snapshot, entries: [], hardState, mustSync: true });
    } finally {
      await log.close();
    }
    const store = await KvStateMachine.open({ dir: join(folder, "kv") });
    try {
      await store.restore(
        index,
        backup.body((done) => progress("restored", done, sizeBytes)),
      );
    } finally {
      await store.close();
    }
  } finally {
    await lock.release();
  }
}

async function takePlace(building: string, folder: string): Promise<void> {
  // An empty folder in its place would be in the way on some systems.
  await rmdir(folder).catch((error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
  });
  await rename(building, folder);
  await syncFolder(dirname(folder));
}

async function requireBlank(folder: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.failed, `the data folder cannot be used: ${why}`, "folderUnusable");
  }
  if (names.length === 0) return;
  throw new CommandError(
    ExitStatus.failed,
    `${folder} is not empty: a node is only restored into a new folder; nothing was changed`,
    "folderNotEmpty",
  );
}

function requireMember({ nodeId, members }: RestoreRequest): void {
  if (members.has(nodeId)) return;
  throw new CommandError(
    ExitStatus.usage,
    `--members names ${[...members.keys()].join(", ")} but not this node, ${nodeId}`,
  );
}

function requireOtherCluster({ clusterId, reuseClusterId }: RestoreRequest, before: string): void {
  if (clusterId !== before || reuseClusterId) return;
  throw new CommandError(
    ExitStatus.usage,
    `the backup is of cluster ${before} itself: nodes of it that still run would mix with the restored ones; choose another --cluster-id, or give --reuse-cluster-id if all of them are gone for good`,
  );
}

async function requireRoom(folder: string, sizeBytes: bigint): Promise<void> {
  const free = await freeBytesOf(folder);
  const needed = sizeBytes * ROOM_PER_BYTE;
  if (BigInt(Math.floor(free)) >= needed) return;
  throw new CommandError(
    ExitStatus.failed,
    `there are ${free} bytes free, and ${needed} are needed: make room, or choose another disk`,
    "noSpace",
  );
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
