// The sending half of the network: one sender per peer, found by the id in `to`.

import type { SecureClientSessionOptions } from "node:http2";
import type { NodeId } from "../core/types.js";
import { type Message, MessageType } from "../gen/eraftpb_pb.js";
import type { Clock, Logger, PeerInbox, PeerTransport, SnapshotStore } from "../node/ports.js";
import { FailureLog } from "./failure-log.js";
import { identityHeaders, isAddress } from "./headers.js";
import { Http2Session } from "./http2-session.js";
import { type TransportLimits, transportLimits } from "./limits.js";
import { PeerSender } from "./peer-sender.js";
import { SnapshotSender } from "./snapshot-sender.js";
import { TransportError } from "./transport-errors.js";
import { ReceivedMetrics, RpcMetrics, type TransportMetricsView } from "./transport-metrics.js";

export interface ConnectTransportOptions {
  readonly id: NodeId;
  readonly clusterId: string;
  /** Chosen anew at every start of the process. */
  readonly incarnation: string;
  readonly inbox: PeerInbox;
  readonly snapshots: SnapshotStore;
  readonly logger: Logger;
  readonly clock: Clock;
  /** In [0, 1); for jitter. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
  readonly limits?: Partial<TransportLimits> | undefined;
  /** Present: peers are dialled over TLS. Asked anew for every dial, so renewed certificates need no restart. */
  readonly tls?: (() => SecureClientSessionOptions) | undefined;
  /** The header of this name, by which peers know this node; asked anew for every call. Default: none. */
  readonly authorization?: (() => string | undefined) | undefined;
  /** Where `raftRoutes` counts what arrives, for `metrics()` to tell. */
  readonly received?: ReceivedMetrics | undefined;
  /** `host:port` under which peers reach this node. */
  readonly advertisedAddress: string;
}

export interface ConnectPeerTransport extends PeerTransport {
  /** Everything that was sent, and that arrived, so far. */
  metrics(): TransportMetricsView;
  /** Where an admitted sender says it is reached. Used only while the membership does not name it. */
  learnAddress(id: NodeId, address: string): void;
  /** Which incarnation a sender showed. When it changed, the sessions with its predecessor are given up at once. */
  observeIncarnation(id: NodeId, incarnation: string): void;
}

interface Peer {
  readonly id: NodeId;
  readonly address: string;
  readonly session: Http2Session;
  readonly sender: PeerSender;
  readonly failures: FailureLog;
  readonly installSnapshot: RpcMetrics;
}

/**
 * Connects to peers as messages to them come up.
 * @throws RangeError when a limit makes no sense, or the advertised address is no `host:port`.
 */
export function createConnectTransport(options: ConnectTransportOptions): ConnectPeerTransport {
  if (!isAddress(options.advertisedAddress)) {
    throw new RangeError(
      `the advertised address ${JSON.stringify(options.advertisedAddress)} is no host:port`,
    );
  }
  return new ConnectTransport(options, transportLimits(options.limits));
}

class ConnectTransport implements ConnectPeerTransport {
  readonly #options: ConnectTransportOptions;
  readonly #limits: TransportLimits;
  readonly #headers: Record<string, string>;
  readonly #snapshots: SnapshotSender;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #learned = new Map<NodeId, string>();
  readonly #incarnations = new Map<NodeId, string>();
  readonly #closing = new Set<Promise<void>>();
  readonly #unreachable = new Set<NodeId>();
  readonly #received: ReceivedMetrics;
  #members: ReadonlyMap<NodeId, string> = new Map();
  #closed = false;

  constructor(options: ConnectTransportOptions, limits: TransportLimits) {
    this.#options = options;
    this.#limits = limits;
    this.#headers = identityHeaders(options);
    this.#received = options.received ?? new ReceivedMetrics();
    this.#snapshots = new SnapshotSender({
      snapshots: options.snapshots,
      limits,
      clock: options.clock,
      logger: options.logger,
      report: (to, delivered) => {
        if (!this.#closed) options.inbox.reportSnapshot(to, delivered);
      },
    });
  }

  send(messages: readonly Message[]): void {
    if (this.#closed) return;
    const byPeer = new Map<NodeId, Message[]>();
    for (const message of messages) {
      const queued = byPeer.get(message.to);
      if (queued === undefined) byPeer.set(message.to, [message]);
      else queued.push(message);
    }
    for (const [to, forPeer] of byPeer) this.#sendTo(to, forPeer);
  }

  setMembers(addresses: ReadonlyMap<NodeId, string>): void {
    this.#members = new Map(addresses);
    for (const id of addresses.keys()) this.#learned.delete(id);
    for (const peer of [...this.#peers.values()]) {
      if (this.#addressOf(peer.id) !== peer.address) this.#disconnect(peer);
    }
    for (const id of [...this.#incarnations.keys()]) {
      if (this.#addressOf(id) === undefined) this.#incarnations.delete(id);
    }
  }

  learnAddress(id: NodeId, address: string): void {
    if (this.#closed || id === this.#options.id || this.#members.has(id) || !isAddress(address)) return;
    if (this.#learned.get(id) === address) return;
    this.#learned.delete(id);
    this.#learned.set(id, address);
    const peer = this.#peers.get(id);
    if (peer !== undefined && peer.address !== address) this.#disconnect(peer);
    if (this.#learned.size <= this.#limits.maxLearnedAddresses) return;
    for (const oldest of this.#learned.keys()) {
      this.#learned.delete(oldest);
      const dropped = this.#peers.get(oldest);
      if (dropped !== undefined) this.#disconnect(dropped);
      break;
    }
  }

  observeIncarnation(id: NodeId, incarnation: string): void {
    if (this.#closed || this.#addressOf(id) === undefined) return;
    const known = this.#incarnations.get(id);
    if (known === incarnation) return;
    this.#incarnations.set(id, incarnation);
    const peer = this.#peers.get(id);
    if (known === undefined || peer === undefined) {
      // It just spoke to us, so a backoff from before it started serves no one.
      if (peer?.session.state === "backingOff") peer.session.reset(restarted(peer));
      return;
    }
    this.#options.logger.info(
      { peer: id.toString(), address: peer.address, incarnation },
      "a peer restarted",
    );
    const reason = restarted(peer);
    peer.session.reset(reason);
    this.#snapshots.cancel(id, reason);
  }

  metrics(): TransportMetricsView {
    const peers = [...this.#peers.values()]
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map((peer) => ({
        id: peer.id,
        address: peer.address,
        connected: peer.session.state === "ready",
        sendingSnapshot: this.#snapshots.isSending(peer.id),
        ...peer.sender.metrics(),
        installSnapshot: peer.installSnapshot.view(),
        failures: peer.failures.counts(),
        lastError: peer.failures.lastError,
      }));
    return { peers, ...this.#received.view() };
  }

  /** Sends what is queued, within `closeGraceMs`, then disconnects. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const drained = Promise.all([...this.#peers.values()].map((peer) => peer.sender.idle()));
    await this.#within(this.#limits.closeGraceMs, drained);
    for (const peer of this.#peers.values()) this.#disconnect(peer);
    await this.#snapshots.close();
    await Promise.all(this.#closing);
  }

  #sendTo(to: NodeId, messages: Message[]): void {
    if (to === this.#options.id) {
      this.#options.logger.error({ messages: messages.length }, "dropped messages of this node to itself");
      return;
    }
    const peer = this.#peerOf(to);
    const ordinary = messages.filter((message) => message.msgType !== MessageType.MsgSnapshot);
    if (peer === undefined) {
      this.#options.logger.debug({ peer: to.toString() }, "no address is known for a peer");
      if (ordinary.length > 0) this.#reportUnreachable(to);
      if (ordinary.length < messages.length) {
        this.#options.clock.soon(() => {
          if (!this.#closed) this.#options.inbox.reportSnapshot(to, false);
        });
      }
      return;
    }
    for (const message of messages) {
      if (message.msgType === MessageType.MsgSnapshot) this.#sendSnapshot(peer, message);
    }
    if (ordinary.length > 0) peer.sender.send(ordinary);
  }

  #headersOfCall(): Record<string, string> {
    const authorization = this.#options.authorization?.();
    return authorization === undefined ? this.#headers : { ...this.#headers, authorization };
  }

  #sendSnapshot(peer: Peer, message: Message): void {
    this.#snapshots.send(
      {
        to: peer.id,
        headers: () => this.#headersOfCall(),
        failures: peer.failures,
        metrics: peer.installSnapshot,
        openSession: () => this.#openSession(peer.address),
      },
      message,
    );
  }

  /** Later, because `send` is called while the node is between two of its steps; and once, however many failed. */
  #reportUnreachable(id: NodeId): void {
    if (this.#unreachable.size === 0) {
      this.#options.clock.soon(() => {
        const ids = [...this.#unreachable];
        this.#unreachable.clear();
        if (this.#closed) return;
        for (const unreachable of ids) this.#options.inbox.reportUnreachable(unreachable);
      });
    }
    this.#unreachable.add(id);
  }

  #addressOf(id: NodeId): string | undefined {
    return this.#members.get(id) ?? this.#learned.get(id);
  }

  #peerOf(id: NodeId): Peer | undefined {
    const known = this.#peers.get(id);
    if (known !== undefined) return known;
    const address = this.#addressOf(id);
    if (address === undefined) return undefined;
    const { logger, clock } = this.#options;
    const failures = new FailureLog({
      peer: id,
      address,
      logger,
      clock,
      logIntervalMs: this.#limits.logIntervalMs,
    });
    if (!isAddress(address)) {
      failures.record(new TransportError("refused", `${JSON.stringify(address)} is no host:port`));
      return undefined;
    }
    const session = this.#openSession(address);
    const sender = new PeerSender({
      to: id,
      session,
      headers: () => this.#headersOfCall(),
      limits: this.#limits,
      clock,
      failures,
      reportUnreachable: () => this.#reportUnreachable(id),
    });
    const installSnapshot = new RpcMetrics(clock);
    const peer: Peer = { id, address, session, sender, failures, installSnapshot };
    this.#peers.set(id, peer);
    return peer;
  }

  #openSession(address: string): Http2Session {
    const { tls, clock, random } = this.#options;
    return new Http2Session({
      authority: `${tls === undefined ? "http" : "https"}://${address}`,
      clock,
      random: random ?? Math.random,
      limits: this.#limits,
      tls,
    });
  }

  #disconnect(peer: Peer): void {
    this.#peers.delete(peer.id);
    peer.sender.clear();
    this.#snapshots.cancel(
      peer.id,
      new TransportError("stopped", `node ${peer.id} is no longer at ${peer.address}`),
    );
    const closing = peer.session.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  async #within(limitMs: number, work: Promise<unknown>): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(limitMs, resolve);
      void work.finally(() => {
        cancel();
        resolve();
      });
    });
  }
}

function restarted(peer: Peer): TransportError {
  return new TransportError("killed", `node ${peer.id} restarted`);
}
