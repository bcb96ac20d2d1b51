// `npm run simulate`: builds the simulator and runs it; with `--mutants [NAME]`, once for each known bug that is put
// back, until a seed has found it, at most `--seeds` seeds and `--minutes` minutes for each: seeds as they are, or of the
// directed theme that the mutant names. Prints a table of them.

import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { bundleSimulator } from "./simulator-bundle.mjs";

const MUTANT_SEEDS = 500;
const MUTANT_MINUTES = 30;
/** A seed takes a few seconds; one that takes so long will never end. */
const SILENCE_MS = 120_000;
const args = process.argv.slice(2);

const bundles = new Set();
let hunting;

function tidyUp() {
  hunting?.kill("SIGKILL");
  for (const bundle of bundles) rmSync(bundle, { force: true });
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    tidyUp();
    process.exit(130);
  });
}

async function withBundle(mutant, run) {
  const number = Math.random().toString(36).slice(2);
  const bundle = await bundleSimulator({ entry: "main.ts", outfile: `simulator-${number}.mjs`, mutant });
  bundles.add(bundle);
  try {
    return await run(pathToFileURL(bundle).href);
  } finally {
    bundles.delete(bundle);
    rmSync(bundle, { force: true });
  }
}

/** In a process of its own: a bug may well make it spin for ever. */
function hunt(url, theme, { seeds, minutes }) {
  const words = ["--seeds", String(seeds), "--first", "--tail", "0"];
  if (theme !== undefined) words.push("--theme", theme);
  const start =
    `const { main } = await import(${JSON.stringify(url)});` +
    `process.exitCode = await main(${JSON.stringify(words)});`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", start], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  hunting = child;
  let output = "";
  let isSpinning = false;
  const spins = () => {
    isSpinning = true;
    child.kill("SIGKILL");
  };
  let silence = setTimeout(spins, SILENCE_MS);
  child.stdout.on("data", (chunk) => {
    output += chunk;
    clearTimeout(silence);
    silence = setTimeout(spins, SILENCE_MS);
  });
  const timeout = setTimeout(() => child.kill("SIGKILL"), minutes * 60_000);
  return new Promise((resolve) => {
    child.on("close", (status) => {
      clearTimeout(timeout);
      clearTimeout(silence);
      const seed = /^seed (\d+): FAILED/m.exec(output)?.[1];
      const tried = [...output.matchAll(/^seed \d+: ok/gm)].length;
      const crashed = status !== 0 && status !== null;
      if (seed !== undefined) resolve({ seeds: Number(seed), by: /^violated: ([^:\n]+)/m.exec(output)?.[1] });
      else if (isSpinning) resolve({ seeds: tried + 1, by: "it never ends" });
      else if (crashed) resolve({ seeds: tried + 1, by: "the process ended" });
      else resolve({ seeds: tried, by: undefined });
    });
  });
}

async function huntAll(mutants, limits) {
  let missed = 0;
  console.log("| known bug | theme | seeds | found by |\n| --- | --- | ---: | --- |");
  for (const mutant of mutants) {
    const { seeds, by } = await withBundle(mutant, (url) => hunt(url, mutant.theme, limits));
    if (by === undefined) missed += 1;
    console.log(`| ${mutant.name} | ${mutant.theme ?? ""} | ${seeds} | ${by ?? "not found yet"} |`);
  }
  console.log(`${mutants.length - missed} of ${mutants.length} known bugs were found`);
  return missed === 0 ? 0 : 1;
}

/** The number after this word among the arguments, which lose both. */
function takeNumber(word, otherwise) {
  const at = args.indexOf(word);
  return at < 0 ? otherwise : Number(args.splice(at, 2)[1]);
}

process.exitCode = await withBundle(undefined, async (url) => {
  const { main, MUTANTS } = await import(url);
  if (!args.includes("--mutants")) return main(args);
  const limits = {
    seeds: takeNumber("--seeds", MUTANT_SEEDS),
    minutes: takeNumber("--minutes", MUTANT_MINUTES),
  };
  const name = args[args.indexOf("--mutants") + 1];
  return huntAll(
    MUTANTS.filter((mutant) => name === undefined || mutant.name.includes(name)),
    limits,
  );
});
