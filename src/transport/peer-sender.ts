// Everything that is sent to one peer, except the bodies of snapshots: two lanes over one session.
//
// | messages | lane | when the lane is full | when their envelope fails |
// | --- | --- | --- | --- |
// | MsgAppend, MsgPropose | appends, in order | not taken, reported unreachable | appends behind it go too: they would not fit |
// | MsgHeartbeat | control | the oldest goes: a newer one says all that it says | lost; the next tick sends another |
// | votes, answers, reads, the rest | control | the oldest of the lane goes | lost; Raft repeats |

import type { NodeId } from "../core/types.js";
import { type Message, MessageType } from "../gen/eraftpb_pb.js";
import type { Clock } from "../node/ports.js";
import { encodeEnvelope } from "./envelope.js";
import type { FailureLog } from "./failure-log.js";
import type { Http2Session } from "./http2-session.js";
import { Lane } from "./lane.js";
import { callUnary } from "./lean-client.js";
import { maxRequestBytes, type TransportLimits } from "./limits.js";
import { messageBytesBound } from "./message-encoder.js";
import { classifyFailure, type FailureClass, TransportError } from "./transport-errors.js";
import { type PeerMetricsView, RpcMetrics } from "./transport-metrics.js";

export interface PeerSenderOptions {
  readonly to: NodeId;
  readonly session: Http2Session;
  /** Sent with every envelope. */
  readonly headers: () => Record<string, string>;
  readonly limits: TransportLimits;
  readonly clock: Clock;
  readonly failures: FailureLog;
  readonly reportUnreachable: () => void;
}

export type PeerSenderMetrics = Pick<
  PeerMetricsView,
  "queued" | "queuedBytes" | "inFlight" | "droppedMessages" | "lostHeartbeats" | "sendRaftMessage"
>;

export const SEND_RAFT_MESSAGE_PATH = "/raftnode.v1.PlacementCenterService/SendRaftMessage";

export class PeerSender {
  readonly #options: PeerSenderOptions;
  readonly #appends: Lane;
  readonly #control: Lane;
  readonly #calls: RpcMetrics;
  #dropped = 0;
  #lostHeartbeats = 0;

  constructor(options: PeerSenderOptions) {
    this.#options = options;
    const { limits } = options;
    this.#calls = new RpcMetrics(options.clock);
    const envelope = {
      maxEnvelopeBytes: limits.maxEnvelopeBytes,
      maxEnvelopeMessages: limits.maxEnvelopeMessages,
    };
    this.#appends = new Lane({
      ...envelope,
      maxQueuedBytes: limits.maxQueuedAppendBytes,
      maxQueuedMessages: Number.POSITIVE_INFINITY,
      deliver: (messages, bytes) => this.#deliver(messages, bytes, () => this.#dropAppends()),
    });
    this.#control = new Lane({
      ...envelope,
      maxQueuedBytes: Number.POSITIVE_INFINITY,
      maxQueuedMessages: limits.maxQueuedControlMessages,
      deliver: (messages, bytes) => this.#deliver(messages, bytes, () => {}),
    });
  }

  /** Queues messages and starts sending them. */
  send(messages: readonly Message[]): void {
    let refused = 0;
    for (const message of messages) {
      if (!this.#queue(message)) refused += 1;
    }
    if (refused > 0) {
      this.#dropped += refused;
      this.#options.reportUnreachable();
    }
    this.#control.flush();
    this.#appends.flush();
  }

  metrics(): PeerSenderMetrics {
    return {
      queued: this.#appends.queuedMessages + this.#control.queuedMessages,
      queuedBytes: this.#appends.queuedBytes + this.#control.queuedBytes,
      inFlight: this.#appends.inFlight + this.#control.inFlight,
      droppedMessages: this.#dropped,
      lostHeartbeats: this.#lostHeartbeats,
      sendRaftMessage: this.#calls.view(),
    };
  }

  /** Resolves when everything that was queued has been sent or has failed. */
  async idle(): Promise<void> {
    await Promise.all([this.#appends.idle(), this.#control.idle()]);
  }

  /** Forgets what waits. */
  clear(): void {
    this.#appends.remove(() => true);
    this.#control.remove(() => true);
  }

  /** False: dropped. */
  #queue(message: Message): boolean {
    const { limits, failures } = this.#options;
    const bytes = messageBytesBound(message);
    if (bytes > limits.maxMessageBytes) {
      failures.record(
        new TransportError(
          "tooLarge",
          `a ${MessageType[message.msgType]} of about ${bytes} bytes exceeds maxMessageBytes (${limits.maxMessageBytes}): lower maxSizePerMsg or raise the limit on every node`,
        ),
      );
      return false;
    }
    switch (message.msgType) {
      case MessageType.MsgAppend:
      case MessageType.MsgPropose: {
        const taken = this.#appends.push(message, bytes);
        if (!taken) {
          failures.record(
            new TransportError(
              "busy",
              `${this.#appends.queuedBytes} bytes of appends wait already (maxQueuedAppendBytes)`,
            ),
          );
        }
        return taken;
      }
      case MessageType.MsgHeartbeat: {
        const excess = this.#control.count(isHeartbeat) + 1 - limits.maxQueuedHeartbeats;
        if (excess > 0) this.#dropHeartbeats(excess);
        return this.#pushControl(message, bytes);
      }
      default:
        return this.#pushControl(message, bytes);
    }
  }

  #pushControl(message: Message, bytes: number): boolean {
    if (this.#control.push(message, bytes)) return true;
    this.#dropped += this.#control.remove(() => true, 1);
    return this.#control.push(message, bytes);
  }

  /** What takes their place says all that they did: still, a peer that hears too few of them holds an election. */
  #dropHeartbeats(excess: number): void {
    const dropped = this.#control.remove(isHeartbeat, excess);
    this.#dropped += dropped;
    this.#lostHeartbeats += dropped;
  }

  #dropAppends(): void {
    this.#dropped += this.#appends.remove((message) => message.msgType === MessageType.MsgAppend);
  }

  async #deliver(messages: readonly Message[], bytes: number, onFailure: () => void): Promise<void> {
    const body = encodeEnvelope(messages, bytes);
    try {
      await this.#callOnceMoreIfClosing(body);
      this.#calls.sent(messages.length, body.length);
      this.#options.failures.recovered();
    } catch (error) {
      onFailure();
      this.#lostHeartbeats += messages.filter(isHeartbeat).length;
      this.#options.failures.record(error);
      if (classifyFailure(error) !== "stopped") this.#options.reportUnreachable();
    }
  }

  /** A peer that is closing has certainly not taken the envelope in, so one repetition cannot double it. */
  async #callOnceMoreIfClosing(body: Uint8Array): Promise<void> {
    try {
      await this.#call(body);
    } catch (error) {
      const failure: FailureClass = classifyFailure(error);
      if (failure !== "closing") throw error;
      await this.#call(body);
    }
  }

  #call(body: Uint8Array): Promise<void> {
    const { session, clock, headers, limits } = this.#options;
    return this.#calls.measure(async () => {
      await callUnary(session, clock, {
        path: SEND_RAFT_MESSAGE_PATH,
        headers: headers(),
        body,
        deadlineMs: limits.envelopeDeadlineMs,
        maxResponseBytes: maxRequestBytes(limits),
      });
    });
  }
}

function isHeartbeat(message: Message): boolean {
  return message.msgType === MessageType.MsgHeartbeat;
}
