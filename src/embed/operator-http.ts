// Serves the pages of operators and probes on both listeners, beside the Connect routes.

import type { Logger } from "../node/ports.js";
import type { ServiceError } from "../services/connect-errors.js";
import { OPERATOR_PATHS, type OperatorPagesOptions, operatorPage } from "../services/operator-pages.js";
import type { NodeHandler, NodeRequest, NodeResponse } from "../transport/request-handler.js";

export interface OperatorHandlerOptions extends OperatorPagesOptions {
  readonly logger: Logger;
  /** Why a page is not shown; undefined: it is. Not asked for probes. */
  readonly judge: (path: string, request: NodeRequest) => ServiceError | undefined;
}

/** Open to all: whoever asks has no token, and is told nothing but whether the node is well. */
const PROBES: readonly string[] = ["/livez", "/readyz"];

/** Answers whatever is no route: a page, or 404. Never throws. */
export function operatorHandler({ logger, judge, ...options }: OperatorHandlerOptions): NodeHandler {
  return (request, response) => {
    const isHead = request.method === "HEAD";
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    if (!isHead && request.method !== "GET" && !OPERATOR_PATHS.includes(path)) {
      // By this status clients of services learn that there is no such service.
      send(response, 404, "text/plain; charset=utf-8", NO_SUCH_PATH, isHead);
      return;
    }
    if (!isHead && request.method !== "GET") {
      send(response, 405, "text/plain; charset=utf-8", "only GET and HEAD are served here\n", isHead, {
        allow: "GET, HEAD",
      });
      return;
    }
    const refusal = PROBES.includes(path) ? undefined : judge(path, request);
    if (refusal !== undefined) {
      const isUnknown = refusal.reason === "unauthenticated";
      const challenge = isUnknown ? { "www-authenticate": "Bearer" } : undefined;
      const status = isUnknown ? 401 : 403;
      send(response, status, "text/plain; charset=utf-8", `${refusal.message}\n`, isHead, challenge);
      return;
    }
    operatorPage(options, request.url ?? "").then(
      (page) => {
        if (page === undefined) send(response, 404, "text/plain; charset=utf-8", NO_SUCH_PATH, isHead);
        else send(response, page.status, page.contentType, page.body, isHead);
      },
      (error: unknown) => {
        logger.error({ error }, "a page for operators could not be made");
        send(
          response,
          500,
          "text/plain; charset=utf-8",
          "internal error: the log of the node has more\n",
          isHead,
        );
      },
    );
  };
}

const NO_SUCH_PATH = "no such path; there are /livez, /readyz, /status and /metrics, and the services\n";

function send(
  response: NodeResponse,
  status: number,
  contentType: string,
  body: string,
  isHead: boolean,
  more: Readonly<Record<string, string>> = {},
): void {
  if (response.destroyed || response.headersSent) return;
  const headers = {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    ...more,
  };
  // The two kinds of responses declare this method differently.
  if ("stream" in response) response.writeHead(status, headers);
  else response.writeHead(status, headers);
  response.end(isHead ? "" : body);
}
