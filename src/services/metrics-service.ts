// RaftMetricsService: what this node knows, from memory. Never waits for the disk, a quorum or another node.

import type { ConnectRouter } from "@connectrpc/connect";
import { RaftMetricsService, Role } from "../gen/service_pb.js";
import type { NodeRole, NodeStatus } from "../node/status.js";
import type { LeaderCalls } from "./leader-calls.js";
import { membershipMessage } from "./membership-message.js";

/** What is asked of the node here; a RaftNode fits. */
export interface ObservedNode {
  status(): NodeStatus;
}

export interface MetricsRoutesOptions {
  readonly node: ObservedNode;
  readonly calls: LeaderCalls;
  /** Of the program, for operators. */
  readonly version: string;
}

const ROLES: Readonly<Record<NodeRole, Role>> = {
  follower: Role.FOLLOWER,
  preCandidate: Role.PRE_CANDIDATE,
  candidate: Role.CANDIDATE,
  leader: Role.LEADER,
  learner: Role.LEARNER,
};

/** Mounts RaftMetricsService on a Connect router. */
export function metricsRoutes({
  node,
  calls,
  version,
}: MetricsRoutesOptions): (router: ConnectRouter) => void {
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
    });
}

function metrics(status: NodeStatus, version: string) {
  return {
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
  };
}
