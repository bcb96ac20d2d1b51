// The plain HTTP/1.1 listener: Connect JSON for curl, probes, metrics and the status page.

import { setMaxListeners } from "node:events";
import { createServer } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import type { Logger } from "../node/ports.js";
import type { CallGuard } from "./call-guard.js";
import type { Listener } from "./http2-server.js";
import { maxRequestBytes, type TransportLimits, transportLimits } from "./limits.js";
import { listenOn } from "./listen.js";
import { type NodeHandler, requestHandler } from "./request-handler.js";
import { buildRouting } from "./routing.js";
import { describeError } from "./transport-errors.js";

export interface Http1ServerOptions {
  readonly host: string;
  /** 0: any free port; see the answer's `address`. */
  readonly port: number;
  readonly routes: (router: ConnectRouter) => void;
  /** Judges every call of every route. Absent: all are let in. */
  readonly guard?: CallGuard | undefined;
  /** Serves paths that no route has, such as probes. Default: 404. */
  readonly fallback?: NodeHandler | undefined;
  /**
   * Present: TLS only. With `requestCert` and `rejectUnauthorized`, routes are served to clients with a verified
   * certificate only, and `fallback` to all: probes have no certificate.
   */
  readonly tls?: ServerOptions | undefined;
  readonly logger: Logger;
  readonly limits?: Partial<TransportLimits> | undefined;
  readonly shutdownGraceMs: number;
}

export interface Http1Listener extends Listener {
  /** Uses renewed certificates for every connection from now on. */
  reloadTls(tls: ServerOptions): void;
}

// A client that dawdles over its headers or body must not hold a connection for ever.
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 120_000;

/**
 * Listens and serves.
 * @throws ListenError when the address cannot be had.
 */
export async function listenHttp1(options: Http1ServerOptions): Promise<Http1Listener> {
  const { logger } = options;
  const shutdown = new AbortController();
  // Every call under way listens to it; that many are no leak.
  setMaxListeners(0, shutdown.signal);
  const routing = buildRouting({
    routes: options.routes,
    guard: options.guard,
    shutdownSignal: shutdown.signal,
    maxBytes: maxRequestBytes(transportLimits(options.limits)),
  });
  const { tls } = options;
  const handler = requestHandler({
    routing,
    logger,
    fallback: options.fallback,
    routesNeedCertificate: tls?.requestCert === true && tls.rejectUnauthorized === true,
  });
  const timeouts = { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS };
  const secureServer =
    tls === undefined
      ? undefined
      : createTlsServer({ ...timeouts, ...tls, rejectUnauthorized: false }, handler);
  const server = secureServer ?? createServer(timeouts, handler);
  const address = await listenOn(server, options.host, options.port);
  server.on("error", (error) =>
    logger.error({ error: describeError(error) }, "the HTTP/1.1 listener failed"),
  );
  return {
    address,
    reloadTls: (renewed) => {
      if (secureServer === undefined) {
        throw new TypeError("this listener was started without TLS: restart it with TLS");
      }
      secureServer.setSecureContext(renewed);
    },
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      shutdown.abort(new ConnectError("this node is shutting down: use another one", Code.Unavailable));
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), options.shutdownGraceMs);
      await closed;
      clearTimeout(cut);
    },
  };
}
