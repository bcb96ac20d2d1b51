// Bodies of snapshots in memory, with the promises of a real store about names, offsets and sizes.

import type {
  Snapshot,
  SnapshotDescriptor,
  SnapshotReader,
  SnapshotReceiver,
  SnapshotStore,
} from "../node/ports.js";

/** What a transport needs of a SnapshotStore; a runtime that makes snapshots of its own needs a real one. */
export class MemorySnapshots implements SnapshotStore {
  /** Complete bodies by name; put one in to have it sent. */
  readonly bodies = new Map<string, Uint8Array>();
  /** What transfers that broke off have brought. */
  readonly partial = new Map<string, Uint8Array>();
  readonly finished: string[] = [];
  readonly writes: { readonly snapshotId: string; readonly offset: number }[] = [];
  /** Called before every write; may throw to break a transfer off, or wait. */
  beforeWrite: (offset: number) => Promise<void> | void = () => {};

  latest(): Snapshot | undefined {
    return undefined;
  }

  create(): Promise<Snapshot> {
    return Promise.reject(new Error("MemorySnapshots makes no snapshots: put a body into `bodies`"));
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
