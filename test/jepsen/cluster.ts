// Real nodes, each behind its proxy, with ports and folders of their own; members come and go.

import { join } from "node:path";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { PlacementClient } from "../../src/placement/client.js";
import type { Random } from "../simulation/random.js";
import { Links, type Party } from "./links.js";
import { Member } from "./member.js";
import { ownerOf } from "./socket-owner.js";

const CLUSTER_ID = "jepsen";
const LISTEN_MS = 30_000;
/** Low enough for followers to need snapshots after a few seconds of absence. */
const COMPACT_AFTER_ENTRIES = 400;
const COMPACT_KEEP_ENTRIES = 50;

export interface ClusterOptions {
  /** Of the built command. */
  readonly main: string;
  readonly dir: string;
  readonly random: Random;
}

export class Cluster {
  readonly members = new Map<number, Member>();
  readonly links: Links;
  readonly #options: ClusterOptions;
  #lastId = 0;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.links = new Links(
      (port, proxyPort) => this.#whoCalls(port, proxyPort),
      options.random.fork("links"),
    );
  }

  get all(): readonly Member[] {
    return [...this.members.values()];
  }

  get running(): readonly Member[] {
    return this.all.filter(({ state }) => state === "up");
  }

  get addresses(): readonly string[] {
    return this.all.map(({ address }) => address);
  }

  async start(size: number): Promise<void> {
    const places = await Promise.all(Array.from({ length: size }, () => this.#place()));
    const members = places.map(({ id, address }) => `${id}=${address}`).join(",");
    for (const place of places) this.#add(place, ["--members", members]).start();
    await this.listening();
  }

  /** One more node, which waits to be added. */
  async startJoining(): Promise<Member> {
    const member = this.#add(await this.#place(), ["--join"]);
    member.start();
    return member;
  }

  /** A member that has left: its process and its folder go. */
  async dismiss(member: Member): Promise<void> {
    this.members.delete(member.id);
    await member.kill();
    member.removeFolder();
  }

  /** Resolves when every node that runs has said that it listens. */
  async listening(): Promise<void> {
    const deadline = AbortSignal.timeout(LISTEN_MS);
    while (this.running.some(({ isListening }) => !isListening)) {
      if (deadline.aborted) throw new Error(`a node does not listen after ${LISTEN_MS} ms: see its log`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  client(deadlineMs: number): PlacementClient {
    return new PlacementClient({ endpoints: this.addresses, deadlineMs });
  }

  async close(): Promise<void> {
    for (const member of this.all) member.resume();
    await Promise.all(this.all.map((member) => member.stop()));
    await this.links.close();
  }

  async #place() {
    this.#lastId += 1;
    const id = this.#lastId;
    const [listenPort = 0, httpPort = 0] = await findFreePorts("127.0.0.1", 2);
    const proxyPort = await this.links.openBefore(id, listenPort);
    return { id, listenPort, httpPort, address: `127.0.0.1:${proxyPort}` };
  }

  #add(
    place: { id: number; listenPort: number; httpPort: number; address: string },
    how: readonly string[],
  ): Member {
    const dir = join(this.#options.dir, `node-${place.id}`);
    const args = [
      ...["--id", String(place.id), "--cluster-id", CLUSTER_ID, "--data", dir],
      ...["--listen", `127.0.0.1:${place.listenPort}`, "--http", `127.0.0.1:${place.httpPort}`],
      ...["--advertise", place.address, "--lease-reads"],
      ...["--compact-after-entries", String(COMPACT_AFTER_ENTRIES)],
      ...["--compact-keep-entries", String(COMPACT_KEEP_ENTRIES), ...how],
    ];
    const member = new Member({ ...place, main: this.#options.main, dir, args });
    this.members.set(place.id, member);
    return member;
  }

  #whoCalls(port: number, proxyPort: number): Party | undefined {
    const pids = this.all.flatMap(({ pid }) => pid ?? []);
    const owner = ownerOf(port, proxyPort, [process.pid, ...pids]);
    if (owner === process.pid) return "client";
    return this.all.find(({ pid }) => pid !== undefined && pid === owner)?.id;
  }
}
