// `npm run simulate`: one seed, or many, or as many as fit into some minutes. Prints how to replay what it finds.

import { MUTANTS } from "./mutants.js";
import { type Outcome, simulate } from "./simulation.js";
import { DIRECTED_THEMES } from "./swarm.js";

export { MUTANTS, simulate };

interface Arguments {
  readonly firstSeed: number;
  readonly seeds: number;
  readonly minutes: number;
  readonly tail: number;
  /** Print only what failed. */
  readonly quiet: boolean;
  /** End with the first failure. */
  readonly first: boolean;
  /** The directed theme that every seed follows. */
  readonly theme: string | undefined;
}

const USAGE = `usage: npm run simulate -- [--seed N | --seeds N [--from N] | --minutes N [--from N]] [--mutants [NAME]] [--theme NAME] [--tail LINES] [--quiet] [--first]`;

function parse(args: readonly string[]): Arguments | string {
  let firstSeed = 1;
  let seeds = 20;
  let minutes = 0;
  let tail = 60;
  let quiet = false;
  let first = false;
  let theme: string | undefined;
  for (let at = 0; at < args.length; at += 1) {
    const name = args[at];
    if (name === "--quiet") {
      quiet = true;
      continue;
    }
    if (name === "--first") {
      first = true;
      continue;
    }
    at += 1;
    if (name === "--theme") {
      theme = args[at];
      if (theme !== undefined && DIRECTED_THEMES[theme] !== undefined) continue;
      return `--theme is one of: ${Object.keys(DIRECTED_THEMES).join(", ")}\n${USAGE}`;
    }
    const value = Number(args[at]);
    if (!Number.isFinite(value) || value < 0) return `${name} needs a number\n${USAGE}`;
    if (name === "--seed") {
      firstSeed = value;
      seeds = 1;
    } else if (name === "--seeds") seeds = value;
    else if (name === "--from") firstSeed = value;
    else if (name === "--minutes") {
      minutes = value;
      seeds = Number.POSITIVE_INFINITY;
    } else if (name === "--tail") tail = value;
    else return `unknown argument ${name}\n${USAGE}`;
  }
  return { firstSeed, seeds, minutes, tail, quiet, first, theme };
}

/** The exit status: 0 when nothing was found. */
export async function main(args: readonly string[]): Promise<number> {
  const parsed = parse(args);
  if (typeof parsed === "string") {
    console.error(parsed);
    return 2;
  }
  const { firstSeed, seeds, minutes, tail, quiet, first, theme } = parsed;
  const startedMs = performance.now();
  let simulatedMs = 0;
  let done = 0;
  const failed: number[] = [];
  const outcomes = new Map<string, number>();
  for (let seed = firstSeed; seed < firstSeed + seeds; seed += 1) {
    if (minutes > 0 && performance.now() - startedMs > minutes * 60_000) break;
    const outcome = await simulate(seed, tail, theme);
    done += 1;
    simulatedMs += outcome.simulatedMs;
    for (const [what, times] of outcome.outcomes) outcomes.set(what, (outcomes.get(what) ?? 0) + times);
    if (outcome.violation !== undefined) failed.push(seed);
    if (outcome.violation !== undefined || !quiet) console.log(lineOf(outcome));
    if (outcome.violation === undefined) continue;
    console.log(storyOf(outcome, theme));
    if (first) break;
  }
  const wallMinutes = (performance.now() - startedMs) / 60_000;
  const hours = simulatedMs / 3_600_000;
  console.log(
    `${done} seeds, ${hours.toFixed(2)} simulated hours in ${wallMinutes.toFixed(2)} minutes: ` +
      `${(hours / wallMinutes).toFixed(2)} simulated hours per minute; ${failed.length} failed ${failed.join(" ")}`,
  );
  console.log(
    [...outcomes]
      .sort()
      .map(([what, times]) => `${what} ${times}`)
      .join(", "),
  );
  return failed.length === 0 ? 0 : 1;
}

function lineOf({
  seed,
  violation,
  traceHash,
  simulatedMs,
  events,
  outcomes,
  faults,
  undecided,
}: Outcome): string {
  const calls = ["read", "write", "compareAndSet"].reduce((sum, kind) => sum + (outcomes.get(kind) ?? 0), 0);
  return (
    `seed ${seed}: ${violation === undefined ? "ok" : "FAILED"}, hash ${traceHash}, ${(simulatedMs / 1_000).toFixed(0)} s, ` +
    `${events} events, ${calls} calls${undecided > 0 ? `, ${undecided} keys undecided` : ""}; ${faults.join(" ")}`
  );
}

function storyOf({ seed, violation, tail, swarm }: Outcome, theme: string | undefined): string {
  const { faults, ...setting } = swarm;
  return [
    ...tail,
    `settings: ${JSON.stringify({ ...setting, faults: [...faults] })}`,
    `violated: ${violation?.invariant}: ${violation?.what}`,
    `replay: npm run simulate -- --seed ${seed}${theme === undefined ? "" : ` --theme "${theme}"`}`,
  ].join("\n");
}
