// Takes the place of src/placement/kv/kv-store.ts: the records of the key-value store on a simulated disk, sealed as
// they are in LMDB.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type KvRecord,
  KvRecordSchema,
  type KvStoreState,
  KvStoreStateSchema,
} from "../../../src/gen/records_pb.js";
import type { KeySpan } from "../../../src/placement/kv/kv-key-range.js";
import type { KvChange } from "../../../src/placement/kv/kv-overlay.js";
import { openRecord, RecordArena, sealRecord } from "../../../src/placement/kv/kv-record-codec.js";
import type { SessionChange } from "../../../src/placement/kv/kv-sessions.js";
import type { KvPin, StoredRecord } from "../../../src/placement/kv/kv-store.js";
import { type Disk, diskOf, type StoreImage } from "./disk.js";

const STATE_KEY = Buffer.from("state");
const SESSION_PREFIX = Buffer.from("session/");

export class KvStore {
  readonly #disk: Disk;

  private constructor(readonly path: string) {
    this.#disk = diskOf(path);
  }

  static create(path: string): KvStore {
    return new KvStore(path);
  }

  static async open(path: string): Promise<KvStore> {
    const store = new KvStore(path);
    await store.#disk.pause();
    const image = store.#image();
    for (const [key, sealed] of image.records) openRecord(path, bytesOf(key), sealed);
    for (const [key, sealed] of image.about) openRecord(path, bytesOf(key), sealed);
    const state = store.readState();
    if (BigInt(image.records.size) !== state.recordCount) {
      throw new Error(`${path} should hold ${state.recordCount} records, and holds ${image.records.size}`);
    }
    return store;
  }

  readState(): KvStoreState {
    return stateIn(this.path, this.#image());
  }

  read(key: string): KvRecord | undefined {
    const keyBytes = Buffer.from(key, "utf8");
    const sealed = this.#image().records.get(keyBytes.toString("latin1"));
    return sealed === undefined
      ? undefined
      : fromBinary(KvRecordSchema, openRecord(this.path, keyBytes, sealed));
  }

  has(key: string): boolean {
    return this.#image().records.has(Buffer.from(key, "utf8").toString("latin1"));
  }

  *range(span: KeySpan): Generator<{ readonly key: Buffer; readonly open: () => KvRecord }> {
    for (const [name, sealed] of inOrder(this.#image().records)) {
      const key = bytesOf(name);
      if (!span.includes(key.toString("utf8"))) continue;
      yield { key, open: () => fromBinary(KvRecordSchema, openRecord(this.path, key, sealed)) };
    }
  }

  readSessions(): readonly Uint8Array[] {
    return sessionsIn(this.#image()).map(({ key, sealed }) => openRecord(this.path, sessionKey(key), sealed));
  }

  write(
    changes: ReadonlyMap<string, KvChange>,
    sessions: readonly SessionChange[],
    state: KvStoreState,
  ): Promise<void> {
    const arena = new RecordArena();
    const records = [...changes].map(([key, change]) => {
      const keyBytes = Buffer.from(key, "utf8");
      return [keyBytes, change && sealRecord(keyBytes, toBinary(KvRecordSchema, change), arena)] as const;
    });
    const about = sessions.map(({ clientId, body }) => {
      const keyBytes = sessionKey(clientId);
      return [keyBytes, body && sealRecord(keyBytes, body, arena)] as const;
    });
    return this.#commit(records, about, state);
  }

  writeStored(
    records: readonly StoredRecord[],
    sessions: readonly StoredRecord[],
    state: KvStoreState,
  ): Promise<void> {
    return this.#commit(
      records.map(({ key, sealed }) => [Buffer.from(key), Buffer.from(sealed)] as const),
      sessions.map(({ key, sealed }) => [sessionKey(key), Buffer.from(sealed)] as const),
      state,
    );
  }

  pin(): KvPin {
    const image = this.#image();
    const pinned: StoreImage = { records: new Map(image.records), about: new Map(image.about) };
    return {
      state: stateIn(this.path, pinned),
      page: (after, maxBytes) => {
        const from = after === undefined ? undefined : Buffer.from(after).toString("latin1");
        const page: StoredRecord[] = [];
        let bytes = 0;
        for (const [name, sealed] of inOrder(pinned.records)) {
          if (from !== undefined && name <= from) continue;
          page.push({ key: bytesOf(name), sealed });
          bytes += name.length + sealed.length;
          if (bytes >= maxBytes) break;
        }
        return page;
      },
      sessions: () => sessionsIn(pinned),
      release: () => {},
    };
  }

  async close(): Promise<void> {}

  #commit(
    records: readonly (readonly [Buffer, Buffer | undefined])[],
    about: readonly (readonly [Buffer, Buffer | undefined])[],
    state: KvStoreState,
  ): Promise<void> {
    const sealedState = sealRecord(STATE_KEY, toBinary(KvStoreStateSchema, state), new RecordArena());
    return this.#disk.write(
      `the state as of ${state.appliedIndex}`,
      () => {
        const image = this.#image();
        for (const [key, sealed] of records) put(image.records, key, sealed);
        for (const [key, sealed] of about) put(image.about, key, sealed);
        put(image.about, STATE_KEY, sealedState);
      },
      undefined,
      "state",
    );
  }

  #image(): StoreImage {
    const known = this.#disk.stores.get(this.path);
    if (known !== undefined) return known;
    const blank: StoreImage = { records: new Map(), about: new Map() };
    this.#disk.stores.set(this.path, blank);
    return blank;
  }
}

export function sessionKey(clientId: Uint8Array): Buffer {
  return Buffer.concat([SESSION_PREFIX, clientId]);
}

function stateIn(path: string, image: StoreImage): KvStoreState {
  const sealed = image.about.get(STATE_KEY.toString("latin1"));
  if (sealed === undefined) return create(KvStoreStateSchema);
  return fromBinary(KvStoreStateSchema, openRecord(path, STATE_KEY, sealed));
}

function sessionsIn(image: StoreImage): StoredRecord[] {
  const prefix = SESSION_PREFIX.toString("latin1");
  return inOrder(image.about)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, sealed]) => ({ key: bytesOf(name.slice(prefix.length)), sealed }));
}

function inOrder(map: ReadonlyMap<string, Buffer>): [string, Buffer][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

function put(map: Map<string, Buffer>, key: Buffer, sealed: Buffer | undefined): void {
  if (sealed === undefined) map.delete(key.toString("latin1"));
  else map.set(key.toString("latin1"), sealed);
}

function bytesOf(name: string): Buffer {
  return Buffer.from(name, "latin1");
}
