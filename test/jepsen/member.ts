// One real node: `placement-center start` in a process of its own, which can be killed, frozen, stopped cleanly, and
// started again on the same folder, also where no file may grow any more.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

export interface MemberOptions {
  readonly id: number;
  /** Of the built command. */
  readonly main: string;
  readonly dir: string;
  readonly args: readonly string[];
  readonly listenPort: number;
  readonly httpPort: number;
  /** `host:port` of the proxy before it. */
  readonly address: string;
}

export type MemberState = "down" | "up" | "frozen";

const STOP_MS = 15_000;
const FILE_BLOCK_BYTES = 512;

export class Member {
  readonly id: number;
  readonly address: string;
  readonly listenPort: number;
  readonly httpPort: number;
  state: MemberState = "down";
  /** No message of the node says "listening": it has started when this is true, or ended. */
  isListening = false;
  readonly #options: MemberOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  /** How often the process ended without having been told to. */
  unforeseenEnds = 0;
  #isEndForeseen = false;
  #isLeaving = false;

  constructor(options: MemberOptions) {
    this.id = options.id;
    this.address = options.address;
    this.listenPort = options.listenPort;
    this.httpPort = options.httpPort;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.state === "down" ? undefined : this.#child?.pid;
  }

  get logFile(): string {
    return `${this.#options.dir}.log`;
  }

  /** With `room`: no file may grow by more than so many bytes over the largest one: the disk is full before long. */
  start(room?: number): void {
    if (this.state !== "down") return;
    const { dir, main, args } = this.#options;
    mkdirSync(dir, { recursive: true });
    const log = openSync(this.logFile, "a");
    const command = [process.execPath, main, "start", ...args];
    // The first signal of a full disk is an error, as it would be on a disk, not the end of the process.
    const limited = [
      "sh",
      "-c",
      `trap '' XFSZ; ulimit -f "$0"; exec "$@"`,
      String(Math.ceil((largestFile([dir, this.logFile]) + (room ?? 0)) / FILE_BLOCK_BYTES)),
      ...command,
    ];
    const [program = "", ...rest] = room === undefined ? command : limited;
    const child = spawn(program, rest, {
      stdio: ["ignore", log, log, "ipc"],
      env: { ...process.env, UV_THREADPOOL_SIZE: "8" },
    });
    closeSync(log);
    this.#child = child;
    this.state = "up";
    this.isListening = false;
    this.#isEndForeseen = this.#isLeaving || room !== undefined;
    child.on("message", () => {
      this.isListening = true;
    });
    this.#exited = new Promise((resolve) => {
      child.once("exit", () => {
        if (!this.#isEndForeseen) this.unforeseenEnds += 1;
        this.state = "down";
        resolve();
      });
    });
  }

  /** As if its machine had lost power, except that the kernel's page cache outlives it. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Cleanly; killed if that takes too long. */
  async stop(): Promise<void> {
    const late = setTimeout(() => this.#child?.kill("SIGKILL"), STOP_MS);
    await this.#end("SIGTERM");
    clearTimeout(late);
  }

  freeze(): void {
    if (this.state !== "up") return;
    this.#child?.kill("SIGSTOP");
    this.state = "frozen";
  }

  resume(): void {
    if (this.state !== "frozen") return;
    this.#child?.kill("SIGCONT");
    this.state = "up";
  }

  /** A node that is no member any more ends by itself, from now on at any time. */
  expectItsEnd(): void {
    this.#isLeaving = true;
    this.#isEndForeseen = true;
  }

  /** For a member that has left for good. */
  removeFolder(): void {
    rmSync(this.#options.dir, { recursive: true, force: true, maxRetries: 10 });
  }

  async #end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    if (this.state === "down") return;
    this.#isEndForeseen = true;
    if (signal === "SIGTERM") this.resume();
    this.#child?.kill(signal);
    await this.#exited;
  }
}

function largestFile(paths: readonly string[]): number {
  const sizes = paths.map((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return 0;
    return stat.isDirectory() ? largestFile(readdirSync(path).map((name) => join(path, name))) : stat.size;
  });
  return Math.max(0, ...sizes);
}
