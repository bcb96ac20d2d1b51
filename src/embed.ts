// One call that makes a running node out of a state machine and a folder: LMDB below, Connect above, all opened and
// closed in the right order.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { create, type DescService } from "@bufbuild/protobuf";
import { type ConnectRouter, createConnectRouter } from "@connectrpc/connect";
import type { NodeId } from "./core/types.js";
import { type AccessOptions, NodeAccess } from "./embed/access.js";
import type { CertificateExpiry } from "./embed/certificate-expiry.js";
import { DiskProbe } from "./embed/disk-probe.js";
import { EventLoopDelay } from "./embed/event-loop-delay.js";
import { operatorHandler } from "./embed/operator-http.js";
import { ConnectDialer, type DialledRpcView } from "./embed/peer-dialer.js";
import { prometheusText } from "./embed/prometheus.js";
import { Certificates, requireLoopback, serverTls, type TlsMaterial, type TlsOptions } from "./embed/tls.js";
import { ConfStateSchema } from "./gen/eraftpb_pb.js";
import { Health } from "./gen/grpc/health/v1/health_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "./gen/records_pb.js";
import type { HistogramView, NodeMetricsView } from "./node/metrics.js";
import { type NodeLimits, type RaftOptions, SILENT } from "./node/options.js";
import type { Logger, PeerInbox, StateMachine } from "./node/ports.js";
import { RaftNode } from "./node/raft-node.js";
import type { CompactionOptions } from "./node/snapshotting.js";
import { systemClock } from "./node/system-clock.js";
import { formatAddress, type HostAndPort, splitAddress } from "./services/address.js";
import { adminRoutes } from "./services/admin-service.js";
import type { CallBudgetLimits } from "./services/call-budget.js";
import { toConnectError } from "./services/connect-errors.js";
import { healthRoutes } from "./services/health-service.js";
import { type Forwarding, LeaderCalls } from "./services/leader-calls.js";
import { metricsRoutes } from "./services/metrics-service.js";
import type { PrometheusText } from "./services/prometheus-text.js";
import { Readiness } from "./services/readiness.js";
import { reflectionRoutes } from "./services/reflection-service.js";
import { FolderLock } from "./storage/folder-lock.js";
import { LmdbStorage, type LmdbStorageOptions, type LmdbStorageStats } from "./storage/lmdb-storage.js";
import { SnapshotFiles } from "./storage/snapshot-files.js";
import { DEFAULT_SPACE_LIMITS } from "./storage/space-guard.js";
import { makeFolderDurable } from "./storage/storage-files.js";
import { type ConnectPeerTransport, createConnectTransport } from "./transport/connect-transport.js";
import { listenHttp1 } from "./transport/http1-server.js";
import { type Listener, listenHttp2 } from "./transport/http2-server.js";
import type { TransportLimits } from "./transport/limits.js";
import { listenOn } from "./transport/listen.js";
import { raftRoutes } from "./transport/raft-service.js";
import { ReceivedMetrics, type TransportMetricsView } from "./transport/transport-metrics.js";

export interface EmbedOptions<M extends StateMachine> {
  /** The folder of this node alone: `log`, `snapshots` and `state` are made in it. */
  readonly dataDir: string;
  readonly id: NodeId;
  readonly clusterId: string;
  /** Peers and clients, HTTP/2. Port 0: any free one. */
  readonly listen: HostAndPort;
  /** `host:port` where others reach `listen`. Default: this node's address in `members`, else made from `listen`. */
  readonly advertise?: string | undefined;
  /** HTTP/1.1 for JSON. Default: none. */
  readonly http?: HostAndPort | undefined;
  /**
   * Certificates, for both listeners and for the connections to other nodes: all nodes of a cluster have TLS, or none.
   * Default: none, and then `listen`, `http` and `advertise` must stay on this machine.
   */
  readonly tls?: TlsOptions | undefined;
  /**
   * Without TLS, let peers and clients on other machines in: the network between them is trusted. Without tokens,
   * whoever is on it may do everything. Default false.
   */
  readonly insecurePeers?: boolean | undefined;
  /** Who may do what. Default: who calls from this machine, or with a verified certificate, may do everything. */
  readonly access?: AccessOptions | undefined;
  /**
   * The members of a new cluster, the same on each of them. Only looked at while the folder is blank. Empty or
   * absent: the node waits until it is added to a cluster that runs.
   */
  readonly members?: readonly { readonly id: NodeId; readonly address: string }[] | undefined;
  /** Opens the state machine in a folder of its own. The node closes it. */
  readonly stateMachine: (dir: string) => Promise<M>;
  /** The name of that folder in `dataDir`. Default `state`. */
  readonly stateDir?: string | undefined;
  /** Further services, on both listeners; RaftAdminService and RaftMetricsService are there already. */
  readonly routes?: ((context: EmbedContext<M>) => (router: ConnectRouter) => void) | undefined;
  /** What `/metrics` shows besides everything that the node counts by itself. */
  readonly prometheus?: ((stateMachine: M) => (text: PrometheusText) => void) | undefined;
  readonly logger?: Logger | undefined;
  readonly tickIntervalMs?: number | undefined;
  readonly raft?: RaftOptions | undefined;
  /** Whether the leader may answer reads by its lease; the same on all nodes. See `RaftNodeOptions.leaseReads`. */
  readonly leaseReads?: boolean | undefined;
  readonly nodeLimits?: Partial<NodeLimits> | undefined;
  /** When the log is cut, and how much of it stays for peers that are a little behind. */
  readonly compaction?: Partial<CompactionOptions> | undefined;
  /** How much room the log may take, and how much must be left for it; see the options of `LmdbStorage`. */
  readonly log?: Pick<LmdbStorageOptions, "space" | "freeBytes" | "compactFileBytes"> | undefined;
  readonly transportLimits?: Partial<TransportLimits> | undefined;
  readonly callBudget?: Partial<CallBudgetLimits> | undefined;
  /** What a node that does not lead does with writes and linearizable reads. Default `forward`. */
  readonly forwarding?: Forwarding | undefined;
  /** How long open calls may take to end when the node is closed. Default 2,000. */
  readonly shutdownGraceMs?: number | undefined;
}

/** A copy of everything that is counted, for an exporter or a status page. */
export interface EmbedMetricsView {
  readonly node: NodeMetricsView;
  /** Per peer and RPC; its type says which of etcd's names stands for what. */
  readonly transport: TransportMetricsView;
  /** Calls that were passed on to the leader, and others between nodes that are not raft's. */
  readonly forwarded: readonly DialledRpcView[];
  /** The log's file and its writer; each batch is one fsync. */
  readonly log: LmdbStorageStats;
  /** How much later than due a timer of this process fired, sampled every 50 ms. */
  readonly eventLoopDelay: HistogramView;
  /** When this node's certificates end; absent without TLS. */
  readonly certificates?: CertificateExpiry | undefined;
}

/** What services are built from. */
export interface EmbedContext<M extends StateMachine> {
  readonly node: RaftNode;
  readonly stateMachine: M;
  /** Has calls done at the leader, from any node. */
  readonly calls: LeaderCalls;
  readonly logger: Logger;
  /** Never waits; takes some microseconds. */
  readonly metrics: () => EmbedMetricsView;
}

export interface EmbeddedNode<M extends StateMachine> extends EmbedContext<M> {
  /** Where the listeners are bound. */
  readonly address: HostAndPort;
  readonly httpAddress: HostAndPort | undefined;
  /**
   * Reads the certificates again now; it happens by itself every `tls.reloadIntervalMs`. Resolves with
   * whether they were renewed; files that do not fit together are logged and change nothing.
   */
  reloadTls(): Promise<boolean>;
  /** Reads the tokens again now, as happens by itself every `access.reloadIntervalMs`. Resolves with whether they are new. */
  reloadAccess(): Promise<boolean>;
  /**
   * Hands leadership over, lets open calls end, and closes everything; a second call waits for the first.
   * What the disk holds is complete at any moment: a process that is killed instead loses nothing either.
   */
  close(): Promise<void>;
}

const NOTHING_SENT: TransportMetricsView = { peers: [], received: [], refusedAtTheDoor: {} };
const DEFAULT_SHUTDOWN_GRACE_MS = 2_000;
const ADVISED_THREADS = 8;

/**
 * Starts a node.
 * @throws TlsConfigInvalid when certificates are of no use, or missing although they are needed; AccessConfigInvalid when
 *   tokens are; ListenError when an
 *   address cannot be had; NodeRemoved when the group has gone on without this node; StorageFault when the folder is damaged, in use, or another
 *   node's or cluster's; what `stateMachine` throws. Their messages are sentences for operators. Nothing is left
 *   open.
 */
export async function embedRaftNode<M extends StateMachine>(
  options: EmbedOptions<M>,
): Promise<EmbeddedNode<M>> {
  const logger = options.logger ?? SILENT;
  adviseThreads(logger);
  if (options.tls === undefined && options.insecurePeers !== true) requireLoopback(addressesOf(options));
  // Before the disk is touched: that an address is taken is the commonest mistake of all.
  const listen = await reserve(options.listen);
  const http = options.http === undefined ? undefined : await reserve(options.http);
  const cleanup = new Cleanup();
  try {
    return await start({ ...options, listen, http }, logger, cleanup);
  } catch (error) {
    await cleanup.run(logger);
    throw error;
  }
}

async function start<M extends StateMachine>(
  options: EmbedOptions<M>,
  logger: Logger,
  cleanup: Cleanup,
): Promise<EmbeddedNode<M>> {
  const { id, clusterId, dataDir, transportLimits } = options;
  const clock = systemClock;
  const incarnation = randomBytes(8).toString("hex");
  const certificates = options.tls && (await Certificates.load(options.tls, { clock, logger }));
  if (certificates !== undefined) cleanup.add(async () => certificates.close());
  const dialTls = certificates && (() => certificates.current);
  const access = await NodeAccess.load({
    ...options,
    addresses: addressesOf(options),
    hasPeers: options.members?.length !== 1,
    clock,
    logger,
  });
  cleanup.add(async () => access.close());
  const { authorization } = access;
  await makeFolderDurable(dataDir);
  // Before anything in the folder is tidied up: it may be in use.
  const lock = await FolderLock.acquire(dataDir);
  cleanup.add(() => lock.release());
  const snapshots = await SnapshotFiles.open(join(dataDir, "snapshots"), {
    keepFreeBytes: options.log?.space?.reserveBytes,
    freeBytes: options.log?.freeBytes,
  });
  const log = await LmdbStorage.open({
    ...options.log,
    dir: join(dataDir, "log"),
    clusterId,
    nodeId: id,
    snapshots,
    bootstrap: bootstrapRecord(options.members ?? []),
    logger,
  });
  const undoLog = cleanup.add(() => log.close());
  const stateMachine = await options.stateMachine(join(dataDir, options.stateDir ?? "state"));
  const undoStateMachine = cleanup.add(() => stateMachine.close());

  const received = new ReceivedMetrics();
  let peers: { readonly inbox: PeerInbox; readonly transport: ConnectPeerTransport } | undefined;
  const node = await RaftNode.start({
    id,
    clusterId,
    log,
    snapshots,
    stateMachine,
    transport: (inbox) => {
      const transport = createConnectTransport({
        id,
        clusterId,
        incarnation,
        inbox,
        snapshots,
        logger,
        clock,
        limits: transportLimits,
        tls: dialTls,
        authorization,
        received,
        advertisedAddress: advertisedAddress(options),
      });
      peers = { inbox, transport };
      return transport;
    },
    clock,
    logger,
    tickIntervalMs: options.tickIntervalMs,
    raft: options.raft,
    leaseReads: options.leaseReads,
    limits: options.nodeLimits,
    compaction: options.compaction,
  });
  // From here on the node closes its own parts.
  undoLog();
  undoStateMachine();
  // Leadership was handed over before, or cannot be: not to be waited for twice.
  cleanup.add(() => node.stop({ handOverMs: 0 }));

  const dialer = new ConnectDialer({ clock, limits: transportLimits, tls: dialTls, authorization });
  cleanup.add(() => dialer.close());
  const calls = new LeaderCalls({
    node,
    dialer,
    clock,
    logger,
    budget: options.callBudget,
    forwarding: options.forwarding,
  });
  const eventLoopDelay = new EventLoopDelay(clock);
  cleanup.add(async () => eventLoopDelay.stop());
  const metrics = (): EmbedMetricsView => ({
    node: node.metrics,
    transport: peers?.transport.metrics() ?? NOTHING_SENT,
    forwarded: dialer.metrics(),
    log: log.stats(),
    eventLoopDelay: eventLoopDelay.view(),
    certificates: certificates?.expiry,
  });
  const own = options.prometheus?.(stateMachine);
  const more = (text: PrometheusText): void => {
    access.writeMetrics(text);
    own?.(text);
  };
  const { quotaBytes } = { ...DEFAULT_SPACE_LIMITS, ...options.log?.space };
  const scrape = () =>
    prometheusText({ status: node.status(), metrics: metrics(), quotaBytes, version, more });
  const context: EmbedContext<M> = { node, stateMachine, calls, logger, metrics };
  const version = packageVersion();
  const diskProbe = new DiskProbe(dataDir, clock);
  const readiness = new Readiness({ node, probeDisk: () => diskProbe.probe() });
  const mounts = [
    adminRoutes({ node, calls, dialer }),
    metricsRoutes({ node, calls, version, clock }),
    ...(options.routes === undefined ? [] : [options.routes(context)]),
  ];
  const services = servicesOf(mounts);
  const names = services.map(({ typeName }) => typeName);
  mounts.push(healthRoutes({ readiness, calls, clock, services: () => names }));
  mounts.push(reflectionRoutes({ calls, services: () => [...services, Health] }));
  const clientRoutes = (router: ConnectRouter) => {
    for (const mount of mounts) mount(router);
  };
  const raft =
    peers === undefined
      ? undefined
      : peerRoutes(options, node, { ...peers, incarnation, snapshots, received });
  const listeners: Listener[] = [];
  cleanup.add(async () => {
    await Promise.all(listeners.map((listener) => listener.close()));
  });
  const serverOptions = {
    logger,
    limits: transportLimits,
    guard: access.guard,
    shutdownGraceMs: options.shutdownGraceMs ?? DEFAULT_SHUTDOWN_GRACE_MS,
  };
  const listenTls = (material: TlsMaterial) => serverTls(material, options.tls?.optionalClientCertificates);
  const tls = certificates && listenTls(certificates.current);
  const fallback = operatorHandler({
    ...{ node, readiness, version, metrics: scrape },
    logger,
    judge: (path, request) => access.judgePage(path, request),
  });
  const http2 = await listenHttp2({
    ...options.listen,
    ...serverOptions,
    tls,
    fallback,
    routes: (router) => {
      raft?.(router);
      clientRoutes(router);
    },
  });
  listeners.push(http2);
  const http1 =
    options.http &&
    (await listenHttp1({
      ...options.http,
      ...serverOptions,
      tls,
      routes: clientRoutes,
      fallback,
    }));
  if (http1 !== undefined) listeners.push(http1);

  certificates?.onRenewed((material) => {
    http2.reloadTls(listenTls(material));
    http1?.reloadTls(listenTls(material));
  });

  let closing: Promise<void> | undefined;
  return {
    ...context,
    address: http2.address,
    httpAddress: http1?.address,
    reloadTls: async () => (await certificates?.reload()) ?? false,
    reloadAccess: () => access.reload(),
    close: () => {
      closing ??= (async () => {
        await node.handOver();
        await calls.drain(serverOptions.shutdownGraceMs);
        await cleanup.run(logger);
      })();
      return closing;
    },
  };
}

/** Of everything that these mount. */
function servicesOf(mounts: readonly ((router: ConnectRouter) => void)[]): readonly DescService[] {
  const router = createConnectRouter();
  for (const mount of mounts) mount(router);
  return [...new Set(router.handlers.map(({ service }) => service))];
}

function peerRoutes<M extends StateMachine>(
  options: EmbedOptions<M>,
  node: RaftNode,
  parts: {
    readonly inbox: PeerInbox;
    readonly transport: ConnectPeerTransport;
    readonly incarnation: string;
    readonly snapshots: SnapshotFiles;
    readonly received: ReceivedMetrics;
  },
): (router: ConnectRouter) => void {
  const { inbox, transport, incarnation, snapshots, received } = parts;
  return raftRoutes({
    id: options.id,
    clusterId: options.clusterId,
    incarnation,
    inbox,
    snapshots,
    logger: options.logger ?? SILENT,
    clock: systemClock,
    limits: options.transportLimits,
    received,
    allowedPeerNames: options.tls?.peerNames,
    requireTlsOffLoopback: options.insecurePeers !== true,
    proposeConfChange: async (change, signal) => {
      try {
        return await node.proposeConfChange(change, { signal });
      } catch (error) {
        throw toConnectError(error, "write", node);
      }
    },
    learnAddress: (id, address) => transport.learnAddress(id, address),
    observeIncarnation: (id, incarnationOfPeer) => transport.observeIncarnation(id, incarnationOfPeer),
  });
}

/** What has to be undone, last things first. */
class Cleanup {
  readonly #steps = new Set<() => Promise<void>>();

  /** Returns how to drop the step, when somebody else has taken it over. */
  add(step: () => Promise<void>): () => void {
    this.#steps.add(step);
    return () => this.#steps.delete(step);
  }

  /** Every step is tried, whatever becomes of those before it. */
  async run(logger: Logger): Promise<void> {
    for (const step of [...this.#steps].reverse()) {
      this.#steps.delete(step);
      try {
        await step();
      } catch (error) {
        logger.error({ error }, "a part of the node could not be closed cleanly");
      }
    }
  }
}

/** Shows that an address can be had, and chooses the port if that was left open. */
async function reserve({ host, port }: HostAndPort): Promise<HostAndPort> {
  const probe = createServer();
  const address = await listenOn(probe, host, port);
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return { host, port: address.port };
}

function advertisedAddress<M extends StateMachine>(options: EmbedOptions<M>): string {
  const { advertise, id, listen, members = [] } = options;
  const own = advertise ?? members.find((member) => member.id === id)?.address;
  if (own !== undefined) return own;
  const isWildcard = listen.host === "0.0.0.0" || listen.host === "::";
  return formatAddress({ host: isWildcard ? hostname() : listen.host, port: listen.port });
}

/** Where this node can be reached. */
function addressesOf<M extends StateMachine>(
  options: EmbedOptions<M>,
): Readonly<Record<string, HostAndPort | undefined>> {
  const { listen, http } = options;
  const advertised = splitAddress(advertisedAddress(options));
  return { listen, http, advertise: "problem" in advertised ? undefined : advertised };
}

function bootstrapRecord(
  members: readonly { readonly id: NodeId; readonly address: string }[],
): MembershipRecord | undefined {
  if (members.length === 0) return undefined;
  return create(MembershipRecordSchema, {
    confState: create(ConfStateSchema, { voters: members.map(({ id }) => id) }),
    index: 1n,
    addresses: members.map(({ id, address }) => ({ id, address })),
  });
}

/** Every commit of LMDB holds a thread of libuv's pool while the disk works; files and names need some too. */
function adviseThreads(logger: Logger): void {
  const { UV_THREADPOOL_SIZE = "4" } = process.env;
  const threads = Number(UV_THREADPOOL_SIZE);
  if (threads >= ADVISED_THREADS) return;
  logger.info(
    { threads },
    `set UV_THREADPOOL_SIZE=${ADVISED_THREADS} or more in the environment: disk writes share ${threads} threads now`,
  );
}

/** Unknown where this code was bundled into a program of its own. */
function packageVersion(): string {
  try {
    const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
    const isNamed = typeof manifest === "object" && manifest !== null && "version" in manifest;
    return isNamed ? String(manifest.version) : "unknown";
  } catch {
    return "unknown";
  }
}
