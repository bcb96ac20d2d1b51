// `placement-center delete`: removes one key.

import { Command } from "commander";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { withClient } from "../client-session.js";
import { ExitStatus } from "../exit-status.js";
import { parseRevision } from "../kv/key-selection.js";
import { type Output, toJsonLine } from "../output.js";

interface DeleteOptions extends ClientOptions {
  readonly ifModRevision?: bigint;
}

export function deleteCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return addClientOptions(
    new Command("delete")
      .summary("remove a key")
      .description("Remove a key; done when a majority of the cluster has it on disk.")
      .argument("<key>")
      .option(
        "--if-mod-revision <number>",
        "only if the key was last written at this revision",
        parseRevision,
      ),
  ).action(async (key: string, options: DeleteOptions) => {
    const { ifModRevision } = options;
    const { deleted, revision, refused } = await withClient(options, (client) =>
      client.delete(key, { ifModRevision }),
    );
    if (refused) end(ExitStatus.refused);
    else if (!deleted) end(ExitStatus.notFound);
    if (options.json) output.line(toJsonLine({ key, deleted, revision, ...(refused && { refused }) }));
    else if (refused)
      output.note(`${key}: not deleted: it was not last written at revision ${ifModRevision}`);
    else if (deleted) output.line(`${key}: deleted at revision ${revision}`);
    else output.note(`${key}: no such key`);
  });
}
