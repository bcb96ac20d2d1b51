// Commands of a page, run as they are written: its blocks of shell in their order, one shell for all of them, with real
// processes that end with the test.

import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { whyNotListen } from "../../src/cli/processes/ports.js";
import { MAIN } from "./support.js";

export interface Block {
  /** The heading above it. */
  readonly section: string;
  readonly commands: string;
}

/** The blocks marked as `sh`. */
export function blocksOf(text: string): Block[] {
  return text.split(/^## /m).flatMap((part) => {
    const [section = ""] = part.split("\n", 1);
    return [...part.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, commands = ""]) => ({
      section,
      commands,
    }));
  });
}

/** The first digits of ten ports in a row, all free but the first, which is not used. */
export async function freeDecade(): Promise<string> {
  for (;;) {
    const decade = 1_500 + Math.floor(Math.random() * 1_500);
    const ports = Array.from({ length: 9 }, (_, at) => decade * 10 + at + 1);
    const problems = await Promise.all(ports.map((port) => whyNotListen("127.0.0.1", port)));
    if (problems.every((problem) => problem === undefined)) return String(decade);
  }
}

/** Makes a folder for PATH with scripts in it, and `placement-center` besides. */
export function binFolder(folder: string, scripts: Readonly<Record<string, string>> = {}): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const all = { "placement-center": `exec '${process.execPath}' '${MAIN}' "$@"`, ...scripts };
  for (const [name, body] of Object.entries(all)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return bin;
}

/** Runs a script in a process group of its own, so that the nodes that it leaves behind end with the test. */
export function runScript(
  script: string,
  options: { readonly cwd: string; readonly path: string; readonly timeoutMs: number },
): Promise<{ status: number | null; output: string }> {
  const child = spawn("bash", ["-e", "-c", script], {
    cwd: options.cwd,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH: `${options.path}:${process.env["PATH"] ?? ""}` },
  });
  const endGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // Nobody of the group is left.
    }
  };
  onTestFinished(endGroup);
  let output = "";
  const take = (text: string): void => {
    output += text;
  };
  child.stdout.setEncoding("utf8").on("data", take);
  child.stderr.setEncoding("utf8").on("data", take);
  return new Promise((resolve) => {
    const timer = setTimeout(endGroup, options.timeoutMs);
    child.once("exit", (status) => {
      clearTimeout(timer);
      resolve({ status, output });
    });
  });
}
