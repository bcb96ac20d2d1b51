// RaftAdminService: membership and leadership. Every call is done by the leader, wherever it was sent to.

import { create } from "@bufbuild/protobuf";
import { type ConnectRouter, createClient } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import {
  MembershipResponseSchema,
  RaftAdminService,
  TransferLeaderResponseSchema,
} from "../gen/service_pb.js";
import type { CallOptions } from "../node/calls.js";
import { RaftNodeError } from "../node/errors.js";
import type { Membership } from "../node/membership.js";
import { addressProblem } from "./address.js";
import type { LeaderCalls } from "./leader-calls.js";
import { membershipMessage } from "./membership-message.js";

export interface ForceOptions extends CallOptions {
  readonly force?: boolean | undefined;
}

/** What is asked of the node here; a RaftNode fits. */
export interface AdministeredNode {
  addLearner(id: NodeId, address: string, options?: CallOptions): Promise<Membership>;
  promote(id: NodeId, options?: ForceOptions): Promise<Membership>;
  removeNode(id: NodeId, options?: ForceOptions): Promise<Membership>;
  transferLeadership(to?: NodeId, options?: CallOptions): Promise<NodeId>;
}

export interface AdminRoutesOptions {
  readonly node: AdministeredNode;
  readonly calls: LeaderCalls;
}

/** Mounts RaftAdminService on a Connect router. */
export function adminRoutes({ node, calls }: AdminRoutesOptions): (router: ConnectRouter) => void {
  const answer = (membership: Membership) =>
    create(MembershipResponseSchema, { membership: membershipMessage(membership) });
  return (router) =>
    router.service(RaftAdminService, {
      addLearner: (request, context) =>
        calls.write(context, {
          here: async (options) => {
            const id = requireId(request.nodeId);
            const problem = addressProblem(request.address);
            if (problem !== undefined) throw new RaftNodeError("invalidArgument", `address ${problem}`);
            return answer(await node.addLearner(id, request.address, options));
          },
          there: (transport, options) =>
            createClient(RaftAdminService, transport).addLearner(request, options),
        }),
      promoteLearner: (request, context) =>
        calls.write(context, {
          here: async (options) =>
            answer(await node.promote(requireId(request.nodeId), { ...options, force: request.force })),
          there: (transport, options) =>
            createClient(RaftAdminService, transport).promoteLearner(request, options),
        }),
      removeNode: (request, context) =>
        calls.write(context, {
          here: async (options) =>
            answer(await node.removeNode(requireId(request.nodeId), { ...options, force: request.force })),
          there: (transport, options) =>
            createClient(RaftAdminService, transport).removeNode(request, options),
        }),
      transferLeader: (request, context) =>
        calls.write(context, {
          here: async (options) => {
            const to = request.nodeId === 0n ? undefined : request.nodeId;
            return create(TransferLeaderResponseSchema, {
              leaderId: await node.transferLeadership(to, options),
            });
          },
          there: (transport, options) =>
            createClient(RaftAdminService, transport).transferLeader(request, options),
        }),
    });
}

function requireId(id: NodeId): NodeId {
  if (id > 0n) return id;
  throw new RaftNodeError("invalidArgument", "node_id is missing: give the id of a node, 1 or higher");
}
