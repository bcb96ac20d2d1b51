// Whether the node that is to be named as a member answers at the address that is to be its, before anybody relies on
// it: a typing error in a membership cannot be taken back without another change.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import { RaftMetricsService } from "../gen/service_pb.js";
import type { CallOptions } from "../node/calls.js";
import { RaftNodeError } from "../node/errors.js";
import type { PeerDialer } from "./leader-calls.js";

export interface AskedMember {
  readonly id: NodeId;
  readonly address: string;
}

export interface ReachabilityOptions {
  readonly dialer: PeerDialer;
  readonly clusterId: string;
}

/** No connection inside of a cluster takes longer to answer. */
const MAX_WAIT_MS = 2_000;
/** Of the caller's own time: the change itself needs some as well. */
const SHARE = 0.5;

/**
 * @throws RaftNodeError `membershipRefused` naming the address and what is there instead: nobody, a node of another
 *   cluster, another node, or something that is no node.
 */
export async function requireReachable(
  members: readonly AskedMember[],
  options: ReachabilityOptions,
  call: CallOptions,
): Promise<void> {
  await Promise.all(members.map((member) => ask(member, options, call)));
}

async function ask(
  { id, address }: AskedMember,
  { dialer, clusterId }: ReachabilityOptions,
  { signal, deadlineMs = MAX_WAIT_MS }: CallOptions,
): Promise<void> {
  const timeoutMs = Math.max(1, Math.floor(Math.min(MAX_WAIT_MS, deadlineMs * SHARE)));
  const there = createClient(RaftMetricsService, dialer.dial(address));
  let found: { readonly id: NodeId; readonly clusterId: string };
  try {
    found = await there.metrics({}, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
  } catch (error) {
    if (signal?.aborted === true) throw new RaftNodeError("aborted", "the call was given up");
    throw refused(id, address, whyNot(error, timeoutMs, dialer.neverSent(error)), error);
  }
  if (found.clusterId !== clusterId) {
    throw refused(id, address, `a node of cluster ${JSON.stringify(found.clusterId)} answers there`);
  }
  if (found.id !== id) throw refused(id, address, `node ${found.id} answers there`);
}

function whyNot(error: unknown, timeoutMs: number, neverSent: boolean): string {
  const { code, rawMessage } = ConnectError.from(error);
  if (neverSent) return `nobody answers there (${rawMessage})`;
  switch (code) {
    case Code.DeadlineExceeded:
      return `nobody answered there within ${timeoutMs} ms`;
    case Code.Unavailable:
      return `nobody answers there (${rawMessage})`;
    default:
      return `what answers there does not say which node it is (${rawMessage})`;
  }
}

function refused(id: NodeId, address: string, why: string, cause?: unknown): RaftNodeError {
  return new RaftNodeError(
    "membershipRefused",
    `node ${id} cannot be reached at ${address}: ${why}; start it there first, mend the address, or force it`,
    { cause },
  );
}
