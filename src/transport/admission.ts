// Who may speak to this node: the same cluster, a known sender, not this node itself. Judged by headers, before a
// byte of the body is decoded.

import { Code, ConnectError } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import type { PeerInbox } from "../node/ports.js";
import { type Connection, isLoopback } from "./connection.js";
import { ADDRESS_HEADER, CLUSTER_HEADER, FROM_HEADER, INCARNATION_HEADER, parseNodeId } from "./headers.js";

export interface Sender {
  readonly id: NodeId;
  /** Empty when the sender does not say. */
  readonly incarnation: string;
  readonly address: string;
}

export interface ConnectionRules {
  readonly allowedPeerNames?: readonly string[] | undefined;
  readonly requireTlsOffLoopback?: boolean | undefined;
}

/** @throws ConnectError `PermissionDenied` when a peer may not speak over this connection. */
export function judgeConnection(connection: Connection, rules: ConnectionRules): void {
  const { allowedPeerNames, requireTlsOffLoopback = true } = rules;
  if (requireTlsOffLoopback && !connection.isEncrypted && !isLoopback(connection.remoteAddress)) {
    throw new ConnectError(
      "peers on other machines must use TLS: give every node certificates, or allow peers in the clear on a network that you trust",
      Code.PermissionDenied,
    );
  }
  if (allowedPeerNames === undefined) return;
  if (connection.certificateNames.some((name) => allowedPeerNames.includes(name))) return;
  const presented = connection.certificateNames.map((name) => JSON.stringify(name)).join(", ");
  throw new ConnectError(
    `the certificate of a peer must hold one of the allowed names; ${presented === "" ? "none was presented" : `this one holds ${presented}`}`,
    Code.PermissionDenied,
  );
}

/** @throws ConnectError `InvalidArgument` or `PermissionDenied` when the request is not for this cluster. */
export function judgeCluster(headers: Headers, clusterId: string): void {
  const claimed = headers.get(CLUSTER_HEADER);
  if (claimed === null || claimed === "") {
    throw new ConnectError(
      `the header ${CLUSTER_HEADER} is missing: every request of one node to another names its cluster`,
      Code.InvalidArgument,
    );
  }
  if (claimed !== clusterId) {
    throw new ConnectError(
      `this node belongs to cluster ${JSON.stringify(clusterId)}, the request to ${JSON.stringify(claimed)}: check the cluster id and the addresses of the sender`,
      Code.PermissionDenied,
    );
  }
}

/** @throws ConnectError `InvalidArgument` or `PermissionDenied`; the node is unaffected. */
export function judgeSender(headers: Headers, clusterId: string, inbox: PeerInbox): Sender {
  judgeCluster(headers, clusterId);
  const claimed = headers.get(FROM_HEADER);
  const id = claimed === null ? undefined : parseNodeId(claimed);
  if (id === undefined) {
    throw new ConnectError(
      `the header ${FROM_HEADER} must be the sender's node id in decimal, ${claimed === null ? "but is missing" : `not ${JSON.stringify(claimed)}`}`,
      Code.InvalidArgument,
    );
  }
  if (id === inbox.id) {
    throw new ConnectError(
      `the request is from node ${id}, but this is node ${id}: two nodes run with one id, or the sender's address for a peer points back to itself`,
      Code.InvalidArgument,
    );
  }
  if (!inbox.admits(id)) {
    throw new ConnectError(
      `node ${id} is no member of cluster ${JSON.stringify(clusterId)}: it was removed, or has to be added first (AddLearner)`,
      Code.PermissionDenied,
    );
  }
  return {
    id,
    incarnation: headers.get(INCARNATION_HEADER) ?? "",
    address: headers.get(ADDRESS_HEADER) ?? "",
  };
}
