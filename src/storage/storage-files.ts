// Small file operations that survive a crash: a name is only durable once its folder has been flushed too.

import { mkdir, open, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";

export const LOG_FILE = "raft.mdb";
/** A log that is being made is complete before it gets its name. One may be left by a crash: it is of no use. */
export const NEW_LOG_PREFIX = "raft-new";
export const NEW_LOG_ENDING = ".mdb";

/** Flushes the entries of a folder, so that files created, renamed or removed in it stay so. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders; its file systems order metadata by themselves.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Creates a folder and its parents, each durable in its parent. */
export async function makeFolderDurable(folder: string): Promise<void> {
  const created = await mkdir(folder, { recursive: true });
  if (created === undefined) return;
  const top = dirname(resolve(created));
  for (let current = resolve(folder); current !== top; current = dirname(current)) {
    await syncFolder(dirname(current));
  }
}

export async function syncFile(file: string): Promise<void> {
  const handle = await open(file, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const ROOM_BYTES = 256 * 1024;

/**
 * Finds out whether a new file can be written at all: lmdb kills the process when it cannot write the first pages of
 * one. @throws the error of the file system
 */
export async function requireRoomFor(file: string): Promise<void> {
  const handle = await open(file, "w");
  try {
    await handle.writeFile(Buffer.alloc(ROOM_BYTES));
    await handle.sync();
  } finally {
    await handle.close();
    await rm(file, { force: true });
  }
}
