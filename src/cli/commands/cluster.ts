// `placement-center cluster`: a real cluster of three on this machine, which is what `npm start` runs.

import { resolve } from "node:path";
import { Command } from "commander";
import { jsonOption, parseCount } from "../arguments.js";
import {
  type ClusterFile,
  DEFAULT_HTTP_PORT,
  DEFAULT_PORT,
  openClusterFile,
} from "../cluster/cluster-file.js";
import { ClusterDisplay, type NodeView } from "../cluster/cluster-view.js";
import { exampleCommands, restartCommand } from "../cluster/hints.js";
import { LocalCluster, watchCluster } from "../cluster/local-cluster.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { type Output, toJsonLine } from "../output.js";
import { listenForStop } from "../processes/stop-signals.js";

const LOOK_EVERY_MS = 500;
const MAX_FIRST_PORT = 65_533;

interface ClusterOptions {
  readonly data: string;
  readonly port?: number;
  readonly httpPort?: number;
  readonly json?: boolean;
}

export function clusterCommand(output: Output): Command {
  return new Command("cluster")
    .summary("run a real cluster of three on this machine")
    .description(
      "Run three nodes as three processes, show what they do, and stop them with Ctrl-C. A second start finds all data again.",
    )
    .option("--data <folder>", "where the nodes keep their data and logs", "./data")
    .option(
      "--port <port>",
      `first of three ports for gRPC and Connect (default: ${DEFAULT_PORT})`,
      parsePort,
    )
    .option(
      "--http-port <port>",
      `first of three ports for HTTP/1.1 (default: ${DEFAULT_HTTP_PORT})`,
      parsePort,
    )
    .addOption(jsonOption())
    .action(async (options: ClusterOptions) => {
      const folder = resolve(options.data);
      const file = openClusterFile(folder, { port: options.port, httpPort: options.httpPort });
      await runCluster(
        options.data,
        folder,
        file,
        options.json === true ? jsonReporter(output) : textReporter(output, options.data, file),
      );
    });
}

/** How a run is shown: for people, or as one JSON object a line. */
interface Reporter {
  nodes(nodes: readonly NodeView[]): void;
  leaderFound(): void;
  died(id: number, how: string, logFile: string): void;
  stopping(): void;
  stopped(): void;
}

async function runCluster(
  shownFolder: string,
  folder: string,
  file: ClusterFile,
  reporter: Reporter,
): Promise<void> {
  const signals = listenForStop();
  try {
    const cluster = await LocalCluster.start(folder, file);
    cluster.onUnexpectedExit((node, how, logFile) => reporter.died(node.id, how, logFile));
    const over = new AbortController();
    const end = AbortSignal.any([signals.first, over.signal]);
    void cluster.allExited().then(() => over.abort());
    let hadLeader = false;
    await watchCluster(cluster, LOOK_EVERY_MS, end, (nodes) => {
      reporter.nodes(nodes);
      if (hadLeader || !nodes.some((node) => node.kind === "running" && node.role === "leader")) return;
      hadLeader = true;
      reporter.leaderFound();
    });
    const allDied = over.signal.aborted && !signals.first.aborted;
    reporter.stopping();
    const killed = await cluster.stop(signals.second);
    if (allDied)
      throw new CommandError(
        ExitStatus.failed,
        `all nodes have ended; their logs are in ${shownFolder}/logs`,
      );
    if (killed.length > 0) {
      const names = killed.map((node) => `node ${node.id}`).join(", ");
      throw new CommandError(
        ExitStatus.failed,
        `${names} did not stop in time and had to be killed; no data is lost`,
      );
    }
    reporter.stopped();
  } finally {
    signals.release();
  }
}

function textReporter(output: Output, shownFolder: string, file: ClusterFile): Reporter {
  const display = new ClusterDisplay({
    isTTY: process.stdout.isTTY === true,
    get columns() {
      return process.stdout.columns ?? 80;
    },
    write: (text) => void process.stdout.write(text),
  });
  display.print(`placement center: cluster ${file.clusterId}, data in ${shownFolder}`, "");
  return {
    nodes: (nodes) => display.show(nodes, performance.now()),
    leaderFound: () =>
      display.print(...exampleCommands(file), "", "Ctrl-C stops the cluster and keeps its data.", ""),
    died: (id, how, logFile) =>
      display.print(
        `node ${id} ${how} without having been told to.`,
        `  its log:       ${logFile}`,
        `  start it again: ${restartCommand(file, id, shownFolder)}`,
        "",
      ),
    stopping: () => {
      display.finish();
      output.line("\nstopping all nodes ...");
    },
    stopped: () =>
      output.line(`All nodes have stopped. The data is in ${shownFolder}: start again to go on.`),
  };
}

function jsonReporter(output: Output): Reporter {
  return {
    nodes: (nodes) => output.line(toJsonLine({ event: "nodes", nodes })),
    leaderFound: () => output.line(toJsonLine({ event: "ready" })),
    died: (id, how, logFile) => output.line(toJsonLine({ event: "died", id, how, logFile })),
    stopping: () => output.line(toJsonLine({ event: "stopping" })),
    stopped: () => output.line(toJsonLine({ event: "stopped" })),
  };
}

function parsePort(text: string): number {
  return parseCount(text, 1, MAX_FIRST_PORT);
}
