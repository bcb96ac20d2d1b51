// For services that only the leader is to answer: whoever asks another node is told who leads.

import type { Interceptor } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import { RaftNodeError } from "../node/errors.js";
import { toConnectError } from "./connect-errors.js";

/** What is asked of the node here; a RaftNode fits. */
export interface LedNode {
  readonly isLeader: boolean;
  readonly leaderId: NodeId | undefined;
  readonly leaderAddress: string | undefined;
}

/**
 * An interceptor for Connect routes: `router.service(MyService, implementation, { interceptors: [leaderOnly(node)] })`.
 * Calls that reach a node that does not lead are answered `notLeader` (FailedPrecondition) with who does, and never
 * reach the implementation. A node that was just deposed may not know it yet: what must not be stale still has to go
 * through `propose` or `readIndex`, which do.
 */
export function leaderOnly(node: LedNode): Interceptor {
  return (next) => async (request) => {
    try {
      requireLeader(node);
    } catch (error) {
      throw toConnectError(error, "write", node);
    }
    return next(request);
  };
}

/** @throws RaftNodeError `notLeader` */
export function requireLeader({ isLeader, leaderId }: LedNode): void {
  if (isLeader) return;
  throw new RaftNodeError(
    "notLeader",
    leaderId === undefined
      ? "this node does not lead; no leader is known"
      : `this node does not lead; node ${leaderId} does`,
    { leaderHint: leaderId },
  );
}
