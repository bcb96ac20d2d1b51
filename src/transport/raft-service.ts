// The receiving half of the network: PlacementCenterService. Every request is judged in full before the node hears
// of it; an envelope is taken in whole or not at all.

import { create, fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import { ConfChangeV2Schema, type Message, MessageType } from "../gen/eraftpb_pb.js";
import {
  PlacementCenterService,
  SendRaftConfChangeResponseSchema,
  type SendRaftMessageRequest,
  type SendRaftMessageResponse,
  SendRaftMessageResponseSchema,
} from "../gen/service_pb.js";
import type { Clock, Logger, PeerInbox, SnapshotStore } from "../node/ports.js";
import { judgeCluster, judgeConnection, judgeSender, type Sender } from "./admission.js";
import { answerFor } from "./answers.js";
import { connectionKey } from "./connection.js";
import { decodeMessage, EnvelopeError } from "./envelope.js";
import { isAddress } from "./headers.js";
import { maxRequestBytes, type TransportLimits, transportLimits } from "./limits.js";
import { bodyOf } from "./snapshot-descriptor.js";
import { SnapshotDoor } from "./snapshot-receiver.js";
import { describeError } from "./transport-errors.js";
import { ReceivedMetrics } from "./transport-metrics.js";

export interface RaftServiceOptions {
  readonly id: NodeId;
  readonly clusterId: string;
  readonly incarnation: string;
  readonly inbox: PeerInbox;
  readonly snapshots: SnapshotStore;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly limits?: Partial<TransportLimits> | undefined;
  /**
   * Proposes an encoded ConfChangeV2, resolves with the encoded ConfState that holds once it is applied. What it
   * throws is the caller's answer. Absent: SendRaftConfChange is not served.
   */
  readonly proposeConfChange?: ((change: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>) | undefined;
  /**
   * Names of which a peer's certificate must hold one. Needs listeners with mutual TLS. Absent: every peer that the
   * listener let in.
   */
  readonly allowedPeerNames?: readonly string[] | undefined;
  /** Refuse peers that come without TLS from elsewhere than this machine. Default true. */
  readonly requireTlsOffLoopback?: boolean | undefined;
  /** Where to count what arrives; given to the sending half too, its `metrics()` tells. */
  readonly received?: ReceivedMetrics | undefined;
  /** An admitted sender says where it is reached. */
  readonly learnAddress?: ((id: NodeId, address: string) => void) | undefined;
  /** An admitted sender shows its incarnation. */
  readonly observeIncarnation?: ((id: NodeId, incarnation: string) => void) | undefined;
}

/** Routes for `listenHttp2`, or for any adapter of connect-es. */
export function raftRoutes(options: RaftServiceOptions): (router: ConnectRouter) => void {
  const service = new RaftService(options, transportLimits(options.limits));
  return (router) => service.mount(router);
}

class RaftService {
  readonly #options: RaftServiceOptions;
  readonly #limits: TransportLimits;
  readonly #snapshotDoor: SnapshotDoor;
  readonly #received: ReceivedMetrics;

  constructor(options: RaftServiceOptions, limits: TransportLimits) {
    this.#options = options;
    this.#limits = limits;
    this.#received = options.received ?? new ReceivedMetrics();
    this.#snapshotDoor = new SnapshotDoor({ ...options, limits });
  }

  mount(router: ConnectRouter): void {
    const maxBytes = maxRequestBytes(this.#limits);
    router.service(
      PlacementCenterService,
      {
        sendRaftMessage: (request, context) => this.#sendRaftMessage(request, context),
        sendRaftConfChange: (request, context) => this.#sendRaftConfChange(request.message, context),
        installSnapshot: async (parts, context) => {
          const sender = this.#judge(context);
          const { installSnapshot } = this.#received.from(sender.id);
          return await this.#snapshotDoor.receive(parts, sender, context.signal, installSnapshot);
        },
      },
      { readMaxBytes: maxBytes, writeMaxBytes: maxBytes },
    );
  }

  #judge(context: HandlerContext): Sender {
    const { clusterId, inbox, learnAddress, observeIncarnation } = this.#options;
    let sender: Sender;
    try {
      judgeConnection(context.values.get(connectionKey), this.#options);
      sender = judgeSender(context.requestHeader, clusterId, inbox);
    } catch (error) {
      this.#received.refuse(error);
      throw error;
    }
    if (sender.incarnation !== "") observeIncarnation?.(sender.id, sender.incarnation);
    if (isAddress(sender.address)) learnAddress?.(sender.id, sender.address);
    return sender;
  }

  #sendRaftMessage(request: SendRaftMessageRequest, context: HandlerContext): SendRaftMessageResponse {
    const sender = this.#judge(context);
    const { sendRaftMessage: counted } = this.#received.from(sender.id);
    counted.begin();
    for (const bytes of request.message) counted.arrived(bytes.length);
    try {
      const messages = this.#decodeAll(request.message, sender);
      this.#options.inbox.step(messages);
      counted.took(messages.length);
    } catch (error) {
      const answer = answerFor(error);
      counted.end(answer);
      throw answer;
    }
    counted.end();
    return create(SendRaftMessageResponseSchema);
  }

  #decodeAll(envelope: readonly Uint8Array[], sender: Sender): Message[] {
    // Twice the sender's default, so that differing settings do not part a cluster.
    const maxMessages = 2 * this.#limits.maxEnvelopeMessages;
    if (envelope.length > maxMessages) {
      throw new EnvelopeError(
        "tooLarge",
        `an envelope of ${envelope.length} messages exceeds the limit of ${maxMessages}`,
      );
    }
    const expect = {
      self: this.#options.id,
      sender: sender.id,
      maxMessageBytes: this.#limits.maxMessageBytes,
    };
    return envelope.map((bytes) => {
      const message = decodeMessage(bytes, expect);
      if (
        message.msgType === MessageType.MsgSnapshot &&
        bodyOf(message, this.#limits.maxSnapshotBytes) !== undefined
      ) {
        throw new EnvelopeError("malformed", "a MsgSnapshot with a body travels through InstallSnapshot");
      }
      return message;
    });
  }

  async #sendRaftConfChange(change: Uint8Array, context: HandlerContext) {
    const { clusterId, proposeConfChange } = this.#options;
    judgeConnection(context.values.get(connectionKey), this.#options);
    judgeCluster(context.requestHeader, clusterId);
    if (proposeConfChange === undefined) {
      throw new ConnectError(
        "this node takes no membership changes here: use RaftAdminService",
        Code.Unimplemented,
      );
    }
    try {
      fromBinary(ConfChangeV2Schema, change);
    } catch (error) {
      throw new ConnectError(
        `${change.length} bytes are no eraftpb.ConfChangeV2: ${describeError(error)}`,
        Code.InvalidArgument,
      );
    }
    return create(SendRaftConfChangeResponseSchema, {
      confState: await proposeConfChange(change, context.signal),
    });
  }
}
