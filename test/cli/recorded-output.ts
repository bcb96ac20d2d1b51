// Runs one command line inside of the test's process, and keeps what it wrote.

import type { ExitStatus } from "../../src/cli/exit-status.js";
import { runProgram } from "../../src/cli/program.js";

export interface Ran {
  readonly status: ExitStatus;
  readonly lines: readonly string[];
  readonly notes: string;
}

export async function runInProcess(...args: readonly string[]): Promise<Ran> {
  const lines: string[] = [];
  const notes: string[] = [];
  const status = await runProgram(args, {
    line: (text) => void lines.push(text),
    bytes: (value) => void lines.push(Buffer.from(value).toString()),
    note: (text) => void notes.push(text),
  });
  return { status, lines, notes: notes.join("\n") };
}
