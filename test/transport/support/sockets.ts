// Peers that misbehave below HTTP: one that accepts and says nothing, a wire that can be frozen or cut.

import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** A port on which nobody listens: it was free a moment ago. */
export async function unusedPort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface RawServer {
  readonly port: number;
  /** Connections accepted so far. */
  accepted(): number;
  close(): Promise<void>;
}

/** Accepts connections and hands them to `onConnection`; by default it never answers anything. */
export async function rawServer(onConnection: (socket: Socket) => void = () => {}): Promise<RawServer> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer((socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    onConnection(socket);
  });
  const port = await listen(server);
  return {
    port,
    accepted: () => accepted,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export interface Wire extends RawServer {
  /** Bytes stop in both directions; connections stay open. New ones are accepted and not served. */
  freeze(): void;
  thaw(): void;
  /** The far end of every connection is gone and says nothing, as after a loss of power; new ones are served. */
  loseFarEnds(): void;
  /** Ends every connection with a TCP reset. */
  cut(): void;
}

/** A TCP relay to `targetPort` on the loopback. */
export async function wireTo(targetPort: number): Promise<Wire> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let frozen = false;
  const server = await rawServer((inbound) => {
    const outbound = connect(targetPort, "127.0.0.1");
    const pair = [inbound, outbound] as const;
    pairs.add(pair);
    outbound.on("error", () => inbound.destroy());
    inbound.on("close", () => {
      pairs.delete(pair);
      outbound.destroy();
    });
    outbound.on("close", () => inbound.destroy());
    inbound.pipe(outbound);
    outbound.pipe(inbound);
    if (frozen) stop(pair);
  });
  const stop = (pair: readonly [Socket, Socket]): void => {
    const [inbound, outbound] = pair;
    inbound.unpipe(outbound);
    outbound.unpipe(inbound);
    inbound.pause();
    outbound.pause();
  };
  return {
    ...server,
    freeze: () => {
      frozen = true;
      for (const pair of pairs) stop(pair);
    },
    thaw: () => {
      frozen = false;
      for (const [inbound, outbound] of pairs) {
        inbound.pipe(outbound);
        outbound.pipe(inbound);
      }
    },
    loseFarEnds: () => {
      for (const pair of pairs) stop(pair);
      pairs.clear();
    },
    cut: () => {
      for (const [inbound] of pairs) inbound.resetAndDestroy();
    },
  };
}
