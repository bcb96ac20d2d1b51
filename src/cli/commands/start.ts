// `placement-center start`: one node, in this process, until it is told to stop.

import { Command, Option } from "commander";
import { parseCount, parseHostPort, parseMembers, parseNodeId } from "../arguments.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import type { NodeOptions } from "../run-node.js";

interface StartOptions extends NodeOptions {
  readonly join?: boolean;
}

export function startCommand(): Command {
  return new Command("start")
    .summary("run one node")
    .description(
      "Run one node until Ctrl-C or SIGTERM. Logs are JSON lines on standard output.\n" +
        "A new cluster: the same --members on each of its first nodes. A node for a cluster that runs: --join here, and `member add` there.",
    )
    .requiredOption("--id <number>", "of this node; unique in the cluster for ever", parseNodeId)
    .requiredOption("--cluster-id <name>", "nodes of other clusters are refused: letters, digits, . _ -")
    .requiredOption("--data <folder>", "where this node, and no other, keeps its data")
    .option(
      "--listen <host:port>",
      "gRPC and Connect over HTTP/2, for peers and clients",
      parseHostPort,
      "127.0.0.1:7001",
    )
    .option("--http <host:port>", "HTTP/1.1 with JSON, for curl (default: none)", parseHostPort)
    .option(
      "--advertise <host:port>",
      "where the others reach --listen (default: as in --members, else --listen)",
      parseHostPort,
    )
    .addOption(
      new Option("--members <id=host:port,...>", "the members that a new cluster begins with")
        .argParser(parseMembers)
        .conflicts("join"),
    )
    .option("--join", "wait to be added to a cluster that runs")
    .addOption(
      new Option("--tick-ms <milliseconds>", "ten ticks without a leader start an election")
        .default(100)
        .argParser((text: string) => parseCount(text, 1, 60_000)),
    )
    .addOption(
      new Option("--max-value-bytes <bytes>", "larger values are refused")
        .default(1024 * 1024)
        .argParser((text: string) => parseCount(text, 1, 8 * 1024 * 1024)),
    )
    .addOption(
      new Option("--log-level <level>", "what to log")
        .choices(["debug", "info", "warn", "error"])
        .default("info"),
    )
    .action(async (options: StartOptions) => {
      if (options.members === undefined && options.join !== true) {
        throw new CommandError(
          ExitStatus.usage,
          "give --members with the members of a new cluster, or --join to wait until a cluster adds this node",
        );
      }
      // The server with all that it needs takes a while to load: no other command shall wait for it.
      const { runNode } = await import("../run-node.js");
      await runNode(options);
    });
}
