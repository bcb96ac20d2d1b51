// The processes of the demonstration: started, killed and started again by id, in a folder that goes away with them.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toNodeArgs } from "../processes/node-args.js";
import { NodeProcess } from "../processes/node-process.js";
import { findFreePorts } from "../processes/ports.js";

const HOST = "127.0.0.1";
const STOP_DEADLINE_MS = 10_000;
const LOG_LINES_SHOWN = 20;

interface DemoNode {
  readonly id: number;
  readonly listen: string;
  readonly http: string;
}

export class DemoCluster {
  readonly #folder = mkdtempSync(join(tmpdir(), "placement-center-demo-"));
  readonly #nodes: readonly DemoNode[];
  readonly #founders: readonly DemoNode[];
  readonly #processes = new Map<number, NodeProcess>();

  private constructor(nodes: readonly DemoNode[], founders: number) {
    this.#nodes = nodes;
    this.#founders = nodes.slice(0, founders);
  }

  /** Addresses for `count` nodes, of which the first `founders` will begin the cluster. Nothing runs yet. */
  static async prepare(count: number, founders: number): Promise<DemoCluster> {
    const ports = await findFreePorts(HOST, 2 * count);
    const nodes = Array.from({ length: count }, (_, at) => ({
      id: at + 1,
      listen: `${HOST}:${ports[2 * at]}`,
      http: `${HOST}:${ports[2 * at + 1]}`,
    }));
    return new DemoCluster(nodes, founders);
  }

  get ids(): number[] {
    return this.#nodes.map(({ id }) => id);
  }

  /** Where clients and peers reach a node, running or not. */
  address(id: number): string {
    return this.#node(id).listen;
  }

  /** Starts a node, new or with the data it left behind. Resolves when it listens. */
  async start(id: number): Promise<void> {
    const node = this.#node(id);
    const process = new NodeProcess({
      name: `node ${id}`,
      args: toNodeArgs({
        ...node,
        data: join(this.#folder, `node-${id}`),
        clusterId: "demo",
        members: this.#founders.includes(node) ? this.#founders : undefined,
      }),
      logFile: this.#logFile(id),
    });
    this.#processes.set(id, process);
    await process.listening;
  }

  /** SIGKILL. */
  async kill(id: number): Promise<void> {
    await this.#processes.get(id)?.kill();
  }

  async stop(id: number): Promise<void> {
    await this.#processes.get(id)?.stop(STOP_DEADLINE_MS);
  }

  /** Nodes that ended although nobody told them to. */
  get unexpectedlyDead(): number[] {
    return [...this.#processes].filter(([, process]) => process.diedUnexpectedly).map(([id]) => id);
  }

  /** Ends every process and removes every file. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#processes.values()].map((process) => process.kill()));
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** The end of every node's log, for a failure to be understood. */
  lastLogLines(): string[] {
    return [...this.#processes.keys()].flatMap((id) => {
      const lines = readFileSync(this.#logFile(id), "utf8").trimEnd().split("\n");
      return [`--- end of the log of node ${id}`, ...lines.slice(-LOG_LINES_SHOWN)];
    });
  }

  #logFile(id: number): string {
    return join(this.#folder, "logs", `node-${id}.jsonl`);
  }

  #node(id: number): DemoNode {
    const node = this.#nodes.find((candidate) => candidate.id === id);
    if (node === undefined) throw new Error(`the demonstration has no node ${id}`);
    return node;
  }
}
