// How a node's messages get onto the simulated network: through the production peer sender, envelope by envelope, or
// each by itself, which lets them overtake each other.

import { fromBinary } from "@bufbuild/protobuf";
import type { NodeId } from "../../../src/core/types.js";
import { type Message, MessageType } from "../../../src/gen/eraftpb_pb.js";
import { SnapshotDescriptorSchema } from "../../../src/gen/records_pb.js";
import { SendRaftMessageRequestSchema } from "../../../src/gen/service_pb.js";
import type { Clock, Logger, PeerInbox, PeerTransport, SnapshotStore } from "../../../src/node/ports.js";
import { decodeMessage, encodeMessages } from "../../../src/transport/envelope.js";
import { FailureLog } from "../../../src/transport/failure-log.js";
import { Http2Session } from "../../../src/transport/http2-session.js";
import { transportLimits } from "../../../src/transport/limits.js";
import { PeerSender } from "../../../src/transport/peer-sender.js";
import { TransportError } from "../../../src/transport/transport-errors.js";
import type { Process } from "../scheduler.js";
import type { Network } from "./network.js";

const LIMITS = transportLimits({ envelopeDeadlineMs: 1_000, maxQueuedControlMessages: 256 });
const CHUNK_BYTES = 512;
const SNAPSHOT_PATIENCE_MS = 3_000;

/** A node that is running, as the network knows it. */
export interface Station {
  readonly inbox: PeerInbox;
  readonly process: Process;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Runs before each use of the network; may end the process. */
  readonly onUse: () => void;
}

interface Exchange {
  call(clock: Clock, body: Uint8Array, deadlineMs: number): Promise<Uint8Array>;
}

const exchanges = new Map<string, Exchange>();

export function exchangeOf(headers: object): Exchange {
  const name: unknown = Reflect.get(headers, "exchange");
  const exchange = typeof name === "string" ? exchanges.get(name) : undefined;
  if (exchange === undefined) throw new Error("no simulated network carries this call");
  return exchange;
}

export class Wiring {
  readonly #stations = new Map<NodeId, Station>();
  #connections = 0;

  constructor(
    private readonly network: Network,
    /** True: through the production peer sender. */
    private readonly inEnvelopes: boolean,
  ) {
    exchanges.clear();
  }

  disconnect(id: NodeId): void {
    this.#stations.delete(id);
  }

  connect(station: Station): PeerTransport {
    const { id } = station.inbox;
    this.#stations.set(id, station);
    const senders = new Map<NodeId, PeerSender>();
    let members: ReadonlyMap<NodeId, string> = new Map();
    let closed = false;
    const sendTo = (to: NodeId, messages: readonly Message[]): void => {
      const plain = messages.filter(({ msgType }) => msgType !== MessageType.MsgSnapshot);
      for (const message of messages) {
        if (message.msgType === MessageType.MsgSnapshot) void this.#carrySnapshot(station, message);
      }
      if (plain.length === 0) return;
      if (!this.inEnvelopes) {
        for (const message of plain) this.#carryOne(station, message);
        return;
      }
      let sender = senders.get(to);
      sender ??= this.#senderFor(station, to);
      senders.set(to, sender);
      sender.send(plain);
    };
    return {
      send: (messages) => {
        station.onUse();
        if (closed || !station.process.alive) return;
        const byPeer = new Map<NodeId, Message[]>();
        for (const message of messages) {
          const queued = byPeer.get(message.to);
          if (queued === undefined) byPeer.set(message.to, [message]);
          else queued.push(message);
        }
        for (const [to, forPeer] of byPeer) sendTo(to, forPeer);
      },
      setMembers: (addresses) => {
        members = addresses;
        for (const to of [...senders.keys()]) {
          if (members.has(to)) continue;
          senders.get(to)?.clear();
          senders.delete(to);
        }
      },
      close: async () => {
        closed = true;
        if (this.#stations.get(id) === station) this.#stations.delete(id);
      },
    };
  }

  #senderFor(station: Station, to: NodeId): PeerSender {
    const { clock, logger, inbox } = station;
    this.#connections += 1;
    const exchange = `${inbox.id}>${to} ${this.#connections}`;
    exchanges.set(exchange, {
      call: (callClock, body, deadlineMs) => this.#call(station, to, body, callClock, deadlineMs),
    });
    const address = `node-${to}:7000`;
    return new PeerSender({
      to,
      session: new Http2Session({
        authority: `http://${address}`,
        clock,
        random: () => 0.5,
        limits: LIMITS,
      }),
      headers: () => ({ exchange }),
      limits: LIMITS,
      clock,
      failures: new FailureLog({ peer: to, address, logger, clock, logIntervalMs: LIMITS.logIntervalMs }),
      reportUnreachable: () => inbox.reportUnreachable(to),
    });
  }

  #call(
    from: Station,
    toId: NodeId,
    body: Uint8Array,
    clock: Clock,
    deadlineMs: number,
  ): Promise<Uint8Array> {
    from.onUse();
    const fromId = from.inbox.id;
    return new Promise((resolve, reject) => {
      const cancelDeadline = clock.after(deadlineMs, () => {
        reject(new TransportError("deadline", `no answer within ${deadlineMs} ms`));
      });
      const end = (run: () => void): void => {
        this.network.scheduler.soon(from.process, () => {
          cancelDeadline();
          run();
        });
      };
      // What a partition swallows ends at the deadline; what is lost shows as a reset.
      const lost = (): void => {
        if (this.network.isCut(fromId, toId) || this.network.isCut(toId, fromId)) return;
        end(() => reject(new TransportError("reset", "the stream was reset")));
      };
      this.network.carry(
        fromId,
        toId,
        () => {
          const to = this.#stations.get(toId);
          if (to === undefined) return end(() => reject(new TransportError("refused", "nobody listens")));
          this.network.scheduler.soon(to.process, () => {
            const failure = this.#take(fromId, to, body);
            this.network.carry(
              toId,
              fromId,
              () => end(() => (failure === undefined ? resolve(new Uint8Array(0)) : reject(failure))),
              lost,
            );
          });
        },
        lost,
      );
    });
  }

  #take(from: NodeId, to: Station, body: Uint8Array): TransportError | undefined {
    if (!to.process.alive || this.#stations.get(to.inbox.id) !== to) {
      return new TransportError("refused", "nobody listens");
    }
    if (!to.inbox.admits(from)) return new TransportError("rejected", "not admitted");
    const { message: encoded } = fromBinary(SendRaftMessageRequestSchema, body);
    const messages = encoded.map((bytes) => decodeMessage(bytes, { self: to.inbox.id, sender: from }));
    for (const message of messages) this.network.note(from, to.inbox.id, describeMessage(message));
    try {
      to.inbox.step(messages);
      return undefined;
    } catch {
      return new TransportError("busy", "the inbox is full");
    }
  }

  #carryOne(from: Station, message: Message): void {
    const fromId = from.inbox.id;
    const toId = message.to;
    const [bytes] = encodeMessages([message]);
    if (bytes === undefined) return;
    const copy = Uint8Array.from(bytes);
    const unreachable = (): void => {
      this.network.scheduler.soon(from.process, () => from.inbox.reportUnreachable(toId));
    };
    this.network.carry(
      fromId,
      toId,
      () => {
        const to = this.#stations.get(toId);
        if (to === undefined) return unreachable();
        this.network.scheduler.soon(to.process, () => {
          if (this.#stations.get(toId) !== to || !to.inbox.admits(fromId)) return;
          const arrived = decodeMessage(copy, { self: toId, sender: fromId });
          this.network.note(fromId, toId, describeMessage(arrived));
          try {
            to.inbox.step([arrived]);
          } catch {
            unreachable();
          }
        });
      },
      unreachable,
    );
  }

  /** The body in pieces, then the message, as the production snapshot stream does it. */
  async #carrySnapshot(from: Station, message: Message): Promise<void> {
    const fromId = from.inbox.id;
    const toId = message.to;
    let delivered = false;
    try {
      const data = message.snapshot?.data ?? new Uint8Array(0);
      const descriptor = fromBinary(SnapshotDescriptorSchema, data);
      const reader = await from.snapshots.openRead(descriptor.snapshotId);
      let to = await this.#reach(from, toId);
      const receiver = await this.#inTime(from, to.snapshots.receive(descriptor));
      while (receiver.receivedBytes < reader.sizeBytes) {
        const chunk = await reader.read(receiver.receivedBytes, CHUNK_BYTES);
        to = await this.#reach(from, toId, to);
        await this.#inTime(from, receiver.write(receiver.receivedBytes, chunk));
      }
      await this.#inTime(from, receiver.finish());
      to = await this.#reach(from, toId, to);
      const [bytes] = encodeMessages([message]);
      if (bytes === undefined) return;
      this.network.note(fromId, toId, describeMessage(message));
      to.inbox.step([decodeMessage(Uint8Array.from(bytes), { self: toId, sender: fromId })]);
      delivered = true;
    } catch {
      delivered = false;
    }
    this.network.scheduler.soon(from.process, () => from.inbox.reportSnapshot(toId, delivered));
  }

  /** A peer that dies in the middle of something never ends it. */
  #inTime<T>(from: Station, step: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.network.scheduler.after(SNAPSHOT_PATIENCE_MS, from.process, () =>
        reject(new TransportError("frozen", "the snapshot stream stands still")),
      );
      step.then(resolve, reject);
    });
  }

  /** Resolves in an event of the peer's process. @throws when it is not there, or no longer the same. */
  #reach(from: Station, toId: NodeId, same?: Station): Promise<Station> {
    return new Promise((resolve, reject) => {
      const fail = (): void => reject(new TransportError("reset", "the stream was reset"));
      this.network.scheduler.after(SNAPSHOT_PATIENCE_MS, from.process, fail);
      this.network.carry(
        from.inbox.id,
        toId,
        () => {
          const to = this.#stations.get(toId);
          if (to === undefined || (same !== undefined && same !== to)) return fail();
          this.network.scheduler.soon(to.process, () => {
            if (to.inbox.admits(from.inbox.id)) resolve(to);
            else fail();
          });
        },
        fail,
      );
    });
  }
}

export function describeMessage(message: Message): string {
  const { msgType, term, index, logTerm, commit, entries, reject } = message;
  const parts = [`${MessageType[msgType]} t${term}`];
  if (index !== 0n || logTerm !== 0n) parts.push(`at ${index}/${logTerm}`);
  if (entries.length > 0)
    parts.push(`+${entries.length} to ${entries.at(-1)?.index}/${entries.at(-1)?.term}`);
  if (commit !== 0n) parts.push(`commit ${commit}`);
  if (reject) parts.push("reject");
  if (message.snapshot !== undefined) parts.push(`snapshot ${message.snapshot.metadata?.index}`);
  return parts.join(" ");
}
