// `placement-center member`: who belongs to the cluster, and changes of that.

import { Command } from "commander";
import type { ClusterMembers } from "../../placement/client.js";
import { addClientOptions, type ClientOptions, parseHostPort, parseNodeId } from "../arguments.js";
import { withClient } from "../client-session.js";
import { formatTable, type Output, toJsonLine } from "../output.js";

interface ForceOptions extends ClientOptions {
  readonly force?: boolean;
}

export function memberCommand(output: Output): Command {
  const show = (membership: ClusterMembers, options: ClientOptions): void => {
    for (const line of options.json ? [toJson(membership)] : toTable(membership)) output.line(line);
  };
  const command = new Command("member").summary("list, add, promote and remove members");
  command
    .command("list")
    .description("Show the members, as the node that answers first has applied them.")
    .action(async (options: ClientOptions) => {
      const membership = await withClient(options, (client) => client.members());
      show(membership, options);
    });
  command
    .command("add")
    .description("Add a node that receives the log but does not vote yet. Start it with --join.")
    .argument("<id>", "a number that no node of this cluster ever had", parseNodeId)
    .argument("<host:port>", "where the others reach it: its --advertise", parseHostPort)
    .action(async (id: bigint, address: string, options: ClientOptions) => {
      const membership = await withClient(options, (client) => client.addLearner(id, address));
      show(membership, options);
    });
  command
    .command("promote")
    .description("Make a learner that has caught up a voter.")
    .argument("<id>", "of the learner", parseNodeId)
    .option("--force", "promote it although it lags")
    .action(async (id: bigint, options: ForceOptions) => {
      const force = options.force ?? false;
      const membership = await withClient(options, (client) => client.promote(id, { force }));
      show(membership, options);
    });
  command
    .command("remove")
    .description("Remove a node. It can never come back under the same id.")
    .argument("<id>", "of the node", parseNodeId)
    .option("--force", "remove it although the remaining voters that answer are no majority")
    .action(async (id: bigint, options: ForceOptions) => {
      const force = options.force ?? false;
      const membership = await withClient(options, (client) => client.remove(id, { force }));
      show(membership, options);
    });
  for (const child of command.commands) addClientOptions(child);
  return command;
}

function toTable(membership: ClusterMembers): string[] {
  const rows = membership.members.map((member) => [
    String(member.id),
    member.address,
    member.learner ? "learner" : "voter",
  ]);
  const table = formatTable(["id", "address", "role"], rows, new Set(["id"]));
  return membership.joint ? [...table, "", "A change of members is under way."] : table;
}

function toJson(membership: ClusterMembers): string {
  const members = membership.members.map(({ id, address, learner }) => ({ id, address, learner }));
  return toJsonLine({ members, index: membership.index, joint: membership.joint });
}
