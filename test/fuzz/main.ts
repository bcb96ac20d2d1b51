// `npm run fuzz`: hostile bytes at every door, for as long as was asked.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fuzz } from "./run.js";

const USAGE = "usage: npm run fuzz -- [--seconds N] [--seed N] [--json]";

/** The exit status: 0 when the nodes lived through it, 1 when something is wrong, 2 for wrong arguments. */
export async function main(args: readonly string[], commandMain: string): Promise<number> {
  const asked = parse(args);
  if (typeof asked === "string") {
    console.error(`${asked}\n${USAGE}`);
    return 2;
  }
  const dir = mkdtempSync(join(tmpdir(), "raft-node-fuzz-"));
  console.error(`seed ${asked.seed}`);
  const report = await fuzz({ ...asked, main: commandMain, dir, tell: (line) => console.error(line) });
  const { suspects, ...summary } = report;
  console.log(asked.json ? JSON.stringify(summary) : summary);
  if (report.problem === undefined) {
    rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
    return 0;
  }
  const file = join(dir, "suspects.txt");
  writeFileSync(file, suspects.join("\n"));
  console.error(`FAILED with seed ${asked.seed}: ${report.problem}\nthe last inputs are in ${file}`);
  return 1;
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        seconds: { type: "string", default: "60" },
        seed: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const seconds = Number(values.seconds);
    const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
    if (!(seconds > 0)) return "--seconds must be a number above 0";
    if (!Number.isSafeInteger(seed)) return "--seed must be a whole number";
    return { seconds, seed, json: values.json };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
