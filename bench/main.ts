// `npm run bench [-- NAME] [--json] [--OPTION N]`: one benchmark, or all of them one after the other.

import { core } from "./core.js";
import { node } from "./node.js";
import { placement } from "./placement.js";
import { type Benchmark, jsonReport, type Lists, type Options, tableReport } from "./report.js";
import { storage } from "./storage.js";
import { transport } from "./transport.js";

// What the processes that a benchmark starts find in this bundle.
export { runBenchNode } from "./node/child.js";
export { runEchoServer } from "./node/yardsticks.js";
export { runClientWorker } from "./placement/client-worker.js";
export { runStorageOpen } from "./storage.js";
export { runUnaryServer } from "./transport.js";

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  core,
  storage,
  node,
  transport,
  placement,
};

export async function main(args: readonly string[]): Promise<number> {
  const { names, options, lists, json, problem } = parse(args);
  if (problem !== undefined) {
    console.error(problem);
    return 2;
  }
  for (const [name, benchmark] of Object.entries(BENCHMARKS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const note = (text: string): void => console.error(`  ${text}`);
    if (!json) console.log(`${name}: ${benchmark.title}`);
    await benchmark.run(
      json ? jsonReport(name) : tableReport,
      note,
      { ...defaultsOf(benchmark.options), ...options },
      { ...defaultsOf(benchmark.lists), ...lists },
    );
  }
  return 0;
}

function defaultsOf<T>(options: Readonly<Record<string, { readonly default: T }>> = {}): Record<string, T> {
  return Object.fromEntries(Object.entries(options).map(([key, option]) => [key, option.default]));
}

interface Parsed {
  readonly names: readonly string[];
  readonly options: Options;
  readonly lists: Lists;
  readonly json: boolean;
  readonly problem?: string;
}

function parse(args: readonly string[]): Parsed {
  const names: string[] = [];
  const options: Record<string, number> = {};
  const lists: Record<string, readonly number[]> = {};
  let json = false;
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--json") {
      json = true;
    } else if (arg.startsWith("--")) {
      const key = arg.slice(2);
      const values = (rest.shift() ?? "").split(",").map((text) => (text === "" ? Number.NaN : Number(text)));
      const [value = Number.NaN] = values;
      const isFine = values.every((number) => number >= 0) && (isList(key) || values.length === 1);
      if (!isFine || !(isOption(key) || isList(key))) {
        return {
          names,
          options,
          lists,
          json,
          problem: `${arg} is no option with a number behind it; ${usage()}`,
        };
      }
      if (isList(key)) lists[key] = values;
      else options[key] = value;
    } else {
      if (BENCHMARKS[arg] === undefined) {
        return { names, options, lists, json, problem: `there is no benchmark "${arg}"; ${usage()}` };
      }
      names.push(arg);
    }
  }
  return { names, options, lists, json };
}

function isOption(name: string): boolean {
  return Object.values(BENCHMARKS).some(({ options = {} }) => name in options);
}

function isList(name: string): boolean {
  return Object.values(BENCHMARKS).some(({ lists = {} }) => name in lists);
}

function usage(): string {
  const each = Object.entries(BENCHMARKS).map(([name, { options = {}, lists = {} }]) => {
    const lines = [
      ...Object.entries(options).map(([key, { text, default: usual }]) => ({ key, takes: "N", text, usual })),
      ...Object.entries(lists).map(([key, { text, default: usual }]) => ({
        key,
        takes: "N,N,...",
        text,
        usual,
      })),
    ].map(({ key, takes, text, usual }) => `\n    --${key} ${takes}  ${text} (${usual})`);
    return `\n  ${name}${lines.join("")}`;
  });
  return `there are:${each.join("")}`;
}
