// `placement-center log`: looks into the log of a node, whether it runs or not; changes nothing.

import { setImmediate as nextTurn } from "node:timers/promises";
import { Command } from "commander";
import type { IndexRange, LogInspector, LogItem } from "../../storage/inspect-log.js";
import { StorageFault } from "../../storage/storage-fault.js";
import { jsonOption, parseCount, parseIndex } from "../arguments.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import {
  formatHeader,
  headerToJson,
  itemToJson,
  itemToRow,
  reportToJson,
  reportToText,
} from "../log/format.js";
import { type Output, toJsonLine } from "../output.js";
import { progressOn } from "../progress.js";

interface LogOptions {
  readonly json?: boolean;
}

interface DumpOptions extends LogOptions, IndexRange {
  readonly limit?: number;
}

/** Everything that was printed reaches its reader before more is read from the log. */
const ROWS_PER_TURN = 512;
const MAX_LIMIT = 1_000_000_000;

export function logCommand(output: Output, end: (status: ExitStatus) => void): Command {
  const command = new Command("log").summary("look into the log of a node: dump, verify, stats");
  command
    .command("dump")
    .description(
      "Print the entries of a log: index, term, type, bytes, what they ask for. Damaged records are listed, and the rest goes on. With --json one object a line.",
    )
    .argument("<folder>", "the data folder of a node, stopped or running")
    .option("--from <index>", "the first entry to print", parseIndex)
    .option("--to <index>", "the last entry to print", parseIndex)
    .option("--limit <count>", "print at most so many", (text: string) => parseCount(text, 1, MAX_LIMIT))
    .action(async (folder: string, options: DumpOptions) => {
      const damaged = await withLog(folder, (inspector) => dump(inspector, options, output));
      if (damaged) end(ExitStatus.failed);
    });
  command
    .command("verify")
    .description(
      "Read the whole log and check everything: pages, checksums, order, gaps. Status 1 if anything is wrong.",
    )
    .argument("<folder>", "the data folder of a node, stopped or running")
    .action(async (folder: string, options: LogOptions) => {
      const sound = await withLog(folder, (inspector) => report(inspector, "verify", options, output));
      if (!sound) end(ExitStatus.failed);
    });
  command
    .command("stats")
    .description("Print what a log holds: entries by type and term, bytes, pages, membership.")
    .argument("<folder>", "the data folder of a node, stopped or running")
    .action(async (folder: string, options: LogOptions) => {
      await withLog(folder, (inspector) => report(inspector, "stats", options, output));
    });
  for (const child of command.commands) child.addOption(jsonOption());
  return command;
}

/** @returns whether anything was damaged */
async function dump(inspector: LogInspector, options: DumpOptions, output: Output): Promise<boolean> {
  const asJson = options.json === true;
  for (const line of asJson ? [headerToJson(inspector)] : formatHeader(inspector)) output.line(line);
  let printed = 0;
  let damaged = inspector.problems.length;
  for (const item of inspector.items(options)) {
    if (options.limit !== undefined && printed >= options.limit) break;
    output.line(asJson ? itemToJson(item) : itemToRow(item));
    printed += 1;
    if (isDamage(item)) damaged += 1;
    if (printed % ROWS_PER_TURN === 0) await (output.drained?.() ?? nextTurn());
  }
  const entries = printed - (damaged - inspector.problems.length);
  output.line(
    asJson ? toJsonLine({ kind: "end", entries, damaged }) : `${entries} entries, ${damaged} damaged`,
  );
  return damaged > 0;
}

function isDamage(item: LogItem): boolean {
  return item.kind === "damage";
}

/** @returns whether nothing was wrong */
async function report(
  inspector: LogInspector,
  kind: "verify" | "stats",
  options: LogOptions,
  output: Output,
): Promise<boolean> {
  const { verifyLog } = await import("../../storage/verify-log.js");
  const progress = progressOn();
  const found = await verifyLog(inspector, (items) => progress.show(`${items} entries read`));
  progress.clear();
  const lines =
    options.json === true ? [reportToJson(inspector, found)] : reportToText(inspector, found, kind);
  for (const line of lines) output.line(line);
  return found.problemCount === 0;
}

async function withLog<Result>(
  folder: string,
  use: (inspector: LogInspector) => Promise<Result>,
): Promise<Result> {
  // LMDB takes a while to load: no other command shall wait for it.
  const { LogInspector } = await import("../../storage/inspect-log.js");
  try {
    const inspector = await LogInspector.open(folder);
    try {
      return await use(inspector);
    } finally {
      await inspector.close();
    }
  } catch (error) {
    if (error instanceof StorageFault) throw new CommandError(ExitStatus.failed, error.message, error.code);
    throw error;
  }
}
