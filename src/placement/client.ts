// A client of the placement center: follows the leader, goes to other nodes when one fails, and tries again only what
// cannot be done twice by that.

import { type CallOptions, createClient, type Transport } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import { ConnectDialer } from "../embed/peer-dialer.js";
import { type ClientTls, clientTls } from "../embed/tls.js";
import {
  KvService,
  type Member,
  type MembershipResponse,
  type MetricsResponse,
  RaftAdminService,
  RaftMetricsService,
  ReadConsistency,
} from "../gen/service_pb.js";
import { ClientCalls } from "./client-calls.js";
import { parseAddress } from "./config.js";

export interface PlacementClientOptions {
  /** `host:port` of one or more nodes; one that answers is enough. */
  readonly endpoints: readonly string[];
  /** How long a call may take, all attempts together. Default 5,000. */
  readonly deadlineMs?: number | undefined;
  /**
   * Send `set` and `delete` again although an earlier attempt may have been applied. Harmless when the key has one
   * writer; otherwise a repeated attempt may undo a write that someone else made in between, and `deleted` may be
   * false although the first attempt deleted. Default false: such a call throws with outcome `unknown`.
   */
  readonly retryUnknown?: boolean | undefined;
  /**
   * For a cluster with TLS; `{}` trusts the authorities that Node.js trusts. A function is asked anew for every
   * connection, so that renewed certificates need no restart. Default: no TLS.
   */
  readonly tls?: ClientTls | (() => ClientTls) | undefined;
  /** In [0, 1); for jitter and the choice of the first endpoint. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
}

export interface RequestOptions {
  readonly deadlineMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retryUnknown?: boolean | undefined;
}

export interface ReadOptions extends RequestOptions {
  /** Default `linearizable`: sees every write acknowledged before. `serializable`: whatever the asked node has. */
  readonly consistency?: "linearizable" | "serializable" | undefined;
}

export interface ForceOptions extends RequestOptions {
  readonly force?: boolean | undefined;
}

export interface KvEntry {
  readonly value: Uint8Array;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly version: bigint;
}

export interface ClusterMember {
  readonly id: NodeId;
  readonly address: string;
  readonly learner: boolean;
}

export interface ClusterMembers {
  readonly members: readonly ClusterMember[];
  /** The index of the log entry that brought this membership about. */
  readonly index: bigint;
  /** A change of several members is under way. */
  readonly joint: boolean;
}

export class PlacementClient {
  readonly #dialer: ConnectDialer;
  readonly #calls: ClientCalls;
  readonly #retryUnknown: boolean;

  /**
   * Connects when the first call is made.
   * @throws PlacementConfigInvalid for a malformed endpoint; TlsConfigInvalid for certificates that are of no use.
   */
  constructor(options: PlacementClientOptions) {
    for (const endpoint of options.endpoints) parseAddress(endpoint, "endpoint");
    this.#dialer = new ConnectDialer({ tls: dialTls(options.tls) });
    this.#retryUnknown = options.retryUnknown ?? false;
    this.#calls = new ClientCalls({
      endpoints: options.endpoints,
      dialer: this.#dialer,
      deadlineMs: options.deadlineMs ?? 5_000,
      random: options.random ?? Math.random,
    });
  }

  /** Resolves when the write is on the disks of a majority and applied. @throws PlacementError */
  async set(
    key: string,
    value: Uint8Array | string,
    options?: RequestOptions,
  ): Promise<{ revision: bigint }> {
    const request = { key, value: typeof value === "string" ? Buffer.from(value, "utf8") : value };
    const { revision } = await this.#write(options, (transport, call) =>
      createClient(KvService, transport).set(request, call),
    );
    return { revision };
  }

  /** @throws PlacementError */
  async delete(key: string, options?: RequestOptions): Promise<{ deleted: boolean; revision: bigint }> {
    const { deleted, revision } = await this.#write(options, (transport, call) =>
      createClient(KvService, transport).delete({ key }, call),
    );
    return { deleted, revision };
  }

  /** Undefined when there is no such key. @throws PlacementError */
  async get(key: string, options?: ReadOptions): Promise<KvEntry | undefined> {
    const request = { key, consistency: consistencyOf(options) };
    const answer = await this.#read(options, (transport, call) =>
      createClient(KvService, transport).get(request, call),
    );
    if (!answer.found) return undefined;
    const { value, createRevision, modRevision, version } = answer;
    return { value, createRevision, modRevision, version };
  }

  /** @throws PlacementError */
  async exists(key: string, options?: ReadOptions): Promise<boolean> {
    const request = { key, consistency: consistencyOf(options) };
    const answer = await this.#read(options, (transport, call) =>
      createClient(KvService, transport).exists(request, call),
    );
    return answer.exists;
  }

  /** The members as the node that answers knows them. @throws PlacementError */
  async members(options?: RequestOptions): Promise<ClusterMembers & { readonly clusterId: string }> {
    const answer = await this.#read(options, (transport, call) =>
      createClient(RaftMetricsService, transport).members({}, call),
    );
    return { ...clusterMembers(answer), clusterId: answer.clusterId };
  }

  /** Who leads, as the node that answers knows it. @throws PlacementError */
  async leader(
    options?: RequestOptions,
  ): Promise<{ readonly id: NodeId | undefined; readonly address: string; readonly term: bigint }> {
    const answer = await this.#read(options, (transport, call) =>
      createClient(RaftMetricsService, transport).leader({}, call),
    );
    const id = answer.leaderId === 0n ? undefined : answer.leaderId;
    return { id, address: answer.leaderAddress, term: answer.term };
  }

  /** What one node says about itself; asks no other. @throws PlacementError */
  metrics(endpoint: string, options?: RequestOptions): Promise<MetricsResponse> {
    parseAddress(endpoint, "endpoint");
    return this.#calls.run({ changes: false, retryUnknown: false, endpoint }, options, (transport, call) =>
      createClient(RaftMetricsService, transport).metrics({}, call),
    );
  }

  /** @throws PlacementError */
  async addLearner(id: NodeId, address: string, options?: RequestOptions): Promise<ClusterMembers> {
    return clusterMembers(
      await this.#administer(options, (transport, call) =>
        createClient(RaftAdminService, transport).addLearner({ nodeId: id, address }, call),
      ),
    );
  }

  /** @throws PlacementError `membershipRefused` while the learner lags, unless `force`. */
  async promote(id: NodeId, options?: ForceOptions): Promise<ClusterMembers> {
    const request = { nodeId: id, force: options?.force ?? false };
    return clusterMembers(
      await this.#administer(options, (transport, call) =>
        createClient(RaftAdminService, transport).promoteLearner(request, call),
      ),
    );
  }

  /** @throws PlacementError `membershipRefused` when the rest would have no majority that answers, unless `force`. */
  async remove(id: NodeId, options?: ForceOptions): Promise<ClusterMembers> {
    const request = { nodeId: id, force: options?.force ?? false };
    return clusterMembers(
      await this.#administer(options, (transport, call) =>
        createClient(RaftAdminService, transport).removeNode(request, call),
      ),
    );
  }

  /** Hands leadership to `to`, or to the most up-to-date voter; resolves with who leads then. @throws PlacementError */
  async transfer(to?: NodeId, options?: RequestOptions): Promise<NodeId> {
    const answer = await this.#administer(options, (transport, call) =>
      createClient(RaftAdminService, transport).transferLeader({ nodeId: to ?? 0n }, call),
    );
    return answer.leaderId;
  }

  /** Lets calls under way finish, briefly. */
  async close(): Promise<void> {
    this.#calls.close();
    await this.#dialer.close();
  }

  #read<T>(
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    return this.#calls.run({ changes: false, retryUnknown: false }, options, send);
  }

  #write<T>(
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    const retryUnknown = options?.retryUnknown ?? this.#retryUnknown;
    return this.#calls.run({ changes: true, retryUnknown }, options, send);
  }

  #administer<T>(
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    return this.#calls.run({ changes: true, retryUnknown: false }, options, send);
  }
}

function consistencyOf(options: ReadOptions | undefined): ReadConsistency {
  return options?.consistency === "serializable"
    ? ReadConsistency.SERIALIZABLE
    : ReadConsistency.LINEARIZABLE;
}

function clusterMembers({ membership }: Pick<MembershipResponse, "membership">): ClusterMembers {
  const members = membership?.members ?? [];
  return {
    members: members.map(memberOf),
    index: membership?.index ?? 0n,
    joint: membership?.joint ?? false,
  };
}

function memberOf({ id, address, learner }: Member): ClusterMember {
  return { id, address, learner };
}

function dialTls(tls: PlacementClientOptions["tls"]) {
  if (typeof tls === "function") return () => clientTls(tls());
  const checked = tls && clientTls(tls);
  return checked && (() => checked);
}
