// The level of a running node's logs, changed through a file in its data folder: works on every system, for nodes that
// were started by anybody, and needs neither a port nor a signal that means something else elsewhere.

import { unwatchFile, watchFile } from "node:fs";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LOG_LEVELS, type LogLevel } from "./config/settings.js";

const FILE = "log-level";
/** How soon a node notices. */
export const NOTICE_MS = 1_000;

/** Asks the node in this folder to log at `level`; undefined: as it was configured. */
export async function requestLogLevel(dataDir: string, level: LogLevel | undefined): Promise<void> {
  const file = join(dataDir, FILE);
  if (level === undefined) return rm(file, { force: true });
  // Never half written.
  await writeFile(`${file}.tmp`, `${level}\n`);
  await rename(`${file}.tmp`, file);
}

/** What was asked for; undefined when nothing was. */
export async function requestedLogLevel(dataDir: string): Promise<LogLevel | undefined> {
  try {
    const text = (await readFile(join(dataDir, FILE), "utf8")).trim();
    return LOG_LEVELS.find((level) => level === text);
  } catch {
    return undefined;
  }
}

/**
 * Calls `apply` with every change, until the returned function is called. What was asked of a node before it was
 * started is forgotten: a level that was turned up for an hour must not come back after a restart.
 */
export async function watchLogLevel(
  dataDir: string,
  configured: LogLevel,
  apply: (level: LogLevel) => void,
): Promise<() => void> {
  const file = join(dataDir, FILE);
  await rm(file, { force: true });
  let current = configured;
  const look = async (): Promise<void> => {
    const level = (await requestedLogLevel(dataDir)) ?? configured;
    if (level === current) return;
    current = level;
    apply(level);
  };
  const onChange = (): void => void look();
  watchFile(file, { interval: NOTICE_MS, persistent: false }, onChange);
  return () => unwatchFile(file, onChange);
}
