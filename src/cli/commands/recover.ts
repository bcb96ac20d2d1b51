// `placement-center recover`: after a majority was lost for good, makes a stopped node a cluster of its own.

import { createInterface } from "node:readline/promises";
import { Command, Option } from "commander";
import type { RewriteFacts, Rewritten } from "../../storage/membership-rewrite.js";
import { jsonOption, parseClusterId, parseHostPort, parseMembers } from "../arguments.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { membersOf } from "../log/format.js";
import { type Output, toJsonLine } from "../output.js";
import type { Confirmation } from "../recover/audit-file.js";

interface RecoverOptions {
  readonly confirm?: string;
  readonly address?: string;
  readonly members?: ReadonlyMap<bigint, string>;
  readonly newClusterId?: string;
  readonly json?: boolean;
}

export function recoverCommand(output: Output): Command {
  return new Command("recover")
    .summary("after a lost quorum: make a stopped node a cluster of its own")
    .description(
      "Rewrite the membership of a stopped node to itself alone. Only for a majority that is lost for good: what only the lost nodes had is lost, and if they come back they must not be started again. Choose the node whose log has the highest last term, then the highest last index (`placement-center log stats`). An audit file stays in the folder.",
    )
    .argument("<folder>", "the data folder of the node")
    .option(
      "--confirm <cluster-id>",
      "the id of the cluster, as a sign that this is meant; without it you are asked",
    )
    .option(
      "--address <host:port>",
      "where the node is reached from now on (default: as before)",
      parseHostPort,
    )
    .addOption(
      new Option("--members <id=host:port,...>", "several survivors, each recovered with the same list")
        .argParser(parseMembers)
        .conflicts("address"),
    )
    .option(
      "--new-cluster-id <name>",
      "nodes of the old cluster are refused from then on, should they come back; use it with `start` as well",
      parseClusterId,
    )
    .addOption(jsonOption())
    .action(async (folder: string, options: RecoverOptions) => {
      const { recover } = await import("../recover/recover.js");
      const { address, members, newClusterId } = options;
      const done = await recover({ folder, address, members, newClusterId }, (facts, after) =>
        confirm(facts, after, options, output),
      );
      const { auditFile } = done;
      const { identity, hardState, membership } = done.after;
      if (options.json === true) {
        const { nodeId, clusterId } = identity;
        output.line(
          toJsonLine({ nodeId, clusterId, term: hardState.term, members: membersOf(membership), auditFile }),
        );
        return;
      }
      output.line(`node ${identity.nodeId} is recovered; what was done is in ${auditFile}`);
      output.line(
        "next: start it as before, then add new nodes with new ids and empty folders (docs/operations.md)",
      );
    });
}

async function confirm(
  facts: RewriteFacts,
  after: Rewritten,
  options: RecoverOptions,
  output: Output,
): Promise<Confirmation> {
  const { clusterId } = facts.identity;
  if (options.confirm === clusterId) return "flag";
  if (options.confirm !== undefined) {
    throw new CommandError(
      ExitStatus.usage,
      `--confirm ${options.confirm} is not the id of this cluster, which is ${clusterId}: nothing was changed`,
    );
  }
  if (!process.stdin.isTTY || options.json === true) {
    throw new CommandError(
      ExitStatus.usage,
      `give --confirm ${clusterId} to say that this is meant: nothing was changed`,
    );
  }
  for (const line of describe(facts, after)) output.note(line);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question("Type yes to go on: ").finally(() => terminal.close());
  if (answer.trim().toLowerCase() === "yes") return "typed";
  throw new CommandError(ExitStatus.failed, "nothing was changed", "notConfirmed");
}

function describe({ identity, hardState, membership, lastIndex }: RewriteFacts, after: Rewritten): string[] {
  const list = (record: RewriteFacts["membership"]): string =>
    membersOf(record)
      .map(({ id, address, role }) => `${id} at ${address ?? "an unknown address"} (${role})`)
      .join(", ");
  return [
    `node ${identity.nodeId} of cluster ${identity.clusterId}, log up to ${lastIndex}, commit ${hardState.commit}, term ${hardState.term}`,
    `members now:  ${list(membership)}`,
    `members then: ${list(after.membership)}${after.identity.clusterId === identity.clusterId ? "" : `, as cluster ${after.identity.clusterId}`}`,
    "What only the other members had is lost, and they must never be started again.",
  ];
}
