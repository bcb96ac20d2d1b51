// `placement-center exists`: whether a key is there, without its value.

import { Command } from "commander";
import { addClientOptions, type ClientOptions } from "../arguments.js";
import { withClient } from "../client-session.js";
import { ExitStatus } from "../exit-status.js";
import { type Output, toJsonLine } from "../output.js";

export function existsCommand(output: Output, end: (status: ExitStatus) => void): Command {
  return addClientOptions(
    new Command("exists")
      .summary("say whether a key is there")
      .description("Print true or false; the exit status says the same: 0 or 3.")
      .argument("<key>"),
  ).action(async (key: string, options: ClientOptions) => {
    const exists = await withClient(options, (client) => client.exists(key));
    if (!exists) end(ExitStatus.notFound);
    output.line(options.json ? toJsonLine({ key, exists }) : String(exists));
  });
}
