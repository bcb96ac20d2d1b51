// The headers under which nodes of one cluster know each other.

import type { NodeId } from "../core/types.js";

export const CLUSTER_HEADER = "raft-cluster-id";
export const FROM_HEADER = "raft-from";
/** Chosen anew at every start of a process: a new one means that its old sessions are dead. */
export const INCARNATION_HEADER = "raft-incarnation";
/** Where the sender is reached. Used only while the membership does not name the sender. */
export const ADDRESS_HEADER = "raft-address";

export interface PeerIdentity {
  readonly id: NodeId;
  readonly clusterId: string;
  readonly incarnation: string;
  readonly advertisedAddress: string;
}

export function identityHeaders(identity: PeerIdentity): Record<string, string> {
  return {
    [CLUSTER_HEADER]: identity.clusterId,
    [FROM_HEADER]: identity.id.toString(),
    [INCARNATION_HEADER]: identity.incarnation,
    [ADDRESS_HEADER]: identity.advertisedAddress,
  };
}

/** A node id in decimal, above 0 and below 2^64; undefined for anything else. */
export function parseNodeId(text: string): NodeId | undefined {
  if (!/^[1-9][0-9]{0,19}$/.test(text)) return undefined;
  const id = BigInt(text);
  return id < 2n ** 64n ? id : undefined;
}

const ADDRESS = /^(?:\[[0-9A-Fa-f:.]{2,64}\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?):([0-9]{1,5})$/;

/** Whether a text is `host:port` (IPv6 in brackets). Guards URLs that are made from it. */
export function isAddress(text: string): boolean {
  const match = ADDRESS.exec(text);
  if (match === null) return false;
  const port = Number(match[2]);
  return port > 0 && port < 65_536;
}
