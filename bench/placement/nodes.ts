// The nodes of a placement center as an operator runs them: `placement-center start`, each a process of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { cpuSecondsOf, memoryOf } from "../process-usage.js";

const CLUSTER_ID = "bench";
const STOP_LIMIT_MS = 30_000;

export interface ServerOptions {
  /** Where to leave a CPU profile of each node when it stops. */
  readonly profileDir?: string | undefined;
}

export class Server {
  #process: ChildProcess | undefined;

  constructor(
    readonly id: number,
    readonly endpoint: string,
    readonly dataDir: string,
    private readonly members: string,
    private readonly options: ServerOptions,
  ) {}

  /** Resolves when the node listens. */
  async start(): Promise<void> {
    const { profileDir } = this.options;
    const profile = profileDir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileDir}`];
    const settings = ["--cluster-id", CLUSTER_ID, "--members", this.members, "--log-level", "error"];
    const place = ["--id", String(this.id), "--listen", this.endpoint, "--data", this.dataDir];
    const child = spawn(process.execPath, [...profile, commandFile(), "start", ...place, ...settings], {
      env: { ...process.env, UV_THREADPOOL_SIZE: "8" },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#process = child;
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`node ${this.id} ended with ${code} while starting`)));
    });
  }

  /** As Ctrl-C does; by force if that takes too long. */
  async stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
    await exited;
    clearTimeout(timer);
  }

  /** Since it was started. */
  cpuSeconds(): number {
    return cpuSecondsOf(this.#process?.pid);
  }

  memory(): ReturnType<typeof memoryOf> {
    return memoryOf(this.#process?.pid);
  }

  async diskBytes(): Promise<number> {
    let sum = 0;
    for (const entry of await readdir(this.dataDir, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) sum += (await stat(join(entry.parentPath, entry.name))).size;
    }
    return sum;
  }
}

/** Starts the nodes of a cluster, has `work` done with them, and removes every trace. */
export async function withServers<Result>(
  size: number,
  options: ServerOptions,
  work: (servers: readonly Server[]) => Promise<Result>,
): Promise<Result> {
  const dir = await mkdtemp(join(tmpdir(), "placement-center-bench-"));
  const ports = await findFreePorts("127.0.0.1", size);
  const members = ports.map((port, at) => `${at + 1}=127.0.0.1:${port}`).join(",");
  const servers = ports.map(
    (port, at) => new Server(at + 1, `127.0.0.1:${port}`, join(dir, `node-${at + 1}`), members, options),
  );
  try {
    await Promise.all(servers.map((server) => server.start()));
    return await work(servers);
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    await rm(dir, { recursive: true, force: true });
  }
}

function commandFile(): string {
  return join(projectRoot(), "dist", "cli", "main.js");
}

/** The bundle lies somewhere in the project. */
export function projectRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, "package.json"))) dir = dirname(dir);
  return dir;
}
