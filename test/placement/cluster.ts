// A placement center of several nodes inside the test's process: real LMDB files, real HTTP/2 on ports of this machine.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PlacementConfig } from "../../src/placement/config.js";
import { type PlacementCenter, startPlacementCenter } from "../../src/placement/server.js";

export class TestCluster {
  readonly #dir = mkdtempSync(join(tmpdir(), "raft-node-placement-"));
  readonly #running = new Map<bigint, PlacementCenter>();

  private constructor(
    /** Of all nodes that the test may start, members or not. */
    readonly addresses: ReadonlyMap<bigint, string>,
    private readonly members: ReadonlyMap<bigint, string>,
    private readonly overrides: (id: bigint) => Partial<PlacementConfig>,
  ) {}

  /** Starts nodes 1 to `count`; `spare` more get an address. Everything ends with the test. */
  static async start(
    onTestFinished: (run: () => Promise<void>) => void,
    count: number,
    options: {
      readonly spare?: number;
      readonly overrides?: Partial<PlacementConfig>;
      readonly perNode?: (id: bigint) => Partial<PlacementConfig>;
    } = {},
  ): Promise<TestCluster> {
    const ports = await freePorts(count + (options.spare ?? 0));
    const addresses = new Map(ports.map((port, at) => [BigInt(at + 1), `127.0.0.1:${port}`]));
    const members = new Map([...addresses].slice(0, count));
    const cluster = new TestCluster(addresses, members, (id) => ({
      ...options.overrides,
      ...options.perNode?.(id),
    }));
    onTestFinished(() => cluster.#end());
    await Promise.all([...members.keys()].map((id) => cluster.startNode(id)));
    return cluster;
  }

  get endpoints(): string[] {
    return [...this.members.values()];
  }

  get nodes(): readonly PlacementCenter[] {
    return [...this.#running.values()];
  }

  address(id: bigint): string {
    const address = this.addresses.get(id);
    if (address === undefined) throw new Error(`node ${id} has no address`);
    return address;
  }

  dataDir(id: bigint): string {
    return join(this.#dir, `node-${id}`);
  }

  node(id: bigint): PlacementCenter {
    const center = this.#running.get(id);
    if (center === undefined) throw new Error(`node ${id} does not run`);
    return center;
  }

  /** With `join`, it waits to be added. */
  async startNode(id: bigint, options: { readonly join?: boolean } = {}): Promise<PlacementCenter> {
    const center = await startPlacementCenter({
      id,
      clusterId: "test",
      dataDir: this.dataDir(id),
      listen: this.address(id),
      members: options.join === true ? undefined : this.members,
      tickIntervalMs: 50,
      ...this.overrides(id),
    });
    this.#running.set(id, center);
    return center;
  }

  async stopNode(id: bigint): Promise<void> {
    const center = this.node(id);
    this.#running.delete(id);
    await center.stop();
  }

  /** Resolves with the id of the leader that every running node knows. */
  async leader(): Promise<bigint> {
    for (;;) {
      const known = await Promise.all(this.nodes.map(({ node }) => node.leaderKnown({ deadlineMs: 15_000 })));
      const [first] = known;
      if (first !== undefined && known.every((id) => id === first) && this.#running.has(first)) return first;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** A node that does not lead. */
  async follower(): Promise<PlacementCenter> {
    const leader = await this.leader();
    const follower = this.nodes.find(({ node }) => node.id !== leader);
    if (follower === undefined) throw new Error("there is only the leader");
    return follower;
  }

  async #end(): Promise<void> {
    await Promise.allSettled([...this.#running.keys()].map((id) => this.stopNode(id)));
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once("error", reject);
          server.listen({ host: "127.0.0.1", port: 0 }, () => {
            const address = server.address();
            if (address === null || typeof address === "string") reject(new Error("no port"));
            else resolve(address.port);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
