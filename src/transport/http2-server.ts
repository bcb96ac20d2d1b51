// The listener for peers and for gRPC and Connect clients: HTTP/2, in the clear or over TLS. Whatever arrives, the
// process lives on, and closing takes a bounded time.

import { setMaxListeners } from "node:events";
import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerOptions,
} from "node:http2";
import type { Socket } from "node:net";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import type { Logger } from "../node/ports.js";
import type { CallGuard } from "./call-guard.js";
import { streamHandler } from "./lean-server.js";
import { maxRequestBytes, type TransportLimits, transportLimits } from "./limits.js";
import { type ListenAddress, listenOn } from "./listen.js";
import { type NodeHandler, requestHandler } from "./request-handler.js";
import { buildRouting } from "./routing.js";
import { describeError } from "./transport-errors.js";

export interface Http2ServerOptions {
  readonly host: string;
  /** 0: any free port; see the answer's `address`. */
  readonly port: number;
  readonly routes: (router: ConnectRouter) => void;
  /** Judges every call of every route. Absent: all are let in. */
  readonly guard?: CallGuard | undefined;
  /** Serves paths that no route has. Default: 404. */
  readonly fallback?: NodeHandler | undefined;
  /** Present: TLS only. With `requestCert` and `rejectUnauthorized`: mutual TLS. */
  readonly tls?: SecureServerOptions | undefined;
  readonly logger: Logger;
  readonly limits?: Partial<TransportLimits> | undefined;
  /** How long open calls may take to end after `close`. */
  readonly shutdownGraceMs: number;
}

export interface Listener {
  readonly address: ListenAddress;
  /** Ends open calls with `Unavailable`, waits up to the grace, then cuts what is left. */
  close(): Promise<void>;
}

export interface Http2Listener extends Listener {
  /** Uses renewed certificates for every connection from now on. */
  reloadTls(tls: SecureServerOptions): void;
}

// Node's default of 10 MB per session ends sessions when several large bodies are under way.
const MAX_SESSION_MEMORY_MB = 128;

/**
 * Listens and serves.
 * @throws ListenError when the address cannot be had.
 */
export async function listenHttp2(options: Http2ServerOptions): Promise<Http2Listener> {
  const { logger } = options;
  const limits = transportLimits(options.limits);
  const shutdown = new AbortController();
  // Every call under way listens to it; that many are no leak.
  setMaxListeners(0, shutdown.signal);
  const routing = buildRouting({
    routes: options.routes,
    guard: options.guard,
    shutdownSignal: shutdown.signal,
    maxBytes: maxRequestBytes(limits),
  });
  const handler = streamHandler({
    routing,
    logger,
    otherwise: requestHandler({ routing, logger, fallback: options.fallback }),
  });
  const common: ServerOptions = {
    maxSessionMemory: MAX_SESSION_MEMORY_MB,
    settings: {
      maxConcurrentStreams: limits.maxConcurrentStreams,
      initialWindowSize: limits.streamWindowBytes,
    },
  };
  const secureServer =
    options.tls === undefined ? undefined : createSecureServer({ ...common, ...options.tls });
  const server: Http2Server | Http2SecureServer = secureServer ?? createServer(common);
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.setLocalWindowSize(limits.sessionWindowBytes);
    // Kept for life: Node emits errors on sessions that are long destroyed.
    session.on("error", (error) => logger.debug({ error: describeError(error) }, "an HTTP/2 session failed"));
    session.once("close", () => sessions.delete(session));
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("sessionError", (error) =>
    logger.debug({ error: describeError(error) }, "an HTTP/2 session failed"),
  );
  server.on("stream", handler);
  const address = await listenOn(server, options.host, options.port);
  server.on("error", (error) => logger.error({ error: describeError(error) }, "the HTTP/2 listener failed"));
  return {
    address,
    reloadTls: (tls) => {
      if (secureServer === undefined) {
        throw new TypeError("this listener was started without TLS: restart it with TLS");
      }
      secureServer.setSecureContext(tls);
    },
    close: () => closeServer(server, { sessions, sockets }, shutdown, options.shutdownGraceMs),
  };
}

async function closeServer(
  server: Http2Server | Http2SecureServer,
  {
    sessions,
    sockets,
  }: { readonly sessions: ReadonlySet<ServerHttp2Session>; readonly sockets: ReadonlySet<Socket> },
  shutdown: AbortController,
  graceMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  shutdown.abort(new ConnectError("this node is shutting down: use another one", Code.Unavailable));
  // GOAWAY: no new streams, open ones may finish.
  for (const session of sessions) session.close();
  const cut = setTimeout(() => {
    for (const session of sessions) session.destroy();
    // A session that was closed before only ends its side when it is destroyed, and waits for the client's.
    for (const socket of sockets) socket.destroy();
  }, graceMs);
  await closed;
  clearTimeout(cut);
}
