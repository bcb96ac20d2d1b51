// Runs tests in a thread of its own: what a mutant does to time or memory ends with the thread.

import { createRequire } from "node:module";
import { Script } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";

/** How often a test may come by a mutant, for each time that it comes by without it. */
const HITS_FACTOR = 100;
const { bundle, progress } = workerData;
const require = createRequire(import.meta.url);
const script = new Script(`(function (exports, require) {${bundle}\n})`, { filename: "tests.cjs" });
/** Where the mutants look up which of them is switched on, and where they count. */
const switches = {};
globalThis.__stryker__ = switches;
Error.stackTraceLimit = 0;

parentPort.on("message", async (task) => {
  parentPort.postMessage(task.kind === "unchanged" ? await runAll() : await runMutant(task));
});

/** Loads everything anew, so that no mutant sees what another one left behind. */
function load() {
  const exports = {};
  script.runInThisContext()(exports, require);
  return exports;
}

/** Every test once without a mutant. @returns what each took, covered, and why those failed that did. */
async function runAll() {
  const coverage = { static: {}, perTest: {} };
  Object.assign(switches, { activeMutant: undefined, hitCount: undefined, mutantCoverage: coverage });
  const { files, collect, loadCore } = load();
  loadCore();
  const tests = [];
  const failures = [];
  for (const [file, loadFile] of Object.entries(files)) {
    // What a file does before its tests concerns its tests only.
    switches.currentTestId = file;
    const defined = collect(loadFile);
    for (const [position, { name, run }] of defined.entries()) {
      const id = String(tests.length + 1);
      switches.currentTestId = id;
      const startedAt = performance.now();
      try {
        await run();
      } catch (error) {
        failures.push(`${file} > ${name}: ${error.message}`);
      }
      tests.push({ id, file, position, name, ms: performance.now() - startedAt });
    }
    switches.currentTestId = undefined;
  }
  return { tests, coverage, failures };
}

/** The given tests until one fails. @returns its name, or undefined if none did. */
async function runMutant({ mutant, tests }) {
  Object.assign(switches, { activeMutant: mutant, hitCount: 0, hitLimit: Number.POSITIVE_INFINITY });
  const collected = new Map();
  const { files, collect } = load();
  for (const [done, { file, position, name, hits }] of tests.entries()) {
    Atomics.store(progress, 0, done);
    try {
      switches.hitCount = 0;
      switches.hitLimit = Number.POSITIVE_INFINITY;
      if (!collected.has(file)) collected.set(file, collect(files[file]));
      switches.hitLimit = (hits + 1) * HITS_FACTOR;
      const test = collected.get(file)[position];
      if (test?.name !== name) return { failed: `${file} > ${name}` };
      await test.run();
    } catch {
      return { failed: `${file} > ${name}` };
    }
  }
  return { failed: undefined };
}
