// Which keys a command is about: a prefix, or an interval.

import { type Command, InvalidArgumentError } from "commander";
import type { KeySelection } from "../../placement/client-kv.js";
import { CommandError, ExitStatus } from "../exit-status.js";

export interface SelectionOptions {
  readonly from?: string;
  readonly to?: string;
}

export function addIntervalOptions(command: Command): Command {
  return command
    .option("--from <key>", "the first key of an interval, in place of a prefix")
    .option("--to <key>", "the key behind the last one of an interval");
}

/** Without a prefix and an interval: every key. @throws CommandError when both are given */
export function selectKeys(prefix: string | undefined, { from, to }: SelectionOptions): KeySelection {
  if (from === undefined && to === undefined) return { prefix: prefix ?? "" };
  if (prefix === undefined) return { start: from, end: to };
  throw new CommandError(ExitStatus.usage, "give either a prefix, or --from and --to");
}

export function parseRevision(text: string): bigint {
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError("A revision is a whole number, as `get --json` shows it.");
}
