// Runs the `placement-center` command as a process of its own, as people and scripts do, and waits for what it says.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { findFreePorts, whyNotListen } from "../../src/cli/processes/ports.js";
import { PROJECT_ROOT } from "../support/source-files.js";

export const MAIN = join(PROJECT_ROOT, "dist", "cli", "main.js");
const WAIT_MS = 30_000;

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command under way. It is killed at the end of the test if it still runs then. */
export class RunningCommand {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout = "";
  stderr = "";
  readonly #listeners = new Set<() => void>();

  constructor(command: string, args: readonly string[], cwd = PROJECT_ROOT, env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(command, args, {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#tell();
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#tell();
    });
    this.finished = new Promise((resolve) => {
      this.child.once("close", (status) => {
        resolve({ status, stdout: this.stdout, stderr: this.stderr });
        this.#tell();
      });
    });
  }

  /** Resolves with the match when the command has written it, to standard output or standard error. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    const look = (): RegExpExecArray | null => pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
    let found = look();
    const deadline = AbortSignal.timeout(WAIT_MS);
    while (found === null) {
      if (deadline.aborted || this.child.exitCode !== null) {
        throw new Error(`it never said ${pattern}, but:\n${this.stdout}\n${this.stderr}`);
      }
      await new Promise<void>((resolve) => {
        const next = (): void => {
          this.#listeners.delete(next);
          resolve();
        };
        this.#listeners.add(next);
        deadline.addEventListener("abort", next, { once: true });
      });
      found = look();
    }
    return found;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Starts the command; call it inside a test. */
export function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): RunningCommand {
  const running = new RunningCommand(process.execPath, [MAIN, ...args], PROJECT_ROOT, env);
  onTestFinished(async () => {
    running.signal("SIGKILL");
    await running.finished;
  });
  return running;
}

/** Runs the command to its end. */
export function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Finished> {
  return new RunningCommand(process.execPath, [MAIN, ...args], PROJECT_ROOT, env).finished;
}

/** Runs a line as it would be pasted into a terminal in the project's folder. */
export function paste(line: string): Promise<Finished> {
  return new RunningCommand("sh", ["-c", line]).finished;
}

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "placement-center-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

/** Three ports in a row, as `cluster` takes them, and three more for HTTP. */
export async function clusterPorts(): Promise<{ port: number; httpPort: number }> {
  const [port, httpPort] = await Promise.all([threePorts(), threePorts()]);
  return Math.abs(port - httpPort) < 3 ? clusterPorts() : { port, httpPort };
}

async function threePorts(): Promise<number> {
  for (;;) {
    const [first = 0] = await findFreePorts("127.0.0.1", 1);
    const others = await Promise.all([1, 2].map((more) => whyNotListen("127.0.0.1", first + more)));
    if (others.every((problem) => problem === undefined)) return first;
  }
}

/** Resolves when no process has this id any more. */
export async function processGone(pid: number): Promise<void> {
  const deadline = AbortSignal.timeout(WAIT_MS);
  while (isAlive(pid)) {
    if (deadline.aborted) throw new Error(`process ${pid} still runs`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
