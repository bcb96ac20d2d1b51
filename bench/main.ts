// `npm run bench [-- NAME] [--json] [--OPTION N]`: one benchmark, or all of them one after the other.

import { core } from "./core.js";
import { node } from "./node.js";
import { type Benchmark, jsonReport, type Options, tableReport } from "./report.js";
import { storage } from "./storage.js";
import { transport } from "./transport.js";

// What the processes that a benchmark starts find in this bundle.
export { runBenchNode } from "./node/child.js";
export { runEchoServer } from "./node/yardsticks.js";
export { runStorageOpen } from "./storage.js";
export { runUnaryServer } from "./transport.js";

const BENCHMARKS: Readonly<Record<string, Benchmark>> = { core, storage, node, transport };

export async function main(args: readonly string[]): Promise<number> {
  const { names, options, json, problem } = parse(args);
  if (problem !== undefined) {
    console.error(problem);
    return 2;
  }
  for (const [name, benchmark] of Object.entries(BENCHMARKS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const note = (text: string): void => console.error(`  ${text}`);
    if (!json) console.log(`${name}: ${benchmark.title}`);
    const defaults = Object.entries(benchmark.options ?? {}).map(([key, option]) => [key, option.default]);
    await benchmark.run(json ? jsonReport(name) : tableReport, note, {
      ...Object.fromEntries(defaults),
      ...options,
    });
  }
  return 0;
}

interface Parsed {
  readonly names: readonly string[];
  readonly options: Options;
  readonly json: boolean;
  readonly problem?: string;
}

function parse(args: readonly string[]): Parsed {
  const names: string[] = [];
  const options: Record<string, number> = {};
  let json = false;
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--json") {
      json = true;
    } else if (arg.startsWith("--")) {
      const value = Number(rest.shift());
      if (!isOption(arg.slice(2)) || !(value >= 0)) {
        return { names, options, json, problem: `${arg} is no option with a number behind it; ${usage()}` };
      }
      options[arg.slice(2)] = value;
    } else {
      if (BENCHMARKS[arg] === undefined) {
        return { names, options, json, problem: `there is no benchmark "${arg}"; ${usage()}` };
      }
      names.push(arg);
    }
  }
  return { names, options, json };
}

function isOption(name: string): boolean {
  return Object.values(BENCHMARKS).some(({ options = {} }) => name in options);
}

function usage(): string {
  const each = Object.entries(BENCHMARKS).map(([name, { options = {} }]) => {
    const lines = Object.entries(options).map(
      ([key, option]) => `\n    --${key} N  ${option.text} (${option.default})`,
    );
    return `\n  ${name}${lines.join("")}`;
  });
  return `there are:${each.join("")}`;
}
