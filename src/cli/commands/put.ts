// `placement-center put`: writes one key.

import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { Command, Option } from "commander";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { withClient } from "../client-session.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { parseRevision } from "../kv/key-selection.js";
import { type Output, toJsonLine } from "../output.js";

interface PutOptions extends ClientOptions {
  readonly file?: string;
  readonly ifAbsent?: boolean;
  readonly ifModRevision?: bigint;
}

export function putCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return addClientOptions(
    new Command("put")
      .summary("write a key")
      .description("Write a key; done when a majority of the cluster has it on disk.")
      .argument("<key>", "1 to 1,024 bytes of UTF-8")
      .argument("[value]", "text; `-` reads standard input")
      .option("-f, --file <path>", "take the value from a file, byte for byte")
      .option("--if-absent", "only if the key does not exist")
      .addOption(
        new Option("--if-mod-revision <number>", "only if the key was last written at this revision")
          .argParser(parseRevision)
          .conflicts("ifAbsent"),
      ),
  ).action(async (key: string, text: string | undefined, options: PutOptions) => {
    const value = await readValue(text, options.file);
    const ifModRevision = options.ifAbsent === true ? 0n : options.ifModRevision;
    const { revision, refused, modRevision } = await withClient(options, (client) =>
      client.set(key, value, { ifModRevision }),
    );
    if (!refused) {
      output.line(options.json ? toJsonLine({ key, revision }) : `${key}: written at revision ${revision}`);
      return;
    }
    end(ExitStatus.refused);
    const found = modRevision === 0n ? "it does not exist" : `it was last written at revision ${modRevision}`;
    if (options.json) output.line(toJsonLine({ key, refused, revision, modRevision }));
    else output.note(`${key}: not written: ${found}`);
  });
}

async function readValue(text: string | undefined, file: string | undefined): Promise<Uint8Array> {
  if ((text === undefined) === (file === undefined)) {
    throw new CommandError(ExitStatus.usage, "give the value either as an argument or with --file");
  }
  if (text === "-") return buffer(process.stdin);
  if (text !== undefined) return new TextEncoder().encode(text);
  try {
    return await readFile(file ?? "");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.usage, `the file of --file cannot be read: ${why}`);
  }
}
