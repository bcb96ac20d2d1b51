// What operators and probes read over plain HTTP: /livez, /readyz, /status and /metrics.

import { isVoter, memberIds } from "../node/membership.js";
import type { NodeStatus } from "../node/status.js";
import { PROMETHEUS_CONTENT_TYPE } from "./prometheus-text.js";
import type { Readiness, ReadinessReport } from "./readiness.js";

export interface OperatorPagesOptions {
  readonly node: { status(): NodeStatus };
  readonly readiness: Readiness;
  /** Of the program. */
  readonly version: string;
  /** In Prometheus's text format. */
  readonly metrics: () => string;
}

export interface Page {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export const OPERATOR_PATHS: readonly string[] = ["/livez", "/readyz", "/status", "/metrics"];

const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json";

/** The page at a path with its query, if there is one; undefined: there is no such page. */
export async function operatorPage(options: OperatorPagesOptions, url: string): Promise<Page | undefined> {
  const { node, readiness, version, metrics } = options;
  const [path = "", query = ""] = url.split("?", 2);
  switch (path) {
    case "/livez":
      return readiness.alive ? text(200, "ok") : text(503, "the node has failed: restart it");
    case "/readyz": {
      const report = await readiness.check();
      const isVerbose = new URLSearchParams(query).has("verbose") || !report.ready;
      return text(report.ready ? 200 : 503, isVerbose ? readinessText(report) : "ok");
    }
    case "/status":
      return json({ version, ...statusOf(node.status()), readiness: await readiness.check() });
    case "/metrics":
      return { status: 200, contentType: PROMETHEUS_CONTENT_TYPE, body: metrics() };
    default:
      return undefined;
  }
}

function text(status: number, body: string): Page {
  return { status, contentType: TEXT, body: `${body}\n` };
}

function json(value: object): Page {
  // 64-bit numbers as strings, as JSON of protobuf messages has them.
  const body = JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}` : part), 2);
  return { status: 200, contentType: JSON_TYPE, body: `${body}\n` };
}

function readinessText({ ready, checks }: ReadinessReport): string {
  const lines = checks.map(({ name, ok, detail }) => `[${ok ? "+" : "-"}] ${name}: ${detail}`);
  return [...lines, ready ? "ready" : "not ready"].join("\n");
}

function statusOf({ membership, progress, ...status }: NodeStatus): object {
  const members = memberIds(membership).map((id) => ({
    id,
    address: membership.addresses.get(id) ?? "",
    learner: !isVoter(membership, id),
  }));
  const peers = progress
    .filter(({ id }) => id !== status.id)
    .map(({ id, state, matched, nextIdx, recentActive }) => ({
      id,
      state,
      matched,
      nextIndex: nextIdx,
      recentActive,
    }));
  return { ...status, membership: { index: membership.index, members }, peers };
}
