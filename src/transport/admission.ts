// Who may speak to this node: the same cluster, a known sender, not this node itself. Judged by headers, before a
// byte of the body is decoded.

import { Code, ConnectError } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import type { PeerInbox } from "../node/ports.js";
import { ADDRESS_HEADER, CLUSTER_HEADER, FROM_HEADER, INCARNATION_HEADER, parseNodeId } from "./headers.js";

export interface Sender {
  readonly id: NodeId;
  /** Empty when the sender does not say. */
  readonly incarnation: string;
  readonly address: string;
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
