// The network between the nodes: a TCP proxy before each of them, which can hold back, slow down or break what one
// party sends to another. What is held back is delivered late when the link heals, or never, as on a real network.

import { createConnection, createServer, type Server, type Socket } from "node:net";
import type { Random } from "../simulation/random.js";

/** Who opened a connection: a node by its id, or the clients, which are all in one process. */
export type Party = number | "client";

export type LinkRule =
  | { readonly kind: "cut" }
  | { readonly kind: "slow"; readonly delayMs: number; readonly jitterMs: number };

const MAX_HELD_BYTES = 1024 * 1024;

export class Links {
  readonly #proxies = new Map<number, NodeProxy>();
  readonly #rules = new Map<string, LinkRule>();

  constructor(
    /** Who holds the other end of a connection from `port` to the proxy's port. */
    private readonly whoCalls: (port: number, proxyPort: number) => Party | undefined,
    private readonly random: Random,
  ) {}

  /** Puts a proxy before the node; resolves with the proxy's port. */
  async openBefore(node: number, realPort: number): Promise<number> {
    const proxy = new NodeProxy(
      realPort,
      (port, proxyPort) => this.whoCalls(port, proxyPort),
      (from) => this.#rules.get(linkName(from, node)),
      this.random,
    );
    this.#proxies.set(node, proxy);
    return proxy.listen();
  }

  /** What `from` opens to `to`, and the answers on it. */
  rule(from: Party, to: number, rule: LinkRule): void {
    this.#rules.set(linkName(from, to), rule);
    this.#proxies.get(to)?.wake();
  }

  /** Every link is good again; some of the connections that were held break, the others go on. */
  heal(): void {
    this.#rules.clear();
    for (const proxy of this.#proxies.values()) proxy.breakSome(0.5);
  }

  /** Resets some of the connections to the node. */
  reset(to: number): void {
    this.#proxies.get(to)?.breakSome(0.7);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#proxies.values()].map((proxy) => proxy.close()));
  }
}

function linkName(from: Party, to: number): string {
  return `${from} to ${to}`;
}

class NodeProxy {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();

  constructor(
    private readonly realPort: number,
    whoCalls: (port: number, proxyPort: number) => Party | undefined,
    ruleFor: (from: Party) => LinkRule | undefined,
    private readonly random: Random,
  ) {
    this.#server = createServer((caller) => {
      const from = whoCalls(caller.remotePort ?? 0, caller.localPort ?? 0);
      // Its process has ended meanwhile.
      if (from === undefined) return void caller.destroy();
      const node = createConnection({ host: "127.0.0.1", port: this.realPort });
      const connection = new Connection(caller, node, () => ruleFor(from), this.random);
      this.#connections.add(connection);
      caller.once("close", () => this.#connections.delete(connection));
    });
  }

  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host: "127.0.0.1", port: 0 }, () => {
        const address = this.#server.address();
        if (address === null || typeof address === "string") reject(new Error("the proxy has no port"));
        else resolve(address.port);
      });
    });
  }

  wake(): void {
    for (const connection of this.#connections) connection.wake();
  }

  breakSome(share: number): void {
    for (const connection of [...this.#connections]) {
      if (this.random.chance(share)) connection.break();
      else connection.wake();
    }
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const connection of [...this.#connections]) connection.break();
    });
  }
}

class Connection {
  readonly #pipes: readonly Pipe[];
  readonly #sockets: readonly Socket[];

  constructor(caller: Socket, node: Socket, rule: () => LinkRule | undefined, random: Random) {
    this.#sockets = [caller, node];
    this.#pipes = [new Pipe(caller, node, rule, random), new Pipe(node, caller, rule, random)];
    for (const socket of this.#sockets) {
      socket.setNoDelay(true);
      // The failure of one side is the failure of the other; there is nobody else to tell.
      socket.on("error", () => this.break());
      socket.once("close", () => this.break());
    }
  }

  wake(): void {
    for (const pipe of this.#pipes) pipe.wake();
  }

  break(): void {
    for (const pipe of this.#pipes) pipe.stop();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** One direction. Order is kept, whatever the delays. */
class Pipe {
  readonly #held: { readonly chunk: Buffer; readonly dueMs: number }[] = [];
  #heldBytes = 0;
  #lastDueMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly source: Socket,
    private readonly sink: Socket,
    private readonly rule: () => LinkRule | undefined,
    private readonly random: Random,
  ) {
    source.on("data", (chunk: Buffer) => {
      const rule = this.rule();
      const delayMs = rule?.kind === "slow" ? rule.delayMs + this.random.between(0, rule.jitterMs) : 0;
      this.#lastDueMs = Math.max(this.#lastDueMs, performance.now() + delayMs);
      this.#held.push({ chunk, dueMs: this.#lastDueMs });
      this.#heldBytes += chunk.length;
      if (this.#heldBytes > MAX_HELD_BYTES) source.pause();
      this.wake();
    });
    sink.on("drain", () => this.wake());
  }

  /** Passes on what is due, unless the link is cut. */
  wake(): void {
    clearTimeout(this.#timer);
    for (;;) {
      const [next] = this.#held;
      if (next === undefined || this.rule()?.kind === "cut" || this.sink.writableNeedDrain) break;
      const waitMs = next.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.wake(), waitMs);
        return;
      }
      this.#held.shift();
      this.#heldBytes -= next.chunk.length;
      this.sink.write(next.chunk);
    }
    if (this.#heldBytes <= MAX_HELD_BYTES) this.source.resume();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
