// `npm run bench [-- NAME] [--json]`: one benchmark, or all of them one after the other.

import { core } from "./core.js";
import { type Benchmark, jsonReport, tableReport } from "./report.js";

const BENCHMARKS: Readonly<Record<string, Benchmark>> = { core };

export async function main(args: readonly string[]): Promise<number> {
  const json = args.includes("--json");
  const names = args.filter((arg) => arg !== "--json");
  const unknown = names.find((name) => BENCHMARKS[name] === undefined);
  if (unknown !== undefined) {
    console.error(`there is no benchmark "${unknown}"; there are: ${Object.keys(BENCHMARKS).join(", ")}`);
    return 2;
  }
  for (const [name, benchmark] of Object.entries(BENCHMARKS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const note = (text: string): void => console.error(`  ${text}`);
    if (!json) console.log(`${name}: ${benchmark.title}`);
    await benchmark.run(json ? jsonReport(name) : tableReport, note);
  }
  return 0;
}
