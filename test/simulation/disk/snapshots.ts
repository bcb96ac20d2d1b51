// The bodies of snapshots on a simulated disk: a name stands for a complete and durable body, and what a transfer has
// brought may be cut short by a crash.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { snapshotPosition } from "../../../src/core/messages.js";
import { type Snapshot, SnapshotSchema } from "../../../src/gen/eraftpb_pb.js";
import { type SnapshotDescriptor, SnapshotDescriptorSchema } from "../../../src/gen/records_pb.js";
import type {
  MembershipRecord,
  SnapshotMetadata,
  SnapshotReader,
  SnapshotReceiver,
  SnapshotSink,
  SnapshotStore,
} from "../../../src/node/ports.js";
import { crc32 } from "../../../src/storage/checksum.js";
import type { Disk } from "./disk.js";

export class SimulatedSnapshots implements SnapshotStore {
  constructor(private readonly disk: Disk) {}

  latest(): Snapshot | undefined {
    return this.disk.snapshots.latest;
  }

  async create(
    metadata: SnapshotMetadata,
    membership: MembershipRecord,
    write: (sink: SnapshotSink) => Promise<void>,
  ): Promise<Snapshot> {
    const chunks: Uint8Array[] = [];
    await write(async (chunk) => {
      chunks.push(Uint8Array.from(chunk));
      await this.disk.pause();
    });
    const body = Buffer.concat(chunks);
    const images = this.disk.snapshots;
    images.created += 1;
    const descriptor = create(SnapshotDescriptorSchema, {
      snapshotId: `${this.disk.name}-${images.created}`,
      sizeBytes: BigInt(body.length),
      crc32: crc32(body),
      membership,
    });
    const snapshot = create(SnapshotSchema, {
      metadata,
      data: toBinary(SnapshotDescriptorSchema, descriptor),
    });
    await this.disk.write(`snapshot ${descriptor.snapshotId}`, () => {
      this.#adopt(snapshot, body);
    });
    return snapshot;
  }

  async openRead(snapshotId: string): Promise<SnapshotReader> {
    await this.disk.pause();
    const body = this.disk.snapshots.complete.get(snapshotId);
    if (body === undefined) throw new Error(`there is no snapshot ${snapshotId}`);
    return {
      sizeBytes: body.length,
      read: async (offset, maxBytes) => {
        await this.disk.pause();
        return body.subarray(offset, offset + maxBytes);
      },
      close: async () => {},
    };
  }

  async receive(descriptor: SnapshotDescriptor): Promise<SnapshotReceiver> {
    await this.disk.pause();
    const { snapshotId, sizeBytes } = descriptor;
    const { complete, received, partial } = this.disk.snapshots;
    const whole = complete.get(snapshotId) ?? received.get(snapshotId);
    let body = whole ?? partial.get(snapshotId) ?? new Uint8Array(0);
    return {
      get receivedBytes() {
        return body.length;
      },
      write: async (offset, data) => {
        if (offset !== body.length) throw new Error(`expected offset ${body.length}, got ${offset}`);
        const longer = Buffer.concat([body, data]);
        await this.disk.write(`part of snapshot ${snapshotId}`, () => partial.set(snapshotId, longer));
        body = longer;
      },
      finish: async () => {
        if (whole !== undefined) return;
        if (BigInt(body.length) !== sizeBytes || crc32(body) !== descriptor.crc32) {
          partial.delete(snapshotId);
          throw new Error(`snapshot ${snapshotId} arrived damaged`);
        }
        await this.disk.write(`snapshot ${snapshotId}`, () => {
          partial.delete(snapshotId);
          received.set(snapshotId, body);
        });
      },
      suspend: async () => {},
    };
  }

  async install(snapshot: Snapshot): Promise<void> {
    const { complete, received } = this.disk.snapshots;
    const id = idOf(snapshot);
    const body = complete.get(id) ?? received.get(id);
    if (body === undefined) throw new Error(`no body ${id} to install`);
    await this.disk.write(`snapshot ${id} as the latest`, () => {
      received.delete(id);
      this.#adopt(snapshot, body);
    });
  }

  /** The newest stays, whichever came last. */
  #adopt(snapshot: Snapshot, body: Uint8Array): void {
    const images = this.disk.snapshots;
    images.complete.set(idOf(snapshot), body);
    if (images.latest === undefined || !isBefore(snapshot, images.latest)) images.latest = snapshot;
    for (const id of [...images.complete.keys()]) {
      if (id !== idOf(images.latest)) images.complete.delete(id);
    }
  }
}

function isBefore(a: Snapshot, b: Snapshot): boolean {
  const [first, second] = [snapshotPosition(a), snapshotPosition(b)];
  return first.index < second.index || (first.index === second.index && first.term < second.term);
}

function idOf(snapshot: Snapshot): string {
  return fromBinary(SnapshotDescriptorSchema, snapshot.data).snapshotId;
}
