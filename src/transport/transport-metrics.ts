// What the transport counts, per peer and per RPC. Plain numbers that only grow, except where a field says "now";
// counters of a peer begin anew when its address changes, as they do when the process restarts.

import { Code, ConnectError } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import type { Clock } from "../node/ports.js";
import { classifyFailure, type FailureClass } from "./transport-errors.js";

/** From 0.1 ms, doubling, as etcd's peer round trips are counted. */
export const ROUND_TRIP_BOUNDS_MS: readonly number[] = Array.from(
  { length: 16 },
  (_, power) => 0.1 * 2 ** power,
);

/** How many values fell at or below each bound. */
export interface DurationHistogramView {
  readonly boundsMs: readonly number[];
  /** One more than bounds: the last counts what lies above all of them. Not cumulative. */
  readonly counts: readonly number[];
  readonly count: number;
  readonly sumMs: number;
  readonly maxMs: number;
}

/** One RPC, as its caller sees it. */
export interface RpcMetricsView {
  /** Ended, well or not. */
  readonly calls: number;
  /** Those that ended badly, by class; see the table in `transport-errors.ts`. */
  readonly failures: Readonly<Partial<Record<FailureClass, number>>>;
  /** Now. */
  readonly inFlight: number;
  /** Raft messages that arrived. */
  readonly messages: number;
  /** Bodies that were sent and arrived; of a snapshot, every chunk that was handed to the connection. */
  readonly bytes: number;
  /** From the call to its answer, for calls that were answered well: the round trip, and the peer's work. */
  readonly duration: DurationHistogramView;
}

/** One peer to which this node has sent something since it is at this address. */
export interface PeerMetricsView {
  readonly id: NodeId;
  readonly address: string;
  /** There is an HTTP/2 session, now. */
  readonly connected: boolean;
  /** Messages that wait to be sent, now. */
  readonly queued: number;
  readonly queuedBytes: number;
  /** Messages in envelopes that are under way, now. */
  readonly inFlight: number;
  /** Messages that were given up: a lane was full, they were too large, or the envelope before them failed. */
  readonly droppedMessages: number;
  /** Heartbeats that did not arrive, or gave way to newer ones before they were sent. */
  readonly lostHeartbeats: number;
  /** A snapshot waits for its turn or is being sent, now. */
  readonly sendingSnapshot: boolean;
  readonly sendRaftMessage: RpcMetricsView;
  readonly installSnapshot: RpcMetricsView;
  /** Everything that went wrong with this peer, also before a call was made. */
  readonly failures: Readonly<Partial<Record<FailureClass, number>>>;
  readonly lastError: string | undefined;
}

/** One RPC, as its receiver sees it. */
export interface ReceivedRpcView {
  /** Ended, well or not. */
  readonly calls: number;
  /** Those that were answered with an error, by the name of its Connect code. */
  readonly refusals: Readonly<Record<string, number>>;
  /** Now. */
  readonly inFlight: number;
  /** Raft messages that were taken in. */
  readonly messages: number;
  /** Bodies that arrived, whether or not they were taken in. */
  readonly bytes: number;
}

/** One node that has been let in. */
export interface ReceivedMetricsView {
  readonly from: NodeId;
  readonly sendRaftMessage: ReceivedRpcView;
  readonly installSnapshot: ReceivedRpcView;
}

/**
 * Everything, as of now; a copy. What operators know from etcd:
 *
 * | etcd | here |
 * | --- | --- |
 * | `etcd_network_peer_round_trip_time_seconds` | `peers[].sendRaftMessage.duration` |
 * | `etcd_network_peer_sent_bytes_total` | `peers[].sendRaftMessage.bytes` |
 * | `etcd_network_peer_sent_failures_total` | `peers[].failures` |
 * | `etcd_server_heartbeat_send_failures_total` | `peers[].lostHeartbeats` |
 * | `etcd_network_peer_received_bytes_total` | `received[].sendRaftMessage.bytes` |
 * | `etcd_network_peer_received_failures_total` | `received[].sendRaftMessage.refusals`, `refusedAtTheDoor` |
 * | `etcd_network_active_peers` | `peers[].connected` |
 * | `etcd_network_snapshot_send_{success,failures}`, `..._send_total_duration_seconds` | `peers[].installSnapshot` |
 * | `etcd_network_snapshot_send_inflights_total` | `peers[].installSnapshot.inFlight` |
 * | `etcd_network_snapshot_receive_{success,failures,inflights_total}` | `received[].installSnapshot` |
 */
export interface TransportMetricsView {
  /** In id order. */
  readonly peers: readonly PeerMetricsView[];
  /** In id order; nodes that were let in, at most 256 of them. */
  readonly received: readonly ReceivedMetricsView[];
  /** Requests of others: another cluster, no member, no certificate; by the name of the Connect code. */
  readonly refusedAtTheDoor: Readonly<Record<string, number>>;
}

const MAX_SENDERS = 256;

class DurationHistogram {
  readonly #counts = new Array<number>(ROUND_TRIP_BOUNDS_MS.length + 1).fill(0);
  #count = 0;
  #sumMs = 0;
  #maxMs = 0;

  record(durationMs: number): void {
    const found = ROUND_TRIP_BOUNDS_MS.findIndex((bound) => durationMs <= bound);
    const slot = found < 0 ? ROUND_TRIP_BOUNDS_MS.length : found;
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1;
    this.#count += 1;
    this.#sumMs += durationMs;
    this.#maxMs = Math.max(this.#maxMs, durationMs);
  }

  view(): DurationHistogramView {
    return {
      boundsMs: ROUND_TRIP_BOUNDS_MS,
      counts: [...this.#counts],
      count: this.#count,
      sumMs: this.#sumMs,
      maxMs: this.#maxMs,
    };
  }
}

/** Counts the calls of one RPC to one peer. */
export class RpcMetrics {
  readonly #duration = new DurationHistogram();
  readonly #failures = new Map<FailureClass, number>();
  #calls = 0;
  #inFlight = 0;
  #messages = 0;
  #bytes = 0;

  constructor(
    private readonly clock: Clock,
    private readonly classify: (error: unknown) => FailureClass = classifyFailure,
  ) {}

  /** Settles as the call does. */
  async measure<T>(call: () => Promise<T>): Promise<T> {
    const startedAtMs = this.clock.nowMs();
    this.#inFlight += 1;
    try {
      const answer = await call();
      this.#duration.record(this.clock.nowMs() - startedAtMs);
      return answer;
    } catch (error) {
      addOne(this.#failures, this.classify(error));
      throw error;
    } finally {
      this.#calls += 1;
      this.#inFlight -= 1;
    }
  }

  sent(messages: number, bytes: number): void {
    this.#messages += messages;
    this.#bytes += bytes;
  }

  view(): RpcMetricsView {
    return {
      calls: this.#calls,
      failures: Object.fromEntries(this.#failures),
      inFlight: this.#inFlight,
      messages: this.#messages,
      bytes: this.#bytes,
      duration: this.#duration.view(),
    };
  }
}

/** Counts the calls of one RPC from one sender. */
export class ReceivedRpc {
  readonly #refusals = new Map<string, number>();
  #calls = 0;
  #inFlight = 0;
  #messages = 0;
  #bytes = 0;

  begin(): void {
    this.#inFlight += 1;
  }

  /** @param error what the sender is answered with, if it is an error. */
  end(error?: unknown): void {
    this.#inFlight -= 1;
    this.#calls += 1;
    if (error !== undefined) addOne(this.#refusals, codeName(error));
  }

  took(messages: number): void {
    this.#messages += messages;
  }

  arrived(bytes: number): void {
    this.#bytes += bytes;
  }

  view(): ReceivedRpcView {
    return {
      calls: this.#calls,
      refusals: Object.fromEntries(this.#refusals),
      inFlight: this.#inFlight,
      messages: this.#messages,
      bytes: this.#bytes,
    };
  }
}

/** Counts what arrives, by sender; bounded, because ids come from outside. */
export class ReceivedMetrics {
  readonly #senders = new Map<NodeId, { sendRaftMessage: ReceivedRpc; installSnapshot: ReceivedRpc }>();
  readonly #refusedAtTheDoor = new Map<string, number>();

  /** Of a sender that was let in. */
  from(id: NodeId): { readonly sendRaftMessage: ReceivedRpc; readonly installSnapshot: ReceivedRpc } {
    const known = this.#senders.get(id);
    if (known !== undefined) return known;
    const sender = { sendRaftMessage: new ReceivedRpc(), installSnapshot: new ReceivedRpc() };
    this.#senders.set(id, sender);
    if (this.#senders.size > MAX_SENDERS) {
      for (const oldest of this.#senders.keys()) {
        this.#senders.delete(oldest);
        break;
      }
    }
    return sender;
  }

  refuse(error: unknown): void {
    addOne(this.#refusedAtTheDoor, codeName(error));
  }

  view(): Pick<TransportMetricsView, "received" | "refusedAtTheDoor"> {
    return {
      received: [...this.#senders]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([from, { sendRaftMessage, installSnapshot }]) => ({
          from,
          sendRaftMessage: sendRaftMessage.view(),
          installSnapshot: installSnapshot.view(),
        })),
      refusedAtTheDoor: Object.fromEntries(this.#refusedAtTheDoor),
    };
  }
}

function codeName(error: unknown): string {
  return Code[ConnectError.from(error).code];
}

function addOne<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
