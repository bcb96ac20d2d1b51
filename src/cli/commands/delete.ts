// `placement-center delete`: removes one key.

import { Command } from "commander";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { withClient } from "../client-session.js";
import { ExitStatus } from "../exit-status.js";
import { type Output, toJsonLine } from "../output.js";

export function deleteCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return addClientOptions(
    new Command("delete")
      .summary("remove a key")
      .description("Remove a key; done when a majority of the cluster has it on disk.")
      .argument("<key>"),
  ).action(async (key: string, options: ClientOptions) => {
    const { deleted, revision } = await withClient(options, (client) => client.delete(key));
    if (!deleted) end(ExitStatus.notFound);
    if (options.json) output.line(toJsonLine({ key, deleted, revision }));
    else if (deleted) output.line(`${key}: deleted at revision ${revision}`);
    else output.note(`${key}: no such key`);
  });
}
