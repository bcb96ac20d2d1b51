// Everything that must hold, in order, read-only: `npm run check`, which is also what CI runs.
// Every step runs even if an earlier one failed, so that one run shows all there is to mend. The last line counts.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const scratch = mkdtempSync(join(tmpdir(), "raft-node-check-"));
const testReport = join(scratch, "tests.json");
/** What a browser may have to load for the core, minified and gzipped, without the protobuf runtime. */
const coreLimitBytes = 40_000;

/** Each returns true when the step passed, and prints what a person needs to mend it when not. */
const steps = [
  ["generated code is up to date", generatedCodeIsUpToDate],
  [
    "format and lint",
    () => runTool("@biomejs/biome/bin/biome", ["ci", "--error-on-warnings", ...colors(), "."]),
  ],
  ["types", () => runTool("typescript/bin/tsc", ["--noEmit", "-p", "tsconfig.json"])],
  ["the core runs in a browser", coreBundlesForBrowsers],
  [
    "tests",
    () =>
      runTool("vitest/vitest.mjs", [
        "run",
        "--reporter=default",
        "--reporter=json",
        `--outputFile.json=${testReport}`,
      ]),
  ],
];

try {
  process.exitCode = await runAll();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

async function runAll() {
  if (!existsSync(join(root, "node_modules", "typescript"))) {
    console.error("The dependencies are not installed: run `npm ci` first.");
    return 1;
  }
  const results = [];
  for (const [title, run] of steps) {
    console.log(`\n=== ${title}`);
    const startedAt = performance.now();
    const passed = await run();
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(`=== ${title}: ${passed ? "ok" : "FAILED"} (${seconds} s)`);
    results.push({ title, passed, seconds });
  }
  console.log("\n=== summary");
  for (const { title, passed, seconds } of results) {
    console.log(`${passed ? "ok    " : "FAILED"} ${title} (${seconds} s)`);
  }
  const failedSteps = results.filter((result) => !result.passed);
  console.log(`\n${countLine(failedSteps.map(({ title }) => title))}`);
  return failedSteps.length === 0 ? 0 : 1;
}

/** `N passed, N failed`, of the tests; a step that failed beside the tests counts as one more that failed. */
function countLine(failedSteps) {
  const failedStepsBesideTests = failedSteps.filter((title) => title !== "tests").length;
  if (!existsSync(testReport)) return `0 passed, ${failedStepsBesideTests + 1} failed`;
  const report = JSON.parse(readFileSync(testReport, "utf8"));
  const skipped = report.numPendingTests + report.numTodoTests;
  // A file that could not even be loaded has no test that could fail.
  const brokenFiles = report.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.every((test) => test.status !== "failed"),
  ).length;
  const named = report.numFailedTests + brokenFiles;
  // The run can fail with every test passed: an error that nobody caught.
  const failed = (failedSteps.includes("tests") ? Math.max(named, 1) : named) + failedStepsBesideTests;
  return `${report.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

function generatedCodeIsUpToDate() {
  const fresh = join(scratch, "generated");
  if (!runTool("@bufbuild/buf/bin/buf", ["generate", "--output", fresh])) return false;
  const committed = readTree(join(root, "src", "gen"));
  const expected = readTree(join(fresh, "src", "gen"));
  const differing = [...new Set([...committed.keys(), ...expected.keys()])].filter(
    (name) => committed.get(name) !== expected.get(name),
  );
  for (const name of differing) console.error(`src/gen/${name} is not what proto/ generates`);
  if (differing.length > 0) console.error("Run `npm run generate` and commit the result.");
  return differing.length === 0;
}

/** A bundler for browsers refuses what only Node has; what is left must come from the core and its messages. */
async function coreBundlesForBrowsers() {
  const { build } = await import("esbuild");
  const files = [...readTree(join(root, "src", "core")).keys()].filter((name) => name.endsWith(".ts"));
  const entry = files.map((name, at) => `export * as part${at} from "./src/core/${name}";`).join("\n");
  const { metafile, outputFiles } = await build({
    stdin: { contents: entry, resolveDir: root, loader: "ts" },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    platform: "browser",
    format: "esm",
    target: "es2022",
    external: ["@bufbuild/protobuf", "@bufbuild/protobuf/*"],
    logLevel: "error",
  }).catch(() => ({ metafile: undefined, outputFiles: [] }));
  if (metafile === undefined) return false;
  const strangers = Object.keys(metafile.inputs).filter(
    (path) => path !== "<stdin>" && !path.startsWith("src/core/") && !path.startsWith("src/gen/"),
  );
  for (const path of strangers) console.error(`the core must not need ${path}`);
  const bytes = outputFiles[0]?.contents ?? new Uint8Array();
  const gzippedBytes = gzipSync(bytes).length;
  console.log(
    `src/core: ${bytes.length} bytes minified, ${gzippedBytes} gzipped, without @bufbuild/protobuf; ` +
      `at most ${coreLimitBytes} gzipped`,
  );
  return strangers.length === 0 && gzippedBytes <= coreLimitBytes;
}

function readTree(dir) {
  if (!existsSync(dir)) return new Map();
  return new Map(
    readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(dir, path).replaceAll("\\", "/"), readFileSync(path, "utf8")]),
  );
}

function runTool(script, args) {
  const localTools = join(root, "node_modules", ".bin");
  const { status } = spawnSync(process.execPath, [join(root, "node_modules", script), ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${localTools}${delimiter}${process.env.PATH ?? ""}` },
  });
  return status === 0;
}

function colors() {
  return process.stdout.isTTY ? [] : ["--colors=off"];
}
