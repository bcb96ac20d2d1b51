// `placement-center get`: reads one key.

import { Command } from "commander";
import type { KvEntry } from "../../placement/client.js";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { withClient } from "../client-session.js";
import { ExitStatus } from "../exit-status.js";
import { entryToJson } from "../kv/show-entry.js";
import { type Output, toJsonLine } from "../output.js";

interface GetOptions extends ClientOptions {
  readonly serializable?: boolean;
}

export function getCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return addClientOptions(
    new Command("get")
      .summary("read a key")
      .description("Read a key; sees every write that was acknowledged before.")
      .argument("<key>")
      .option("--serializable", "read what the first node that answers has applied; may be stale"),
  ).action(async (key: string, options: GetOptions) => {
    const consistency = options.serializable === true ? "serializable" : "linearizable";
    const entry = await withClient(options, (client) => client.get(key, { consistency }));
    if (entry === undefined) end(ExitStatus.notFound);
    if (options.json) output.line(toJsonLine(toJson(key, entry)));
    else if (entry === undefined) output.note(`${key}: no such key`);
    else output.bytes(entry.value);
  });
}

function toJson(key: string, entry: KvEntry | undefined): object {
  if (entry === undefined) return { key, found: false };
  return { found: true, ...entryToJson(key, entry) };
}
