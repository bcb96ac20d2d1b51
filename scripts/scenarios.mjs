// `npm run scenarios [-- --rewrite]`: plays the transcripts under test/scenarios, or writes what happens into them.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const args = process.argv.slice(2);
const unknown = args.filter((arg) => arg !== "--rewrite");
if (unknown.length > 0) {
  console.error(`unknown argument ${unknown[0]}; the only one is --rewrite`);
  process.exit(2);
}
const { status } = spawnSync(
  process.execPath,
  [join(root, "node_modules", "vitest", "vitest.mjs"), "run", "test/scenarios"],
  {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, REWRITE: args.includes("--rewrite") ? "1" : "" },
  },
);
process.exitCode = status ?? 1;
