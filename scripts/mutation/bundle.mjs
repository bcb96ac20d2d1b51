// One script of all tests of the core, over the mutated core, in which every test file is a function to be called.

import { readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const TEST_API = join(dirname(fileURLToPath(import.meta.url)), "test-api.mjs");

/**
 * @param root folder of the project.
 * @param coreFiles from the root.
 * @param testFiles likewise.
 * @param contents what stands in place of some files, by their path from the root.
 * @returns CommonJS code that exports `loadCore`, `files`, a record of functions by path, and `collect`, see
 *   test-api.mjs.
 */
export async function bundleTests(root, coreFiles, testFiles, contents) {
  const loads = testFiles.map((file) => `${JSON.stringify(file)}: () => require("./${file}"),`);
  const core = coreFiles.map((file) => `require("./${file}");`);
  const { outputFiles } = await build({
    stdin: {
      contents: [
        `exports.collect = require("vitest").collect;`,
        `exports.loadCore = () => {\n${core.join("\n")}\n};`,
        `exports.files = {\n${loads.join("\n")}\n};`,
      ].join("\n"),
      resolveDir: root,
    },
    bundle: true,
    write: false,
    platform: "node",
    format: "cjs",
    target: "node20",
    logLevel: "error",
    plugins: [{ name: "mutation", setup: (plugin) => replaceFiles(plugin, root, contents) }],
  });
  return outputFiles[0].text;
}

function replaceFiles(plugin, root, contents) {
  plugin.onResolve({ filter: /^vitest$/ }, () => ({ path: TEST_API }));
  // What is no code of the project is loaded once, not for every mutant.
  plugin.onResolve({ filter: /^(@vitest|@bufbuild|fast-check)/ }, ({ path }) => ({ path, external: true }));
  plugin.onLoad({ filter: /\.ts$/ }, ({ path }) => {
    const file = relative(root, path).split(sep).join("/");
    const code = contents.get(file) ?? readFileSync(path, "utf8");
    return {
      loader: "ts",
      contents: code
        .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href))
        .replaceAll("import.meta.dirname", JSON.stringify(dirname(path))),
    };
  });
}
