// `placement-center start`: one node, in this process, until it is told to stop.

import { Command, Option } from "commander";
import pino from "pino";
import type { PlacementConfig } from "../../placement/config.js";
import { startPlacementCenter } from "../../placement/server.js";
import { parseCount, parseHostPort, parseMembers, parseNodeId } from "../arguments.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { describeStartFailure } from "../processes/start-failure.js";
import { listenForStop, TERMINAL_SIGNALS } from "../processes/stop-signals.js";
import { isSupervised, onSupervisorStop, reportToSupervisor } from "../processes/supervision.js";

interface StartOptions {
  readonly id: bigint;
  readonly clusterId: string;
  readonly data: string;
  readonly listen: string;
  readonly advertise?: string;
  readonly http?: string;
  readonly members?: ReadonlyMap<bigint, string>;
  readonly join?: boolean;
  readonly tickMs: number;
  readonly maxValueBytes: number;
  readonly logLevel: string;
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
      await runNode(options);
    });
}

async function runNode(options: StartOptions): Promise<void> {
  const logger = pino({ level: options.logLevel, base: { node: String(options.id), pid: process.pid } });
  const stop = new AbortController();
  onSupervisorStop(() => stop.abort());
  // What a terminal sends reaches the supervisor too, and it is for the supervisor to stop its nodes.
  const signals = listenForStop(isSupervised() ? TERMINAL_SIGNALS : []);
  signals.first.addEventListener("abort", () => stop.abort(), { once: true });
  try {
    const center = await startPlacementCenter(toConfig(options, logger)).catch((error: unknown) => {
      throw describeStartFailure(error);
    });
    reportToSupervisor({ kind: "listening" });
    logger.info({ address: center.address, httpAddress: center.httpAddress }, "listening");
    const failure = await Promise.race([center.fatal, aborted(stop.signal)]);
    if (failure !== undefined) logger.error({ err: failure }, "the node has failed for good");
    logger.info({}, "stopping");
    await center.stop();
    logger.info({}, "stopped");
    if (failure !== undefined) {
      throw new CommandError(ExitStatus.failed, `the node has failed for good: ${failure.message}`, "fatal");
    }
  } catch (error) {
    if (error instanceof CommandError) {
      reportToSupervisor({ kind: "failed", message: error.message, exitStatus: error.exitStatus });
    }
    throw error;
  } finally {
    signals.release();
    if (process.connected) process.disconnect();
  }
}

function toConfig(options: StartOptions, logger: PlacementConfig["logger"]): PlacementConfig {
  return {
    id: options.id,
    clusterId: options.clusterId,
    dataDir: options.data,
    listen: options.listen,
    advertise: options.advertise,
    http: options.http,
    members: options.members,
    tickIntervalMs: options.tickMs,
    limits: { maxValueBytes: options.maxValueBytes },
    logger,
  };
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}
