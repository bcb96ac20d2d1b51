// A durable log and a snapshot store in memory, whose disk a test can hold up, let go, break, and crash.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StorageError } from "../../src/core/errors.js";
import { MemoryStorage } from "../../src/core/log/memory-storage.js";
import type { Storage } from "../../src/core/log/storage.js";
import { newSnapshot } from "../../src/core/messages.js";
import type { LogIndex, NodeId } from "../../src/core/types.js";
import { type Snapshot, SnapshotSchema } from "../../src/gen/eraftpb_pb.js";
import {
  type MembershipRecord,
  MembershipRecordSchema,
  SnapshotDescriptorSchema,
} from "../../src/gen/records_pb.js";
import { NO_MEMBERSHIP, toRecord } from "../../src/node/membership.js";
import type {
  Cancel,
  Clock,
  DurableLog,
  LogWrite,
  SnapshotDescriptor,
  SnapshotMetadata,
  SnapshotReader,
  SnapshotReceiver,
  SnapshotSink,
  SnapshotStore,
  SpaceState,
  SpaceWatch,
} from "../../src/node/ports.js";

/** What a disk holds: nothing more survives a crash. */
interface Image {
  readonly storage: MemoryStorage;
  membership: MembershipRecord;
}

interface DiskWrite {
  readonly what: string;
  readonly perform: (image: Image) => void;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** A test says how much room there is. */
export class MemorySpace implements SpaceWatch {
  readonly #listeners = new Set<(state: SpaceState) => void>();
  state: SpaceState = "ok";

  watch(listener: (state: SpaceState) => void): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** As after a look that found this. */
  found(state: SpaceState): void {
    this.state = state;
    for (const listener of [...this.#listeners]) listener(state);
  }
}

export class MemoryLog implements DurableLog {
  readonly storage: Storage;
  readonly space = new MemorySpace();
  onSnapshotWanted: (index: LogIndex, to: NodeId) => void = () => {};
  /** While true, writes wait on their way to the disk. */
  held = false;
  closed = false;
  readonly #live: Image;
  #queue: DiskWrite[] = [];
  #scheduled = false;
  #failure: Error | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly snapshots: MemorySnapshots,
    private readonly durable: Image,
    private readonly record: (event: string) => void = () => {},
  ) {
    this.#live = copyImage(durable);
    const { storage } = this.#live;
    this.storage = {
      initialState: () => storage.initialState(),
      entries: (low, high, maxBytes, context) => storage.entries(low, high, maxBytes, context),
      term: (index) => storage.term(index),
      firstIndex: () => storage.firstIndex(),
      lastIndex: () => storage.lastIndex(),
      snapshot: (requestIndex, to) => this.#snapshotFor(requestIndex, to),
    };
  }

  static born(clock: Clock, snapshots: MemorySnapshots, membership: MembershipRecord | undefined): MemoryLog {
    const storage =
      membership === undefined
        ? new MemoryStorage()
        : MemoryStorage.withConfState({
            voters: membership.confState?.voters ?? [],
            learners: membership.confState?.learners ?? [],
          });
    return new MemoryLog(clock, snapshots, { storage, membership: membership ?? toRecord(NO_MEMBERSHIP) });
  }

  get membership(): MembershipRecord {
    return this.#live.membership;
  }

  /** Writes that are not durable yet. */
  get waiting(): readonly string[] {
    return this.#queue.map(({ what }) => what);
  }

  /** What a node finds that starts on this disk after a crash. */
  afterCrash(record?: (event: string) => void): MemoryLog {
    return new MemoryLog(this.clock, this.snapshots, copyImage(this.durable), record);
  }

  observed(record: (event: string) => void): MemoryLog {
    return new MemoryLog(this.clock, this.snapshots, this.durable, record);
  }

  append(write: LogWrite): Promise<void> {
    const { snapshot, entries, hardState } = write;
    const last = entries.at(-1);
    const parts = [
      snapshot === undefined ? "" : ` snapshot=${snapshot.metadata?.index}`,
      last === undefined ? "" : ` entries..${last.index}`,
      hardState === undefined ? "" : ` term=${hardState.term} commit=${hardState.commit}`,
    ];
    return this.#write(`append${parts.join("")}`, (image) => {
      if (snapshot !== undefined) {
        image.storage.applySnapshot(snapshot);
        const described = fromBinary(SnapshotDescriptorSchema, snapshot.data).membership;
        if (described !== undefined) image.membership = described;
      }
      image.storage.append(entries);
      if (hardState !== undefined) image.storage.setHardState(hardState);
    });
  }

  saveMembership(record: MembershipRecord): Promise<void> {
    return this.#write(`membership=${record.index}`, (image) => {
      image.membership = record;
      if (record.confState !== undefined) image.storage.setConfState(record.confState);
    });
  }

  compact(index: LogIndex): Promise<void> {
    return this.#write(`compact=${index}`, (image) => image.storage.compact(index));
  }

  async close(): Promise<void> {
    this.release();
    this.record("log.close");
    this.closed = true;
  }

  /** Lets the first `count` waiting writes reach the disk. */
  release(count = Number.POSITIVE_INFINITY): void {
    for (let done = 0; done < count; done += 1) {
      const write = this.#queue.shift();
      if (write === undefined) return;
      if (this.#failure !== undefined) {
        write.reject(this.#failure);
        continue;
      }
      write.perform(this.durable);
      this.record(`durable ${write.what}`);
      write.resolve();
    }
  }

  /** From now on every write fails. */
  fail(error: Error): void {
    this.#failure = error;
  }

  #write(what: string, perform: (image: Image) => void): Promise<void> {
    this.record(what);
    perform(this.#live);
    return new Promise((resolve, reject) => {
      this.#queue.push({ what, perform, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.held) return;
    this.#scheduled = true;
    this.clock.soon(() => {
      this.#scheduled = false;
      if (!this.held) this.release();
    });
  }

  #snapshotFor(requestIndex: LogIndex, to: NodeId): Snapshot {
    const latest = this.snapshots.latest();
    const conf = latest?.metadata?.confState;
    const index = latest?.metadata?.index ?? 0n;
    const includes = conf?.voters.includes(to) === true || conf?.learners.includes(to) === true;
    if (
      latest !== undefined &&
      includes &&
      index >= requestIndex &&
      index + 1n >= this.storage.firstIndex()
    ) {
      return latest;
    }
    this.onSnapshotWanted(requestIndex, to);
    throw new StorageError("snapshotTemporarilyUnavailable");
  }
}

function copyImage(image: Image): Image {
  const from = image.storage;
  const storage = new MemoryStorage();
  const { hardState, confState } = from.initialState();
  const boundary = from.firstIndex() - 1n;
  if (boundary > 0n) storage.applySnapshot(newSnapshot(boundary, from.term(boundary), confState));
  if (from.lastIndex() > boundary) {
    const all = { canAsync: false, purpose: "other" } as const;
    storage.append(from.entries(boundary + 1n, from.lastIndex() + 1n, Number.POSITIVE_INFINITY, all));
  }
  storage.setHardState(hardState);
  storage.setConfState(confState);
  const membership = fromBinary(MembershipRecordSchema, toBinary(MembershipRecordSchema, image.membership));
  return { storage, membership };
}

interface Body {
  readonly bytes: Uint8Array;
  readonly complete: boolean;
}

/** Survives crashes as it is: a name stands for a complete body. */
export class MemorySnapshots implements SnapshotStore {
  readonly #bodies = new Map<string, Body>();
  #latest: Snapshot | undefined;
  #created = 0;
  /** Lets a test hold up `install` and `create`. */
  gate: Promise<void> = Promise.resolve();

  constructor(private readonly name: string) {}

  latest(): Snapshot | undefined {
    return this.#latest;
  }

  async create(
    metadata: SnapshotMetadata,
    membership: MembershipRecord,
    write: (sink: SnapshotSink) => Promise<void>,
  ): Promise<Snapshot> {
    const chunks: Uint8Array[] = [];
    await write(async (chunk) => {
      chunks.push(chunk.slice());
    });
    await this.gate;
    const bytes = Buffer.concat(chunks);
    this.#created += 1;
    const snapshotId = `${this.name}-${this.#created}`;
    const descriptor = create(SnapshotDescriptorSchema, {
      snapshotId,
      sizeBytes: BigInt(bytes.length),
      membership,
    });
    this.#forgetLatest();
    this.#bodies.set(snapshotId, { bytes, complete: true });
    this.#latest = create(SnapshotSchema, {
      metadata,
      data: toBinary(SnapshotDescriptorSchema, descriptor),
    });
    return this.#latest;
  }

  async openRead(snapshotId: string): Promise<SnapshotReader> {
    const body = this.#bodies.get(snapshotId);
    if (body === undefined || !body.complete) throw new Error(`there is no snapshot ${snapshotId}`);
    return {
      sizeBytes: body.bytes.length,
      read: async (offset, maxBytes) => body.bytes.subarray(offset, offset + maxBytes),
      close: async () => {},
    };
  }

  async receive(descriptor: SnapshotDescriptor): Promise<SnapshotReceiver> {
    const chunks: Uint8Array[] = [];
    let receivedBytes = 0;
    return {
      get receivedBytes() {
        return receivedBytes;
      },
      write: async (_offset, data) => {
        chunks.push(data.slice());
        receivedBytes += data.length;
      },
      finish: async () => {
        this.#bodies.set(descriptor.snapshotId, { bytes: Buffer.concat(chunks), complete: true });
      },
      suspend: async () => {},
    };
  }

  async install(snapshot: Snapshot): Promise<void> {
    await this.gate;
    const { snapshotId } = fromBinary(SnapshotDescriptorSchema, snapshot.data);
    const body = this.#bodies.get(snapshotId);
    if (body === undefined) throw new Error(`there is no body ${snapshotId} to install`);
    this.#forgetLatest();
    this.#bodies.set(snapshotId, body);
    this.#latest = snapshot;
  }

  #forgetLatest(): void {
    if (this.#latest === undefined) return;
    this.#bodies.delete(fromBinary(SnapshotDescriptorSchema, this.#latest.data).snapshotId);
  }
}
