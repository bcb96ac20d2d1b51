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
  type SnapshotInfo,
  type WriteId,
} from "../gen/service_pb.js";
import { bearer } from "../services/access-tokens.js";
import { addressProblem } from "../services/address.js";
import { ClientCalls } from "./client-calls.js";
import { failureOf, PlacementError } from "./client-error.js";
import {
  compareMessage,
  type KeyedEntry,
  type KeySelection,
  type KvEntry,
  keyedEntry,
  keyRange,
  operationMessage,
  type RangePage,
  type Txn,
  type TxnOutcome,
  toBytes,
  txnOutcome,
} from "./client-kv.js";
import { downloadSnapshot, type SnapshotPart, SnapshotStreamInvalid } from "./client-snapshot.js";
import { type WatchClientOptions, type WatchUpdate, watchKeys } from "./client-watch.js";
import { ClientWrites } from "./client-writes.js";
import { parseAddress } from "./config.js";

export type { KvEntry } from "./client-kv.js";

export interface PlacementClientOptions {
  /** `host:port` of one or more nodes; one that answers is enough. Others are learned from it in time. */
  readonly endpoints: readonly string[];
  /** How long a call may take, all attempts together. Default 5,000. */
  readonly deadlineMs?: number | undefined;
  /**
   * Send a write again although an earlier attempt may have been applied. The store applies it once: every attempt
   * carries the same number. Default true. With false, such a call throws with outcome `unknown`.
   */
  readonly retryUnknown?: boolean | undefined;
  /**
   * For a cluster with TLS; `{}` trusts the authorities that Node.js trusts. A function is asked anew for every
   * connection, so that renewed certificates need no restart. Default: no TLS.
   */
  readonly tls?: ClientTls | (() => ClientTls) | undefined;
  /**
   * Says who this client is, to nodes that have tokens; sent with every call, so only over TLS or a network that is
   * trusted. A function is asked anew for every call. Default: none.
   */
  readonly token?: string | (() => string | undefined) | undefined;
  /** In [0, 1); for jitter and the choice of the first endpoint. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
}

export interface RequestOptions {
  readonly deadlineMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retryUnknown?: boolean | undefined;
}

export interface WriteConditions extends RequestOptions {
  /** Only if the key was last written at this revision; 0n: only if it does not exist. */
  readonly ifModRevision?: bigint | undefined;
}

export interface ReadOptions extends RequestOptions {
  /**
   * Default `linearizable`: sees every write acknowledged before. `leaderLease`: the same, as far as clocks can be
   * trusted. `serializable`: whatever the asked node has.
   */
  readonly consistency?: "linearizable" | "leaderLease" | "serializable" | undefined;
  /** With `serializable`: not staler than this. Default: any age. */
  readonly maxStalenessMs?: number | undefined;
}

export interface RangeOptions extends ReadOptions {
  /** Entries per page, at most 10,000. Default 1,000. A page is also cut at about 4 MiB. */
  readonly limit?: number | undefined;
  readonly keysOnly?: boolean | undefined;
  /** `nextPageToken` of the page before. */
  readonly pageToken?: Uint8Array | undefined;
  /** As the store was at this revision. Default: as it is. */
  readonly revision?: bigint | undefined;
}

export interface ForceOptions extends RequestOptions {
  readonly force?: boolean | undefined;
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

/** A first write is not held up for longer by asking where the store stands. */
const FIRST_LOOK_MS = 500;

export class PlacementClient {
  readonly #dialer: ConnectDialer;
  readonly #calls: ClientCalls;
  readonly #retryUnknown: boolean;
  readonly #random: () => number;
  readonly #writes = new ClientWrites();

  /**
   * Connects when the first call is made.
   * @throws PlacementConfigInvalid for a malformed endpoint; TlsConfigInvalid for certificates that are of no use.
   */
  constructor(options: PlacementClientOptions) {
    for (const endpoint of options.endpoints) parseAddress(endpoint, "endpoint");
    this.#dialer = new ConnectDialer({ tls: dialTls(options.tls), authorization: showToken(options.token) });
    this.#retryUnknown = options.retryUnknown ?? true;
    this.#random = options.random ?? Math.random;
    this.#calls = new ClientCalls({
      endpoints: options.endpoints,
      dialer: this.#dialer,
      deadlineMs: options.deadlineMs ?? 5_000,
      random: this.#random,
      membersOf: async (transport, call) => {
        const { membership } = await createClient(RaftMetricsService, transport).members({}, call);
        const addresses = (membership?.members ?? []).map(({ address }) => address);
        return addresses.filter((address) => addressProblem(address) === undefined);
      },
    });
  }

  /** Where this client goes: the endpoints that it was given, and the members as it has learned them since. */
  get endpoints(): readonly string[] {
    return this.#calls.endpoints;
  }

  /**
   * Resolves when the write is on the disks of a majority and applied, or `refused` because the condition does not
   * hold. `modRevision` is the key's afterwards; 0n: it does not exist. @throws PlacementError
   */
  async set(
    key: string,
    value: Uint8Array | string,
    options?: WriteConditions,
  ): Promise<{ revision: bigint; refused: boolean; modRevision: bigint }> {
    const ifModRevision = options?.ifModRevision;
    const request = {
      key,
      value: toBytes(value),
      ...(ifModRevision !== undefined && {
        condition: { case: "ifModRevision", value: ifModRevision } as const,
      }),
    };
    const { revision, refused, modRevision } = await this.#write(options, (transport, call, writeId) =>
      createClient(KvService, transport).set({ ...request, writeId }, call),
    );
    return { revision, refused, modRevision };
  }

  /** @throws PlacementError */
  async delete(
    key: string,
    options?: WriteConditions,
  ): Promise<{ deleted: boolean; revision: bigint; refused: boolean }> {
    const ifModRevision = options?.ifModRevision;
    const request = { key, ...(ifModRevision !== undefined && { ifModRevision }) };
    const { deleted, revision, refused } = await this.#write(options, (transport, call, writeId) =>
      createClient(KvService, transport).delete({ ...request, writeId }, call),
    );
    return { deleted, revision, refused };
  }

  /** Compares and does one of two lists of steps, at one revision or not at all. @throws PlacementError */
  async txn(
    { compare = [], success = [], failure = [] }: Txn,
    options?: RequestOptions,
  ): Promise<TxnOutcome> {
    const request = {
      compare: compare.map(compareMessage),
      success: success.map(operationMessage),
      failure: failure.map(operationMessage),
    };
    const answer = await this.#write(options, (transport, call, writeId) =>
      createClient(KvService, transport).txn({ ...request, writeId }, call),
    );
    return txnOutcome(answer);
  }

  /** Undefined when there is no such key. @throws PlacementError */
  async get(key: string, options?: ReadOptions): Promise<KvEntry | undefined> {
    const request = { key, ...levelOf(options) };
    const answer = await this.#readStore(options, (transport, call) =>
      createClient(KvService, transport).get(request, call),
    );
    if (!answer.found) return undefined;
    const { value, createRevision, modRevision, version } = answer;
    return { value, createRevision, modRevision, version };
  }

  /** @throws PlacementError */
  async exists(key: string, options?: ReadOptions): Promise<boolean> {
    const request = { key, ...levelOf(options) };
    const answer = await this.#readStore(options, (transport, call) =>
      createClient(KvService, transport).exists(request, call),
    );
    return answer.exists;
  }

  /**
   * One page of keys, in the order of their UTF-8 bytes.
   * @throws PlacementError `compacted` when the revision, or that of the page before, is too long ago.
   */
  async range(keys: KeySelection, options?: RangeOptions): Promise<RangePage> {
    const { limit = 0, keysOnly = false, pageToken = new Uint8Array(), revision = 0n } = options ?? {};
    const request = { range: keyRange(keys), limit, keysOnly, pageToken, revision, ...levelOf(options) };
    const answer = await this.#readStore(options, (transport, call) =>
      createClient(KvService, transport).range(request, call),
    );
    const isLast = answer.nextPageToken.length === 0;
    return {
      entries: answer.entries.map(keyedEntry),
      revision: answer.revision,
      nextPageToken: isLast ? undefined : answer.nextPageToken,
    };
  }

  /** Every key of a selection, page by page, all as of one revision. @throws as `range` */
  async *entries(keys: KeySelection, options?: RangeOptions): AsyncGenerator<KeyedEntry> {
    let page = await this.range(keys, options);
    yield* page.entries;
    while (page.nextPageToken !== undefined) {
      page = await this.range(keys, { ...options, pageToken: page.nextPageToken });
      yield* page.entries;
    }
  }

  /**
   * The changes of a selection of keys, in order, each once, over failures of nodes. The first update is a progress
   * mark: the watch is in place. Ends with the signal, or the client.
   * @throws PlacementError `compacted` when the changes since `fromRevision` are not kept any more.
   */
  watch(keys: KeySelection, options: WatchClientOptions = {}): AsyncGenerator<WatchUpdate> {
    const context = {
      endpoints: () => this.#calls.endpoints,
      dialer: this.#dialer,
      random: this.#random,
      isClosed: () => this.#calls.closed,
      reached: (endpoint: string) => this.#calls.refreshWhenDue(endpoint, true),
    };
    return watchKeys(context, keys, options);
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

  /**
   * What one node says about itself: at once, then in every interval in which something changed. Ends with the signal.
   * @throws PlacementError when the node cannot be reached, or not any more
   */
  async *watchMetrics(
    endpoint: string,
    options: { readonly intervalMs?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<MetricsResponse> {
    const { intervalMs = 0, signal } = options;
    // Watches have no deadline: 0 stands for none.
    const call = signal === undefined ? { timeoutMs: 0 } : { timeoutMs: 0, signal };
    try {
      yield* this.#stream(endpoint, (transport) =>
        createClient(RaftMetricsService, transport).watchMetrics({ intervalMs }, call),
      );
    } catch (error) {
      if (signal?.aborted !== true) throw error;
    }
  }

  /**
   * Begins a cluster of the asked node, which waits with an empty log, and of other members that do.
   * @throws PlacementError when the node belongs to a cluster already
   */
  async initialize(
    endpoint: string,
    members: readonly ClusterMember[],
    options?: RequestOptions,
  ): Promise<ClusterMembers> {
    const request = { members: [...members] };
    return clusterMembers(
      await this.#administerNode(endpoint, options, (transport, call) =>
        createClient(RaftAdminService, transport).initialize(request, call),
      ),
    );
  }

  /** @throws PlacementError `membershipRefused` when nobody answers at the address, unless `force`. */
  async addLearner(id: NodeId, address: string, options?: ForceOptions): Promise<ClusterMembers> {
    const request = { nodeId: id, address, force: options?.force ?? false };
    return clusterMembers(
      await this.#administer(options, (transport, call) =>
        createClient(RaftAdminService, transport).addLearner(request, call),
      ),
    );
  }

  /** @throws PlacementError `membershipRefused` when nobody answers at the address, unless `force`. */
  async updateAddress(id: NodeId, address: string, options?: ForceOptions): Promise<ClusterMembers> {
    const request = { nodeId: id, address, force: options?.force ?? false };
    return clusterMembers(
      await this.#administer(options, (transport, call) =>
        createClient(RaftAdminService, transport).updateAddress(request, call),
      ),
    );
  }

  /**
   * From the present members to these, in one step. Who stays keeps the address it has where this one is empty.
   * @throws PlacementError `membershipRefused` when new voters lag, addresses do not answer, or the voters that do are
   *   no majority, unless `force`.
   */
  async changeMembership(members: readonly ClusterMember[], options?: ForceOptions): Promise<ClusterMembers> {
    const request = { members: [...members], force: options?.force ?? false };
    return clusterMembers(
      await this.#administer(options, (transport, call) =>
        createClient(RaftAdminService, transport).changeMembership(request, call),
      ),
    );
  }

  /** Has one node take a snapshot of its state now. @throws PlacementError */
  async takeSnapshot(endpoint: string, options?: RequestOptions): Promise<SnapshotInfo | undefined> {
    const answer = await this.#administerNode(endpoint, options, (transport, call) =>
      createClient(RaftAdminService, transport).takeSnapshot({}, call),
    );
    return answer.snapshot;
  }

  /**
   * The body of one node's newest snapshot, or of a new one with `take`: first what it is, then its bytes in order. Ends
   * normally only when all of it was there, with the checksum that was announced.
   * @throws PlacementError; `snapshotDamaged` when what came is not what was announced
   */
  downloadSnapshot(
    endpoint: string,
    options: { readonly take?: boolean | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<SnapshotPart> {
    const { take = false, signal } = options;
    return this.#stream(endpoint, (transport) => downloadSnapshot(transport, take, signal));
  }

  /**
   * Has one node cut its log as far as it may be cut, or up to an index, and with `file` give the free pages of its file
   * back. @throws PlacementError
   */
  async compact(
    endpoint: string,
    options?: RequestOptions & {
      readonly upToIndex?: bigint | undefined;
      readonly file?: boolean | undefined;
    },
  ): Promise<{ readonly firstIndex: bigint; readonly fileBytes: bigint; readonly freeBytes: bigint }> {
    const request = { upToIndex: options?.upToIndex ?? 0n, file: options?.file ?? false };
    const answer = await this.#administerNode(endpoint, options, (transport, call) =>
      createClient(RaftAdminService, transport).compact(request, call),
    );
    const { firstIndex, fileBytes, freeBytes } = answer;
    return { firstIndex, fileBytes, freeBytes };
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

  /** A read whose answer names the store's revision. */
  async #readStore<T extends { readonly revision: bigint }>(
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    const answer = await this.#read(options, send);
    this.#writes.learnRevision(answer.revision);
    return answer;
  }

  async #write<T extends { readonly revision: bigint }>(
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions, writeId: WriteId) => Promise<T>,
  ): Promise<T> {
    if (this.#writes.knownRevision === 0n) await this.#learnRevision(options, FIRST_LOOK_MS);
    try {
      return await this.#writeNumbered(options, send);
    } catch (error) {
      const isForgotten = error instanceof PlacementError && error.reason === "sessionExpired";
      if (!isForgotten || error.outcome !== "notApplied") throw error;
    }
    // Nothing was sent before that could have been applied: it may go under a number that is fresh in every way.
    await this.#learnRevision(options, undefined);
    return await this.#writeNumbered(options, send);
  }

  async #writeNumbered<T extends { readonly revision: bigint }>(
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions, writeId: WriteId) => Promise<T>,
  ): Promise<T> {
    const retryUnknown = options?.retryUnknown ?? this.#retryUnknown;
    const { writeId, end } = this.#writes.begin();
    try {
      const answer = await this.#calls.run({ changes: true, retryUnknown }, options, (transport, call) =>
        send(transport, call, writeId),
      );
      this.#writes.learnRevision(answer.revision);
      return answer;
    } finally {
      end();
    }
  }

  /**
   * Where the store stands, as any node has it: without that, a store that has forgotten other clients cannot tell
   * whether it has forgotten this one. With a limit it is a try, which does no harm when it fails.
   */
  async #learnRevision(options: RequestOptions | undefined, limitMs: number | undefined): Promise<void> {
    const deadlineMs =
      limitMs === undefined ? options?.deadlineMs : Math.min(options?.deadlineMs ?? limitMs, limitMs);
    const request = { key: "-", consistency: ReadConsistency.SERIALIZABLE };
    try {
      const plan = { changes: false, retryUnknown: false, once: limitMs !== undefined };
      const answer = await this.#calls.run(plan, { ...options, deadlineMs }, (transport, call) =>
        createClient(KvService, transport).exists(request, call),
      );
      this.#writes.learnRevision(answer.revision);
    } catch (error) {
      if (limitMs === undefined) throw error;
    }
  }

  #administer<T>(
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    return this.#calls.run({ changes: true, retryUnknown: false }, options, send);
  }

  /** Of one node: no other will do. */
  #administerNode<T>(
    endpoint: string,
    options: RequestOptions | undefined,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    parseAddress(endpoint, "endpoint");
    return this.#calls.run({ changes: true, retryUnknown: false, endpoint }, options, send);
  }

  async *#stream<T>(endpoint: string, open: (transport: Transport) => AsyncIterable<T>): AsyncGenerator<T> {
    parseAddress(endpoint, "endpoint");
    try {
      yield* open(this.#dialer.dial(endpoint));
    } catch (error) {
      if (error instanceof SnapshotStreamInvalid) {
        throw new PlacementError(error.message, "snapshotDamaged", "notApplied", endpoint, error);
      }
      const failure = failureOf(error, endpoint, false, (failed) => this.#dialer.neverSent(failed));
      throw new PlacementError(failure.message, failure.reason, "notApplied", endpoint, error);
    }
  }
}

const CONSISTENCIES = {
  linearizable: ReadConsistency.LINEARIZABLE,
  leaderLease: ReadConsistency.LEADER_LEASE,
  serializable: ReadConsistency.SERIALIZABLE,
} as const;

function levelOf(options: ReadOptions | undefined) {
  const consistency = CONSISTENCIES[options?.consistency ?? "linearizable"];
  return { consistency, maxStalenessMs: options?.maxStalenessMs ?? 0 };
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

/** The header that carries it. */
export function showToken(token: PlacementClientOptions["token"]): () => string | undefined {
  return () => {
    const shown = typeof token === "function" ? token() : token;
    return shown === undefined ? undefined : bearer(shown);
  };
}

function dialTls(tls: PlacementClientOptions["tls"]) {
  if (typeof tls === "function") return () => clientTls(tls());
  const checked = tls && clientTls(tls);
  return checked && (() => checked);
}
