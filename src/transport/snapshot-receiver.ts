// Takes snapshots in: header, then chunks to a file, then the checksum, and only then the MsgSnapshot to the node.
// A stream that breaks off leaves what it brought, for the next attempt to go on from.

import { create } from "@bufbuild/protobuf";
import type { NodeId } from "../core/types.js";
import { type Message, MessageType } from "../gen/eraftpb_pb.js";
import type { SnapshotDescriptor } from "../gen/records_pb.js";
import {
  type InstallSnapshotRequest,
  type InstallSnapshotResponse,
  InstallSnapshotResponseSchema,
  type SnapshotHeader,
} from "../gen/service_pb.js";
import type { Clock, Logger, PeerInbox, SnapshotReceiver, SnapshotStore } from "../node/ports.js";
import type { Sender } from "./admission.js";
import { answerFor } from "./answers.js";
import { decodeMessage, EnvelopeError } from "./envelope.js";
import type { TransportLimits } from "./limits.js";
import { bodyOf } from "./snapshot-descriptor.js";
import { StallWatch } from "./stall-watch.js";
import { describeError, TransportError } from "./transport-errors.js";
import type { ReceivedRpc } from "./transport-metrics.js";

export interface SnapshotDoorOptions {
  readonly id: NodeId;
  readonly inbox: PeerInbox;
  readonly snapshots: SnapshotStore;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly limits: TransportLimits;
}

interface Visit {
  readonly watch: StallWatch;
  readonly left: Promise<void>;
}

export class SnapshotDoor {
  readonly #options: SnapshotDoorOptions;
  /** Streams under way, by snapshot id: a file has one writer. */
  readonly #visits = new Map<string, Visit>();

  constructor(options: SnapshotDoorOptions) {
    this.#options = options;
  }

  /**
   * Serves one InstallSnapshot call of an admitted sender.
   * @throws ConnectError. What arrived before stays on disk, unless its checksum is wrong.
   */
  async receive(
    stream: AsyncIterable<InstallSnapshotRequest>,
    sender: Sender,
    signal: AbortSignal,
    counted: ReceivedRpc,
  ): Promise<InstallSnapshotResponse> {
    const { clock, limits } = this.#options;
    counted.begin();
    const watch = new StallWatch(clock, limits.snapshotStallMs, signal);
    const parts = stream[Symbol.asyncIterator]();
    try {
      const first = await watch.guard(parts.next());
      const header = first.done === true ? undefined : first.value.part;
      if (header?.case !== "header") {
        throw new EnvelopeError("malformed", "the first part of a snapshot stream must be its header");
      }
      const receivedBytes = await this.#afterHeader(header.value, parts, sender, watch, counted);
      counted.end();
      return create(InstallSnapshotResponseSchema, { receivedBytes: BigInt(receivedBytes) });
    } catch (error) {
      const answer = answerFor(error);
      counted.end(answer);
      throw answer;
    } finally {
      watch.stop();
    }
  }

  async #afterHeader(
    header: SnapshotHeader,
    parts: AsyncIterator<InstallSnapshotRequest>,
    sender: Sender,
    watch: StallWatch,
    counted: ReceivedRpc,
  ): Promise<number> {
    const { id, inbox, limits } = this.#options;
    const message = decodeMessage(header.message, {
      self: id,
      sender: sender.id,
      maxMessageBytes: limits.maxMessageBytes,
    });
    if (message.msgType !== MessageType.MsgSnapshot) {
      throw new EnvelopeError("malformed", "the header of a snapshot stream must hold a MsgSnapshot");
    }
    const descriptor = bodyOf(message, limits.maxSnapshotBytes);
    if (descriptor === undefined) {
      if (!header.probe) {
        inbox.step([message]);
        counted.took(1);
      }
      return 0;
    }
    const leave = await this.#enter(descriptor.snapshotId, watch);
    try {
      return header.probe
        ? await this.#receivedSoFar(descriptor)
        : await this.#receiveBody(message, descriptor, parts, sender, watch, counted);
    } finally {
      leave();
    }
  }

  /** Waits for a predecessor with the same file to leave: a sender begins anew only when it has lost its stream. */
  async #enter(snapshotId: string, watch: StallWatch): Promise<() => void> {
    for (let present = this.#visits.get(snapshotId); present !== undefined; ) {
      present.watch.abort(new TransportError("stopped", "the sender has begun this snapshot anew"));
      await watch.guard(present.left);
      present = this.#visits.get(snapshotId);
    }
    const { maxSnapshotReceives } = this.#options.limits;
    if (this.#visits.size >= maxSnapshotReceives) {
      throw new TransportError(
        "busy",
        `${maxSnapshotReceives} snapshots are being received already: retry later`,
      );
    }
    let leave: () => void = () => {};
    const left = new Promise<void>((resolve) => {
      leave = () => {
        this.#visits.delete(snapshotId);
        resolve();
      };
    });
    this.#visits.set(snapshotId, { watch, left });
    return leave;
  }

  async #receivedSoFar(descriptor: SnapshotDescriptor): Promise<number> {
    const receiver = await this.#options.snapshots.receive(descriptor);
    await receiver.suspend();
    return receiver.receivedBytes;
  }

  async #receiveBody(
    message: Message,
    descriptor: SnapshotDescriptor,
    parts: AsyncIterator<InstallSnapshotRequest>,
    sender: Sender,
    watch: StallWatch,
    counted: ReceivedRpc,
  ): Promise<number> {
    const { inbox, logger, snapshots } = this.#options;
    const fields = {
      peer: sender.id.toString(),
      snapshot: descriptor.snapshotId,
      sizeBytes: Number(descriptor.sizeBytes),
    };
    const receiver = await snapshots.receive(descriptor);
    try {
      await this.#writeChunks(receiver, descriptor, parts, watch, counted);
    } catch (error) {
      await receiver.suspend();
      logger.warn(
        { ...fields, receivedBytes: receiver.receivedBytes, error: describeError(error) },
        "a snapshot broke off",
      );
      throw error;
    }
    await receiver.finish();
    logger.info(fields, "received a snapshot");
    inbox.step([message]);
    counted.took(1);
    return Number(descriptor.sizeBytes);
  }

  async #writeChunks(
    receiver: SnapshotReceiver,
    descriptor: SnapshotDescriptor,
    parts: AsyncIterator<InstallSnapshotRequest>,
    watch: StallWatch,
    counted: ReceivedRpc,
  ): Promise<void> {
    const size = Number(descriptor.sizeBytes);
    let offset = receiver.receivedBytes;
    for (;;) {
      const next = await watch.guard(parts.next());
      if (next.done === true) break;
      const part = next.value.part;
      if (part.case !== "chunk") {
        throw new EnvelopeError("malformed", "after its header a snapshot stream holds chunks only");
      }
      const { data } = part.value;
      counted.arrived(data.length);
      if (part.value.offset !== BigInt(offset)) {
        throw new EnvelopeError(
          "malformed",
          `a chunk at ${part.value.offset} arrived where ${offset} is due`,
        );
      }
      if (offset + data.length > size) {
        throw new EnvelopeError(
          "tooLarge",
          `the body exceeds the ${size} bytes that its descriptor announced`,
        );
      }
      await receiver.write(offset, data);
      offset += data.length;
      watch.moved();
    }
    if (offset !== size) {
      throw new EnvelopeError("malformed", `the stream ended at ${offset} of ${size} bytes`);
    }
  }
}
