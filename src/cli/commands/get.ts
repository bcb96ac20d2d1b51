// `placement-center get`: reads one key.

import { Command } from "commander";
import { type ClientOptions, deadlineOption, endpointsOption, jsonOption } from "../arguments.js";
import { withClient } from "../client-session.js";
import { ExitStatus } from "../exit-status.js";
import { type Output, toJsonLine } from "../output.js";

interface GetOptions extends ClientOptions {
  readonly serializable?: boolean;
}

export function getCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return new Command("get")
    .summary("read a key")
    .description("Read a key; sees every write that was acknowledged before.")
    .argument("<key>")
    .option("--serializable", "read what the first node that answers has applied; may be stale")
    .addOption(endpointsOption())
    .addOption(deadlineOption())
    .addOption(jsonOption())
    .action(async (key: string, options: GetOptions) => {
      const serializable = options.serializable ?? false;
      const found = await withClient(options, "read", (client) => client.get(key, { serializable }));
      if (!found.found) end(ExitStatus.notFound);
      if (options.json) {
        const { value, createRevision, modRevision, version } = found;
        const base64 = Buffer.from(value).toString("base64");
        const text = textOf(value);
        output.line(
          toJsonLine(
            found.found
              ? { key, found: true, value: base64, text, createRevision, modRevision, version }
              : { key, found: false },
          ),
        );
      } else if (found.found) output.bytes(found.value);
      else output.note(`${key}: no such key`);
    });
}

/** The value as text, for readers of JSON; undefined when it is none. */
function textOf(value: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    return undefined;
  }
}
