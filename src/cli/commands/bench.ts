// `placement-center bench`: a small load against a cluster that runs, and how it was answered.

import { randomBytes } from "node:crypto";
import { Command, Option } from "commander";
import type { PlacementClient } from "../../placement/client.js";
import { addClientOptions, type ClientOptions, parseCount } from "../arguments.js";
import { withClient } from "../client-session.js";
import { ExitStatus } from "../exit-status.js";
import { type KindResult, type LoadResult, percentileMs, runLoad } from "../load/load.js";
import { removeLoadKeys, writeLoadKeys } from "../load/load-keys.js";
import type { OperationKind } from "../load/operations.js";
import { formatTable, type Output, toJsonLine } from "../output.js";
import { listenForStop } from "../processes/stop-signals.js";
import { progressOn } from "../progress.js";

interface BenchOptions extends ClientOptions {
  readonly seconds: number;
  readonly operations?: number;
  readonly inFlight: number;
  readonly keys: number;
  readonly valueBytes: number;
  readonly reads: number;
  readonly serializable?: boolean;
}

const MAX_VALUE_BYTES = 1024 * 1024;

export function benchCommand(output: Output, end: (status: ExitStatus) => void): Command {
  const command = new Command("bench")
    .summary("put a load on the cluster, and show how it is answered")
    .description(
      "Write and read keys of its own for a while, then remove them: operations a second and how long they took, as this machine sees it. It competes with everybody else who uses the cluster. Ctrl-C ends it early. Status 1 if an operation failed.",
    )
    .addOption(countOption("seconds", "how long", 10, 1, 86_400))
    .addOption(
      new Option("--operations <count>", "end after so many, if that is sooner").argParser((text: string) =>
        parseCount(text, 1, 1_000_000_000),
      ),
    )
    .addOption(countOption("in-flight", "operations at once", 32, 1, 4_096))
    .addOption(countOption("keys", "how many different keys", 1_000, 1, 1_000_000))
    .addOption(countOption("value-bytes", "size of a value", 256, 0, MAX_VALUE_BYTES))
    .addOption(countOption("reads", "how many of 100 operations read", 50, 0, 100))
    .option("--serializable", "read whatever the asked node has, without asking the leader");
  return addClientOptions(command).action(async (options: BenchOptions) => {
    const result = await withClient(options, (client) => bench(client, options));
    const lines = options.json === true ? [toJson(options, result)] : toTable(options, result);
    for (const line of lines) output.line(line);
    if ([...result.kinds.values()].some(({ failures }) => failures.size > 0)) end(ExitStatus.failed);
  });
}

function countOption(key: string, describe: string, usual: number, least: number, most: number): Option {
  return new Option(`--${key} <count>`, describe)
    .default(usual)
    .argParser((text: string) => parseCount(text, least, most));
}

async function bench(client: PlacementClient, options: BenchOptions): Promise<LoadResult> {
  const { keys, valueBytes, inFlight, reads, seconds } = options;
  // Nobody else's keys begin so: they can be removed without asking.
  const prefix = `placement-center-bench/${randomBytes(8).toString("hex")}/`;
  const value = randomBytes(valueBytes);
  const readKind: OperationKind = options.serializable === true ? "get-serializable" : "get";
  const progress = progressOn();
  const stop = listenForStop();
  try {
    await writeLoadKeys(client, prefix, keys, value, (done) =>
      progress.show(`${done} of ${keys} keys written`),
    );
    const startedMs = performance.now();
    return await runLoad({
      client,
      prefix,
      keys,
      value,
      random: Math.random,
      next: () => (Math.random() * 100 < reads ? readKind : "set"),
      inFlight,
      durationMs: seconds * 1_000,
      maxOperations: options.operations,
      signal: stop.first,
      onAnswer: (answered) => {
        const elapsed = Math.floor((performance.now() - startedMs) / 1_000);
        progress.show(`${elapsed} of ${seconds} s, ${answered} operations`);
      },
    });
  } finally {
    stop.release();
    await removeLoadKeys(client, prefix, (done) => progress.show(`${done} keys removed`)).finally(() =>
      progress.clear(),
    );
  }
}

const NUMBERS = ["count", "per second", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed"];

function toTable(options: BenchOptions, { seconds, kinds }: LoadResult): string[] {
  const rows = [...kinds].map(([kind, result]) => {
    const { latencies } = result;
    return [
      kind,
      String(latencies.count),
      (latencies.count / seconds).toFixed(0),
      ...[50, 90, 99, 100].map((percent) => formatMs(percentileMs(latencies, percent))),
      String(failureCount(result)),
    ];
  });
  const reasons = [...kinds].flatMap(([kind, { failures }]) =>
    [...failures].map(([reason, count]) => `${kind}: ${count} failed: ${reason}`),
  );
  const { inFlight, keys, valueBytes } = options;
  return [
    ...formatTable(["operation", ...NUMBERS], rows, new Set(NUMBERS)),
    "",
    `${seconds.toFixed(1)} s, ${inFlight} at once, ${keys} keys, values of ${valueBytes} bytes`,
    ...reasons,
  ];
}

function formatMs(ms: number): string {
  return Number.isNaN(ms) ? "-" : ms.toFixed(2);
}

function failureCount({ failures }: KindResult): number {
  return [...failures.values()].reduce((sum, count) => sum + count, 0);
}

function toJson(options: BenchOptions, { seconds, kinds }: LoadResult): string {
  const { inFlight, keys, valueBytes } = options;
  const operations = [...kinds].map(([operation, { latencies, failures }]) => ({
    operation,
    count: latencies.count,
    perSecond: latencies.count / seconds,
    p50Ms: percentileMs(latencies, 50),
    p90Ms: percentileMs(latencies, 90),
    p99Ms: percentileMs(latencies, 99),
    maxMs: percentileMs(latencies, 100),
    failures: Object.fromEntries(failures),
  }));
  return toJsonLine({ seconds, inFlight, keys, valueBytes, operations });
}
