// `npm run test:faults [-- --cuts N] [--mutations N]`: files that are damaged in N ways, and disks that fail: flushes, page
// writes, meta writes, a full disk, a slow disk, power cuts. A shim between process and disk makes it fail, which needs
// Linux and a C compiler: without them only damage is tested, and that is said as loudly as it can be.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const DEFAULT_CUTS = "600";
const DEFAULT_MUTATIONS = "10000";
const DAMAGE = ["test/storage/corruption.test.ts"];
const SHIMMED = [
  "test/storage/disk-fault.test.ts",
  "test/storage/lmdb-durability.test.ts",
  "test/storage/power-cut.test.ts",
  "test/placement/kv/kv-disk-fault.test.ts",
];

function whyNot() {
  if (process.platform !== "linux") return `this is ${process.platform}, not Linux`;
  const compiler = spawnSync("cc", ["--version"], { encoding: "utf8" });
  return compiler.status === 0 ? undefined : "there is no C compiler (cc)";
}

function run() {
  const { values } = parseArgs({
    options: {
      cuts: { type: "string", default: DEFAULT_CUTS },
      mutations: { type: "string", default: DEFAULT_MUTATIONS },
    },
  });
  const reason = whyNot();
  if (reason !== undefined) {
    const line = `!!! SKIPPED: nothing is tested with a failing disk: ${reason} !!!`;
    console.error(`${"!".repeat(line.length)}\n${line}\n${"!".repeat(line.length)}`);
  }
  const files = reason === undefined ? [...DAMAGE, ...SHIMMED] : DAMAGE;
  const { status } = spawnSync(
    process.execPath,
    [join(root, "node_modules", "vitest", "vitest.mjs"), "run", "--reporter=verbose", ...files],
    {
      cwd: root,
      stdio: "inherit",
      env: { ...process.env, POWER_CUTS: values.cuts, CORRUPTION_MUTATIONS: values.mutations },
    },
  );
  return status ?? 1;
}

try {
  process.exitCode = run();
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
