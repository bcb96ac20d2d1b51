// `npm run bench -- NAME --json`: bundles bench/main.ts and runs it in a process of its own, with a young generation
// large enough that allocations can be counted between two looks at the heap.

import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
// Inside node_modules, so that the bundle finds the packages it leaves out.
const folder = join(root, "node_modules", ".cache", "raft-node");
const bundle = join(folder, `bench-${process.pid}.mjs`);
mkdirSync(folder, { recursive: true });
try {
  await build({
    entryPoints: [join(root, "bench", "main.ts")],
    outfile: bundle,
    bundle: true,
    packages: "external",
    // The compiler is pointed to its types by a path, which the bundler would follow too.
    external: ["lmdb"],
    platform: "node",
    format: "esm",
    target: "node20",
    // tsconfig.json sends lmdb to its types.
    tsconfigRaw: {},
    sourcemap: "inline",
    logLevel: "error",
  });
  const start =
    `const { main } = await import(${JSON.stringify(pathToFileURL(bundle).href)});` +
    "process.exitCode = await main(process.argv.slice(1));";
  const flags = ["--expose-gc", "--max-semi-space-size=256", "--input-type=module", "--eval", start, "--"];
  const { status } = spawnSync(process.execPath, [...flags, ...process.argv.slice(2)], { stdio: "inherit" });
  process.exitCode = status ?? 1;
} finally {
  rmSync(bundle, { force: true });
}
