// `npm run mutate [-- [--again] FILE|FOLDER ...]`: changes src/core in thousands of small ways, one at a time, and sees whether
// a test fails each time. Prints the mutants that no test noticed, and the score of each folder. With `--report` it
// only prints the score of what was run last for each file; with `--again` it tries only those that were not noticed
// then or are new. Ends with 1 if a survivor is not explained.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { Bench } from "./mutation/bench.mjs";
import { bundleTests } from "./mutation/bundle.mjs";
import { readExplanations } from "./mutation/explanations.mjs";
import { instrument } from "./mutation/instrument.mjs";
import { isUnnoticed, renderMutant, renderSummary, unexplained } from "./mutation/report.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const REPORT = "reports/mutation/report.json";
const EXPLANATIONS = "docs/mutation-survivors.md";
/** Checks the core from outside in every test, so that its own mistakes are not the core's. */
const NOT_MUTATED = new Set(["src/core/raft/invariants.ts"]);
/** The command of the upstream cases starts processes, and does not test the core. */
const NOT_RUN = new Set(["test/core/datadriven.test.ts"]);
/** A mutant that lives takes every test that comes by it, so the long ones are shortened. */
const SHORTER_TESTS = { STORM_SEEDS: "5", PROPERTY_RUNS: "200" };

Object.assign(process.env, { ...SHORTER_TESTS, ...process.env });
process.exitCode = await main(process.argv.slice(2));

async function main(args) {
  if (args[0] === "--report") {
    return conclude(readReport());
  }
  const again = args[0] === "--again";
  const named = again ? args.slice(1) : args;
  const targets = named.length > 0 ? named : ["src/core"];
  const mutated = new Set(targets.flatMap((target) => targetFiles(target)));
  if (mutated.size === 0) return 2;
  const core = filesUnder("src/core", ".ts");
  const tests = [...filesUnder("test/core", ".test.ts"), ...filesUnder("test/scenarios", ".test.ts")].filter(
    (file) => !NOT_RUN.has(file),
  );
  const { contents, mutants } = await instrument(root, core, mutated);
  const bundle = (replaced) => bundleTests(root, core, tests, replaced);

  const bench = new Bench();
  try {
    const { count, failures } = await bench.runUnchanged(await bundle(contents));
    if (failures.length > 0) {
      console.error(`these tests fail without any change:\n${failures.join("\n")}`);
      return 1;
    }
    console.log(`${mutants.length} mutants in ${mutated.size} files, ${count} tests`);
    const startedAt = performance.now();
    const results = [];
    for (const file of mutated) {
      const ofFile = mutants.filter((mutant) => mutant.file === file);
      const noticed = new Map(again ? noticedBefore(file) : []);
      // The switches of the other files would only slow the tests down.
      await bench.use(await bundle(new Map([[file, contents.get(file)]])));
      const fresh = await runMutants(bench, ofFile, noticed);
      results.push(...fresh);
      writeReport(file, fresh);
      console.log(`${file}: done, ${results.length} of ${mutants.length}`);
    }
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    console.log(`\n${seconds} s; see also ${REPORT}\n`);
    return conclude(results);
  } finally {
    await bench.close();
  }
}

/** Prints what the results come to. @returns the exit code. */
function conclude(results) {
  const explanations = readExplanations(join(root, EXPLANATIONS));
  console.log(renderSummary(results, explanations));
  return unexplained(results, explanations).length === 0 ? 0 : 1;
}

async function runMutants(bench, mutants, noticed) {
  const results = [];
  for (const [key, mutant] of withKeys(mutants)) {
    const result = { ...mutant, ...(noticed.get(key) ?? (await bench.runMutant(mutant.id))) };
    results.push(result);
    if (isUnnoticed(result)) console.log(renderMutant(result));
  }
  return results;
}

/** What noticed the mutants of a file when it was run last, by their keys. */
function noticedBefore(file) {
  const before = readReport().filter((result) => result.file === file);
  return withKeys(before)
    .filter(([, result]) => !isUnnoticed(result))
    .map(([key, { status, by, tests }]) => [key, { status, by, tests }]);
}

/** A key is the same as long as the function is: what is changed into what, for which time. */
function withKeys(mutants) {
  const times = new Map();
  return mutants.map((mutant) => {
    const { within, mutator, original, replacement } = mutant;
    const key = JSON.stringify([within, mutator, original, replacement]);
    const nth = (times.get(key) ?? 0) + 1;
    times.set(key, nth);
    return [`${key} #${nth}`, mutant];
  });
}

/** What the last run of each file came to, so that a long job can be done in parts. */
function readReport() {
  const path = join(root, REPORT);
  if (!existsSync(path)) return [];
  return JSON.parse(readFileSync(path, "utf8")).filter(({ file }) => existsSync(join(root, file)));
}

function writeReport(file, results) {
  const report = [...readReport().filter((result) => result.file !== file), ...results];
  mkdirSync(dirname(join(root, REPORT)), { recursive: true });
  writeFileSync(join(root, REPORT), `${JSON.stringify(report, undefined, 1)}\n`);
}

/** The files of the core that an argument names. Says what is wrong with an argument that names none. */
function targetFiles(target) {
  const path = relative(root, resolve(process.env.INIT_CWD ?? process.cwd(), target))
    .split(sep)
    .join("/");
  const files = (existsSync(join(root, path)) ? filesUnder(path, ".ts") : []).filter(
    (file) => file.startsWith("src/core/") && !NOT_MUTATED.has(file),
  );
  if (files.length === 0) console.error(`${target} names no file of src/core that can be mutated`);
  return files;
}

function filesUnder(path, ending) {
  if (statSync(join(root, path)).isFile()) return path.endsWith(ending) ? [path] : [];
  return readdirSync(join(root, path))
    .sort()
    .flatMap((name) => filesUnder(`${path}/${name}`, ending));
}
