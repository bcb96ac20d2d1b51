// The processes of a local cluster: started together, watched, stopped together.

import { setTimeout as sleep } from "node:timers/promises";
import { PlacementClient } from "../../placement/client.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { toNodeArgs } from "../processes/node-args.js";
import { describeExit, NodeProcess } from "../processes/node-process.js";
import { whyNotListen } from "../processes/ports.js";
import { roleName } from "../roles.js";
import { type ClusterFile, type ClusterNode, nodeFolder, nodeLogFile } from "./cluster-file.js";
import type { NodeView } from "./cluster-view.js";

/** Enough for a node that is busy, and little enough that a silent one shows as such at once. */
const METRICS_DEADLINE_MS = 900;
export const STOP_DEADLINE_MS = 10_000;

interface RunningNode {
  readonly node: ClusterNode;
  readonly process: NodeProcess;
}

export class LocalCluster {
  readonly #nodes: readonly RunningNode[];
  readonly #client: PlacementClient;

  private constructor(nodes: readonly RunningNode[]) {
    this.#nodes = nodes;
    this.#client = new PlacementClient({
      endpoints: nodes.map(({ node }) => node.listen),
      deadlineMs: METRICS_DEADLINE_MS,
    });
  }

  /** Starts all nodes. @throws CommandError, with none left running, when one of them cannot start. */
  static async start(folder: string, cluster: ClusterFile): Promise<LocalCluster> {
    await refuseUsedPorts(cluster.nodes);
    const nodes = cluster.nodes.map((node) => ({
      node,
      process: new NodeProcess({
        name: `node ${node.id}`,
        args: toNodeArgs({
          ...node,
          data: nodeFolder(folder, node),
          clusterId: cluster.clusterId,
          members: cluster.nodes,
        }),
        logFile: nodeLogFile(folder, node),
      }),
    }));
    const running = new LocalCluster(nodes);
    try {
      await Promise.all(nodes.map(({ process }) => process.listening));
      return running;
    } catch (error) {
      await running.stop(AbortSignal.abort());
      throw error;
    }
  }

  /** Asks every node that runs what it knows about itself. Never throws. */
  look(): Promise<NodeView[]> {
    return Promise.all(this.#nodes.map((running) => this.#lookAt(running)));
  }

  /** Calls `tell` for every node that ends without having been told to. */
  onUnexpectedExit(tell: (node: ClusterNode, how: string, logFile: string) => void): void {
    for (const { node, process } of this.#nodes) {
      void process.exited.then((report) => {
        if (process.diedUnexpectedly) tell(node, describeExit(report), process.logFile);
      });
    }
  }

  /** Resolves when no node runs any more. */
  async allExited(): Promise<void> {
    await Promise.all(this.#nodes.map(({ process }) => process.exited));
  }

  /**
   * Stops all nodes, at once rather than cleanly when `hurry` fires. Resolves with those that had to be killed.
   */
  async stop(hurry: AbortSignal): Promise<ClusterNode[]> {
    const killAll = (): void => {
      for (const { process } of this.#nodes) void process.kill();
    };
    if (hurry.aborted) killAll();
    else hurry.addEventListener("abort", killAll, { once: true });
    const inTime = await Promise.all(this.#nodes.map(({ process }) => process.stop(STOP_DEADLINE_MS)));
    hurry.removeEventListener("abort", killAll);
    await this.#client.close();
    return this.#nodes.filter((_, at) => inTime[at] === false).map(({ node }) => node);
  }

  async #lookAt({ node, process }: RunningNode): Promise<NodeView> {
    const { id } = node;
    if (process.exit !== undefined) return { kind: "stopped", id, how: describeExit(process.exit) };
    try {
      const { role, term, commit, applied } = await this.#client.metrics(node.listen);
      return { kind: "running", id, role: roleName(role), term, commit, applied };
    } catch {
      return { kind: "silent", id };
    }
  }
}

/** Calls `use` with a fresh look at the cluster, every `periodMs`, until the signal fires. */
export async function watchCluster(
  cluster: LocalCluster,
  periodMs: number,
  signal: AbortSignal,
  use: (nodes: readonly NodeView[]) => void,
): Promise<void> {
  while (!signal.aborted) {
    const nodes = await cluster.look();
    if (signal.aborted) return;
    use(nodes);
    // An abort ends the wait early: that is the end of the loop, not an error.
    await sleep(periodMs, undefined, { signal }).catch(() => {});
  }
}

async function refuseUsedPorts(nodes: readonly ClusterNode[]): Promise<void> {
  for (const address of nodes.flatMap(({ listen, http }) => [listen, http])) {
    const { host, port } = splitAddress(address);
    const problem = await whyNotListen(host, port);
    if (problem === undefined) continue;
    throw new CommandError(
      ExitStatus.failed,
      problem === "EADDRINUSE"
        ? `Port ${port} is in use: stop the program that uses it (another cluster of yours, perhaps), or run a second cluster with other ports and another folder: --port, --http-port and --data.`
        : `Cannot listen on ${address} (${problem}): choose other ports with --port and --http-port.`,
      "portInUse",
    );
  }
}

function splitAddress(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}
