// Recording stand-ins for the ports on the other side of the transport: an inbox that notes what it was given, a
// snapshot store in memory, a logger that keeps its lines, and the machine's own clock.

import { create, toBinary } from "@bufbuild/protobuf";
import type { NodeId } from "../../../src/core/types.js";
import {
  ConfStateSchema,
  EntrySchema,
  type Message,
  MessageSchema,
  MessageType,
  type Snapshot,
  SnapshotMetadataSchema,
  SnapshotSchema,
} from "../../../src/gen/eraftpb_pb.js";
import {
  MembershipRecordSchema,
  type SnapshotDescriptor,
  SnapshotDescriptorSchema,
} from "../../../src/gen/records_pb.js";
import type {
  Clock,
  Logger,
  PeerInbox,
  SnapshotReader,
  SnapshotReceiver,
  SnapshotStore,
} from "../../../src/node/ports.js";

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
  every: (periodMs, run) => {
    const timer = setInterval(run, periodMs);
    return () => clearInterval(timer);
  },
  soon: (run) => {
    setImmediate(run);
  },
};

export class RecordingLogger implements Logger {
  readonly lines: { level: string; fields: object; message: string }[] = [];
  debug(fields: object, message: string): void {
    this.lines.push({ level: "debug", fields, message });
  }
  info(fields: object, message: string): void {
    this.lines.push({ level: "info", fields, message });
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: "warn", fields, message });
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: "error", fields, message });
  }
  count(level: string, message: string): number {
    return this.lines.filter((line) => line.level === level && line.message === message).length;
  }
}

/** Notes everything; `until` waits for a condition over what was noted. */
export class RecordingInbox implements PeerInbox {
  readonly stepped: Message[] = [];
  readonly batches: number[] = [];
  readonly unreachable: NodeId[] = [];
  readonly snapshotReports: { id: NodeId; delivered: boolean }[] = [];
  /** Thrown by `step` while it is set. */
  refusal: Error | undefined;
  admitted: (from: NodeId) => boolean = () => true;
  #waiters: (() => void)[] = [];

  constructor(readonly id: NodeId) {}

  admits(from: NodeId): boolean {
    return this.admitted(from);
  }

  step(messages: readonly Message[]): void {
    if (this.refusal !== undefined) throw this.refusal;
    this.stepped.push(...messages);
    this.batches.push(messages.length);
    this.#wake();
  }

  reportUnreachable(id: NodeId): void {
    this.unreachable.push(id);
    this.#wake();
  }

  reportSnapshot(id: NodeId, delivered: boolean): void {
    this.snapshotReports.push({ id, delivered });
    this.#wake();
  }

  /** Resolves when `condition` holds; it is looked at whenever something was noted. */
  async until(condition: (inbox: RecordingInbox) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

/** Bodies in memory, with the promises of the real store about names, offsets and sizes. */
export class MemorySnapshots implements SnapshotStore {
  readonly bodies = new Map<string, Uint8Array>();
  readonly partial = new Map<string, Uint8Array>();
  readonly finished: string[] = [];
  readonly writes: { snapshotId: string; offset: number }[] = [];
  /** Called before every write; may throw to break a transfer off, or wait. */
  beforeWrite: (offset: number) => Promise<void> | void = () => {};

  latest(): Snapshot | undefined {
    return undefined;
  }

  create(): Promise<Snapshot> {
    throw new Error("not needed here");
  }

  async install(): Promise<void> {}

  async openRead(snapshotId: string): Promise<SnapshotReader> {
    const body = this.bodies.get(snapshotId);
    if (body === undefined) throw new Error(`SnapshotNotFound: ${snapshotId}`);
    return {
      sizeBytes: body.length,
      read: async (offset, maxBytes) => body.subarray(offset, offset + maxBytes),
      close: async () => {},
    };
  }

  async receive(descriptor: SnapshotDescriptor): Promise<SnapshotReceiver> {
    const { snapshotId } = descriptor;
    let received = this.bodies.get(snapshotId) ?? this.partial.get(snapshotId) ?? new Uint8Array(0);
    return {
      get receivedBytes() {
        return received.length;
      },
      write: async (offset, data) => {
        if (offset !== received.length) throw new Error(`offset ${offset}, not ${received.length}`);
        await this.beforeWrite(offset);
        this.writes.push({ snapshotId, offset });
        received = Buffer.concat([received, data]);
      },
      finish: async () => {
        if (received.length !== Number(descriptor.sizeBytes)) throw new Error("wrong size");
        this.partial.delete(snapshotId);
        this.bodies.set(snapshotId, received);
        this.finished.push(snapshotId);
      },
      suspend: async () => {
        this.partial.set(snapshotId, received);
      },
    };
  }
}

/** An append of `count` entries of `bytes` each, after `index`. */
export function append(from: NodeId, to: NodeId, index: bigint, bytes = 16, count = 1): Message {
  return create(MessageSchema, {
    msgType: MessageType.MsgAppend,
    from,
    to,
    term: 3n,
    logTerm: 2n,
    index,
    entries: Array.from({ length: count }, (_, at) =>
      create(EntrySchema, { term: 3n, index: index + BigInt(at) + 1n, data: new Uint8Array(bytes).fill(7) }),
    ),
  });
}

export function heartbeat(from: NodeId, to: NodeId, commit = 1n): Message {
  return create(MessageSchema, { msgType: MessageType.MsgHeartbeat, from, to, term: 3n, commit });
}

export function snapshotMessage(from: NodeId, to: NodeId, snapshotId: string, sizeBytes: number): Message {
  const confState = create(ConfStateSchema, { voters: [from, to] });
  const descriptor = create(SnapshotDescriptorSchema, {
    snapshotId,
    sizeBytes: BigInt(sizeBytes),
    membership: create(MembershipRecordSchema, { confState, index: 9n }),
  });
  return create(MessageSchema, {
    msgType: MessageType.MsgSnapshot,
    from,
    to,
    term: 3n,
    snapshot: create(SnapshotSchema, {
      data: sizeBytes === 0 ? new Uint8Array(0) : toBinary(SnapshotDescriptorSchema, descriptor),
      metadata: create(SnapshotMetadataSchema, { index: 9n, term: 2n, confState }),
    }),
  });
}
