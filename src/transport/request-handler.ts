// From Node's request to connect-es's handlers and back. As connect-node's own adapter, except that a request which
// cannot even be read (an HTTP/1.0 request without Host, a malformed Host) gets an answer instead of ending the
// process, and that failures go to our logger.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { Logger } from "../node/ports.js";
import { type Connection, connectionOf, connectionValues } from "./connection.js";
import type { Routing } from "./routing.js";
import { describeError } from "./transport-errors.js";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;
export type NodeHandler = (request: NodeRequest, response: NodeResponse) => void;

export interface RequestHandlerOptions {
  readonly routing: Routing;
  readonly logger: Logger;
  /** Serves paths that no route has. Default: 404. */
  readonly fallback?: NodeHandler | undefined;
  /** Refuse routes to connections without a certificate that was verified. Default false. */
  readonly routesNeedCertificate?: boolean | undefined;
}

export function requestHandler(options: RequestHandlerOptions): NodeHandler {
  const { logger, fallback, routing, routesNeedCertificate = false } = options;
  return (request, response) => {
    try {
      const path = (request.url ?? "").split("?", 1)[0] ?? "";
      const handler = routing.handlers.get(path);
      if (handler !== undefined && routesNeedCertificate && !connectionOfRequest(request).isCertified) {
        answer(response, 403, "a certificate signed by this cluster's authority is needed");
      } else if (handler !== undefined) {
        // Throws on a malformed Host, here and not in a promise.
        const universalRequest = universalRequestFromNodeRequest(
          request,
          response,
          undefined,
          connectionValues(connectionOwner(request), () => request.socket),
        );
        serveUniversal(handler, universalRequest, response, logger);
      } else if (fallback !== undefined) {
        fallback(request, response);
      } else {
        answer(response, 404, "no such path");
      }
    } catch (error) {
      logger.debug({ error: describeError(error) }, "refused a malformed request");
      answer(response, 400, "malformed request: is the Host header a host name?");
    }
  };
}

/** What is known about who sends a request, for fallbacks that judge by it. */
export function connectionOfRequest(request: NodeRequest): Connection {
  return connectionOf(connectionOwner(request), () => request.socket);
}

function connectionOwner(request: NodeRequest): object {
  return "stream" in request ? (request.stream.session ?? request.stream) : request.socket;
}

/** Lets connect-es answer. Never throws and never rejects. */
export function serveUniversal(
  handler: UniversalHandler,
  request: UniversalServerRequest,
  response: NodeResponse,
  logger: Logger,
): void {
  handler(request)
    .then((universalResponse) => universalResponseToNodeResponse(universalResponse, response))
    .catch((error: unknown) => {
      if (ConnectError.from(error).code === Code.Aborted) return;
      logger.warn(
        { path: handler.requestPath, error: describeError(error) },
        "a response could not be written",
      );
    });
}

function answer(response: NodeResponse, status: number, text: string): void {
  if (response.headersSent) return;
  try {
    response.writeHead(status, { "content-type": "text/plain; charset=utf-8" });
    response.end(`${text}\n`);
  } catch {
    // The connection is gone already: nobody is left to tell.
  }
}
