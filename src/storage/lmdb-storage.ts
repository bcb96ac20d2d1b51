// The durable log of a node: what the core reads (`storage`), and the writes that a node must not forget.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { InvariantViolation, StorageError } from "../core/errors.js";
import type { GetEntriesContext, InitialState, Storage } from "../core/log/storage.js";
import { copyConfState, newConfState, newHardState, snapshotPosition } from "../core/messages.js";
import { type LogIndex, maxOf, type NodeId } from "../core/types.js";
import { type ConfState, type HardState, type Snapshot, SnapshotSchema } from "../gen/eraftpb_pb.js";
import { type MembershipRecord, SnapshotDescriptorSchema } from "../gen/records_pb.js";
import type {
  Cancel,
  Clock,
  DurableLog,
  Logger,
  LogWrite,
  SnapshotStore,
  SpaceState,
  SpaceWatch,
} from "../node/ports.js";
import type { LogChange } from "./batch-plan.js";
import type { EnvironmentStats, LogEnvironment } from "./environment.js";
import { DEFAULT_COMPACT_FILE_BYTES, FileCompaction } from "./file-compaction.js";
import type { FolderLock } from "./folder-lock.js";
import type { LogIdentity } from "./load-log.js";
import { LogView } from "./log-view.js";
import { LogWriter } from "./log-writer.js";
import { type OpenedLog, openLogFolder } from "./open-log.js";
import { freeBytesOf, SpaceGuard, type SpaceLimits } from "./space-guard.js";
import { StorageFault } from "./storage-fault.js";

export interface LmdbStorageOptions {
  /** The node's own folder; created when missing. */
  readonly dir: string;
  readonly clusterId: string;
  readonly nodeId: NodeId;
  /** Where the bodies of snapshots are. */
  readonly snapshots: SnapshotStore;
  /** The membership that the cluster is born with. Ignored unless the folder is blank. */
  readonly bootstrap?: MembershipRecord | undefined;
  /** A write that takes longer than this stops the node. Default 30,000. */
  readonly watchdogMs?: number | undefined;
  readonly logger?: Logger | undefined;
  /** Called once, when a write has failed: nothing will be taken in any more, the process should end. */
  readonly onFatal?: ((error: Error) => void) | undefined;
  /**
   * Record bytes of recent entries kept in memory, beside those that are not on disk yet: what is applied soon after
   * it was written is read from here. Default 1 MiB.
   */
  readonly cacheBytes?: number | undefined;
  /** When new commands are refused for want of space. */
  readonly space?: Partial<SpaceLimits> | undefined;
  /** What the file system has left, in bytes. Default: asked of the system. */
  readonly freeBytes?: (() => Promise<number>) | undefined;
  /**
   * The file is compacted by itself when this many bytes in it are free, and they are most of it. Default 64 MiB;
   * Infinity: never.
   */
  readonly compactFileBytes?: number | undefined;
  /** Default: the system's. */
  readonly clock?: LogClock | undefined;
}

/** A look at the log for operators; costs no disk access. */
export interface LmdbStorageStats extends EnvironmentStats {
  readonly entries: number;
  /** Record bytes of the entries held in memory. */
  readonly cachedBytes: number;
  /** Batches written since the log was opened: each flushed the disk. */
  readonly batches: number;
  /** Changes that were asked for since then. */
  readonly changes: number;
  /** Keys that wait to be deleted. */
  readonly garbageKeys: number;
  /** How often the file was compacted since the log was opened. */
  readonly fileCompactions: number;
  readonly space: SpaceState;
  /** What `space` is judged by. */
  readonly limits: SpaceLimits;
  /** What the file system had left at the last look; undefined as long as it does not say. */
  readonly diskFreeBytes: number | undefined;
}

type LogClock = Pick<Clock, "nowMs" | "after" | "soon">;

const DEFAULT_WATCHDOG_MS = 30_000;
const DEFAULT_CACHE_BYTES = 1024 * 1024;
const CLOSE_TIMEOUT_MS = 10_000;

/** Does not keep a process alive that has nothing else to do. */
function afterIfAlive(delayMs: number, run: () => void): Cancel {
  const timer = setTimeout(run, delayMs).unref();
  return () => clearTimeout(timer);
}

const systemClock: LogClock = {
  nowMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
  soon(run) {
    setImmediate(run);
  },
};

export class LmdbStorage implements DurableLog {
  readonly storage: Storage;
  readonly identity: LogIdentity;
  onSnapshotWanted: (index: LogIndex, to: NodeId) => void = () => {};

  #environment: LogEnvironment;
  readonly #lock: FolderLock;
  readonly #clock: LogClock;
  readonly #snapshots: SnapshotStore;
  readonly #view: LogView;
  readonly #writer: LogWriter;
  readonly #guard: SpaceGuard;
  readonly #fileCompaction: FileCompaction;
  readonly #options: LmdbStorageOptions;
  #hardState: HardState;
  #membership: MembershipRecord;
  #snapshot: Snapshot | undefined;
  #closing: Promise<void> | undefined;
  /** The last look before the file was closed. */
  #lastStats: EnvironmentStats | undefined;

  private constructor({ identity, environment, lock, loaded }: OpenedLog, options: LmdbStorageOptions) {
    this.identity = identity;
    this.#environment = environment;
    this.#lock = lock;
    this.#clock = options.clock ?? systemClock;
    this.#snapshots = options.snapshots;
    this.#hardState = loaded.hardState;
    this.#membership = loaded.membership;
    this.#snapshot = loaded.snapshot;
    this.#options = options;
    this.#view = new LogView(
      loaded.extent.boundary,
      loaded.extent.last,
      loaded.terms,
      (low, high, maxBytes) => this.#environment.readEntries(low, high, maxBytes),
      options.cacheBytes ?? DEFAULT_CACHE_BYTES,
    );
    this.#writer = new LogWriter({
      file: environment.file,
      extent: loaded.extent,
      garbage: loaded.garbage,
      commit: (change) => {
        this.#fileCompaction.batchBegins(change);
        return this.#environment.write(change);
      },
      // Not earlier: until the writer knows of the batch, file and extent do not fit together.
      onBatch: (bytes) => {
        this.#fileCompaction.batchEnded();
        this.#guard.wrote(bytes);
      },
      onDurable: (index) => this.#view.markDurable(index),
      onFatal: (error) => this.#reportFailure(error),
      watchdogMs: options.watchdogMs ?? DEFAULT_WATCHDOG_MS,
      clock: this.#clock,
    });
    const freeBytes = options.freeBytes ?? (() => freeBytesOf(options.dir));
    this.#guard = new SpaceGuard({
      limits: options.space ?? {},
      usedBytes: () => this.#environment.stats().usedBytes,
      freeBytes,
      after: (delayMs, run) => options.clock?.after(delayMs, run) ?? afterIfAlive(delayMs, run),
    });
    this.#fileCompaction = new FileCompaction({
      dir: options.dir,
      environment: () => this.#environment,
      extent: () => this.#writer.extent,
      exclusively: (run) => this.#writer.exclusively(run),
      replace: ({ environment: compacted, garbage }) => {
        this.#environment = compacted;
        this.#writer.replaceGarbage(garbage);
      },
      freeBytes,
      isShort: () => this.#guard.state !== "ok",
      thresholdBytes: options.compactFileBytes ?? DEFAULT_COMPACT_FILE_BYTES,
      logger: options.logger,
      fail: (error) => this.#writer.fail(error),
    });
    this.storage = {
      initialState: () => this.#initialState(),
      entries: (low, high, maxBytes, _context: GetEntriesContext) => this.#view.entries(low, high, maxBytes),
      term: (index) => this.#view.term(index),
      firstIndex: () => this.#view.firstIndex,
      lastIndex: () => this.#view.lastIndex,
      snapshot: (requestIndex, to) => this.#snapshotFor(requestIndex, to),
    };
    options.logger?.info(
      {
        file: environment.file,
        firstIndex: this.#view.firstIndex,
        lastIndex: this.#view.lastIndex,
        term: this.#hardState.term,
        commit: this.#hardState.commit,
        deadKeys: loaded.garbage.size,
      },
      "the log is open",
    );
  }

  /**
   * Opens the log in a folder, or begins one there. Everything is checked before anything is believed.
   * @throws StorageFault naming the file, the record, and what to do
   */
  static async open(options: LmdbStorageOptions): Promise<LmdbStorage> {
    const opened = await openLogFolder(options);
    try {
      const log = new LmdbStorage(opened, options);
      await log.#guard.start();
      log.#fileCompaction.maybeRun();
      return log;
    } catch (error) {
      await opened.environment.close();
      await opened.lock.release();
      throw error;
    }
  }

  get space(): SpaceWatch {
    return this.#guard;
  }

  get membership(): MembershipRecord {
    return this.#membership;
  }

  /** No members are known: the node waits until somebody adds it and sends it a snapshot. */
  get isBlank(): boolean {
    return (this.#membership.confState?.voters.length ?? 0) === 0;
  }

  /** The snapshot that the log was last replaced by, if it ever was. */
  get installedSnapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  stats(): LmdbStorageStats {
    const { batches, changes, garbageKeys } = this.#writer.counts;
    return {
      ...(this.#lastStats ?? this.#environment.stats()),
      entries: Number(this.#view.lastIndex - this.#view.boundary.index),
      cachedBytes: this.#view.cachedBytes,
      batches,
      changes,
      garbageKeys,
      fileCompactions: this.#fileCompaction.count,
      space: this.#guard.state,
      limits: this.#guard.limits,
      diskFreeBytes: this.#guard.freeBytes,
    };
  }

  /**
   * Gives what is free in the file back to the file system, now. Appends go on; they wait for a moment at the end.
   * Resolves with whether it was done: not while appends are faster than copying, without room for a copy, or where
   * a file in use cannot be replaced (Windows).
   * @throws StorageFault when the log turns out to be damaged; errors of the file system, with nothing changed
   */
  async compactFile(): Promise<boolean> {
    this.#requireOpen();
    return this.#fileCompaction.run();
  }

  append(write: LogWrite): Promise<void> {
    const closed = this.#whyClosed();
    if (closed !== undefined) return Promise.reject(closed);
    try {
      const lazily = this.#mayBeWrittenLater(write);
      const change = this.#takeIn(write);
      return lazily ? this.#writer.enqueueLazily(this.#hardState) : this.#writer.enqueue(change);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      this.#writer.fail(failure);
      return Promise.reject(failure);
    }
  }

  async saveMembership(record: MembershipRecord): Promise<void> {
    this.#requireOpen();
    this.#membership = copyMembership(record);
    return this.#writer.enqueue({ membership: this.#membership });
  }

  async compact(index: LogIndex): Promise<void> {
    this.#requireOpen();
    if (index < this.#view.firstIndex) return;
    if (index > this.#hardState.commit || index > this.#view.lastIndex) {
      throw new InvariantViolation(
        `cannot compact up to ${index}: committed up to ${this.#hardState.commit}, last entry ${this.#view.lastIndex}`,
      );
    }
    this.#view.compact(index);
    // The commit index on disk may be older; it must never lie before the log.
    await this.#writer.enqueue({ compaction: this.#view.boundary, hardState: this.#hardState });
    await this.#writer.garbageCollected();
    if (this.#guard.state !== "ok") await this.#guard.look();
    this.#fileCompaction.maybeRun();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#guard.stop();
    await this.#endsInTime(this.#fileCompaction.stop());
    await this.#writer.stop();
    this.#lastStats = this.#environment.stats();
    if (await this.#endsInTime(this.#environment.close())) return this.#lock.release();
    // The lock stays: the write that is stuck inside lmdb may still come through.
    this.#options.logger?.error({ file: this.#environment.file }, "lmdb does not close: end the process");
  }

  /** After a failed write lmdb may never finish closing. */
  #endsInTime(ending: Promise<void>): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(CLOSE_TIMEOUT_MS, () => resolve(false));
      ending.then(
        () => {
          cancel();
          resolve(true);
        },
        (error: unknown) => {
          cancel();
          reject(error);
        },
      );
    });
  }

  /** Whether nothing is new but the commit index, whatever the caller says. */
  #mayBeWrittenLater({ mustSync, snapshot, entries, hardState }: LogWrite): boolean {
    if (mustSync || snapshot !== undefined || entries.length > 0 || hardState === undefined) return false;
    return hardState.term === this.#hardState.term && hardState.vote === this.#hardState.vote;
  }

  #takeIn(write: LogWrite): LogChange {
    let reset: LogChange["reset"];
    let membership: MembershipRecord | undefined;
    if (write.snapshot !== undefined) {
      const position = snapshotPosition(write.snapshot);
      if (position.index < this.#view.boundary.index || position.index === 0n) {
        throw new InvariantViolation(
          `a snapshot at ${position.index} cannot replace a log that begins after ${this.#view.boundary.index}`,
        );
      }
      reset = { position, snapshot: toBinary(SnapshotSchema, write.snapshot) };
      membership = membershipOf(write.snapshot, this.#membership);
      this.#view.reset(position.index, position.term);
      this.#snapshot = write.snapshot;
      this.#membership = membership;
    }
    const [first] = write.entries;
    if (first !== undefined && first.index <= this.#hardState.commit) {
      throw new InvariantViolation(`entry ${first.index} would replace a committed one`);
    }
    this.#view.append(write.entries);
    const hardState = this.#nextHardState(write);
    if (hardState !== undefined) this.#hardState = hardState;
    return { reset, entries: write.entries, hardState, membership };
  }

  /** An own copy, if there is one. A snapshot moves the commit index with it, whether or not the hard state says so. */
  #nextHardState(write: LogWrite): HardState | undefined {
    const before = this.#hardState;
    const { term, vote, commit } = write.hardState ?? before;
    if (term < before.term || commit < before.commit) {
      throw new InvariantViolation(
        `the hard state would go back from (term ${before.term}, commit ${before.commit}) to (${term}, ${commit})`,
      );
    }
    const reached = maxOf(commit, this.#view.boundary.index);
    if (reached > this.#view.lastIndex) {
      throw new InvariantViolation(`commit ${reached} lies behind the last entry ${this.#view.lastIndex}`);
    }
    if (write.hardState === undefined && reached === commit) return undefined;
    return newHardState(term, vote, reached);
  }

  #initialState(): InitialState {
    const { term, vote, commit } = this.#hardState;
    return {
      hardState: newHardState(term, vote, commit),
      confState: copyConfState(confStateOf(this.#membership)),
    };
  }

  #snapshotFor(requestIndex: LogIndex, to: NodeId): Snapshot {
    const latest = this.#snapshots.latest();
    if (latest !== undefined) {
      const { index } = snapshotPosition(latest);
      const covers = index >= requestIndex && index >= this.#view.boundary.index && index > 0n;
      // A node drops a snapshot of a membership that it is not in, and would ask for ever.
      if (covers && isMember(latest.metadata?.confState, to)) return latest;
    }
    this.onSnapshotWanted(requestIndex, to);
    throw new StorageError("snapshotTemporarilyUnavailable");
  }

  #requireOpen(): void {
    const closed = this.#whyClosed();
    if (closed !== undefined) throw closed;
  }

  #whyClosed(): Error | undefined {
    if (this.#writer.failure !== undefined || this.#closing === undefined) return this.#writer.failure;
    return new StorageFault("closed", {
      file: this.#environment.file,
      problem: "the log is closed",
      remedy: "open it again",
    });
  }

  #reportFailure(error: Error): void {
    const { logger, onFatal } = this.#options;
    void this.#fileCompaction.stop();
    logger?.error({ error }, "the log has failed: nothing will be written any more");
    onFatal?.(error);
  }
}

/** The membership that a snapshot brings: the ids are its metadata's, the addresses its descriptor's. */
function membershipOf(snapshot: Snapshot, before: MembershipRecord): MembershipRecord {
  const described = fromBinary(SnapshotDescriptorSchema, snapshot.data).membership;
  const { index } = snapshotPosition(snapshot);
  return {
    $typeName: "raftnode.records.v1.MembershipRecord",
    confState: snapshot.metadata?.confState ?? newConfState(),
    index: described?.index ?? index,
    addresses: described?.addresses ?? before.addresses,
  };
}

/** What callers keep must not be what is still to be written. */
function copyMembership(record: MembershipRecord): MembershipRecord {
  return {
    $typeName: "raftnode.records.v1.MembershipRecord",
    confState: copyConfState(confStateOf(record)),
    index: record.index,
    addresses: record.addresses.map((each) => ({ ...each })),
  };
}

function confStateOf(membership: MembershipRecord): ConfState {
  return membership.confState ?? newConfState();
}

function isMember(confState: ConfState | undefined, id: NodeId): boolean {
  if (confState === undefined) return false;
  const { voters, learners, votersOutgoing, learnersNext } = confState;
  return [voters, learners, votersOutgoing, learnersNext].some((ids) => ids.includes(id));
}
