// `placement-center leader`: who leads, and handing that over.

import { Command } from "commander";
import { addClientOptions, type ClientOptions, parseNodeId } from "../arguments.js";
import { withClient } from "../client-session.js";
import { type Output, toJsonLine } from "../output.js";

export function leaderCommand(output: Output): Command {
  const command = new Command("leader").summary("hand leadership over");
  command
    .command("transfer")
    .description("Hand leadership over; done when the new leader leads.")
    .argument("[id]", "of the voter that is to lead; without it the leader chooses", parseNodeId)
    .action(async (id: bigint | undefined, options: ClientOptions) => {
      const leaderId = await withClient(options, (client) => client.transfer(id));
      output.line(options.json ? toJsonLine({ leaderId }) : `node ${leaderId} leads`);
    });
  for (const child of command.commands) addClientOptions(child);
  return command;
}
