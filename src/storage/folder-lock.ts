// Keeps a folder to one process. The lock is a listening socket in the folder: the kernel closes it with its process,
// however that ends, so that a lock left behind by a crash is known for dead by connecting to it. Neither process
// ids that are used again nor containers that cannot see each other's processes can deceive that.

import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection, createServer, type Server } from "node:net";
import { join } from "node:path";
import { StorageFault } from "./storage-fault.js";

const PREFIX = "lock-";
/** What a claim ends with that is a file and no socket. */
const FILE_ENDING = ".pid";
/** Longer paths do not fit into the address of a socket; the smallest limit of all systems is 103. */
const MAX_SOCKET_PATH_BYTES = 100;
const CONNECT_TIMEOUT_MS = 5_000;

/** How a claim is held. Where sockets are impossible, a file must do, and process ids must be trusted. */
export type LockKind = "socket" | "file";

export class FolderLock {
  readonly #file: string;
  readonly #server: Server | undefined;
  #released: Promise<void> | undefined;

  private constructor(file: string, server: Server | undefined) {
    this.#file = file;
    this.#server = server;
  }

  /**
   * Everybody first makes a claim under a name of its own, then looks for other claims that live: of two who come
   * at once at most one goes on, and removing the claim of the dead can never hit a living one.
   * @throws StorageFault `locked`
   */
  static async acquire(dir: string, kind: LockKind = defaultKind()): Promise<FolderLock> {
    const lock = await FolderLock.#claim(dir, kind);
    try {
      let found = false;
      for (const name of await readdir(dir)) {
        const file = join(dir, name);
        if (!name.startsWith(PREFIX)) continue;
        if (file === lock.#file) found = true;
        else if (await isAlive(file)) throw locked(dir, name);
        else await rm(file, { force: true });
      }
      // Somebody took this claim for dead in the moment between its creation and its first breath.
      if (!found) throw locked(dir, `${PREFIX}unknown`);
      return lock;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  static async #claim(dir: string, kind: LockKind): Promise<FolderLock> {
    const file = join(dir, `${PREFIX}${process.pid}-${randomBytes(6).toString("hex")}`);
    const server = kind === "socket" ? await listen(dir, file) : undefined;
    if (server !== undefined) return new FolderLock(file, server);
    const description = JSON.stringify(await describeProcess(process.pid));
    await writeFile(file + FILE_ENDING, description, { flag: "wx" });
    return new FolderLock(file + FILE_ENDING, undefined);
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    const server = this.#server;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
    await rm(this.#file, { force: true });
  }
}

/**
 * Who keeps the folder, as the name of the claim and the id of its process; undefined when nobody does. Takes no
 * lock and leaves no trace, so the answer may be out of date at once.
 */
export async function findHolder(dir: string): Promise<{ claim: string; pid: number } | undefined> {
  for (const name of await readdir(dir)) {
    if (name.startsWith(PREFIX) && (await isAlive(join(dir, name)))) {
      return { claim: name, pid: Number(name.split("-")[1]) };
    }
  }
  return undefined;
}

function defaultKind(): LockKind {
  return process.platform === "win32" ? "file" : "socket";
}

/** Undefined where the file system has no sockets. */
async function listen(dir: string, file: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  const listening = await withShortPath(dir, file, (path) => {
    return new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      // Exclusive: otherwise the primary of a cluster would hold the socket for its workers.
      server.listen({ path, exclusive: true }, () => resolve(true));
    });
  });
  if (listening !== true) return undefined;
  server.removeAllListeners("error");
  server.on("error", () => {});
  server.unref();
  return server;
}

async function isAlive(file: string): Promise<boolean> {
  return file.endsWith(FILE_ENDING) ? isProcessAlive(file) : isListening(file);
}

async function isListening(file: string): Promise<boolean> {
  const dir = join(file, "..");
  const answer = await withShortPath(dir, file, (path) => {
    return new Promise<boolean>((resolve) => {
      const socket = createConnection({ path });
      // A process that is stopped still has its socket; whatever is no clear refusal counts as life.
      socket.setTimeout(CONNECT_TIMEOUT_MS, () => done(true));
      const done = (alive: boolean): void => {
        socket.destroy();
        resolve(alive);
      };
      socket.once("connect", () => done(true));
      socket.once("error", (error: NodeJS.ErrnoException) => {
        done(error.code !== "ECONNREFUSED" && error.code !== "ENOENT" && error.code !== "ENOTSOCK");
      });
    });
  });
  return answer ?? true;
}

/** Calls `use` with a path that fits into a socket's address; undefined when there is none. */
async function withShortPath<T>(
  dir: string,
  file: string,
  use: (path: string) => Promise<T>,
): Promise<T | undefined> {
  if (Buffer.byteLength(file) <= MAX_SOCKET_PATH_BYTES) return use(file);
  if (process.platform !== "linux") return undefined;
  const descriptor = openSync(dir, "r");
  try {
    return await use(`/proc/self/fd/${descriptor}/${file.slice(dir.length + 1)}`);
  } finally {
    closeSync(descriptor);
  }
}

interface ProcessDescription {
  readonly pid: number;
  /** Tells processes apart that had the same id one after the other; empty where the system does not tell. */
  readonly start: string;
  readonly boot: string;
}

async function isProcessAlive(file: string): Promise<boolean> {
  let owner: unknown;
  try {
    owner = JSON.parse(await readFile(file, "utf8"));
  } catch {
    // Claims are looked at only after they were written in full, by those who live.
    return false;
  }
  if (!isProcessDescription(owner)) return false;
  const now = await describeProcess(owner.pid);
  if (now.boot !== owner.boot || now.start !== owner.start) return false;
  try {
    process.kill(owner.pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

async function describeProcess(pid: number): Promise<ProcessDescription> {
  const [stat, boot] = await Promise.all([
    readOr(`/proc/${pid}/stat`, ""),
    readOr("/proc/sys/kernel/random/boot_id", ""),
  ]);
  // The name of the program, in parentheses, may contain anything; the start time is field 22.
  const start = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  return { pid, start, boot: boot.trim() };
}

async function readOr(file: string, otherwise: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch {
    return otherwise;
  }
}

function isProcessDescription(value: unknown): value is ProcessDescription {
  return (
    typeof value === "object" &&
    value !== null &&
    "pid" in value &&
    typeof value.pid === "number" &&
    "start" in value &&
    "boot" in value
  );
}

function locked(dir: string, claimName: string): StorageFault {
  const [, pid] = claimName.split("-");
  const owner = Number(pid) === process.pid ? "this process itself" : `process ${pid}`;
  return new StorageFault("locked", {
    file: join(dir, claimName),
    problem: `the folder is in use by ${owner}`,
    remedy: "stop that process first, or give this node a folder of its own",
  });
}
