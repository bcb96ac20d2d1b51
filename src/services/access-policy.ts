// Which roles open which RPC and which page. What nobody has listed is for administrators.

import type { DescMethod } from "@bufbuild/protobuf";
import { Health } from "../gen/grpc/health/v1/health_pb.js";
import {
  KvService,
  PlacementCenterService,
  RaftAdminService,
  RaftClientService,
  RaftMetricsService,
} from "../gen/service_pb.js";

/**
 * - `client`: reads and writes the store.
 * - `metrics`: sees what nodes count and know, changes nothing.
 * - `admin`: whatever clients and operators may do.
 * - `peer`: speaks as a node of the cluster.
 */
export const ACCESS_ROLES = ["client", "metrics", "admin", "peer"] as const;

export type AccessRole = (typeof ACCESS_ROLES)[number];

/** By the full name of a service, as in `raftnode.v1.KvService`. */
export type ServiceRoles = Readonly<Record<string, readonly AccessRole[]>>;

/** Every probe and every client asks whether a node is well; nothing is told but that. */
const ANYBODY: readonly AccessRole[] = ACCESS_ROLES;

const BY_SERVICE: ServiceRoles = {
  [KvService.typeName]: ["client", "admin"],
  [RaftClientService.typeName]: ["client", "admin"],
  // Nodes ask each other before they change the membership.
  [RaftMetricsService.typeName]: ["metrics", "admin", "peer"],
  [RaftAdminService.typeName]: ["admin"],
  [PlacementCenterService.typeName]: ["peer"],
  [Health.typeName]: ANYBODY,
  "grpc.reflection.v1.ServerReflection": ANYBODY,
  "grpc.reflection.v1alpha.ServerReflection": ANYBODY,
};

const BY_METHOD: ServiceRoles = {
  // Clients follow the leader, and learn where the members are.
  [nameOf(RaftMetricsService.method.members)]: ANYBODY,
  [nameOf(RaftMetricsService.method.leader)]: ANYBODY,
  [nameOf(PlacementCenterService.method.sendRaftConfChange)]: ["admin", "peer"],
};

/** The roles of which one is needed for the pages of operators; probes are open to all. */
export const PAGE_ROLES: readonly AccessRole[] = ["metrics", "admin"];

/** The roles of which one is needed. @param services those of the embedder's own services. */
export function rolesFor(method: DescMethod, services: ServiceRoles = {}): readonly AccessRole[] {
  const { typeName } = method.parent;
  return services[typeName] ?? BY_METHOD[nameOf(method)] ?? BY_SERVICE[typeName] ?? ["admin"];
}

/** `raftnode.v1.KvService/Get` */
export function nameOf(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}
