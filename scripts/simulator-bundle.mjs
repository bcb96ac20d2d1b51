// Builds the simulator: the production code with LMDB, files and HTTP/2 replaced by the simulated ones, and, if a
// mutant is named, with that bug put back.

import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Which import of which file leads to which simulated module. */
const SIMULATED = [
  ["src/storage/lmdb-storage.ts", "./open-log.js", "disk/open-log.ts"],
  ["src/storage/load-log.ts", "./lmdb-verify.js", "disk/lmdb-verify.ts"],
  ["src/placement/kv/", "./kv-store.js", "disk/kv-store.ts"],
  ["src/placement/kv/", "../../storage/storage-files.js", "disk/files.ts"],
  ["src/placement/kv/", "node:fs/promises", "disk/files.ts"],
  ["src/placement/kv/", "node:fs", "disk/files.ts"],
  ["src/transport/peer-sender.ts", "./lean-client.js", "network/lean-client.ts"],
];

function simulatedModules() {
  return {
    name: "simulated-modules",
    setup(building) {
      building.onResolve({ filter: /./ }, ({ path, importer }) => {
        // tsconfig.json leads to its types.
        if (path === "lmdb") return { path, external: true };
        const from = relative(root, importer).split(sep).join("/");
        const found = SIMULATED.find(([file, name]) => from.startsWith(file) && name === path);
        return found && { path: join(root, "test", "simulation", found[2]) };
      });
    },
  };
}

/** Replaces `find` by `replace` in one file. */
function mutated(mutant) {
  return {
    name: "mutant",
    setup(building) {
      building.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (relative(root, path).split(sep).join("/") !== mutant.file) return undefined;
        const text = await readFile(path, "utf8");
        if (text.split(mutant.find).length !== 2) {
          throw new Error(`${mutant.name}: the text to replace must occur once in ${mutant.file}`);
        }
        return { contents: text.replace(mutant.find, () => mutant.replace), loader: "ts" };
      });
    },
  };
}

/**
 * Bundles `entry` of test/simulation and returns the path of the bundle.
 * @param {{ entry: string, outfile: string, mutant?: { name: string, file: string, find: string, replace: string } }} options
 */
export async function bundleSimulator({ entry, outfile, mutant }) {
  // Inside node_modules, so that the bundle finds the packages it leaves out.
  const folder = join(root, "node_modules", ".cache", "raft-node");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, outfile);
  await build({
    entryPoints: [join(root, "test", "simulation", entry)],
    outfile: path,
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20",
    sourcemap: "inline",
    logLevel: "error",
    plugins: [simulatedModules(), ...(mutant === undefined ? [] : [mutated(mutant)])],
  });
  return path;
}
