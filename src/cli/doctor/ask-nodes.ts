// Asks every node of a cluster what it knows, also those that only other nodes know of.

import { createClient } from "@connectrpc/connect";
import { ConnectDialer } from "../../embed/peer-dialer.js";
import { clientTls } from "../../embed/tls.js";
import { type MetricsResponse, RaftMetricsService } from "../../gen/service_pb.js";
import { showToken } from "../../placement/client.js";
import { failureOf } from "../../placement/client-error.js";
import type { ClientOptions } from "../arguments.js";
import { readClientTls, readToken } from "../client-session.js";

export interface Answered {
  readonly endpoint: string;
  readonly metrics: MetricsResponse;
  readonly roundTripMs: number;
  /** By how much the node's clock is ahead of this machine's; as exact as half a second plus half the round trip. */
  readonly clockAheadMs: number | undefined;
}

export interface Silent {
  readonly endpoint: string;
  readonly why: string;
}

export type Asked = Answered | Silent;

/** A header tells whole seconds: on average half a second too little. */
const HALF_A_SECOND_MS = 500;
const NODE_DEADLINE_MS = 2_000;

export function hasAnswered(asked: Asked): asked is Answered {
  return "metrics" in asked;
}

/** The endpoints that were named first, then the addresses of members that none of these is. Never throws. */
export async function askNodes(options: ClientOptions): Promise<Asked[]> {
  const tls = readClientTls(options);
  const dialer = new ConnectDialer({
    tls: tls && (() => clientTls(tls)),
    authorization: showToken(readToken(options)),
  });
  const deadlineMs = Math.min(options.deadlineMs, NODE_DEADLINE_MS);
  try {
    const ask = (endpoints: readonly string[]) =>
      Promise.all(endpoints.map((endpoint) => askNode(dialer, endpoint, deadlineMs)));
    const asked = await ask(options.endpoints);
    return [...asked, ...(await ask(otherMembers(asked)))];
  } finally {
    await dialer.close();
  }
}

/** Addresses of members that have not answered under another name already. */
function otherMembers(asked: readonly Asked[]): string[] {
  const answered = asked.filter(hasAnswered);
  const ids = new Set(answered.map(({ metrics }) => metrics.id));
  const known = new Set(asked.map(({ endpoint }) => endpoint));
  const others = new Set<string>();
  for (const { metrics } of answered) {
    for (const { id, address } of metrics.membership?.members ?? []) {
      if (!ids.has(id) && !known.has(address) && address !== "") others.add(address);
    }
  }
  return [...others];
}

async function askNode(dialer: ConnectDialer, endpoint: string, timeoutMs: number): Promise<Asked> {
  const startedAtMs = Date.now();
  const started = performance.now();
  let date: string | null = null;
  try {
    const client = createClient(RaftMetricsService, dialer.dial(endpoint));
    const metrics = await client.metrics(
      {},
      { timeoutMs, onHeader: (headers) => (date = headers.get("date")) },
    );
    const roundTripMs = performance.now() - started;
    const toldAtMs = date === null ? Number.NaN : Date.parse(date) + HALF_A_SECOND_MS;
    const clockAheadMs = toldAtMs - (startedAtMs + roundTripMs / 2);
    return {
      endpoint,
      metrics,
      roundTripMs,
      clockAheadMs: Number.isNaN(clockAheadMs) ? undefined : clockAheadMs,
    };
  } catch (error) {
    return { endpoint, why: failureOf(error, endpoint, false, () => false).message };
  }
}
