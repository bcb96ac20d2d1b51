// `placement-center range`: many keys, in order, all as of one revision.

import { Command, Option } from "commander";
import { addClientOptions, type ClientOptions, parseCount } from "../arguments.js";
import { withClient } from "../client-session.js";
import { addIntervalOptions, parseRevision, type SelectionOptions, selectKeys } from "../kv/key-selection.js";
import { entryLine, entryToJson } from "../kv/show-entry.js";
import { type Output, toJsonLine } from "../output.js";

interface RangeOptions extends ClientOptions, SelectionOptions {
  readonly limit?: number;
  readonly keysOnly?: boolean;
  readonly revision?: bigint;
  readonly serializable?: boolean;
}

const PAGE_ENTRIES = 1_000;
const MAX_LIMIT = 1_000_000_000;

export function rangeCommand(output: Output): Command {
  const command = new Command("range")
    .summary("list keys and values")
    .description(
      "List keys in the order of their bytes, all as of one revision: key, tab, value. With --json one object a line.",
    )
    .argument("[prefix]", "only keys that begin so; without it every key")
    .addOption(
      new Option("--limit <count>", "at most so many").argParser((text: string) =>
        parseCount(text, 1, MAX_LIMIT),
      ),
    )
    .option("--keys-only", "without values")
    .option("--revision <number>", "as the store was at this revision", parseRevision)
    .option("--serializable", "as the first node that answers has applied it; may be stale");
  return addClientOptions(addIntervalOptions(command)).action(
    async (prefix: string | undefined, options: RangeOptions) => {
      const keys = selectKeys(prefix, options);
      const { keysOnly = false, revision } = options;
      const left = options.limit ?? Number.POSITIVE_INFINITY;
      const limit = Math.min(left, PAGE_ENTRIES);
      const consistency = options.serializable === true ? "serializable" : "linearizable";
      await withClient(options, async (client) => {
        let printed = 0;
        for await (const entry of client.entries(keys, { keysOnly, revision, consistency, limit })) {
          const asJson = options.json === true;
          output.line(
            asJson ? toJsonLine(entryToJson(entry.key, entry, keysOnly)) : entryLine(entry, keysOnly),
          );
          printed += 1;
          if (printed >= left) break;
          if (printed % PAGE_ENTRIES === 0) await output.drained?.();
        }
      });
    },
  );
}
