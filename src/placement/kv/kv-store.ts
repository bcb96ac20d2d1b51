// The records of the key-value store on disk: one LMDB file with two databases, "records" and "about". The only
// file here that knows LMDB.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Database, open, type RootDatabase } from "lmdb";
import {
  type KvRecord,
  KvRecordSchema,
  type KvStoreState,
  KvStoreStateSchema,
} from "../../gen/records_pb.js";
import { verifyLmdbFile } from "../../storage/lmdb-verify.js";
import { REBUILD_REMEDY, StorageFault, type StorageFaultCode } from "../../storage/storage-fault.js";
import { requireRoomFor } from "../../storage/storage-files.js";
import { WriteWatchdog } from "../../storage/write-watchdog.js";
import type { KeySpan } from "./kv-key-range.js";
import type { KvChange } from "./kv-overlay.js";
import { openRecord, RecordArena, sealKvRecord, sealRecord } from "./kv-record-codec.js";
import type { SessionChange } from "./kv-sessions.js";

const STATE_KEY = Buffer.from("state");
/** Before a client id: the sessions stand beside the state. */
const SESSION_PREFIX = Buffer.from("session/");
const SESSIONS_END = Buffer.from("session0");
const RECORDS = "records";
const ABOUT = "about";
const INITIAL_MAP_BYTES = 256 * 1024 * 1024;
const WATCHDOG_MS = 30_000;

/** The watchdog's: does not keep a process alive that has nothing else to do. */
const clock = {
  nowMs: () => performance.now(),
  after: (delayMs: number, run: () => void) => {
    const timer = setTimeout(run, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

type Transaction = ReturnType<RootDatabase["useReadTransaction"]>;

/** A record as it is stored: still sealed, so that a copy carries its checksum along. */
export interface StoredRecord {
  readonly key: Uint8Array;
  readonly sealed: Uint8Array;
}

/** The store as of one moment. Must be released: it keeps LMDB from reusing pages. */
export interface KvPin {
  readonly state: KvStoreState;
  /** Records with keys after `after`, in key order, until `maxBytes` is reached; empty at the end. */
  page(after: Uint8Array | undefined, maxBytes: number): readonly StoredRecord[];
  /** All sessions, by client id, still sealed. Their memory is bounded. */
  sessions(): readonly StoredRecord[];
  release(): void;
}

export class KvStore {
  readonly #root: RootDatabase<Buffer, Uint8Array>;
  readonly #records: Database<Buffer, Uint8Array>;
  readonly #about: Database<Buffer, Uint8Array>;
  readonly #pins = new Set<KvPin>();
  readonly #watchdogMs: number;

  private constructor(
    readonly path: string,
    watchdogMs: number,
  ) {
    this.#watchdogMs = watchdogMs;
    this.#root = open<Buffer, Uint8Array>({
      path,
      noSubdir: true,
      // Readers never see what a crash could take back, and a failed write is never reported as done.
      overlappingSync: false,
      eventTurnBatching: false,
      encoding: "binary",
      keyEncoding: "binary",
      cache: false,
      pageSize: 4096,
      mapSize: INITIAL_MAP_BYTES,
      maxDbs: 4,
    });
    const options = { encoding: "binary", keyEncoding: "binary", cache: false } as const;
    this.#records = this.#root.openDB<Buffer, Uint8Array>(RECORDS, options);
    this.#about = this.#root.openDB<Buffer, Uint8Array>(ABOUT, options);
  }

  /** A new file. @throws the error of the file system when there is no room for one: LMDB would end the process */
  static async create(path: string): Promise<KvStore> {
    await requireRoomFor(path);
    return new KvStore(path, WATCHDOG_MS);
  }

  /**
   * Opens a file that exists, after every page and record in it has been checked: LMDB believes what it reads, and
   * takes the process down over some of it.
   * @param watchdogMs how long a write may take before it is given up
   * @throws StorageFault
   */
  static async open(path: string, watchdogMs = WATCHDOG_MS): Promise<KvStore> {
    const { state, recordCount, sessionCount } = await verify(path);
    if (recordCount !== state.recordCount || sessionCount !== state.sessionCount) {
      throw damaged(
        path,
        "inconsistent",
        `it should hold ${state.recordCount} records and ${state.sessionCount} sessions, and holds ${recordCount} and ${sessionCount}`,
      );
    }
    return new KvStore(path, watchdogMs);
  }

  /** Blank for a new file. @throws StorageFault */
  readState(transaction?: Transaction): KvStoreState {
    const sealed = this.#about.get(STATE_KEY, transaction === undefined ? {} : { transaction });
    if (sealed === undefined) return create(KvStoreStateSchema);
    return fromBinary(KvStoreStateSchema, openRecord(this.path, STATE_KEY, sealed));
  }

  /** @throws StorageFault when the record fails its checksum. */
  read(key: string): KvRecord | undefined {
    const keyBytes = Buffer.from(key, "utf8");
    const sealed = this.#records.get(keyBytes);
    return sealed === undefined
      ? undefined
      : fromBinary(KvRecordSchema, openRecord(this.path, keyBytes, sealed));
  }

  has(key: string): boolean {
    return this.#records.doesExist(Buffer.from(key, "utf8"));
  }

  /** The records of a span, in key order, as they are on disk. Must be walked in one go: it is a view of this moment. */
  *range(span: KeySpan): Generator<{ readonly key: Buffer; readonly open: () => KvRecord }> {
    const bounds = span.end === undefined ? { start: span.start } : { start: span.start, end: span.end };
    for (const { key, value } of this.#records.getRange(bounds)) {
      // LMDB hands out copies here, which are nobody else's.
      const keyBytes = Buffer.isBuffer(key) ? key : Buffer.from(key);
      const open = () => fromBinary(KvRecordSchema, openRecord(this.path, keyBytes, value));
      yield { key: keyBytes, open };
    }
  }

  /** The bodies of all sessions. @throws StorageFault */
  readSessions(): readonly Uint8Array[] {
    return this.#sessions().map(({ key, sealed }) => openRecord(this.path, sessionKey(key), sealed));
  }

  /**
   * Makes changes and the state that they lead to durable, as one transaction. One call at a time.
   * @throws StorageFault `writeFailed` or `writeStalled`: the file must not be used any more. LMDB would report later
   *   writes as done, or never answer.
   */
  async write(
    changes: ReadonlyMap<string, KvChange>,
    sessions: readonly SessionChange[],
    state: KvStoreState,
  ): Promise<void> {
    const arena = new RecordArena();
    const sealed = [...changes].map(([key, change]) => {
      const keyBytes = Buffer.from(key, "utf8");
      const value = change && sealKvRecord(keyBytes, change, arena);
      return { keyBytes, value };
    });
    const sealedSessions = sessions.map(({ clientId, body }) => {
      const keyBytes = sessionKey(clientId);
      return { keyBytes, value: body && sealRecord(keyBytes, body, arena) };
    });
    await this.#commit(state, () => {
      for (const { keyBytes, value } of sealed) {
        if (value === undefined) void this.#records.remove(keyBytes);
        else void this.#records.put(keyBytes, value);
      }
      for (const { keyBytes, value } of sealedSessions) {
        if (value === undefined) void this.#about.remove(keyBytes);
        else void this.#about.put(keyBytes, value);
      }
    });
  }

  /** As `write`, for records that come sealed from another store and are new here. */
  async writeStored(
    records: readonly StoredRecord[],
    sessions: readonly StoredRecord[],
    state: KvStoreState,
  ): Promise<void> {
    await this.#commit(state, () => {
      for (const { key, sealed } of records) void this.#records.put(key, Buffer.from(sealed));
      for (const { key, sealed } of sessions) void this.#about.put(sessionKey(key), Buffer.from(sealed));
    });
  }

  pin(): KvPin {
    this.#root.resetReadTxn();
    const transaction = this.#root.useReadTransaction();
    let released = false;
    const pin: KvPin = {
      state: this.readState(transaction),
      page: (after, maxBytes) => {
        if (released) throw new Error("the snapshot was released while it was being written");
        return this.#page(transaction, after, maxBytes);
      },
      sessions: () => {
        if (released) throw new Error("the snapshot was released while it was being written");
        return this.#sessions(transaction);
      },
      release: () => {
        if (released) return;
        released = true;
        this.#pins.delete(pin);
        transaction.done();
      },
    };
    this.#pins.add(pin);
    return pin;
  }

  /** Releases all pins, waits for a write under way, lets go of the file. */
  async close(): Promise<void> {
    for (const pin of [...this.#pins]) pin.release();
    await this.#root.close();
  }

  async #commit(state: KvStoreState, put: () => void): Promise<void> {
    const about = sealRecord(STATE_KEY, toBinary(KvStoreStateSchema, state), new RecordArena());
    const committing = this.#root.batch(() => {
      put();
      void this.#about.put(STATE_KEY, about);
    });
    await this.#durable(committing);
    // A read earlier in this turn of the event loop may have opened a transaction on what was there before.
    this.#root.resetReadTxn();
  }

  async #durable(committing: Promise<boolean>): Promise<void> {
    let stall: () => void = () => {};
    const watchdog = new WriteWatchdog(clock, this.#watchdogMs, () => stall());
    const stalled = new Promise<never>((_resolve, reject) => {
      stall = () =>
        reject(this.#writeFault("writeStalled", `a write has not finished within ${this.#watchdogMs} ms`));
    });
    watchdog.begin();
    try {
      await Promise.race([this.#committed(committing), stalled]);
    } finally {
      watchdog.stop();
    }
  }

  async #committed(committing: Promise<boolean>): Promise<void> {
    let took: boolean;
    try {
      took = await committing;
    } catch (error) {
      throw this.#writeFault("writeFailed", `a write failed (${await describeFailure(error)})`, error);
    }
    if (!took) throw this.#writeFault("writeFailed", "LMDB refused a transaction");
  }

  #writeFault(code: "writeFailed" | "writeStalled", problem: string, cause?: unknown): StorageFault {
    return new StorageFault(code, {
      file: this.path,
      problem,
      remedy:
        "free space or mend the disk, then start the node again: the log still holds what is missing here",
      cause,
    });
  }

  /** By client id. */
  #sessions(transaction?: Transaction): StoredRecord[] {
    const bounds = { start: SESSION_PREFIX, end: SESSIONS_END };
    const range = transaction === undefined ? bounds : { ...bounds, transaction };
    return [...this.#about.getRange(range)].map(({ key, value }) => ({
      key: Buffer.from(key.subarray(SESSION_PREFIX.length)),
      sealed: Buffer.from(value),
    }));
  }

  #page(transaction: Transaction, after: Uint8Array | undefined, maxBytes: number): StoredRecord[] {
    const start = after === undefined ? {} : { start: after, exclusiveStart: true };
    const page: StoredRecord[] = [];
    let bytes = 0;
    for (const { key, value } of this.#records.getRange({ ...start, transaction })) {
      page.push({ key: Buffer.from(key), sealed: value });
      bytes += key.length + value.length;
      if (bytes >= maxBytes) break;
    }
    return page;
  }
}

/** LMDB says no more than "Commit failed"; the reason is a promise beside it, which must not stay unhandled. */
async function describeFailure(error: unknown): Promise<string> {
  const words = error instanceof Error ? error.message : String(error);
  if (!(error instanceof Error) || !("commitError" in error)) return words;
  try {
    await error.commitError;
    return words;
  } catch (reason) {
    return `${words} (${reason instanceof Error ? reason.message : String(reason)})`;
  }
}

interface Contents {
  readonly state: KvStoreState;
  readonly recordCount: bigint;
  readonly sessionCount: bigint;
}

async function verify(path: string): Promise<Contents> {
  let state = create(KvStoreStateSchema);
  let recordCount = 0n;
  let sessionCount = 0n;
  const foreign = (key: Buffer) => {
    throw damaged(path, "corrupt", `a record ${JSON.stringify(key.toString("latin1"))} is out of place`);
  };
  const databases = new Map([
    [
      RECORDS,
      (key: Buffer, sealed: Buffer) => {
        openRecord(path, key, sealed);
        recordCount += 1n;
      },
    ],
    [
      ABOUT,
      (key: Buffer, sealed: Buffer) => {
        if (isSessionKey(key)) {
          openRecord(path, key, sealed);
          sessionCount += 1n;
          return;
        }
        if (!key.equals(STATE_KEY)) foreign(key);
        state = fromBinary(KvStoreStateSchema, openRecord(path, key, sealed));
      },
    ],
  ]);
  await verifyLmdbFile(path, foreign, databases);
  return { state, recordCount, sessionCount };
}

/** What a session is stored, and sealed, under. */
export function sessionKey(clientId: Uint8Array): Buffer {
  return Buffer.concat([SESSION_PREFIX, clientId]);
}

function isSessionKey(key: Buffer): boolean {
  return key.subarray(0, SESSION_PREFIX.length).equals(SESSION_PREFIX);
}

function damaged(path: string, code: StorageFaultCode, problem: string): StorageFault {
  return new StorageFault(code, { file: path, problem, remedy: REBUILD_REMEDY });
}
