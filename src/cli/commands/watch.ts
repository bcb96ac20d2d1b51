// `placement-center watch`: changes as they happen, each once and in order, over failures of nodes.

import { Command, Option } from "commander";
import type { WatchedChange } from "../../placement/client-watch.js";
import { addClientOptions, type ClientOptions, parseCount } from "../arguments.js";
import { withClient } from "../client-session.js";
import { addIntervalOptions, parseRevision, type SelectionOptions, selectKeys } from "../kv/key-selection.js";
import { entryToJson, valueLine } from "../kv/show-entry.js";
import { type Output, toJsonLine } from "../output.js";
import { listenForStop } from "../processes/stop-signals.js";

interface WatchOptions extends ClientOptions, SelectionOptions {
  readonly key?: string;
  readonly fromRevision?: bigint;
  readonly previous?: boolean;
  readonly count?: number;
}

const MAX_COUNT = 1_000_000_000;

export function watchCommand(output: Output): Command {
  const command = new Command("watch")
    .summary("print changes as they happen")
    .description(
      "Print every change of the selected keys, once and in order, until Ctrl-C. With --json one object a line.",
    )
    .argument("[prefix]", "only keys that begin so; without it every key")
    .option("--key <key>", "only this key, in place of a prefix")
    .option("--from-revision <number>", "begin with the changes since this revision", parseRevision)
    .option("--previous", "with what the key had before")
    .addOption(
      new Option("--count <number>", "end after so many changes").argParser((text: string) =>
        parseCount(text, 1, MAX_COUNT),
      ),
    );
  return addClientOptions(addIntervalOptions(command)).action(
    async (prefix: string | undefined, options: WatchOptions) => {
      const keys = options.key === undefined ? selectKeys(prefix, options) : { key: options.key };
      const left = options.count ?? Number.POSITIVE_INFINITY;
      const signals = listenForStop();
      const { fromRevision, previous: previousValues } = options;
      try {
        await withClient(options, async (client) => {
          let printed = 0;
          const updates = client.watch(keys, { fromRevision, previousValues, signal: signals.first });
          for await (const { revision, changes } of updates) {
            if (printed === 0 && changes.length === 0) output.note(`watching since revision ${revision}`);
            for (const change of changes.slice(0, left - printed)) {
              output.line(options.json === true ? toJsonLine(changeToJson(change)) : changeLine(change));
              printed += 1;
            }
            if (printed >= left) return;
            await output.drained?.();
          }
        });
      } finally {
        signals.release();
      }
    },
  );
}

function changeLine(change: WatchedChange): string {
  const before = change.previous === undefined ? "" : `\tbefore: ${valueLine(change.previous.value)}`;
  if (change.kind === "delete") return `${change.modRevision}\tdelete\t${change.key}${before}`;
  const { key, value, modRevision } = change.entry;
  return `${modRevision}\tset\t${key}\t${valueLine(value)}${before}`;
}

function changeToJson(change: WatchedChange): object {
  const previous =
    change.previous === undefined ? {} : { previous: entryToJson(change.previous.key, change.previous) };
  if (change.kind === "delete") {
    return { kind: "delete", key: change.key, modRevision: change.modRevision, ...previous };
  }
  return { kind: "set", ...entryToJson(change.entry.key, change.entry), ...previous };
}
