// `npm run test:jepsen`: runs of a real cluster while things break, one after the other, until the time is over.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runOnce } from "./run.js";
import { canTellOwners } from "./socket-owner.js";

const USAGE = "usage: npm run test:jepsen -- [--minutes N] [--seed N] [--size N] [--json]";
const RUN_SECONDS = 120;
const MAX_SEED = 2 ** 31;

/** The exit status: 0 when nothing is wrong, 1 when something is, 2 for wrong arguments. */
export async function main(args: readonly string[], commandMain: string): Promise<number> {
  const asked = parse(args);
  if (typeof asked === "string") {
    console.error(`${asked}\n${USAGE}`);
    return 2;
  }
  if (!canTellOwners()) {
    console.error("SKIPPED: which node opens a connection can only be told on Linux, from /proc/net/tcp");
    return 0;
  }
  const endMs = performance.now() + asked.minutes * 60_000;
  let failures = 0;
  for (let seed = asked.seed; ; seed += 1) {
    const leftSeconds = (endMs - performance.now()) / 1_000;
    if (seed > asked.seed && leftSeconds < RUN_SECONDS / 2) break;
    const dir = mkdtempSync(join(tmpdir(), "raft-node-jepsen-"));
    const seconds = Math.round(Math.min(RUN_SECONDS, leftSeconds));
    const report = await runOnce({
      seed,
      seconds,
      size: asked.size,
      main: commandMain,
      dir,
      tell: (line) => console.error(line),
    });
    if (asked.json) console.log(JSON.stringify(report));
    else console.log(report);
    if (report.problems.length === 0) {
      rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
      continue;
    }
    failures += 1;
    console.error(`FAILED with seed ${seed}; data and logs are in ${dir}:\n${report.problems.join("\n")}`);
  }
  console.error(failures === 0 ? "nothing is wrong" : `${failures} runs FAILED`);
  return failures === 0 ? 0 : 1;
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        minutes: { type: "string", default: "2" },
        seed: { type: "string" },
        size: { type: "string", default: "5" },
        json: { type: "boolean", default: false },
      },
    });
    const minutes = Number(values.minutes);
    const seed = values.seed === undefined ? Math.floor(Math.random() * MAX_SEED) : Number(values.seed);
    const size = Number(values.size);
    if (!(minutes > 0)) return "--minutes must be a number above 0";
    if (!Number.isSafeInteger(seed)) return "--seed must be a whole number";
    if (!Number.isInteger(size) || size < 3 || size > 7) return "--size must be 3 to 7";
    return { minutes, seed, size, json: values.json };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
