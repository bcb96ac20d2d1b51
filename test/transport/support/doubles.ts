// What tests of the transport share: a logger that keeps its lines, the machine's own clock, and messages.

import { create, toBinary } from "@bufbuild/protobuf";
import type { NodeId } from "../../../src/core/types.js";
import {
  ConfStateSchema,
  EntrySchema,
  type Message,
  MessageSchema,
  MessageType,
  SnapshotMetadataSchema,
  SnapshotSchema,
} from "../../../src/gen/eraftpb_pb.js";
import { MembershipRecordSchema, SnapshotDescriptorSchema } from "../../../src/gen/records_pb.js";
import type { Clock, Logger } from "../../../src/node/ports.js";

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
