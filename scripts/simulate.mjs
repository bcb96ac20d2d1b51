// `npm run simulate`: builds the simulator and runs it; with `--mutants [NAME]`, once for each known bug that is put
// back, until a seed has found it.

import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { bundleSimulator } from "./simulator-bundle.mjs";

const MUTANT_SEEDS = 500;
const MUTANT_MINUTES = 30;
const args = process.argv.slice(2);

async function withBundle(mutant, run) {
  const number = Math.random().toString(36).slice(2);
  const bundle = await bundleSimulator({ entry: "main.ts", outfile: `simulator-${number}.mjs`, mutant });
  try {
    return await run(pathToFileURL(bundle).href);
  } finally {
    rmSync(bundle, { force: true });
  }
}

/** In a process of its own: a bug may well make it spin for ever. */
function hunt(url) {
  const start =
    `const { main } = await import(${JSON.stringify(url)});` +
    `process.exitCode = await main(["--seeds", "${MUTANT_SEEDS}", "--first", "--quiet", "--tail", "0"]);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", start], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  const timeout = setTimeout(() => child.kill("SIGKILL"), MUTANT_MINUTES * 60_000);
  return new Promise((resolve) => {
    child.on("close", () => {
      clearTimeout(timeout);
      const seed = /^seed (\d+): FAILED/m.exec(output)?.[1];
      const invariant = /^violated: ([^:]+)/m.exec(output)?.[1];
      resolve(seed === undefined ? undefined : { seeds: Number(seed), invariant });
    });
  });
}

async function huntAll(mutants) {
  let missed = 0;
  for (const mutant of mutants) {
    const found = await withBundle(mutant, hunt);
    if (found === undefined) missed += 1;
    const result =
      found === undefined
        ? `NOT FOUND in ${MUTANT_SEEDS} seeds`
        : `seed ${found.seeds}, by ${found.invariant}`;
    console.log(`${mutant.name}: ${result}`);
  }
  console.log(`${mutants.length - missed} of ${mutants.length} known bugs were found`);
  return missed === 0 ? 0 : 1;
}

process.exitCode = await withBundle(undefined, async (url) => {
  const { main, MUTANTS } = await import(url);
  const at = args.indexOf("--mutants");
  if (at < 0) return main(args);
  const name = args[at + 1];
  return huntAll(MUTANTS.filter((mutant) => name === undefined || mutant.name.includes(name)));
});
