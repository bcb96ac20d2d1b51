// Builds the command, and a program of test/ that runs it as real processes, and hands over to that program.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { ensureBuilt } from "./ensure-built.mjs";
import { root } from "./simulator-bundle.mjs";

/**
 * Runs `main(args, commandMain)` of test/FOLDER/main.ts; its result becomes the exit status.
 * @param {string} folder
 */
export async function runTestProgram(folder) {
  await ensureBuilt();
  // Inside node_modules, so that the bundle finds the packages it leaves out.
  const cache = join(root, "node_modules", ".cache", "raft-node");
  mkdirSync(cache, { recursive: true });
  const outfile = join(cache, `${folder}.mjs`);
  await build({
    entryPoints: [join(root, "test", folder, "main.ts")],
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
}
