// `placement-center member`: who belongs to the cluster, and changes of that.

import { Command, Option } from "commander";
import type { ClusterMember, ClusterMembers } from "../../placement/client.js";
import {
  addClientOptions,
  type ClientOptions,
  parseCount,
  parseHostPort,
  parseMember,
  parseMemberWord,
  parseNodeId,
} from "../arguments.js";
import { withClient } from "../client-session.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { replaceMember } from "../member-replace.js";
import { formatTable, type Output, toJsonLine } from "../output.js";
import { progressOn } from "../progress.js";

interface ForceOptions extends ClientOptions {
  readonly force?: boolean;
}

interface ReplaceOptions extends ClientOptions {
  readonly with: readonly [bigint, string];
  readonly waitMs: number;
}

interface SetOptions extends ForceOptions {
  readonly learners?: readonly (readonly [bigint, string])[];
}

const DEFAULT_WAIT_MS = 600_000;
const MAX_WAIT_MS = 86_400_000;

export function memberCommand(output: Output): Command {
  const show = (membership: ClusterMembers, options: ClientOptions): void => {
    for (const line of options.json ? [toJson(membership)] : toTable(membership)) output.line(line);
  };
  const command = new Command("member").summary("list, add, promote, remove, replace and set members");
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
    .option("--force", "add it although nobody answers there")
    .action(async (id: bigint, address: string, options: ForceOptions) => {
      const force = options.force ?? false;
      const membership = await withClient(options, (client) => client.addLearner(id, address, { force }));
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
  command
    .command("update")
    .description(
      "Tell the cluster where a member is reached from now on. Its data stays: move the node first, and start it there.",
    )
    .argument("<id>", "of the node", parseNodeId)
    .argument("<host:port>", "where the others reach it: its --advertise", parseHostPort)
    .option("--force", "change it although nobody answers there")
    .action(async (id: bigint, address: string, options: ForceOptions) => {
      const force = options.force ?? false;
      const membership = await withClient(options, (client) => client.updateAddress(id, address, { force }));
      show(membership, options);
    });
  command
    .command("set")
    .description(
      "From the present members to exactly these, in one step: by joint consensus if more than one voter changes. New nodes are started with --join first; who is not named is removed for ever.",
    )
    .argument("<id=host:port...>", "the voters; 1 alone keeps the address it has")
    .option(
      "--learners <id=host:port,...>",
      "the members without a vote; 4 alone keeps its address",
      parseMemberWords,
    )
    .option("--force", "change it although new voters lag, or too few voters answer")
    .action(async (words: readonly string[], options: SetOptions) => {
      const voters = words.flatMap((word) => parseMemberWords(word));
      const force = options.force ?? false;
      const members = [...toMembers(voters, false), ...toMembers(options.learners ?? [], true)];
      const membership = await withClient(options, (client) => client.changeMembership(members, { force }));
      show(membership, options);
    });
  command
    .command("init")
    .description(
      "Begin a cluster of nodes that were all started with --join and have no data: the first one that is named makes the others members. Instead of --members at their start.",
    )
    .argument("<id=host:port...>", "the voters: each node's --id and --advertise")
    .action(async (words: readonly string[], options: ClientOptions) => {
      const voters = words.map((word) => parseMember(word));
      const [first] = voters;
      if (first === undefined) throw new CommandError(ExitStatus.usage, "name at least one node");
      const [, endpoint] = first;
      const membership = await withClient({ ...options, endpoints: [endpoint] }, (client) =>
        client.initialize(endpoint, toMembers(voters, false)),
      );
      show(membership, options);
    });
  command
    .command("replace")
    .description(
      "Replace a member by a new node: it learns, then votes, then the old one is removed. If this is cut short, repeat it. Start the new node with --join first.",
    )
    .argument("<id>", "of the node that goes; it may be dead", parseNodeId)
    .requiredOption(
      "--with <id=host:port>",
      "the new node: an id that no node of this cluster ever had",
      parseMember,
    )
    .addOption(
      new Option("--wait-ms <milliseconds>", "how long the new node may take to catch up")
        .default(DEFAULT_WAIT_MS)
        .argParser((text: string) => parseCount(text, 0, MAX_WAIT_MS)),
    )
    .action(async (oldId: bigint, options: ReplaceOptions) => {
      const progress = progressOn();
      const [newId, address] = options.with;
      const membership = await withClient(options, (client) =>
        replaceMember(
          client,
          options.endpoints,
          { oldId, newId, address, waitMs: options.waitMs },
          {
            done: (step) => {
              progress.clear();
              output.note(step);
            },
            waiting: (what) => progress.show(`waiting: ${what}`),
          },
        ),
      ).finally(() => progress.clear());
      show(membership, options);
    });
  for (const child of command.commands) addClientOptions(child);
  return command;
}

/** `1,4=host:port` */
function parseMemberWords(text: string): (readonly [bigint, string])[] {
  return text.split(",").map(parseMemberWord);
}

function toMembers(list: readonly (readonly [bigint, string])[], learner: boolean): ClusterMember[] {
  return list.map(([id, address]) => ({ id, address, learner }));
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
