// Real processes, each with one node, its LMDB files and its sockets on the loopback.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Answer,
  type CallName,
  type Calls,
  type NodeSettings,
  READY,
  SETTINGS_VARIABLE,
} from "./calls.js";

const SETTLE_POLL_MS = 5;
const SETTLE_LIMIT_MS = 600_000;

export class BenchNode {
  readonly #process: ChildProcess;
  readonly #pending = new Map<
    number,
    { resolve: (answer: Answer) => void; reject: (error: Error) => void }
  >();
  #calls = 0;

  private constructor(
    readonly id: number,
    readonly address: string,
    process: ChildProcess,
  ) {
    this.#process = process;
    process.on("message", (message: Answer) => {
      this.#pending.get(message.callId)?.resolve(message);
      this.#pending.delete(message.callId);
    });
    process.once("exit", () => {
      for (const { reject } of this.#pending.values()) reject(new Error(`node ${id} is gone`));
      this.#pending.clear();
    });
  }

  /** This very bundle, in another process. */
  static async start(settings: NodeSettings): Promise<BenchNode> {
    const program = `const { runBenchNode } = await import(${JSON.stringify(import.meta.url)}); await runBenchNode();`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      env: { ...process.env, UV_THREADPOOL_SIZE: "8", [SETTINGS_VARIABLE]: JSON.stringify(settings) },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    await new Promise<void>((resolve, reject) => {
      child.once("message", (message) =>
        message === READY ? resolve() : reject(new Error(String(message))),
      );
      child.once("exit", (code) => reject(new Error(`node ${settings.id} ended with ${code}`)));
      child.once("error", reject);
    });
    return new BenchNode(settings.id, `127.0.0.1:${settings.port}`, child);
  }

  async call<Name extends CallName>(name: Name, args: Calls[Name]["args"]): Promise<Calls[Name]["answer"]> {
    this.#calls += 1;
    const callId = this.#calls;
    const message = await new Promise<Answer>((resolve, reject) => {
      this.#pending.set(callId, { resolve, reject });
      this.#process.send({ callId, name, args });
    });
    if ("error" in message) throw new Error(`node ${this.id}, ${name}: ${message.error}`);
    return message.answer as Calls[Name]["answer"];
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await exited;
  }
}

export interface ClusterOptions {
  readonly stateBytes?: number;
  readonly durableState?: boolean;
}

export class BenchCluster {
  readonly nodes = new Map<number, BenchNode>();

  private constructor(
    private readonly dir: string,
    private readonly members: NodeSettings["members"],
    private readonly spareAddress: string,
    private readonly options: ClusterOptions,
  ) {}

  /** Starts the nodes, has `work` done with them, and removes every trace. */
  static async with<Result>(
    size: number,
    options: ClusterOptions,
    work: (cluster: BenchCluster) => Promise<Result>,
  ): Promise<Result> {
    const dir = await mkdtemp(join(tmpdir(), "raft-node-bench-"));
    const addresses = await freeAddresses(size + 1);
    const members = addresses.slice(0, size).map((address, at) => ({ id: at + 1, address }));
    const cluster = new BenchCluster(dir, members, addresses.at(-1) ?? "", options);
    try {
      await Promise.all(members.map(({ id }) => cluster.start(id)));
      return await work(cluster);
    } finally {
      await Promise.all([...cluster.nodes.values()].map((node) => node.kill()));
      await rm(dir, { recursive: true, force: true });
    }
  }

  async start(id: number): Promise<BenchNode> {
    const member = this.members.find((one) => one.id === id);
    const node = await BenchNode.start({
      id,
      dataDir: join(this.dir, `node-${id}`),
      port: Number((member?.address ?? this.spareAddress).split(":")[1]),
      members: member === undefined ? [] : this.members,
      stateBytes: this.options.stateBytes ?? 0,
      durableState: this.options.durableState ?? true,
    });
    this.nodes.set(id, node);
    return node;
  }

  /** A node that has none of the data and waits to be added. */
  startSpare(): Promise<BenchNode> {
    return this.start(this.members.length + 1);
  }

  async leader(): Promise<BenchNode> {
    let leader: BenchNode | undefined;
    await until("a leader", async () => {
      for (const node of this.nodes.values()) {
        if ((await node.call("position", {})).leads) leader = node;
      }
      return leader !== undefined;
    });
    if (leader === undefined) throw new Error("there is no leader");
    return leader;
  }

  others(node: BenchNode): BenchNode[] {
    return [...this.nodes.values()].filter((other) => other !== node);
  }

  /** Resolves when `node` has applied what `source` has applied now. */
  async caughtUp(node: BenchNode, source: BenchNode): Promise<void> {
    const { applied } = await source.call("position", {});
    await until(
      `node ${node.id} at ${applied}`,
      async () => (await node.call("position", {})).applied >= applied,
    );
  }
}

export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const startedMs = performance.now();
  while (!(await condition())) {
    if (performance.now() - startedMs > SETTLE_LIMIT_MS) throw new Error(`waited in vain for ${what}`);
    await sleep(SETTLE_POLL_MS);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function freeAddresses(count: number): Promise<string[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const addresses = await Promise.all(
    servers.map(
      (server) =>
        new Promise<string>((resolve, reject) => {
          server.once("error", reject);
          server.listen({ host: "127.0.0.1", port: 0 }, () => {
            const address = server.address();
            if (address === null || typeof address === "string") reject(new Error("no port"));
            else resolve(`127.0.0.1:${address.port}`);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return addresses;
}
