// `placement-center compact`: has nodes cut their logs now, instead of when they are long enough.

import { Command } from "commander";
import { addClientOptions, type ClientOptions, LONG_DEADLINE_MS, parseIndex } from "../arguments.js";
import { atEachEndpoint } from "../each-endpoint.js";
import type { ExitStatus } from "../exit-status.js";
import type { Output } from "../output.js";

interface CompactOptions extends ClientOptions {
  readonly upTo?: bigint;
  readonly file?: boolean;
}

export function compactCommand(output: Output, end: (status: ExitStatus) => void): Command {
  const command = new Command("compact")
    .summary("cut the logs of nodes, and give the room in their files back")
    .description(
      "Have every node of --endpoints cut its log below what its state has on disk. Nodes do so by themselves; this is for a disk that gets full. Members that lag behind the cut are sent a snapshot.",
    )
    .option("--up-to <index>", "cut no further than this entry", parseIndex)
    .option("--file", "also rewrite the file of the log without its free pages");
  return addClientOptions(command, LONG_DEADLINE_MS).action((options: CompactOptions) =>
    atEachEndpoint(options, output, end, {
      ask: (client, endpoint) =>
        client.compact(endpoint, { upToIndex: options.upTo, file: options.file ?? false }),
      columns: ["first index", "file bytes", "free bytes"],
      row: ({ firstIndex, fileBytes, freeBytes }) => [
        String(firstIndex),
        String(fileBytes),
        String(freeBytes),
      ],
    }),
  );
}
