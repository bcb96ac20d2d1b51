// The recent changes of the store, revision by revision, in memory: what watchers are told, and what takes the store
// back to an earlier revision for a range that is read page by page. Every node keeps its own, from the same log.

import type { KvRecord } from "../../gen/records_pb.js";
import type { Cancel } from "../../node/ports.js";
import { ServiceError } from "../../services/connect-errors.js";

export interface KvEvent {
  readonly key: string;
  /** Undefined: the key was deleted. */
  readonly record: KvRecord | undefined;
  /** Undefined: the key did not exist. */
  readonly previous: KvRecord | undefined;
}

export interface KvRevision {
  readonly revision: bigint;
  readonly events: readonly KvEvent[];
  readonly bytes: number;
}

export interface KvHistoryLimits {
  /** Revisions that are kept. Default 100,000. */
  readonly maxRevisions: number;
  /** Approximate memory of what is kept, values and earlier values. Default 32 MiB. The newest revision always is. */
  readonly maxBytes: number;
}

export const DEFAULT_HISTORY_LIMITS: KvHistoryLimits = {
  maxRevisions: 100_000,
  maxBytes: 32 * 1024 * 1024,
};

/** Beside keys and values: objects, map slots, the entry itself. An estimate. */
const BYTES_PER_EVENT = 256;
/** Forgotten entries are cut off the array when there are this many. */
const TRIM_AT = 1_024;

export class KvHistory {
  readonly #limits: KvHistoryLimits;
  /** Without gaps: the entry at `#first + n` is of revision `floor + 1 + n`. */
  #entries: (KvRevision | undefined)[] = [];
  #first = 0;
  #bytes = 0;
  #floor = 0n;
  readonly #listeners = new Set<() => void>();
  #ended = false;

  constructor(limits: Partial<KvHistoryLimits> = {}) {
    this.#limits = { ...DEFAULT_HISTORY_LIMITS, ...limits };
  }

  /** Changes up to and including this revision are not known one by one (any more). */
  get floor(): bigint {
    return this.#floor;
  }

  /** The newest revision. */
  get head(): bigint {
    return this.#floor + BigInt(this.#entries.length - this.#first);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Watches that wait for a change right now. */
  get listeners(): number {
    return this.#listeners.size;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The state was opened, or replaced by another: nothing is known of how it came about. */
  reset(revision: bigint): void {
    this.#entries = [];
    this.#first = 0;
    this.#bytes = 0;
    this.#floor = revision;
    this.wake();
  }

  append(events: readonly KvEvent[]): void {
    const bytes = events.reduce((sum, event) => sum + sizeOf(event), 0);
    this.#entries.push({ revision: this.head + 1n, events, bytes });
    this.#bytes += bytes;
    while (this.#count > 1 && this.#isOver()) this.#forgetOldest();
  }

  /** The changes of one revision; undefined if it is not kept. */
  at(revision: bigint): KvRevision | undefined {
    if (revision <= this.#floor || revision > this.head) return undefined;
    return this.#entries[this.#first + Number(revision - this.#floor) - 1];
  }

  /**
   * What each key in question had at `revision`, as far as it differs from now.
   * @throws ServiceError `compacted` when that is not known any more
   */
  undo(revision: bigint, concerns: (key: string) => boolean): ReadonlyMap<string, KvRecord | undefined> {
    this.requireKept(revision + 1n);
    const before = new Map<string, KvRecord | undefined>();
    for (let at = this.#first + Number(revision - this.#floor); at < this.#entries.length; at += 1) {
      for (const { key, previous } of this.#entries[at]?.events ?? []) {
        if (!before.has(key) && concerns(key)) before.set(key, previous);
      }
    }
    return before;
  }

  /** @throws ServiceError `compacted` unless every change from `revision` on is kept */
  requireKept(revision: bigint): void {
    if (revision > this.#floor) return;
    throw new ServiceError(
      "compacted",
      `revision ${revision} is too long ago: this node keeps changes from ${this.#floor + 1n} on; read what is there now and go on from its revision`,
    );
  }

  /** Whether a reader of `revision` is among the oldest quarter of all that may be kept. */
  isAboutToForget(revision: bigint): boolean {
    const { maxRevisions, maxBytes } = this.#limits;
    const isFull = this.#count * 4 > maxRevisions * 3 || this.#bytes * 4 > maxBytes * 3;
    return isFull && Number(revision - this.#floor) * 4 <= this.#count;
  }

  /** Calls `listener` at every `wake`. Returns how to stop that. */
  onChange(listener: () => void): Cancel {
    const own = () => listener();
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /** What was appended is to be seen. Once per batch, not per change. */
  wake(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** The store is closed, or broken: there will be no more changes. */
  end(): void {
    this.#ended = true;
    this.wake();
  }

  get #count(): number {
    return this.#entries.length - this.#first;
  }

  #isOver(): boolean {
    return this.#count > this.#limits.maxRevisions || this.#bytes > this.#limits.maxBytes;
  }

  #forgetOldest(): void {
    this.#bytes -= this.#entries[this.#first]?.bytes ?? 0;
    this.#entries[this.#first] = undefined;
    this.#first += 1;
    this.#floor += 1n;
    if (this.#first < TRIM_AT || this.#first * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#first);
    this.#first = 0;
  }
}

function sizeOf({ key, record, previous }: KvEvent): number {
  return BYTES_PER_EVENT + key.length + (record?.value.length ?? 0) + (previous?.value.length ?? 0);
}
