// What a power cut would have left of a folder, computed from the journal of disk-shim.c: what was flushed is there,
// of everything else any part may be, in pieces of a sector; names count as flushed when their folder was.

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const SECTOR_BYTES = 4096;

/** What a test that cannot run says. */
export const NO_SHIM = "SKIPPED: a failing disk needs Linux and a C compiler";

/** Compiles the shim. Undefined, with a warning, where that is impossible. */
export function buildShim(folder: string): string | undefined {
  const source = fileURLToPath(new URL("disk-shim.c", import.meta.url));
  const library = join(folder, "disk-shim.so");
  const built =
    process.platform === "linux"
      ? spawnSync("cc", ["-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], {
          encoding: "utf8",
        })
      : undefined;
  if (built?.status === 0) return library;
  const reason =
    built === undefined ? `no shim for ${process.platform}` : (built.error?.message ?? built.stderr);
  console.warn(`${NO_SHIM} (${reason})`);
  return undefined;
}

/** What the shim's environment variables are, for a process whose files are below `dir`. */
export function shimEnvironment(
  library: string,
  dir: string,
  more: Record<string, string>,
): NodeJS.ProcessEnv {
  // Requests through io_uring would pass the shim by.
  return { ...process.env, LD_PRELOAD: library, SHIM_DIR: dir, UV_USE_IO_URING: "0", ...more };
}

type RecordKind =
  | "open"
  | "write"
  | "syncedWrite"
  | "truncate"
  | "flush"
  | "rename"
  | "unlink"
  | "said"
  | "folder";

const KINDS: readonly RecordKind[] = [
  "open",
  "write",
  "syncedWrite",
  "truncate",
  "flush",
  "rename",
  "unlink",
  "said",
  "folder",
];

export interface JournalRecord {
  readonly kind: RecordKind;
  readonly file: number;
  readonly offset: number;
  readonly bytes: Buffer;
}

export function readJournal(file: string): JournalRecord[] {
  const journal = readFileSync(file);
  const records: JournalRecord[] = [];
  for (let at = 0; at + 20 <= journal.length; ) {
    const kind = KINDS[journal.readUInt32LE(at) - 1];
    const length = journal.readUInt32LE(at + 16);
    if (kind === undefined) throw new Error(`the journal is damaged at byte ${at}`);
    records.push({
      kind,
      file: journal.readUInt32LE(at + 4),
      offset: Number(journal.readBigUInt64LE(at + 8)),
      bytes: journal.subarray(at + 20, at + 20 + length),
    });
    at += 20 + length;
  }
  return records;
}

interface Change {
  readonly record: number;
  readonly kind: "write" | "truncate";
  readonly offset: number;
  readonly bytes: Buffer;
}

interface Inode {
  durable: Buffer;
  pending: Change[];
}

interface NameChange {
  readonly record: number;
  readonly removed: string | undefined;
  readonly added: string | undefined;
  readonly inode: Inode | undefined;
}

/** How much of what was not flushed survives. */
export type Survival = "nothing" | "everything" | "chance";

/** A folder on a disk with a cache, fed record by record. */
export class CachedDisk {
  readonly #root: string;
  readonly #inodes = new Map<number, Inode>();
  readonly #folders = new Map<number, string>();
  readonly #names = new Map<string, Inode>();
  readonly #durableNames = new Map<string, Inode>();
  #pendingNames: NameChange[] = [];
  #records = 0;

  constructor(root: string) {
    this.#root = root;
  }

  take({ kind, file, offset, bytes }: JournalRecord): void {
    const record = this.#records;
    this.#records += 1;
    switch (kind) {
      case "open":
        this.#open(record, file, bytes.toString());
        return;
      case "folder":
        this.#folders.set(file, bytes.toString());
        return;
      case "write":
        this.#inode(file).pending.push({ record, kind: "write", offset, bytes });
        return;
      case "syncedWrite": {
        const inode = this.#inode(file);
        inode.durable = written(inode.durable, offset, bytes);
        return;
      }
      case "truncate":
        this.#inode(file).pending.push({ record, kind: "truncate", offset, bytes });
        return;
      case "flush":
        this.#flush(file, offset);
        return;
      case "rename": {
        const [from = "", to = ""] = bytes.toString().split("\n");
        this.#rename(record, from, to);
        return;
      }
      case "unlink":
        this.#rename(record, bytes.toString(), undefined);
        return;
      case "said":
        return;
    }
  }

  /** Writes to `target` what would be found after a power cut now. */
  cut(target: string, survival: Survival, random: () => number): void {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true });
    const survives = (): boolean => survival === "everything" || (survival === "chance" && random() < 0.5);
    const names = new Map(this.#durableNames);
    // Changes of names reach a journaling file system in order.
    for (const change of this.#pendingNames) {
      if (!survives()) break;
      rename(names, change);
    }
    for (const [path, inode] of names) {
      const file = join(target, relative(this.#root, path));
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, contentAfter(inode, survives));
    }
  }

  #open(record: number, file: number, path: string): void {
    let inode = this.#names.get(path);
    if (inode === undefined) {
      inode = { durable: Buffer.alloc(0), pending: [] };
      this.#names.set(path, inode);
      this.#pendingNames.push({ record, removed: undefined, added: path, inode });
    }
    this.#inodes.set(file, inode);
  }

  #rename(record: number, from: string, to: string | undefined): void {
    const inode = this.#names.get(from);
    const change = { record, removed: from, added: to, inode };
    rename(this.#names, change);
    this.#pendingNames.push(change);
  }

  #flush(file: number, covered: number): void {
    const folder = this.#folders.get(file);
    if (folder !== undefined) {
      const isHere = (path: string | undefined): boolean => path !== undefined && dirname(path) === folder;
      const flushed = this.#pendingNames.filter(
        ({ record, removed, added }) => record < covered && (isHere(removed) || isHere(added)),
      );
      for (const change of flushed) rename(this.#durableNames, change);
      this.#pendingNames = this.#pendingNames.filter((change) => !flushed.includes(change));
      return;
    }
    const inode = this.#inode(file);
    for (const change of inode.pending) {
      if (change.record < covered) inode.durable = applied(inode.durable, change, () => true);
    }
    inode.pending = inode.pending.filter(({ record }) => record >= covered);
  }

  #inode(file: number): Inode {
    const inode = this.#inodes.get(file);
    if (inode === undefined) throw new Error(`the journal does not say what file ${file} is`);
    return inode;
  }
}

function rename(names: Map<string, Inode>, { removed, added, inode }: NameChange): void {
  if (removed !== undefined) names.delete(removed);
  if (added !== undefined && inode !== undefined) names.set(added, inode);
}

function contentAfter(inode: Inode, survives: () => boolean): Buffer {
  let content = inode.durable;
  for (const change of inode.pending) content = applied(content, change, survives);
  return content;
}

function applied(content: Buffer, { kind, offset, bytes }: Change, survives: () => boolean): Buffer {
  if (kind === "truncate") return survives() ? resized(content, offset) : content;
  let result = content;
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(bytes.length - at, SECTOR_BYTES - ((offset + at) % SECTOR_BYTES));
    if (survives()) result = written(result, offset + at, bytes.subarray(at, at + length));
    at += length;
  }
  return result;
}

function written(content: Buffer, offset: number, bytes: Buffer): Buffer {
  const result = resized(content, Math.max(content.length, offset + bytes.length));
  bytes.copy(result, offset);
  return result;
}

function resized(content: Buffer, length: number): Buffer {
  const result = Buffer.alloc(length);
  content.copy(result, 0, 0, Math.min(length, content.length));
  return result;
}
