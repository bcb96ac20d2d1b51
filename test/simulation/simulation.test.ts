// Shows that nothing breaks under simulated faults, for seeds that are always the same, that a seed decides everything,
// and that a bug which is put back is found. The simulator is bundled as `npm run simulate` does it.

import { rmSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { bundleSimulator } from "../../scripts/simulator-bundle.mjs";
import type { main } from "./main.js";
import { MUTANTS } from "./mutants.js";
import type { Outcome, simulate } from "./simulation.js";

/** Forty in a row, and those that once found something, see docs/testing.md. */
const SEEDS = [...Array.from({ length: 40 }, (_, at) => at + 1), 150, 342, 506];
const TIMEOUT_MS = 120_000;

interface Simulator {
  readonly simulate: typeof simulate;
  readonly main: typeof main;
}

const bundles: string[] = [];

async function simulator(name: string, mutant?: (typeof MUTANTS)[number]): Promise<Simulator> {
  const outfile = `simulator-test-${process.pid}-${name}.mjs`;
  const path = await bundleSimulator({
    entry: "main.ts",
    outfile,
    ...(mutant === undefined ? {} : { mutant }),
  });
  bundles.push(path);
  const bundle: Simulator = await import(pathToFileURL(path).href);
  return bundle;
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
    run = (await simulator("plain")).simulate;
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
  const QUICK = [
    "acknowledgement before the disk",
    "second vote in a term",
    "half is a majority",
    "heartbeat carries the whole commit index",
    "lease kept over a transfer",
    "two membership changes at once",
  ];

  test.each(QUICK)(
    "'%s' is found",
    async (name) => {
      const mutant = MUTANTS.find((known) => known.name === name);
      expect(mutant).toBeDefined();
      const run = (await simulator(name.replaceAll(" ", "-"), mutant)).simulate;
      let found: Outcome | undefined;
      for (let seed = 1; seed <= 10 && found?.violation === undefined; seed += 1)
        found = await run(seed, 60, mutant?.theme);
      expect(found?.violation).toBeDefined();
    },
    TIMEOUT_MS,
  );

  test(
    "is told with the last events, and with the command that replays it to the same end",
    async () => {
      const mutant = MUTANTS.find(({ name }) => name === "acknowledgement before the disk");
      const command = (await simulator("told", mutant)).main;
      const said = vi.spyOn(console, "log").mockImplementation(() => {});
      const linesOf = async (args: readonly string[]): Promise<string> => {
        said.mockClear();
        expect(await command(args)).toBe(1);
        return said.mock.calls.map(([line]) => String(line)).join("\n");
      };
      try {
        const told = await linesOf(["--seeds", "10", "--first", "--quiet", "--tail", "30"]);
        const replay = /^replay: npm run simulate -- (--seed \d+)$/m.exec(told)?.[1] ?? "";
        expect(told).toMatch(/^violated: durability of what was acknowledged: /m);
        const events = told.split("\n").filter((line) => /^ +\d+\.\d{3} {2}\S+ +\S/.test(line));
        expect(events).toHaveLength(30);
        expect(events.filter((line) => line.includes("VIOLATED"))).not.toHaveLength(0);
        const again = await linesOf([...replay.split(" "), "--tail", "30"]);
        const withoutTimes = (lines: string): string => lines.slice(0, lines.indexOf("replay: "));
        expect(withoutTimes(again)).toBe(withoutTimes(told));
      } finally {
        said.mockRestore();
      }
    },
    TIMEOUT_MS,
  );
});
