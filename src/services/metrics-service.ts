// RaftMetricsService: what this node knows, from memory. Never waits for the disk, a quorum or another node.

import { create, equals } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import { type MetricsResponse, MetricsResponseSchema, RaftMetricsService, Role } from "../gen/service_pb.js";
import { RaftNodeError } from "../node/errors.js";
import type { Clock } from "../node/ports.js";
import type { NodeRole, NodeStatus } from "../node/status.js";
import type { LeaderCalls } from "./leader-calls.js";
import { membershipMessage } from "./membership-message.js";
import { pause } from "./pause.js";

/** What is asked of the node here; a RaftNode fits. */
export interface ObservedNode {
  status(): NodeStatus;
}

export interface MetricsRoutesOptions {
  readonly node: ObservedNode;
  readonly calls: LeaderCalls;
  /** Of the program, for operators. */
  readonly version: string;
  readonly clock: Clock;
  /** Watches at a time; more are refused. Default 1,000. */
  readonly maxWatches?: number | undefined;
}

const DEFAULT_INTERVAL_MS = 1_000;
const LEAST_INTERVAL_MS = 100;
const MOST_INTERVAL_MS = 600_000;
const DEFAULT_MAX_WATCHES = 1_000;

const ROLES: Readonly<Record<NodeRole, Role>> = {
  follower: Role.FOLLOWER,
  preCandidate: Role.PRE_CANDIDATE,
  candidate: Role.CANDIDATE,
  leader: Role.LEADER,
  learner: Role.LEARNER,
};

/** Mounts RaftMetricsService on a Connect router. */
export function metricsRoutes(options: MetricsRoutesOptions): (router: ConnectRouter) => void {
  const { node, calls, version, clock, maxWatches = DEFAULT_MAX_WATCHES } = options;
  let watches = 0;

  async function* watch(intervalMs: number, signal: AbortSignal): AsyncGenerator<MetricsResponse> {
    if (watches >= maxWatches) {
      throw new RaftNodeError("inboxFull", `${watches} watches of metrics are open on this node`);
    }
    watches += 1;
    try {
      let last: MetricsResponse | undefined;
      while (!signal.aborted) {
        const now = metrics(node.status(), version);
        // Whoever takes them slowly gets fewer, each as of the moment at which it could be sent.
        if (last === undefined || !equals(MetricsResponseSchema, last, now)) yield now;
        last = now;
        await pause(clock, intervalMs, signal);
      }
    } finally {
      watches -= 1;
    }
  }

  return (router) =>
    router.service(RaftMetricsService, {
      metrics: () => calls.local("read", () => metrics(node.status(), version)),
      leader: () =>
        calls.local("read", () => {
          const { leaderId, leaderAddress, term } = node.status();
          return { leaderId: leaderId ?? 0n, leaderAddress: leaderAddress ?? "", term };
        }),
      members: () =>
        calls.local("read", () => {
          const { membership, clusterId } = node.status();
          return { membership: membershipMessage(membership), clusterId };
        }),
      watchMetrics: (request, context) =>
        calls.stream(context, (signal) => watch(requireInterval(request.intervalMs), signal)),
    });
}

function requireInterval(intervalMs: number): number {
  if (intervalMs === 0) return DEFAULT_INTERVAL_MS;
  if (intervalMs >= LEAST_INTERVAL_MS && intervalMs <= MOST_INTERVAL_MS) return intervalMs;
  throw new RaftNodeError(
    "invalidArgument",
    `interval_ms is ${intervalMs}: give ${LEAST_INTERVAL_MS} to ${MOST_INTERVAL_MS}, or 0 for ${DEFAULT_INTERVAL_MS}`,
  );
}

function metrics(status: NodeStatus, version: string): MetricsResponse {
  return create(MetricsResponseSchema, {
    id: status.id,
    clusterId: status.clusterId,
    role: ROLES[status.role],
    term: status.term,
    leaderId: status.leaderId ?? 0n,
    firstIndex: status.firstIndex,
    lastIndex: status.lastIndex,
    commit: status.commit,
    applied: status.applied,
    snapshotIndex: status.snapshotIndex,
    membership: membershipMessage(status.membership),
    peers: status.progress
      .filter(({ id }) => id !== status.id)
      .map((peer) => ({
        id: peer.id,
        matched: peer.matched,
        nextIndex: peer.nextIdx,
        state: peer.state,
        recentActive: peer.recentActive,
        pendingSnapshot: peer.pendingSnapshot,
      })),
    pendingProposals: BigInt(status.pendingProposals),
    version,
  });
}
