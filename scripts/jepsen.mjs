// `npm run test:jepsen`: builds the command and the test around it, and runs the test.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { ensureBuilt } from "./ensure-built.mjs";
import { root } from "./simulator-bundle.mjs";

await ensureBuilt();
// Inside node_modules, so that the bundle finds the packages it leaves out.
const folder = join(root, "node_modules", ".cache", "raft-node");
mkdirSync(folder, { recursive: true });
const outfile = join(folder, "jepsen.mjs");
await build({
  entryPoints: [join(root, "test", "jepsen", "main.ts")],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: "inline",
  logLevel: "error",
});
const { main } = await import(pathToFileURL(outfile).href);
process.exitCode = await main(process.argv.slice(2), join(root, "dist", "cli", "main.js"));
