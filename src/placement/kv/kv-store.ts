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
import type { KvChange } from "./kv-overlay.js";
import { openRecord, RecordArena, sealRecord } from "./kv-record-codec.js";

const STATE_KEY = Buffer.from("state");
const RECORDS = "records";
const ABOUT = "about";
const INITIAL_MAP_BYTES = 256 * 1024 * 1024;

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
  release(): void;
}

export class KvStore {
  readonly #root: RootDatabase<Buffer, Uint8Array>;
  readonly #records: Database<Buffer, Uint8Array>;
  readonly #about: Database<Buffer, Uint8Array>;
  readonly #pins = new Set<KvPin>();

  private constructor(readonly path: string) {
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

  /** A new file. */
  static create(path: string): KvStore {
    return new KvStore(path);
  }

  /**
   * Opens a file that exists, after every page and record in it has been checked: LMDB believes what it reads, and
   * takes the process down over some of it.
   * @throws StorageFault
   */
  static async open(path: string): Promise<KvStore> {
    const { state, recordCount } = await verify(path);
    if (recordCount !== state.recordCount) {
      throw damaged(
        path,
        "inconsistent",
        `it should hold ${state.recordCount} records and holds ${recordCount}`,
      );
    }
    return new KvStore(path);
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

  /**
   * Makes changes and the state that they lead to durable, as one transaction. One call at a time.
   * @throws once a write has failed the file must not be used any more: LMDB would report later writes as done.
   */
  async write(changes: ReadonlyMap<string, KvChange>, state: KvStoreState): Promise<void> {
    const arena = new RecordArena();
    const sealed = [...changes].map(([key, change]) => {
      const keyBytes = Buffer.from(key, "utf8");
      const value = change && sealRecord(keyBytes, toBinary(KvRecordSchema, change), arena);
      return { keyBytes, value };
    });
    await this.#commit(state, () => {
      for (const { keyBytes, value } of sealed) {
        if (value === undefined) void this.#records.remove(keyBytes);
        else void this.#records.put(keyBytes, value);
      }
    });
  }

  /** As `write`, for records that come sealed from another store and are new here. */
  async writeStored(records: readonly StoredRecord[], state: KvStoreState): Promise<void> {
    await this.#commit(state, () => {
      for (const { key, sealed } of records) void this.#records.put(key, Buffer.from(sealed));
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
    let committed: boolean;
    try {
      committed = await this.#root.batch(() => {
        put();
        void this.#about.put(STATE_KEY, about);
      });
    } catch (error) {
      throw new Error(`cannot write to ${this.path}: ${await describeFailure(error)}`, { cause: error });
    }
    if (!committed) throw new Error(`cannot write to ${this.path}: LMDB refused the transaction`);
    // A read earlier in this turn of the event loop may have opened a transaction on what was there before.
    this.#root.resetReadTxn();
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

async function verify(path: string): Promise<{ readonly state: KvStoreState; readonly recordCount: bigint }> {
  let state = create(KvStoreStateSchema);
  let recordCount = 0n;
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
        if (!key.equals(STATE_KEY)) foreign(key);
        state = fromBinary(KvStoreStateSchema, openRecord(path, key, sealed));
      },
    ],
  ]);
  await verifyLmdbFile(path, foreign, databases);
  return { state, recordCount };
}

function damaged(path: string, code: StorageFaultCode, problem: string): StorageFault {
  return new StorageFault(code, { file: path, problem, remedy: REBUILD_REMEDY });
}
