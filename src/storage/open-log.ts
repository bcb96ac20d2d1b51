// Opens the folder of a log: takes its lock, begins a log where there is none, checks the one that is there.

import { access, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { newHardState } from "../core/messages.js";
import type { NodeId } from "../core/types.js";
import type { HardState } from "../gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../gen/records_pb.js";
import type { LogPosition } from "./batch-plan.js";
import { LogEnvironment } from "./environment.js";
import { FolderLock } from "./folder-lock.js";
import { initialRecords, type LoadedLog, type LogIdentity, loadLog, startRecords } from "./load-log.js";
import {
  LOG_FILE,
  makeFolderDurable,
  NEW_LOG_ENDING,
  NEW_LOG_PREFIX,
  requireRoomFor,
  syncFile,
  syncFolder,
} from "./storage-files.js";

export interface LogFolder {
  readonly dir: string;
  readonly clusterId: string;
  readonly nodeId: NodeId;
  readonly bootstrap?: MembershipRecord | undefined;
}

export interface OpenedLog {
  readonly identity: LogIdentity;
  readonly environment: LogEnvironment;
  readonly lock: FolderLock;
  readonly loaded: LoadedLog;
}

const NEW_LOG_FILE = `${NEW_LOG_PREFIX}${NEW_LOG_ENDING}`;
const BOOTSTRAP_POSITION: LogPosition = { index: 1n, term: 1n };
const BLANK_POSITION: LogPosition = { index: 0n, term: 0n };
const MAX_CLUSTER_ID_BYTES = 256;
const MAX_NODE_ID = 2n ** 64n - 1n;

/** @throws StorageFault, with the lock released; RangeError for an identity that cannot be */
export async function openLogFolder(folder: LogFolder): Promise<OpenedLog> {
  requireIdentity(folder);
  await makeFolderDurable(folder.dir);
  const lock = await FolderLock.acquire(folder.dir);
  try {
    return await openLocked(folder, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function openLocked(folder: LogFolder, lock: FolderLock): Promise<OpenedLog> {
  const identity = { clusterId: folder.clusterId, nodeId: folder.nodeId };
  const file = join(folder.dir, LOG_FILE);
  await removeUnfinished(folder.dir);
  if (!(await exists(file))) await createLog(folder.dir, identity, folder.bootstrap);
  const loaded = await loadLog(file, identity);
  const environment = LogEnvironment.open(file);
  try {
    const begins = folder.bootstrap !== undefined && isUntouched(loaded);
    return {
      identity,
      environment,
      lock,
      loaded: begins ? await bootstrapLog(environment, loaded, folder.bootstrap) : loaded,
    };
  } catch (error) {
    await environment.close();
    throw error;
  }
}

/** A crash while a log was made or compacted leaves a file that never got its name. */
async function removeUnfinished(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (name.startsWith(NEW_LOG_PREFIX)) await rm(join(dir, name), { force: true });
  }
}

/** Under another name until it is complete: a file by the right name is never half made. */
async function createLog(
  dir: string,
  identity: LogIdentity,
  bootstrap: MembershipRecord | undefined,
): Promise<void> {
  const file = join(dir, NEW_LOG_FILE);
  await requireRoomFor(file);
  const environment = LogEnvironment.open(file);
  try {
    const start = startOf(bootstrap);
    const records = initialRecords(identity, start.boundary, start.hardState, start.membership);
    await environment.write({ records, entries: [], removals: [] });
  } finally {
    await environment.close();
  }
  await syncFile(file);
  await rename(file, join(dir, LOG_FILE));
  await rm(`${file}-lock`, { force: true });
  await syncFolder(dir);
}

/** Nothing was ever promised from this folder: as good as a new one. */
function isUntouched({ extent, hardState, membership }: LoadedLog): boolean {
  return (
    extent.last === 0n &&
    hardState.term === 0n &&
    hardState.vote === 0n &&
    (membership.confState?.voters.length ?? 0) === 0
  );
}

async function bootstrapLog(
  environment: LogEnvironment,
  loaded: LoadedLog,
  bootstrap: MembershipRecord,
): Promise<LoadedLog> {
  const { boundary, hardState, membership } = startOf(bootstrap);
  const records = startRecords(boundary, hardState, membership);
  await environment.write({ records, entries: [], removals: [] });
  return { ...loaded, extent: { boundary, last: boundary.index }, hardState, membership };
}

/** Every initial member begins as if a snapshot at (1, 1) had been installed, so that later ones need one too. */
function startOf(bootstrap: MembershipRecord | undefined): {
  readonly boundary: LogPosition;
  readonly hardState: HardState;
  readonly membership: MembershipRecord;
} {
  const boundary = bootstrap === undefined ? BLANK_POSITION : BOOTSTRAP_POSITION;
  return {
    boundary,
    hardState: newHardState(boundary.term, 0n, boundary.index),
    membership: bootstrap ?? create(MembershipRecordSchema),
  };
}

function requireIdentity({ clusterId, nodeId }: LogFolder): void {
  const bytes = Buffer.byteLength(clusterId);
  if (bytes === 0 || bytes > MAX_CLUSTER_ID_BYTES) {
    throw new RangeError(`clusterId must have 1 to ${MAX_CLUSTER_ID_BYTES} bytes of UTF-8, has ${bytes}`);
  }
  if (nodeId <= 0n || nodeId > MAX_NODE_ID)
    throw new RangeError(`nodeId must be 1 to 2^64 - 1, is ${nodeId}`);
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}
