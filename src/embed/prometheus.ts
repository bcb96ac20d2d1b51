// Everything that an embedded node counts, as Prometheus reads it: etcd's names with another prefix, so that its
// dashboards and alerts fit after a rename. docs/metrics.md has the list.

import type { EmbedMetricsView } from "../embed.js";
import type { NodeMetricsView } from "../node/metrics.js";
import type { NodeStatus } from "../node/status.js";
import { PrometheusText } from "../services/prometheus-text.js";
import type { LmdbStorageStats } from "../storage/lmdb-storage.js";
import type { PeerMetricsView, ReceivedMetricsView } from "../transport/transport-metrics.js";
import type { CertificateExpiry } from "./certificate-expiry.js";
import type { DialledRpcView } from "./peer-dialer.js";

export const METRICS_PREFIX = "raftnode_";

export interface PrometheusInput {
  readonly status: NodeStatus;
  readonly metrics: EmbedMetricsView;
  /** What the log may take before new commands are refused. */
  readonly quotaBytes: number;
  readonly version: string;
  /** What the embedder has to add. */
  readonly more?: ((text: PrometheusText) => void) | undefined;
}

/** The text of a scrape. */
export function prometheusText({ status, metrics, quotaBytes, version, more }: PrometheusInput): string {
  const text = new PrometheusText(METRICS_PREFIX);
  text.gauge("build_info", "The version that runs.", 1, { version, node: process.version });
  writeServer(text, status, metrics.node);
  text.gauge("server_quota_backend_bytes", "What the log may take.", quotaBytes);
  writeDisk(text, metrics.node, metrics.log);
  for (const peer of metrics.transport.peers) writePeer(text, peer);
  for (const received of metrics.transport.received) writeReceived(text, received);
  for (const forwarded of metrics.forwarded) writeForwarded(text, forwarded);
  text.gauge(
    "network_active_peers",
    "Peers to which there is a session.",
    metrics.transport.peers.filter(({ connected }) => connected).length,
  );
  text.counter(
    "server_heartbeat_send_failures_total",
    "Heartbeats that did not arrive.",
    metrics.transport.peers.reduce((sum, { lostHeartbeats }) => sum + lostHeartbeats, 0),
  );
  for (const [code, count] of Object.entries(metrics.transport.refusedAtTheDoor)) {
    text.counter("network_refused_requests_total", "Requests of peers that were not let in.", count, {
      code,
    });
  }
  text.histogram(
    "process_event_loop_delay_seconds",
    "How much later than due a timer fired.",
    metrics.eventLoopDelay,
  );
  if (metrics.certificates !== undefined) writeCertificates(text, metrics.certificates);
  writeProcess(text);
  more?.(text);
  return text.toString();
}

function writeServer(
  text: PrometheusText,
  status: NodeStatus,
  { counters, ...durations }: NodeMetricsView,
): void {
  const flag = (name: string, help: string, holds: boolean) =>
    text.gauge(`server_${name}`, help, holds ? 1 : 0);
  flag("has_leader", "1 if this node knows a leader.", status.leaderId !== undefined);
  flag("is_leader", "1 if this node leads.", status.role === "leader");
  flag("is_learner", "1 if this node has no vote.", status.role === "learner");
  flag("running", "0 once this node has failed or is stopping.", status.state === "running");
  flag("out_of_space", "1 while new commands are refused for want of space.", status.space !== "ok");
  text.gauge("server_term", "The term that this node is in.", status.term);
  text.counter(
    "server_leader_changes_seen_total",
    "Changes of leader that this node saw.",
    counters.leaderChanges,
  );
  text.counter("server_proposals_committed_total", "The commit index.", status.commit);
  text.counter("server_proposals_applied_total", "The applied index.", status.applied);
  text.counter(
    "server_proposals_failed_total",
    "Proposals here that ended in an error.",
    counters.proposalsFailed,
  );
  text.gauge("server_proposals_pending", "Proposals here without an answer yet.", status.pendingProposals);
  text.counter(
    "server_slow_apply_total",
    "Calls of the state machine that took too long.",
    counters.slowApplies,
  );
  text.counter("server_slow_appends_total", "Writes of the log that took too long.", counters.slowAppends);
  text.counter("server_read_indexes_total", "Linearizable reads served here.", counters.readsServed);
  text.counter("server_read_indexes_failed_total", "Linearizable reads not served.", counters.readsFailed);
  text.counter("server_read_rounds_total", "Rounds asked for reads.", counters.readRounds);
  text.counter(
    "server_slow_read_indexes_total",
    "Rounds without an answer for an election timeout.",
    counters.slowReadRounds,
  );
  text.counter(
    "server_reads_without_round_total",
    "Reads by lease or with staleness allowed.",
    counters.readsWithoutRound,
  );
  text.gauge("server_reads_pending", "Reads that wait for a round or to be applied.", status.pendingReads);
  text.counter("server_stalls_total", "Times at which the event loop stood still.", counters.stalls);
  text.counter(
    "server_inbox_rejections_total",
    "Envelopes of peers for which there was no room.",
    counters.inboxRejections,
  );
  text.counter(
    "server_membership_changes_total",
    "Changes of members applied here.",
    counters.membershipChanges,
  );
  text.histogram(
    "server_proposal_duration_seconds",
    "From propose to the answer.",
    durations.proposalDuration,
  );
  text.histogram("server_apply_duration_seconds", "One call of the state machine.", durations.applyDuration);
  text.histogram("server_read_duration_seconds", "From readIndex to the answer.", durations.readDuration);
}

function writeDisk(
  text: PrometheusText,
  { counters, appendDuration }: NodeMetricsView,
  log: LmdbStorageStats,
): void {
  text.histogram(
    "disk_wal_fsync_duration_seconds",
    "From handing a write to the log until it is durable.",
    appendDuration,
  );
  text.gauge("disk_log_total_size_bytes", "The file of the log.", log.fileBytes);
  text.gauge("disk_log_in_use_size_bytes", "Of it, in use.", log.usedBytes);
  text.gauge("disk_log_free_size_bytes", "Of it, pages that later writes will use again.", log.freeBytes);
  text.gauge(
    "disk_log_quota_size_bytes",
    "In use beyond it, new commands are refused.",
    log.limits.quotaBytes,
  );
  text.counter(
    "disk_log_file_compactions_total",
    "Times at which free pages were given back to the file system.",
    log.fileCompactions,
  );
  if (log.diskFreeBytes !== undefined) {
    text.gauge("disk_free_size_bytes", "What the file system of the log has left.", log.diskFreeBytes);
  }
  text.gauge(
    "disk_min_free_size_bytes",
    "With less left, new commands are refused.",
    log.limits.minFreeBytes,
  );
  text.gauge("disk_log_entries", "Entries in the log.", log.entries);
  text.counter("disk_log_batches_total", "Transactions of the log.", log.batches);
  text.counter("snap_created_total", "Snapshots made here.", counters.snapshotsCreated);
  text.counter(
    "snap_installed_total",
    "Snapshots of others that replaced the state here.",
    counters.snapshotsInstalled,
  );
  text.counter("snap_log_compactions_total", "Times at which the log was cut.", counters.compactions);
}

function writePeer(text: PrometheusText, peer: PeerMetricsView): void {
  const labels = { To: `${peer.id}` };
  const { sendRaftMessage, installSnapshot } = peer;
  text.histogram(
    "network_peer_round_trip_time_seconds",
    "One envelope and its answer.",
    sendRaftMessage.duration,
    labels,
  );
  text.counter("network_peer_sent_bytes_total", "Bytes of envelopes.", sendRaftMessage.bytes, labels);
  text.counter(
    "network_peer_sent_messages_total",
    "Raft messages that arrived.",
    sendRaftMessage.messages,
    labels,
  );
  text.gauge("network_peer_queued_bytes", "Bytes that wait to be sent.", peer.queuedBytes, labels);
  text.counter(
    "network_peer_dropped_messages_total",
    "Messages that were given up.",
    peer.droppedMessages,
    labels,
  );
  for (const [reason, count] of Object.entries(peer.failures)) {
    text.counter("network_peer_sent_failures_total", "What went wrong with this peer.", count, {
      ...labels,
      reason,
    });
  }
  text.gauge(
    "network_snapshot_send_inflights_total",
    "Snapshots under way.",
    installSnapshot.inFlight,
    labels,
  );
  text.counter("network_snapshot_sent_bytes_total", "Bytes of snapshots.", installSnapshot.bytes, labels);
  const failed = Object.values(installSnapshot.failures).reduce((sum, count) => sum + count, 0);
  text.counter(
    "network_snapshot_send_success_total",
    "Snapshots delivered.",
    installSnapshot.calls - failed,
    labels,
  );
  text.counter("network_snapshot_send_failures_total", "Snapshots not delivered.", failed, labels);
}

function writeReceived(
  text: PrometheusText,
  { from, sendRaftMessage, installSnapshot }: ReceivedMetricsView,
): void {
  const labels = { From: `${from}` };
  text.counter("network_peer_received_bytes_total", "Bytes of envelopes.", sendRaftMessage.bytes, labels);
  const refused = Object.values(sendRaftMessage.refusals).reduce((sum, count) => sum + count, 0);
  text.counter("network_peer_received_failures_total", "Envelopes that were refused.", refused, labels);
  text.gauge(
    "network_snapshot_receive_inflights_total",
    "Snapshots under way.",
    installSnapshot.inFlight,
    labels,
  );
  text.counter("network_snapshot_received_bytes_total", "Bytes of snapshots.", installSnapshot.bytes, labels);
}

function writeCertificates(text: PrometheusText, { certificateMs, authorityMs }: CertificateExpiry): void {
  const name = "tls_certificate_expiry_timestamp_seconds";
  const help = "When the first certificate of the file expires, since the epoch.";
  text.gauge(name, help, certificateMs / 1_000, { file: "certificate" });
  if (authorityMs !== undefined) text.gauge(name, help, authorityMs / 1_000, { file: "authorities" });
}

function writeForwarded(
  text: PrometheusText,
  { address, rpc, calls, failures, inFlight, duration }: DialledRpcView,
): void {
  const labels = { To: address, rpc };
  text.counter("network_forwarded_calls_total", "Calls passed on to another node.", calls, labels);
  for (const [reason, count] of Object.entries(failures)) {
    text.counter("network_forwarded_failures_total", "Of them, those that ended badly.", count, {
      ...labels,
      reason,
    });
  }
  text.gauge("network_forwarded_inflights_total", "Of them, under way.", inFlight, labels);
  text.histogram(
    "network_forwarded_duration_seconds",
    "From passing a call on to its answer.",
    duration,
    labels,
  );
}

/** Under the names that every Prometheus client uses. */
function writeProcess(text: PrometheusText): void {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  const startSeconds = Math.round(Date.now() / 1_000 - process.uptime());
  text.raw("process_cpu_seconds_total", "counter", "User and system CPU time.", (user + system) / 1e6);
  text.raw("process_resident_memory_bytes", "gauge", "Resident memory.", rss);
  text.raw("process_start_time_seconds", "gauge", "Start of the process since the epoch.", startSeconds);
  text.raw("nodejs_heap_size_used_bytes", "gauge", "Used part of the JavaScript heap.", heapUsed);
  text.raw("nodejs_external_memory_bytes", "gauge", "Memory of buffers.", external);
}
