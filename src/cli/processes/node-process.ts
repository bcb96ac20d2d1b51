// One node as a child process: started from dist/, watched, stopped cleanly or killed. Its logs go to a file.

import { type ChildProcess, fork } from "node:child_process";
import { closeSync, mkdirSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { withoutSettings } from "../config/configuration.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { isNodeReport, type NodeOrder } from "./supervision.js";

const MAIN = fileURLToPath(new URL("../main.js", import.meta.url));
/** At the next start a longer log is put aside, replacing the one that was put aside before. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
const START_DEADLINE_MS = 30_000;
/** LMDB waits for the disk in this pool, which file and DNS look-ups share. Node's own default is 4. */
const IO_THREADS = "8";

export interface ExitReport {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface NodeProcessOptions {
  /** For messages: `node 2`. */
  readonly name: string;
  /** Of `placement-center start`, without the word `start`. */
  readonly args: readonly string[];
  readonly logFile: string;
}

/** Every child that runs, so that none outlives this process when it ends in an unforeseen way. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export class NodeProcess {
  /** Resolves when the node listens. Rejects with a {@link CommandError} when it does not come so far. */
  readonly listening: Promise<void>;
  /** Resolves when the process has ended, however. */
  readonly exited: Promise<ExitReport>;
  readonly name: string;
  readonly logFile: string;
  readonly #child: ChildProcess;
  #exit: ExitReport | undefined;
  #stopAsked = false;

  constructor({ name, args, logFile }: NodeProcessOptions) {
    this.name = name;
    this.logFile = logFile;
    const log = openLog(logFile);
    const child = fork(MAIN, ["start", ...args], {
      stdio: ["ignore", log, log, "ipc"],
      // Its arguments say everything: what is set for a node of its own elsewhere is not meant for this one.
      env: { UV_THREADPOOL_SIZE: IO_THREADS, ...withoutSettings(process.env) },
      execArgv: [],
    });
    closeSync(log);
    running.add(child);
    this.#child = child;
    this.exited = new Promise((resolve) => {
      const end = (report: ExitReport): void => {
        running.delete(child);
        this.#exit ??= report;
        resolve(this.#exit);
      };
      child.once("exit", (code, signal) => end({ code, signal }));
      // A process that could not be started at all never exits.
      child.once("error", () => {
        if (child.pid === undefined) end({ code: null, signal: null });
      });
    });
    this.listening = this.#waitUntilListening();
    // Whoever does not wait for it learns the same from `exited`.
    this.listening.catch(() => {});
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  /** How it ended; undefined while it runs. */
  get exit(): ExitReport | undefined {
    return this.#exit;
  }

  /** True when it ended without having been told to. */
  get diedUnexpectedly(): boolean {
    return this.#exit !== undefined && !this.#stopAsked;
  }

  /** Asks the node to stop and waits. Resolves false if it had to be killed after `deadlineMs`. */
  async stop(deadlineMs: number): Promise<boolean> {
    this.#stopAsked = true;
    if (!this.isRunning) return true;
    const order: NodeOrder = { kind: "stop" };
    if (this.#child.connected) this.#child.send(order, () => {});
    else this.#child.kill("SIGTERM");
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), deadlineMs);
    });
    const inTime = await Promise.race([this.exited.then(() => true), late]);
    clearTimeout(timer);
    if (!inTime) await this.kill();
    return inTime;
  }

  /** SIGKILL: what a crash or a power cut of this process would be. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#stopAsked = true;
    this.#child.kill("SIGKILL");
    await this.exited;
  }

  #waitUntilListening(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        fail(`did not listen within ${START_DEADLINE_MS / 1000} s`);
      }, START_DEADLINE_MS);
      const fail = (what: string, exitStatus: ExitStatus = ExitStatus.failed): void => {
        clearTimeout(timer);
        reject(new CommandError(exitStatus, `${this.name} ${what}`));
      };
      this.#child.on("message", (message) => {
        if (!isNodeReport(message)) return;
        if (message.kind === "failed") fail(`could not start: ${message.message}`);
        else {
          clearTimeout(timer);
          resolve();
        }
      });
      void this.exited.then((report) =>
        fail(`${describeExit(report)} while starting; its log is ${this.logFile}`),
      );
    });
  }
}

/** "ended with exit status 1", "was killed by SIGKILL". */
export function describeExit({ code, signal }: ExitReport): string {
  if (signal !== null) return `was killed by ${signal}`;
  if (code !== null) return `ended with exit status ${code}`;
  return "could not be started";
}

function openLog(file: string): number {
  mkdirSync(dirname(file), { recursive: true });
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > MAX_LOG_BYTES) {
    rmSync(`${file}.old`, { force: true });
    renameSync(file, `${file}.old`);
  }
  return openSync(file, "a");
}
