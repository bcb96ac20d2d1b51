// The key-value store as a replicated state machine. Commands take effect in memory at once and reach LMDB a little
// later, in batches: a write is acknowledged on the strength of the log alone, which keeps every command until
// `durableIndex` has passed it, so a crash loses nothing: the commands are applied again.

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { InvariantViolation } from "../../core/errors.js";
import type { LogIndex } from "../../core/types.js";
import {
  type KvRecord,
  KvRecordSchema,
  type KvStoreState,
  KvStoreStateSchema,
} from "../../gen/records_pb.js";
import { RaftNodeError } from "../../node/errors.js";
import type { Command, Logger, StateMachine, StateMachineSnapshot } from "../../node/ports.js";
import { makeFolderDurable } from "../../storage/storage-files.js";
import { applyEncodedCommand, type KvPage, type KvView } from "./kv-command.js";
import { type KvEvent, KvHistory, type KvHistoryLimits } from "./kv-history.js";
import type { KeySpan } from "./kv-key-range.js";
import { KvOverlay } from "./kv-overlay.js";
import { readPage } from "./kv-range.js";
import { KvSessions } from "./kv-sessions.js";
import { writeSnapshot } from "./kv-snapshot-format.js";
import { KvStore } from "./kv-store.js";
import { KvStoreBuilder } from "./kv-store-builder.js";

const MIB = 1024 * 1024;

export interface KvStateMachineOptions {
  /** A folder of its own; made if it does not exist. */
  readonly dir: string;
  readonly logger?: Logger | undefined;
  /** Changes in memory beyond which `apply` waits for the disk. Default 64 MiB. One call may overshoot it. */
  readonly maxUnflushedBytes?: number | undefined;
  /** Changes in memory beyond which they are written without waiting for `flushDelayMs`. Default 4 MiB. */
  readonly flushBytes?: number | undefined;
  /** How long a change may wait for company before it is written. Default 50 ms; 0: as soon as the disk is free. */
  readonly flushDelayMs?: number | undefined;
  /** How many recent changes are kept in memory, for watchers and for reading at an earlier revision. */
  readonly history?: Partial<KvHistoryLimits> | undefined;
}

/** Part of a span of keys. */
export interface KvRangeQuery {
  readonly span: KeySpan;
  /** As the store was then; undefined: as it is. */
  readonly revision?: bigint | undefined;
  readonly limit: number;
  /** Keys and values; the first entry always fits. */
  readonly maxBytes: number;
  readonly keysOnly: boolean;
}

export class KvStateMachine implements StateMachine {
  readonly #dir: string;
  readonly #logger: Logger | undefined;
  readonly #maxUnflushedBytes: number;
  readonly #flushBytes: number;
  readonly #flushDelayMs: number;
  readonly #overlay = new KvOverlay();
  readonly #sessions = new KvSessions();
  readonly #history: KvHistory;
  /** Undefined for the moment in which one file takes the place of another. */
  #store: KvStore | undefined;
  #appliedIndex: LogIndex = 0n;
  #durableIndex: LogIndex = 0n;
  #revision = 0n;
  #recordCount = 0n;
  #flushUnderWay: Promise<void> | undefined;
  #flushTimer: NodeJS.Timeout | undefined;
  #failure: Error | undefined;

  private constructor(options: KvStateMachineOptions, store: KvStore) {
    this.#dir = options.dir;
    this.#logger = options.logger;
    this.#maxUnflushedBytes = options.maxUnflushedBytes ?? 64 * MIB;
    this.#flushBytes = options.flushBytes ?? 4 * MIB;
    this.#flushDelayMs = options.flushDelayMs ?? 50;
    this.#history = new KvHistory(options.history);
    this.#adopt(store);
  }

  /**
   * Opens what is in `dir`, or begins blank.
   * @throws StorageFault, with what to do about it; errors of the file system.
   */
  static async open(options: KvStateMachineOptions): Promise<KvStateMachine> {
    const path = storePath(options.dir);
    await makeFolderDurable(options.dir);
    await KvStoreBuilder.discardLeftovers(options.dir);
    if (!existsSync(path)) {
      const blank = await KvStoreBuilder.begin(options.dir);
      await blank.fillBlank();
      await blank.takePlaceOf(path);
    }
    return new KvStateMachine(options, await KvStore.open(path));
  }

  get appliedIndex(): LogIndex {
    return this.#appliedIndex;
  }

  get durableIndex(): LogIndex {
    return this.#durableIndex;
  }

  /** Of the last write applied; 0 for a store that was never written to. */
  get revision(): bigint {
    return this.#revision;
  }

  /** How many keys there are. */
  get recordCount(): bigint {
    return this.#recordCount;
  }

  /** How many clients' writes are remembered, so that they take effect once. */
  get sessionCount(): number {
    return this.#sessions.count;
  }

  /** Of the file on disk, free pages included. 0 while the file is being replaced. */
  get fileBytes(): number {
    return statSync(storePath(this.#dir), { throwIfNoEntry: false })?.size ?? 0;
  }

  /** The recent changes. To be read only. */
  get history(): KvHistory {
    return this.#history;
  }

  /**
   * The first entries of a span, in key order, as of `appliedIndex` or of an earlier revision.
   * @throws StorageFault; ServiceError `compacted` when the revision is too long ago.
   */
  range(query: KvRangeQuery): KvPage {
    const { span, revision = this.#revision } = query;
    const changes = this.#overlay.within(span);
    if (revision < this.#revision) {
      for (const [key, record] of this.#history.undo(revision, (key) => span.includes(key))) {
        changes.set(key, record);
      }
    }
    return readPage(this.#openStore().range(span), changes, query);
  }

  /** The record under `key` as of `appliedIndex`. Do not change its bytes. @throws StorageFault */
  get(key: string): KvRecord | undefined {
    const known = this.#overlay.lookUp(key);
    return known === undefined ? this.#openStore().read(key) : known.change;
  }

  exists(key: string): boolean {
    const known = this.#overlay.lookUp(key);
    return known === undefined ? this.#openStore().has(key) : known.change !== undefined;
  }

  apply(
    commands: readonly Command[],
    appliedIndex: LogIndex,
  ): readonly Uint8Array[] | Promise<readonly Uint8Array[]> {
    if (this.#overlay.bytes < this.#maxUnflushedBytes) return this.#applyNow(commands, appliedIndex);
    return this.#waitForRoom().then(() => this.#applyNow(commands, appliedIndex));
  }

  /** Resolves when everything applied before the call is on disk. */
  async flush(): Promise<void> {
    const target = this.#appliedIndex;
    while (this.#durableIndex < target) await this.#flushOnce();
  }

  async snapshot(): Promise<StateMachineSnapshot> {
    // Once nothing waits in memory, a read transaction of LMDB is the state as of exactly this index.
    await this.flush();
    const pin = this.#openStore().pin();
    const { appliedIndex } = pin.state;
    if (appliedIndex !== this.#appliedIndex) {
      pin.release();
      throw new InvariantViolation(
        `pinned the state as of ${appliedIndex}, applied is ${this.#appliedIndex}`,
      );
    }
    return { appliedIndex, write: (sink) => writeSnapshot(pin, sink), release: pin.release };
  }

  async restore(appliedIndex: LogIndex, body: AsyncIterable<Uint8Array>): Promise<void> {
    this.#throwIfFailed();
    const builder = await KvStoreBuilder.begin(this.#dir);
    try {
      await builder.fill(appliedIndex, body);
    } catch (error) {
      await builder.abandon();
      throw error;
    }
    // Nothing is applied meanwhile, so from here on no write begins by itself.
    await this.flush();
    const old = this.#openStore();
    this.#store = undefined;
    try {
      await old.close();
      await builder.takePlaceOf(storePath(this.#dir));
      this.#adopt(await KvStore.open(storePath(this.#dir)));
    } catch (error) {
      throw this.#fail(error);
    }
    this.#logger?.info(
      { appliedIndex, records: this.#recordCount },
      "state of the key-value store replaced by a snapshot",
    );
  }

  async close(): Promise<void> {
    try {
      if (this.#failure === undefined) await this.flush();
    } finally {
      clearTimeout(this.#flushTimer);
      const store = this.#store;
      this.#store = undefined;
      // After a failed write LMDB may never finish closing; the process is about to end anyway.
      if (this.#failure === undefined) await store?.close();
      this.#failure ??= new Error("the key-value store is closed");
      this.#history.end();
    }
  }

  #applyNow(commands: readonly Command[], appliedIndex: LogIndex): readonly Uint8Array[] {
    this.#throwIfFailed();
    const first = commands[0]?.index ?? appliedIndex;
    if (appliedIndex < this.#appliedIndex || first <= this.#appliedIndex) {
      throw new InvariantViolation(
        `asked to apply ${first} to ${appliedIndex}, but the state already contains ${this.#appliedIndex}`,
      );
    }
    let events: KvEvent[] = [];
    const view: KvView = {
      revision: this.#revision,
      read: (key) => this.get(key),
      write: (key, value, before) => events.push(this.#change(key, value, before, view.revision)),
      range: (span, limit, maxBytes, keysOnly) => this.range({ span, limit, maxBytes, keysOnly }),
    };
    const results = commands.map(({ index, data }) => {
      const result = applyEncodedCommand(view, this.#sessions, index, data);
      if (view.revision === this.#revision) return result;
      this.#revision = view.revision;
      this.#history.append(events);
      events = [];
      return result;
    });
    this.#appliedIndex = appliedIndex;
    this.#history.wake();
    this.#scheduleFlush();
    return results;
  }

  #change(
    key: string,
    value: Uint8Array | undefined,
    previous: KvRecord | undefined,
    revision: bigint,
  ): KvEvent {
    if (previous === undefined) this.#recordCount += 1n;
    if (value === undefined) this.#recordCount -= 1n;
    const record =
      value &&
      create(KvRecordSchema, {
        value: ownBytes(value),
        createRevision: previous?.createRevision ?? revision,
        modRevision: revision,
        version: (previous?.version ?? 0n) + 1n,
      });
    this.#overlay.put(key, record);
    return { key, record, previous };
  }

  async #waitForRoom(): Promise<void> {
    while (this.#overlay.bytes >= this.#maxUnflushedBytes) await this.#flushOnce();
  }

  #scheduleFlush(): void {
    if (this.#flushUnderWay !== undefined || this.#durableIndex === this.#appliedIndex) return;
    if (this.#flushDelayMs === 0 || this.#overlay.waitingBytes >= this.#flushBytes) {
      this.#flushInBackground();
    } else {
      this.#flushTimer ??= setTimeout(() => this.#flushInBackground(), this.#flushDelayMs).unref();
    }
  }

  #flushInBackground(): void {
    // The failure is kept and met by the next call.
    this.#flushOnce().catch(() => undefined);
  }

  /** Joins the write under way, or begins one. A write that is joined may lack what was applied meanwhile. */
  #flushOnce(): Promise<void> {
    this.#flushUnderWay ??= this.#writeOverlay().finally(() => {
      this.#flushUnderWay = undefined;
      if (this.#failure === undefined) this.#scheduleFlush();
    });
    return this.#flushUnderWay;
  }

  async #writeOverlay(): Promise<void> {
    this.#throwIfFailed();
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    const state = create(KvStoreStateSchema, {
      appliedIndex: this.#appliedIndex,
      revision: this.#revision,
      recordCount: this.#recordCount,
      sessionCount: BigInt(this.#sessions.count),
      forgottenRevision: this.#sessions.forgottenRevision,
    });
    try {
      await this.#openStore().write(this.#overlay.beginWrite(), this.#sessions.takeDirty(), state);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#overlay.written();
    this.#durableIndex = state.appliedIndex;
  }

  #adopt(store: KvStore): void {
    const state: KvStoreState = store.readState();
    this.#overlay.clear();
    this.#store = store;
    this.#appliedIndex = state.appliedIndex;
    this.#durableIndex = state.appliedIndex;
    this.#revision = state.revision;
    this.#recordCount = state.recordCount;
    this.#sessions.load(state, store.readSessions());
    this.#history.reset(state.revision);
  }

  #openStore(): KvStore {
    this.#throwIfFailed();
    if (this.#store === undefined) {
      throw new RaftNodeError("readDropped", "the state is being replaced by a snapshot; retry shortly");
    }
    return this.#store;
  }

  #fail(error: unknown): Error {
    this.#failure = error instanceof Error ? error : new Error(String(error));
    this.#history.end();
    this.#logger?.error({ error: this.#failure }, "the key-value store cannot go on");
    return this.#failure;
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** The history keeps values for long: they must not hold on to the large buffer that they may have come in. */
function ownBytes(value: Uint8Array): Uint8Array {
  return value.length * 2 < value.buffer.byteLength ? Uint8Array.from(value) : value;
}

function storePath(dir: string): string {
  return join(dir, "state.mdb");
}
