// Which process holds the other end of a connection on this machine, as Linux tells it under /proc: a proxy that stands
// before a node learns from it which node has called, without reading a byte of what is said.

import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"] as const;

/** Elsewhere connections have no owner that could be asked for, and links cannot be told apart. */
export function canTellOwners(): boolean {
  return existsSync(TABLES[0]);
}

/** The one of `pids` that owns the socket bound to `port` and connected to `peerPort`; undefined: none of them. */
export function ownerOf(port: number, peerPort: number, pids: readonly number[]): number | undefined {
  const inode = inodeOf(port, peerPort);
  return inode === undefined ? undefined : pids.find((pid) => holds(pid, `socket:[${inode}]`));
}

function inodeOf(port: number, peerPort: number): string | undefined {
  for (const table of TABLES) {
    if (!existsSync(table)) continue;
    for (const line of readFileSync(table, "utf8").split("\n").slice(1)) {
      const [, local = "", remote = "", , , , , , , inode] = line.trim().split(/\s+/);
      if (portOf(local) === port && portOf(remote) === peerPort) return inode;
    }
  }
  return undefined;
}

function portOf(address: string): number {
  return Number.parseInt(address.slice(address.lastIndexOf(":") + 1), 16);
}

function holds(pid: number, socket: string): boolean {
  const folder = `/proc/${pid}/fd`;
  return namesIn(folder).some((name) => {
    try {
      return readlinkSync(`${folder}/${name}`) === socket;
    } catch {
      // Closed between the two looks.
      return false;
    }
  });
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // The process has ended.
    return [];
  }
}
