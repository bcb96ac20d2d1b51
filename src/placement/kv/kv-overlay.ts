// Changes that have been applied and are not yet on disk: some waiting, some being written. Reads go through here
// before they go to LMDB, so a write is visible as soon as it is applied.

import type { KvRecord } from "../../gen/records_pb.js";
import type { KeySpan } from "./kv-key-range.js";

/** `undefined` stands for "deleted". */
export type KvChange = KvRecord | undefined;

/** What a change occupies beside its key and value: map slot, record object, header. An estimate. */
const BYTES_PER_CHANGE = 128;

export class KvOverlay {
  #waiting = new Map<string, KvChange>();
  #waitingBytes = 0;
  #writing: ReadonlyMap<string, KvChange> = new Map();
  #writingBytes = 0;

  /** Approximate memory held by changes that are not on disk. */
  get bytes(): number {
    return this.#waitingBytes + this.#writingBytes;
  }

  /** The part of `bytes` that is not yet on its way to the disk. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** What is known about `key` here; undefined: ask the disk. */
  lookUp(key: string): { readonly change: KvChange } | undefined {
    for (const changes of [this.#waiting, this.#writing]) {
      const change = changes.get(key);
      if (change !== undefined || changes.has(key)) return { change };
    }
    return undefined;
  }

  /** What is known here about the keys of a span, in no order. Costs a look at every change. */
  within(span: KeySpan): Map<string, KvChange> {
    const found = new Map<string, KvChange>();
    for (const changes of [this.#writing, this.#waiting]) {
      for (const [key, change] of changes) if (span.includes(key)) found.set(key, change);
    }
    return found;
  }

  put(key: string, change: KvChange): void {
    if (this.#waiting.has(key)) this.#waitingBytes -= sizeOf(key, this.#waiting.get(key));
    this.#waiting.set(key, change);
    this.#waitingBytes += sizeOf(key, change);
  }

  /** Hands out everything that waits, to be written. It stays readable here until `written`. */
  beginWrite(): ReadonlyMap<string, KvChange> {
    this.#writing = this.#waiting;
    this.#writingBytes = this.#waitingBytes;
    this.#waiting = new Map();
    this.#waitingBytes = 0;
    return this.#writing;
  }

  /** What `beginWrite` handed out can now be read from the disk. */
  written(): void {
    this.#writing = new Map();
    this.#writingBytes = 0;
  }

  /** Forgets everything: the state was replaced. */
  clear(): void {
    this.beginWrite();
    this.written();
  }
}

function sizeOf(key: string, change: KvChange): number {
  return BYTES_PER_CHANGE + key.length + (change?.value.length ?? 0);
}
