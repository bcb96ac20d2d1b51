// Snapshots of the state machine: made when a peer needs one, taken over when a leader sent one; and the log that
// they and the state machine make superfluous.

import { create, fromBinary } from "@bufbuild/protobuf";
import { InvariantViolation } from "../core/errors.js";
import { snapshotPosition } from "../core/messages.js";
import type { ProgressStatus } from "../core/status.js";
import { type LogIndex, maxOf, minOf, type NodeId } from "../core/types.js";
import { type Snapshot, type SnapshotMetadata, SnapshotMetadataSchema } from "../gen/eraftpb_pb.js";
import { type SnapshotDescriptor, SnapshotDescriptorSchema } from "../gen/records_pb.js";
import type { Applier } from "./applier.js";
import { LogHold } from "./log-hold.js";
import { BIRTH_INDEX, confStateOf, fromRecord, type Membership, toRecord } from "./membership.js";
import type { NodeMetrics } from "./metrics.js";
import type {
  Clock,
  DurableLog,
  Logger,
  SnapshotReader,
  SnapshotStore,
  SpaceState,
  StateMachine,
  StateMachineSnapshot,
} from "./ports.js";

/** How much of a body is read at a time while it is taken over. */
const READ_BYTES = 256 * 1024;
/** After a snapshot could not be made, the wish for one is ignored for this long. */
const RETRY_MS = 1_000;
/** A snapshot that nobody asked for is followed by a rest of this many times as long as it took to make. */
const REST_PER_WORK = 9;

const NO_BODY: SnapshotReader = {
  sizeBytes: 0,
  read: async () => new Uint8Array(0),
  close: async () => {},
};

/** When entries that the state machine holds durably are dropped. */
export interface CompactionOptions {
  /** Compact when this many entries are applied and still in the log. */
  readonly afterEntries: number;
  /** Entries that stay, so that a peer which lags a little needs no snapshot. */
  readonly keepEntries: number;
  /**
   * `onDemand`: snapshots are made for peers that need one, and the log is cut behind what the state machine holds
   * durably. A node that loses its state machine's folder must be replaced then.
   * `always`: the log is cut only behind a snapshot on this node's disk, and one is made when it is time to cut. The
   * node rebuilds a lost state from that and the log; a state machine without a disk needs this, or its log grows for
   * ever. Costs a copy of the state every `afterEntries - keepEntries` entries, but never more than a tenth of the
   * time: meanwhile the log is longer. While space is short, it is as with `onDemand`.
   */
  readonly snapshots: "onDemand" | "always";
  /**
   * While a peer is brought up by a snapshot, and until it has caught up, the leader keeps the log behind that snapshot:
   * so many entries at most, and not while space is short. Default 1,000,000.
   */
  readonly maxHeldEntries?: number | undefined;
}

export const DEFAULT_MAX_HELD_ENTRIES = 1_000_000;

export interface SnapshottingParts {
  readonly log: DurableLog;
  readonly snapshots: SnapshotStore;
  readonly stateMachine: StateMachine;
  readonly applier: Pick<Applier, "between">;
  readonly membership: () => Membership;
  /** Of the peers, on a leader; else empty. */
  readonly progress: () => readonly ProgressStatus[];
  readonly isActive: (id: NodeId) => boolean;
  readonly compaction: CompactionOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: NodeMetrics;
  readonly created: (snapshot: Snapshot) => void;
  readonly fail: (error: unknown) => void;
}

interface PinnedState {
  readonly pinned: StateMachineSnapshot;
  readonly metadata: SnapshotMetadata;
  readonly membership: Membership;
}

export class Snapshotting {
  readonly #hold: LogHold;
  /** What the snapshot that is being made will contain. */
  #pinnedIndex: LogIndex | undefined;
  /** Peers hold the log: not worth another look before so much is applied. */
  #lookAgainAt: LogIndex = 0n;
  #wanted: LogIndex | undefined;
  #making: Promise<void> | undefined;
  /** Asked for by hand, not begun: whoever asks meanwhile gets the same. */
  #taking: Promise<Snapshot> | undefined;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #restUntilMs = Number.NEGATIVE_INFINITY;
  #compacting: Promise<void> | undefined;
  #halted = false;
  /** How often in a row space was found to be short. */
  #shortLooks = 0;
  /** What the core knows to be applied: never beyond the commit index that the log was told. */
  #applied: LogIndex = 0n;

  constructor(private readonly parts: SnapshottingParts) {
    const { progress, isActive, compaction } = parts;
    const { keepEntries, maxHeldEntries = DEFAULT_MAX_HELD_ENTRIES } = compaction;
    this.#hold = new LogHold({ progress, isActive, keepEntries, maxHeldEntries });
  }

  /** The core asked for a snapshot that is not there. It asks again, so a wish may be forgotten. */
  want(index: LogIndex, to: NodeId): void {
    this.parts.logger.debug({ index, to }, "a peer needs a snapshot");
    this.#hold.begin(to);
    // The one that is being made will do, mostly; if not, it is asked for again.
    if (this.#making !== undefined) return;
    this.#wanted = maxOf(this.#wanted ?? 0n, index);
    this.#maybeMake();
  }

  /**
   * Makes one of everything that is applied when this is called, at least; after the one that is being made, whose state
   * may be older.
   * @throws what the state machine or the disk throws; nothing else is touched by that
   */
  take(): Promise<Snapshot> {
    this.#taking ??= this.#takeNext();
    return this.#taking;
  }

  /**
   * Cuts the log up to `upTo`, or as far as it may be cut: what lies beyond is needed to bring a lost state back.
   * Resolves when the disk has it.
   */
  async compact(upTo: LogIndex | undefined): Promise<void> {
    while (this.#compacting !== undefined) await this.#compacting;
    if (this.#halted) throw halted();
    const most = minOf(this.#superfluous(), this.#applied);
    const index = upTo === undefined ? most : minOf(upTo, most);
    if (index >= this.parts.log.storage.firstIndex()) await this.#cut(index);
  }

  /** The state machine moved on. */
  progressed(index: LogIndex): void {
    this.#applied = index;
    this.#maybeMake();
    this.#maybeCompact();
  }

  /** While space is short, the log is cut whatever its length, and the tail for slow peers is halved at each look. */
  spaceLookedAt(state: SpaceState): void {
    this.#shortLooks = state === "ok" ? 0 : this.#shortLooks + 1;
    if (state !== "ok") this.#maybeCompact();
  }

  /** Begins nothing more; resolves when nothing is under way. A snapshot that is being written is given up. */
  async halt(): Promise<void> {
    this.#halted = true;
    await Promise.all([this.#making, this.#compacting]);
  }

  #maybeMake(): void {
    const { stateMachine, clock } = this.parts;
    if (this.#wanted === undefined || this.#making !== undefined || this.#halted) return;
    if (stateMachine.appliedIndex < this.#wanted || clock.nowMs() < this.#notBeforeMs) return;
    this.#wanted = undefined;
    this.#begin().catch((error: unknown) => {
      if (this.#halted) return;
      this.#notBeforeMs = clock.nowMs() + RETRY_MS;
      this.parts.logger.error({ error }, "a snapshot could not be made; it is tried again when asked for");
    });
  }

  async #takeNext(): Promise<Snapshot> {
    do await this.#making;
    while (this.#making !== undefined);
    this.#taking = undefined;
    if (this.#halted) throw halted();
    return this.#begin();
  }

  #begin(): Promise<Snapshot> {
    const made = this.#make();
    this.#making = made.then(
      () => {
        this.#making = undefined;
        this.#maybeCompact();
      },
      () => {
        this.#making = undefined;
      },
    );
    return made;
  }

  async #make(): Promise<Snapshot> {
    const { snapshots, metrics, created, clock } = this.parts;
    const startedMs = clock.nowMs();
    const { pinned, metadata, membership } = await this.#pin();
    this.#pinnedIndex = metadata.index;
    try {
      const snapshot = await snapshots.create(metadata, toRecord(membership), (sink) =>
        pinned.write((chunk) => (this.#halted ? Promise.reject(halted()) : sink(chunk))),
      );
      metrics.count("snapshotsCreated");
      created(snapshot);
      return snapshot;
    } finally {
      pinned.release();
      this.#pinnedIndex = undefined;
      this.#restUntilMs = clock.nowMs() + (clock.nowMs() - startedMs) * REST_PER_WORK;
    }
  }

  /** State, index, term and membership of one and the same moment: between two calls of the state machine. */
  #pin(): Promise<PinnedState> {
    const { applier, stateMachine, log, membership } = this.parts;
    return new Promise((resolve, reject) => {
      applier.between(
        async () => {
          try {
            const current = membership();
            const pinned = await stateMachine.snapshot();
            const index = pinned.appliedIndex;
            const metadata = create(SnapshotMetadataSchema, {
              confState: confStateOf(current),
              index,
              term: log.storage.term(index),
            });
            resolve({ pinned, metadata, membership: current });
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        },
        () => reject(halted()),
      );
    });
  }

  #maybeCompact(): void {
    const { log, compaction } = this.parts;
    if (this.#compacting !== undefined || this.#halted) return;
    const firstIndex = log.storage.firstIndex();
    const keepEntries = Math.floor(compaction.keepEntries / 2 ** this.#shortLooks);
    const isShort = this.#shortLooks > 0;
    if (!isShort && this.#applied - firstIndex <= BigInt(compaction.afterEntries)) return;
    const upTo = minOf(this.#superfluous(), this.#applied) - BigInt(keepEntries);
    if (upTo < firstIndex) {
      this.#maybeMakeOwn();
      return;
    }
    const held = isShort ? upTo : this.#heldTo(upTo, firstIndex);
    if (held >= firstIndex) void this.#cut(held);
  }

  /** How much of it may be cut, with regard to peers that are being brought up. */
  #heldTo(upTo: LogIndex, firstIndex: LogIndex): LogIndex {
    if (this.#applied < this.#lookAgainAt) return 0n;
    const { snapshots, compaction } = this.parts;
    const limit = this.#hold.limit({
      firstIndex,
      applied: this.#applied,
      snapshotIndex: snapshots.latest()?.metadata?.index ?? 0n,
      pinnedIndex: this.#pinnedIndex,
    });
    if (limit === undefined || limit >= upTo) return upTo;
    this.#lookAgainAt =
      this.#applied + BigInt(Math.ceil((compaction.afterEntries - compaction.keepEntries) / 8));
    return limit;
  }

  #cut(upTo: LogIndex): Promise<void> {
    const { log, metrics, fail } = this.parts;
    metrics.count("compactions");
    this.#compacting = log.compact(upTo).then(
      () => {
        this.#compacting = undefined;
      },
      (error: unknown) => {
        this.#compacting = undefined;
        fail(error);
      },
    );
    return this.#compacting;
  }

  get #behindSnapshots(): boolean {
    return this.parts.compaction.snapshots === "always" && this.#shortLooks === 0;
  }

  /** Up to here the state can be had without the log. */
  #superfluous(): LogIndex {
    const { snapshots, stateMachine } = this.parts;
    if (!this.#behindSnapshots) return stateMachine.durableIndex;
    return snapshots.latest()?.metadata?.index ?? 0n;
  }

  /** It is time to cut the log, and there is no snapshot yet that it could be cut behind. */
  #maybeMakeOwn(): void {
    if (!this.#behindSnapshots || this.#making !== undefined) return;
    if (this.parts.clock.nowMs() < this.#restUntilMs) return;
    this.#wanted = maxOf(this.#wanted ?? 0n, this.#applied);
    this.#maybeMake();
  }
}

function halted(): Error {
  return new Error("the node stopped");
}

/** Whether a snapshot from a peer says all that is needed to take it over. */
export function isComplete(snapshot: Snapshot): boolean {
  try {
    return descriptorOf(snapshot).membership !== undefined;
  } catch {
    return false;
  }
}

/** Makes the body of an accepted snapshot the latest one. An empty body travels as nothing: it is put there now. */
export async function installBody(snapshot: Snapshot, snapshots: SnapshotStore): Promise<void> {
  if (isBirth(snapshot)) return;
  const descriptor = descriptorOf(snapshot);
  if (descriptor.sizeBytes === 0n) {
    const receiver = await snapshots.receive(descriptor);
    await receiver.finish();
  }
  await snapshots.install(snapshot);
}

/** A group begins as if everybody had taken over a snapshot without a body: there is no state yet. */
export function isBirth(snapshot: Snapshot): boolean {
  return snapshot.metadata?.index === BIRTH_INDEX && descriptorOf(snapshot).snapshotId === "";
}

/**
 * Opens the body of an installed snapshot; it stays while the reader is open, whatever comes after it. One that this
 * node made of its own state at the same position may have taken its place meanwhile, and holds the same.
 */
export async function openBody(snapshot: Snapshot, snapshots: SnapshotStore): Promise<SnapshotReader> {
  if (isBirth(snapshot)) return NO_BODY;
  const latest = snapshots.latest();
  const stored = latest !== undefined && isSamePosition(latest, snapshot) ? latest : snapshot;
  return snapshots.openRead(descriptorOf(stored).snapshotId);
}

function isSamePosition(a: Snapshot, b: Snapshot): boolean {
  const [first, second] = [snapshotPosition(a), snapshotPosition(b)];
  return first.index === second.index && first.term === second.term;
}

/** Replaces the state by a snapshot's body and closes that; returns the membership that came with it. */
export async function restoreFrom(
  snapshot: Snapshot,
  body: SnapshotReader,
  stateMachine: StateMachine,
): Promise<Membership> {
  const { membership } = descriptorOf(snapshot);
  const index = snapshot.metadata?.index ?? 0n;
  try {
    if (isBirth(snapshot)) await stateMachine.apply([], index);
    else await stateMachine.restore(index, chunksOf(body));
  } finally {
    await body.close();
  }
  if (stateMachine.appliedIndex !== index) {
    throw new InvariantViolation(
      `the state machine stands at ${stateMachine.appliedIndex} after a snapshot at ${index} was restored`,
    );
  }
  if (membership === undefined) {
    throw new InvariantViolation(`the snapshot at ${index} names no membership`);
  }
  return fromRecord(membership);
}

/** @throws when the data is no descriptor. */
export function descriptorOf(snapshot: Snapshot): SnapshotDescriptor {
  return fromBinary(SnapshotDescriptorSchema, snapshot.data);
}

async function* chunksOf(body: SnapshotReader): AsyncGenerator<Uint8Array> {
  let offset = 0;
  for (;;) {
    const chunk = await body.read(offset, READ_BYTES);
    if (chunk.length === 0) return;
    offset += chunk.length;
    yield chunk;
  }
}
