// Two nodes' transports over real HTTP/2 sockets on the loopback.

import type { NodeId } from "../../../src/core/types.js";
import { MemorySnapshots } from "../../../src/testing/memory-snapshots.js";
import { RecordingInbox } from "../../../src/testing/recording-inbox.js";
import {
  type ConnectPeerTransport,
  createConnectTransport,
} from "../../../src/transport/connect-transport.js";
import { type Http2Listener, listenHttp2 } from "../../../src/transport/http2-server.js";
import type { TransportLimits } from "../../../src/transport/limits.js";
import { raftRoutes } from "../../../src/transport/raft-service.js";
import { ReceivedMetrics } from "../../../src/transport/transport-metrics.js";
import type { Identity } from "./certificates.js";
import { RecordingLogger, systemClock } from "./doubles.js";

export interface TestNode {
  readonly id: NodeId;
  readonly inbox: RecordingInbox;
  readonly snapshots: MemorySnapshots;
  readonly logger: RecordingLogger;
  readonly transport: ConnectPeerTransport;
  readonly listener: Http2Listener;
  readonly address: string;
  close(): Promise<void>;
}

export interface TestNodeOptions {
  readonly id: NodeId;
  readonly port?: number;
  readonly clusterId?: string;
  readonly incarnation?: string;
  readonly limits?: Partial<TransportLimits>;
  readonly shutdownGraceMs?: number;
  /** Mutual TLS with this identity; asked anew for every dial. */
  readonly identity?: () => Identity;
  readonly allowedPeerNames?: readonly string[];
  readonly requireTlsOffLoopback?: boolean;
  readonly proposeConfChange?: (change: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;
}

export async function startTestNode(options: TestNodeOptions): Promise<TestNode> {
  const { identity } = options;
  const { id, clusterId = "test-cluster", incarnation = `i-${id}`, limits = {} } = options;
  const inbox = new RecordingInbox(id);
  const snapshots = new MemorySnapshots();
  const logger = new RecordingLogger();
  const received = new ReceivedMetrics();
  let transport: ConnectPeerTransport | undefined;
  const listener = await listenHttp2({
    host: "127.0.0.1",
    port: options.port ?? 0,
    routes: raftRoutes({
      id,
      clusterId,
      incarnation,
      inbox,
      snapshots,
      logger,
      clock: systemClock,
      limits,
      allowedPeerNames: options.allowedPeerNames,
      requireTlsOffLoopback: options.requireTlsOffLoopback,
      proposeConfChange: options.proposeConfChange,
      learnAddress: (from, address) => transport?.learnAddress(from, address),
      observeIncarnation: (from, seen) => transport?.observeIncarnation(from, seen),
      received,
    }),
    tls: identity === undefined ? undefined : { ...identity(), requestCert: true, rejectUnauthorized: true },
    logger,
    limits,
    shutdownGraceMs: options.shutdownGraceMs ?? 200,
  });
  const address = `127.0.0.1:${listener.address.port}`;
  const sending = createConnectTransport({
    id,
    clusterId,
    incarnation,
    inbox,
    snapshots,
    logger,
    clock: systemClock,
    limits,
    tls: identity,
    received,
    advertisedAddress: address,
  });
  transport = sending;
  return {
    id,
    inbox,
    snapshots,
    logger,
    transport: sending,
    listener,
    address,
    close: async () => {
      await sending.close();
      await listener.close();
    },
  };
}

export function introduce(...nodes: readonly TestNode[]): void {
  const members = new Map(nodes.map((node) => [node.id, node.address]));
  for (const node of nodes) node.transport.setMembers(members);
}
