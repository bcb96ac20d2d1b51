// `npm run mutate [-- FILE|FOLDER ...]`: changes src/core in thousands of small ways, one at a time, and sees whether
// a test fails each time. Prints the mutants that no test noticed, and the score of each folder.

import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { Bench } from "./mutation/bench.mjs";
import { bundleTests } from "./mutation/bundle.mjs";
import { instrument } from "./mutation/instrument.mjs";
import { renderSummary, renderSurvivor } from "./mutation/report.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const REPORT = join("reports", "mutation", "report.json");
/** Checks the core from outside in every test, so that its own mistakes are not the core's. */
const NOT_MUTATED = new Set(["src/core/raft/invariants.ts"]);
/** The command of the upstream cases starts processes, and does not test the core. */
const NOT_RUN = new Set(["test/core/datadriven.test.ts"]);
const PROGRESS_EVERY_MS = 30_000;
/** A mutant that lives takes every test that comes by it, so the long ones are shortened. */
const SHORTER_TESTS = { STORM_SEEDS: "5", PROPERTY_RUNS: "200" };

Object.assign(process.env, { ...SHORTER_TESTS, ...process.env });
process.exitCode = await main(process.argv.slice(2));

async function main(args) {
  const targets = args.length > 0 ? args : ["src/core"];
  const sources = filesUnder("src/core", ".ts");
  const mutated = new Set(targets.flatMap((target) => targetFiles(target)));
  if (mutated.size === 0) return 2;
  const testFiles = [...filesUnder("test/core", ".test.ts"), ...filesUnder("test/scenarios", ".test.ts")];
  const { contents, mutants } = await instrument(root, sources, mutated);
  const bundle = await bundleTests(
    root,
    testFiles.filter((file) => !NOT_RUN.has(file)),
    contents,
  );

  const bench = new Bench(bundle);
  try {
    const { tests, failures } = await bench.runUnchanged();
    if (failures.length > 0) {
      console.error(`these tests fail without any change:\n${failures.join("\n")}`);
      return 1;
    }
    console.log(`${mutants.length} mutants in ${mutated.size} files, ${tests} tests`);
    const startedAt = performance.now();
    const results = [];
    let shownAt = startedAt;
    for (const mutant of mutants) {
      const result = { ...mutant, ...(await bench.runMutant(mutant.id)) };
      results.push(result);
      if (result.status === "survived" || result.status === "not covered")
        console.log(renderSurvivor(result));
      if (performance.now() - shownAt > PROGRESS_EVERY_MS) {
        shownAt = performance.now();
        console.log(`... ${results.length} of ${mutants.length}`);
      }
    }
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    console.log(
      `\n${renderSummary(results)}\n${seconds} s; survivors also in ${REPORT.split(sep).join("/")}`,
    );
    mkdirSync(join(root, dirname(REPORT)), { recursive: true });
    writeFileSync(join(root, REPORT), `${JSON.stringify(results, undefined, 1)}\n`);
    return 0;
  } finally {
    await bench.close();
  }
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
