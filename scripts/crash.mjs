// `npm run test:crash [-- --kills N] [--seed S]`: kills a process that writes to the log N times, and checks after each
// that nothing acknowledged is lost. Prints progress and the seed; the exit status tells whether all was well.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const DEFAULT_KILLS = "2000";

function wholeNumber(name, text, least) {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new Error(`--${name} must be a whole number, ${least} or more; it is "${text}"`);
}

function run() {
  const { values } = parseArgs({
    options: { kills: { type: "string", default: DEFAULT_KILLS }, seed: { type: "string" } },
  });
  const kills = wholeNumber("kills", values.kills, 1);
  const seed = wholeNumber("seed", values.seed ?? Math.floor(Math.random() * 2 ** 31), 0);
  console.log(`${kills} kills, seed ${seed}`);
  const { status } = spawnSync(
    process.execPath,
    [
      join(root, "node_modules", "vitest", "vitest.mjs"),
      "run",
      "test/storage/crash.test.ts",
      "--disable-console-intercept",
    ],
    {
      cwd: root,
      stdio: "inherit",
      env: { ...process.env, CRASH_KILLS: String(kills), CRASH_SEED: String(seed), CRASH_PROGRESS: "1" },
    },
  );
  if (status !== 0) console.error(`FAILED: repeat it with --kills ${kills} --seed ${seed}`);
  return status ?? 1;
}

try {
  process.exitCode = run();
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
