// Everything that the package offers. The parts, from pure to complete: the consensus core (`RawNode`), the runtime
// around it (`RaftNode`), its storage, transport and services, one call that joins them (`embedRaftNode`), and the
// placement center, which is built on that call.

export * from "./core/index.js";
export type { AccessOptions } from "./embed/access.js";
export { ConnectDialer, type ConnectDialerOptions, type DialledRpcView } from "./embed/peer-dialer.js";
export { type ClientTls, TlsConfigInvalid, type TlsOptions } from "./embed/tls.js";
export {
  type EmbedContext,
  type EmbeddedNode,
  type EmbedMetricsView,
  type EmbedOptions,
  embedRaftNode,
} from "./embed.js";
export {
  type MembershipContext,
  MembershipContextSchema,
  type MembershipRecord,
  type SnapshotDescriptor,
  SnapshotDescriptorSchema,
} from "./gen/records_pb.js";
export {
  type ErrorDetail,
  ErrorDetail_Outcome,
  ErrorDetailSchema,
  KvService,
  PlacementCenterService,
  RaftAdminService,
  RaftClientService,
  RaftMetricsService,
  ReadConsistency,
  Role,
  type SnapshotInfo,
  SnapshotInfoSchema,
} from "./gen/service_pb.js";
export type { CallOptions } from "./node/calls.js";
export {
  NodeRemoved,
  RaftNodeError,
  type RaftNodeErrorCode,
  type RaftNodeErrorDetail,
} from "./node/errors.js";
export type { EventStream, EventStreamOptions } from "./node/event-stream.js";
export type { NodeEvents } from "./node/events.js";
export type { InitialMember } from "./node/initialize.js";
export type {
  CompactedLog,
  CompactLogOptions,
  OpenSnapshot,
  OpenSnapshotOptions,
} from "./node/maintenance.js";
export type { Membership } from "./node/membership.js";
export type { MembershipChange, MembershipOptions, MembershipStep } from "./node/membership-change.js";
export type { TargetMember } from "./node/membership-target.js";
export type { HistogramView, NodeMetricsView } from "./node/metrics.js";
export type { NodeLimits, RaftNodeOptions, RaftOptions } from "./node/options.js";
export type {
  Cancel,
  Clock,
  Command,
  DurableLog,
  Logger,
  LogWrite,
  PeerInbox,
  PeerTransport,
  SnapshotReader,
  SnapshotReceiver,
  SnapshotSink,
  SnapshotStore,
  SpaceState,
  SpaceWatch,
  StateMachine,
  StateMachineSnapshot,
} from "./node/ports.js";
export type { ProposeOptions, ProposeResult } from "./node/proposals.js";
export { RaftNode } from "./node/raft-node.js";
export type { CompactionOptions } from "./node/snapshotting.js";
export type { NodeRole, NodeState, NodeStatus } from "./node/status.js";
export type { StopOptions } from "./node/stopping.js";
export { systemClock } from "./node/system-clock.js";
export {
  type ClusterMember,
  type ClusterMembers,
  type ForceOptions,
  PlacementClient,
  type PlacementClientOptions,
  type RangeOptions,
  type ReadOptions,
  type RequestOptions,
  type WriteConditions,
} from "./placement/client.js";
export { PlacementError, type WriteOutcome } from "./placement/client-error.js";
export type {
  KeyedEntry,
  KeySelection,
  KvEntry,
  RangePage,
  Txn,
  TxnCompare,
  TxnOutcome,
  TxnStep,
  TxnStepResult,
} from "./placement/client-kv.js";
export type { SnapshotPart } from "./placement/client-snapshot.js";
export type { WatchClientOptions, WatchedChange, WatchUpdate } from "./placement/client-watch.js";
export {
  type PlacementConfig,
  PlacementConfigInvalid,
  type PlacementLimits,
  parseAddress,
  parsePeers,
} from "./placement/config.js";
export { type KvRoutesOptions, kvRoutes } from "./placement/kv/kv-service.js";
export { KvStateMachine, type KvStateMachineOptions } from "./placement/kv/kv-state-machine.js";
export { type PlacementCenter, startPlacementCenter } from "./placement/server.js";
export type { AccessRole, ServiceRoles } from "./services/access-policy.js";
export { AccessConfigInvalid } from "./services/access-tokens.js";
export type { HostAndPort } from "./services/address.js";
export { type AdminRoutesOptions, adminRoutes } from "./services/admin-service.js";
export { type ClientRoutesOptions, clientRoutes } from "./services/client-service.js";
export {
  type CallPurpose,
  ERROR_TABLE,
  type ErrorReason,
  RETRY_ADVICE,
  ServiceError,
  type ServiceReason,
  toConnectError,
} from "./services/connect-errors.js";
export { type HealthRoutesOptions, healthRoutes } from "./services/health-service.js";
export {
  type Forwarding,
  type ForwardOptions,
  LeaderCalls,
  type LeaderCallsOptions,
  type LeaderOperation,
  type PeerDialer,
  type ReadLevel,
} from "./services/leader-calls.js";
export { type LedNode, leaderOnly } from "./services/leader-only.js";
export { type MetricsRoutesOptions, metricsRoutes } from "./services/metrics-service.js";
export { type HistogramValues, type Labels, PrometheusText } from "./services/prometheus-text.js";
export {
  Readiness,
  type ReadinessCheck,
  type ReadinessOptions,
  type ReadinessReport,
} from "./services/readiness.js";
export { type ReflectionRoutesOptions, reflectionRoutes } from "./services/reflection-service.js";
export { LmdbStorage, type LmdbStorageOptions } from "./storage/lmdb-storage.js";
export { SnapshotFiles, type SnapshotFilesOptions } from "./storage/snapshot-files.js";
export { StorageFault, type StorageFaultCode } from "./storage/storage-fault.js";
export {
  type ConnectPeerTransport,
  type ConnectTransportOptions,
  createConnectTransport,
} from "./transport/connect-transport.js";
export { type Http1ServerOptions, listenHttp1 } from "./transport/http1-server.js";
export { type Http2ServerOptions, type Listener, listenHttp2 } from "./transport/http2-server.js";
export type { TransportLimits } from "./transport/limits.js";
export { ListenError } from "./transport/listen.js";
export { type RaftServiceOptions, raftRoutes } from "./transport/raft-service.js";
export {
  type DurationHistogramView,
  type PeerMetricsView,
  ReceivedMetrics,
  type ReceivedMetricsView,
  type ReceivedRpcView,
  type RpcMetricsView,
  type TransportMetricsView,
} from "./transport/transport-metrics.js";
