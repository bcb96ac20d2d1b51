// RaftAdminService: membership and leadership, done by the leader wherever a call was sent to; snapshots and the log of
// the asked node.

import { create } from "@bufbuild/protobuf";
import { type ConnectRouter, createClient } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import {
  CompactResponseSchema,
  type Member,
  MembershipResponseSchema,
  RaftAdminService,
  TakeSnapshotResponseSchema,
  TransferLeaderResponseSchema,
} from "../gen/service_pb.js";
import type { CallOptions } from "../node/calls.js";
import { RaftNodeError } from "../node/errors.js";
import type { InitialMember } from "../node/initialize.js";
import type { CompactedLog, CompactLogOptions } from "../node/maintenance.js";
import type { Membership } from "../node/membership.js";
import type { TargetMember } from "../node/membership-target.js";
import { addressProblem } from "./address.js";
import { ServiceError } from "./connect-errors.js";
import type { LeaderCalls, PeerDialer } from "./leader-calls.js";
import { membershipMessage } from "./membership-message.js";
import { type AskedMember, requireReachable } from "./reachability.js";
import {
  LONG_WORK_BUDGET,
  SnapshotDownloads,
  type SnapshottedNode,
  snapshotInfo,
} from "./snapshot-download.js";

export interface ForceOptions extends CallOptions {
  readonly force?: boolean | undefined;
}

/** What is asked of the node here; a RaftNode fits. */
export interface AdministeredNode extends SnapshottedNode {
  readonly membership: Membership;
  addLearner(id: NodeId, address: string, options?: ForceOptions): Promise<Membership>;
  promote(id: NodeId, options?: ForceOptions): Promise<Membership>;
  removeNode(id: NodeId, options?: ForceOptions): Promise<Membership>;
  updateAddress(id: NodeId, address: string, options?: ForceOptions): Promise<Membership>;
  changeMembershipTo(members: readonly TargetMember[], options?: ForceOptions): Promise<Membership>;
  transferLeadership(to?: NodeId, options?: CallOptions): Promise<NodeId>;
  initialize(members: readonly InitialMember[], options?: CallOptions): Promise<Membership>;
  compact(options?: CompactLogOptions): Promise<CompactedLog>;
}

export interface AdminRoutesOptions {
  readonly node: AdministeredNode;
  readonly calls: LeaderCalls;
  /** How the addresses of new members are tried out. */
  readonly dialer: PeerDialer;
}

/** Mounts RaftAdminService on a Connect router. */
export function adminRoutes({ node, calls, dialer }: AdminRoutesOptions): (router: ConnectRouter) => void {
  const downloads = new SnapshotDownloads(node);
  const answer = (membership: Membership) =>
    create(MembershipResponseSchema, { membership: membershipMessage(membership) });
  const tryOut = async (members: readonly AskedMember[], options: ForceOptions) => {
    if (options.force === true) return;
    await requireReachable(members, { dialer, clusterId: node.clusterId }, options);
  };
  return (router) =>
    router.service(RaftAdminService, {
      initialize: (request, context) =>
        calls.own(context, async (options) => {
          const members = request.members.map(({ id, address, learner }) => ({
            id: requireId(id),
            address: requireAddress(address),
            learner,
          }));
          return answer(await node.initialize(members, options));
        }),
      addLearner: (request, context) =>
        calls.write(context, {
          here: async (call) => {
            const { nodeId: id, address, force } = request;
            const options = { ...call, force };
            requireId(id);
            requireAddress(address);
            await tryOut([{ id, address }], options);
            return answer(await node.addLearner(id, address, options));
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
      changeMembership: (request, context) =>
        calls.write(context, {
          here: async (call) => {
            const { members, force } = request;
            const options = { ...call, force };
            requireMembers(members);
            await tryOut(addressesNewTo(node.membership, members), options);
            return answer(await node.changeMembershipTo(members, options));
          },
          there: (transport, options) =>
            createClient(RaftAdminService, transport).changeMembership(request, options),
        }),
      updateAddress: (request, context) =>
        calls.write(context, {
          here: async (call) => {
            const { nodeId: id, address, force } = request;
            const options = { ...call, force };
            requireId(id);
            requireAddress(address);
            await tryOut([{ id, address }], options);
            return answer(await node.updateAddress(id, address, options));
          },
          there: (transport, options) =>
            createClient(RaftAdminService, transport).updateAddress(request, options),
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
      takeSnapshot: (_, context) =>
        calls.own(
          context,
          async (options) => {
            requireState(node);
            return create(TakeSnapshotResponseSchema, {
              snapshot: snapshotInfo(await node.takeSnapshot(options), node.clusterId),
            });
          },
          LONG_WORK_BUDGET,
        ),
      compact: (request, context) =>
        calls.own(
          context,
          async (options) => {
            const { firstIndex, fileBytes, freeBytes } = await node.compact({
              ...options,
              upTo: request.upToIndex === 0n ? undefined : request.upToIndex,
              file: request.file,
            });
            return create(CompactResponseSchema, {
              firstIndex,
              fileBytes: BigInt(fileBytes),
              freeBytes: BigInt(freeBytes),
            });
          },
          LONG_WORK_BUDGET,
        ),
      downloadSnapshot: ({ take }, context) =>
        calls.stream(context, (signal) => {
          requireState(node);
          return downloads.download(take, signal);
        }),
    });
}

/** Without members a node has no state, and waits for a cluster to bring it one. */
function requireState({ membership }: AdministeredNode): void {
  if (membership.voters.length > 0) return;
  throw new ServiceError("notMember", "this node waits for a cluster and holds no state yet: ask a member");
}

function requireId(id: NodeId): NodeId {
  if (id > 0n) return id;
  throw new RaftNodeError("invalidArgument", "node_id is missing: give the id of a node, 1 or higher");
}

function requireAddress(address: string): string {
  const problem = addressProblem(address);
  if (problem === undefined) return address;
  throw new RaftNodeError("invalidArgument", `address ${problem}`);
}

function requireMembers(members: readonly Member[]): void {
  if (members.length === 0) throw new RaftNodeError("invalidArgument", "members is empty: name all of them");
  for (const { id, address } of members) {
    if (id === 0n) throw new RaftNodeError("invalidArgument", "a member has no id: ids are 1 or higher");
    const problem = address === "" ? undefined : addressProblem(address);
    if (problem !== undefined) {
      throw new RaftNodeError("invalidArgument", `the address of node ${id}, ${problem}`);
    }
  }
}

/** Whoever is to be reached elsewhere than now, or at all. */
function addressesNewTo(membership: Membership, members: readonly Member[]): readonly AskedMember[] {
  return members.filter(({ id, address }) => address !== "" && membership.addresses.get(id) !== address);
}
