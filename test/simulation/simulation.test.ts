// Shows that nothing breaks under simulated faults, for seeds that are always the same, that a seed decides everything,
// and that a bug which is put back is found. The simulator is bundled as `npm run simulate` does it.

import { rmSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundleSimulator } from "../../scripts/simulator-bundle.mjs";
import { MUTANTS } from "./mutants.js";
import type { Outcome, simulate } from "./simulation.js";

/** Chosen at random; those after the gap once found something, see docs/testing.md. */
const SEEDS = [1, 3, 4, 5, 8, 10, 15, 18, 22, 24, 30, 50, 57, /* gap */ 32, 34, 3056];
const TIMEOUT_MS = 120_000;

const bundles: string[] = [];

async function simulator(name: string, mutant?: (typeof MUTANTS)[number]): Promise<typeof simulate> {
  const outfile = `simulator-test-${process.pid}-${name}.mjs`;
  const path = await bundleSimulator({
    entry: "main.ts",
    outfile,
    ...(mutant === undefined ? {} : { mutant }),
  });
  bundles.push(path);
  const bundle: { readonly simulate: typeof simulate } = await import(pathToFileURL(path).href);
  return bundle.simulate;
}

function story({ seed, violation, tail }: Outcome): string {
  return `${violation?.invariant}: ${violation?.what}\n${tail.join("\n")}\nreplay: npm run simulate -- --seed ${seed}`;
}

afterAll(() => {
  for (const path of bundles) rmSync(path, { force: true });
});

describe("a simulated group", () => {
  let run: typeof simulate;

  beforeAll(async () => {
    run = await simulator("plain");
  });

  test.each(SEEDS)(
    "of seed %i keeps every promise, and serves again when all is mended",
    async (seed) => {
      const outcome = await run(seed, 40);
      expect(outcome.violation, story(outcome)).toBeUndefined();
      expect(outcome.undecided).toBe(0);
    },
    TIMEOUT_MS,
  );

  test(
    "does the same again for the same seed, and something else for another",
    async () => {
      const first = await run(10);
      const again = await run(10);
      const other = await run(11);
      expect(again.traceHash).toBe(first.traceHash);
      expect(again.traceLines).toBe(first.traceLines);
      expect(other.traceHash).not.toBe(first.traceHash);
    },
    TIMEOUT_MS,
  );
});

describe("a bug that is put back", () => {
  const QUICK = ["acknowledgement before the disk", "second vote in a term"];

  test.each(QUICK)(
    "'%s' is found",
    async (name) => {
      const mutant = MUTANTS.find((known) => known.name === name);
      expect(mutant).toBeDefined();
      const run = await simulator(name.replaceAll(" ", "-"), mutant);
      let found: Outcome | undefined;
      for (let seed = 1; seed <= 10 && found?.violation === undefined; seed += 1) found = await run(seed);
      expect(found?.violation).toBeDefined();
    },
    TIMEOUT_MS,
  );
});
