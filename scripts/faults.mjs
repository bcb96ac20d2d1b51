// `npm run test:faults [-- --cuts N]`: the log on a disk that fails: flushes, page writes, meta writes, a full disk, a slow
// disk, power cuts. A shim between process and disk makes it fail, which needs Linux and a C compiler: without them
// nothing is tested, and that is said as loudly as it can be.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const DEFAULT_CUTS = "600";
const FILES = ["disk-fault", "lmdb-durability", "power-cut"].map((name) => `test/storage/${name}.test.ts`);

function whyNot() {
  if (process.platform !== "linux") return `this is ${process.platform}, not Linux`;
  const compiler = spawnSync("cc", ["--version"], { encoding: "utf8" });
  return compiler.status === 0 ? undefined : "there is no C compiler (cc)";
}

function run() {
  const { values } = parseArgs({ options: { cuts: { type: "string", default: DEFAULT_CUTS } } });
  const reason = whyNot();
  if (reason !== undefined) {
    const line = `!!! SKIPPED: nothing was tested with a failing disk: ${reason} !!!`;
    console.error(`${"!".repeat(line.length)}\n${line}\n${"!".repeat(line.length)}`);
    return 0;
  }
  const { status } = spawnSync(
    process.execPath,
    [join(root, "node_modules", "vitest", "vitest.mjs"), "run", "--reporter=verbose", ...FILES],
    { cwd: root, stdio: "inherit", env: { ...process.env, POWER_CUTS: values.cuts } },
  );
  return status ?? 1;
}

try {
  process.exitCode = run();
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
