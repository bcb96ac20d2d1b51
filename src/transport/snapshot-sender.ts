// Sends snapshots to peers, body and all, over sessions of their own so that nothing else waits behind them.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import PQueue from "p-queue";
import type { NodeId } from "../core/types.js";
import type { Message } from "../gen/eraftpb_pb.js";
import type { SnapshotDescriptor } from "../gen/records_pb.js";
import {
  InstallSnapshotRequestSchema,
  InstallSnapshotResponseSchema,
  PlacementCenterService,
  SnapshotChunkSchema,
} from "../gen/service_pb.js";
import type { Clock, Logger, SnapshotReader, SnapshotStore } from "../node/ports.js";
import { encodeMessages } from "./envelope.js";
import type { FailureLog } from "./failure-log.js";
import type { Http2Session } from "./http2-session.js";
import { type MessageParts, upload } from "./lean-upload.js";
import type { TransportLimits } from "./limits.js";
import { Pace } from "./pace.js";
import { bodyOf } from "./snapshot-descriptor.js";
import { StallWatch } from "./stall-watch.js";
import { TransportError } from "./transport-errors.js";
import type { RpcMetrics } from "./transport-metrics.js";

export interface SnapshotSenderOptions {
  readonly snapshots: SnapshotStore;
  readonly limits: TransportLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How a snapshot ended: `reportSnapshot` of the runtime. */
  readonly report: (to: NodeId, delivered: boolean) => void;
}

export interface SnapshotTarget {
  readonly to: NodeId;
  readonly headers: () => Record<string, string>;
  readonly openSession: () => Http2Session;
  readonly failures: FailureLog;
  readonly metrics: RpcMetrics;
}

// Between two chunks, either side may take this part of its stall limit for granted.
const CHUNKS_PER_STALL = 8;
const INSTALL_SNAPSHOT_PATH = `/${PlacementCenterService.typeName}/${PlacementCenterService.method.installSnapshot.name}`;
/** An answer is a number, or an error with its details. */
const MAX_RESPONSE_BYTES = 64 * 1024;

export class SnapshotSender {
  readonly #options: SnapshotSenderOptions;
  readonly #jobs: PQueue;
  readonly #running = new Map<NodeId, AbortController>();
  readonly #pace: Pace;

  constructor(options: SnapshotSenderOptions) {
    this.#options = options;
    this.#jobs = new PQueue({ concurrency: options.limits.maxSnapshotSends });
    this.#pace = new Pace(options.clock, options.limits.maxSnapshotBytesPerSecond);
  }

  /** Whether a snapshot for this peer waits or is under way. */
  isSending(to: NodeId): boolean {
    return this.#running.has(to);
  }

  /**
   * Begins to send, unless a snapshot for this peer is under way: Raft sends no second one before the first was
   * reported, so another is a repetition.
   */
  send(target: SnapshotTarget, message: Message): void {
    const { to, failures, metrics } = target;
    if (this.#running.has(to)) return;
    const controller = new AbortController();
    const { signal } = controller;
    this.#running.set(to, controller);
    const end = (delivered: boolean, error?: unknown): void => {
      if (!delivered) failures.record(signal.aborted ? signal.reason : error);
      if (this.#running.get(to) === controller) this.#running.delete(to);
      this.#options.report(to, delivered);
    };
    // One that is given up while it waits for its turn does not wait any longer to be reported.
    const onAbort = (): void => this.#options.clock.soon(() => end(false));
    signal.addEventListener("abort", onAbort, { once: true });
    void this.#jobs.add(async () => {
      if (signal.aborted) return;
      signal.removeEventListener("abort", onAbort);
      try {
        await metrics.measure(() => this.#run(target, message, signal));
        end(true);
      } catch (error) {
        end(false, error);
      }
    });
  }

  /** Gives a peer's snapshot up, whether it waits for its turn or is under way. */
  cancel(to: NodeId, reason: TransportError): void {
    this.#running.get(to)?.abort(reason);
  }

  async close(): Promise<void> {
    const stopped = new TransportError("stopped", "the transport is closing");
    for (const controller of this.#running.values()) controller.abort(stopped);
    await this.#jobs.onIdle();
  }

  async #run(target: SnapshotTarget, message: Message, signal: AbortSignal): Promise<void> {
    const { limits, snapshots, logger } = this.#options;
    const descriptor = bodyOf(message, limits.maxSnapshotBytes);
    const [encoded] = encodeMessages([message]);
    if (encoded === undefined) return;
    const reader = descriptor === undefined ? undefined : await snapshots.openRead(descriptor.snapshotId);
    const session = target.openSession();
    try {
      const startedAtMs = this.#options.clock.nowMs();
      const resumedAt = await this.#stream(target, session, encoded, descriptor, reader, signal);
      target.metrics.sent(1, 0);
      logger.info(
        {
          peer: target.to.toString(),
          snapshot: descriptor?.snapshotId,
          sizeBytes: Number(descriptor?.sizeBytes ?? 0n),
          resumedAt,
          tookMs: Math.round(this.#options.clock.nowMs() - startedAtMs),
        },
        "sent a snapshot",
      );
    } finally {
      await Promise.allSettled([session.close(), reader?.close()]);
    }
  }

  /** Answers with the offset from which the body was sent. */
  async #stream(
    target: SnapshotTarget,
    session: Http2Session,
    encoded: Uint8Array,
    descriptor: SnapshotDescriptor | undefined,
    reader: SnapshotReader | undefined,
    signal: AbortSignal,
  ): Promise<number> {
    const { limits, clock } = this.#options;
    const watch = new StallWatch(clock, limits.snapshotStallMs, signal);
    const install = async (messages: AsyncIterable<MessageParts>): Promise<number> => {
      const call = {
        path: INSTALL_SNAPSHOT_PATH,
        headers: target.headers(),
        maxResponseBytes: MAX_RESPONSE_BYTES,
        signal: watch.signal,
      };
      const answer = fromBinary(InstallSnapshotResponseSchema, await upload(session, call, messages));
      return Number(answer.receivedBytes);
    };
    try {
      if (descriptor === undefined || reader === undefined) {
        await install(only(headerPart(encoded, false)));
        return 0;
      }
      const size = Number(descriptor.sizeBytes);
      const held = await install(only(headerPart(encoded, true)));
      const from = held <= size ? held : 0;
      watch.moved();
      const received = await install(this.#body(target, encoded, reader, from, size, watch));
      if (received !== size) {
        throw new TransportError(
          "rejected",
          `the peer holds ${received} of ${size} bytes of snapshot ${descriptor.snapshotId}`,
        );
      }
      return from;
    } finally {
      watch.stop();
    }
  }

  async *#body(
    target: SnapshotTarget,
    encoded: Uint8Array,
    reader: SnapshotReader,
    from: number,
    size: number,
    watch: StallWatch,
  ): AsyncGenerator<MessageParts> {
    const { limits } = this.#options;
    yield headerPart(encoded, false);
    const withinMs = limits.snapshotStallMs / CHUNKS_PER_STALL / limits.maxSnapshotSends;
    const chunkBytes = this.#pace.pieceBytes(withinMs, limits.snapshotChunkBytes);
    for (let offset = from; offset < size; ) {
      const data = await reader.read(offset, Math.min(chunkBytes, size - offset));
      if (data.length === 0) {
        throw new TransportError(
          "rejected",
          `the snapshot's file ends at ${offset}, before its announced ${size} bytes`,
        );
      }
      await this.#pace.take(data.length, watch.signal);
      yield [chunkPrefix(offset, data.length), data];
      watch.moved();
      target.metrics.sent(0, data.length);
      offset += data.length;
    }
  }
}

function headerPart(message: Uint8Array, probe: boolean): MessageParts {
  const part = { case: "header", value: { message, probe } } as const;
  return [toBinary(InstallSnapshotRequestSchema, create(InstallSnapshotRequestSchema, { part }))];
}

/** What an encoded `InstallSnapshotRequest` with a chunk has before the chunk's bytes, which come last. */
export function chunkPrefix(offset: number, dataBytes: number): Uint8Array {
  const chunk = SnapshotChunkSchema.field;
  const head = new BinaryWriter();
  if (offset > 0) head.tag(chunk.offset.number, WireType.Varint).uint64(offset);
  const inner = head.tag(chunk.data.number, WireType.LengthDelimited).uint32(dataBytes).finish();
  const outer = new BinaryWriter().tag(
    InstallSnapshotRequestSchema.field.chunk.number,
    WireType.LengthDelimited,
  );
  return outer
    .uint32(inner.length + dataBytes)
    .raw(inner)
    .finish();
}

async function* only(message: MessageParts): AsyncGenerator<MessageParts> {
  yield message;
}
