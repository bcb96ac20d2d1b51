// Writes the log anew into a second file while the first one is in use, and puts it in the first one's place. lmdb never
// gives space back to the file system; a new file without the free pages does. Appends go on meanwhile; they wait only
// while the last few entries are copied and the file gets its name, so that a crash finds one complete log or the other.

import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type LogIndex, maxOf, minOf } from "../core/types.js";
import type { LogExtent } from "./batch-plan.js";
import { type EntryRecords, type EnvironmentChange, LogEnvironment } from "./environment.js";
import { entryKeyName } from "./keys.js";
import { missingEntry, StorageFault } from "./storage-fault.js";
import { NEW_LOG_ENDING, NEW_LOG_PREFIX, requireRoomFor, syncFolder } from "./storage-files.js";

export interface LogRewriteOptions {
  /** The folder of the log. */
  readonly dir: string;
  /** The file in use, which the new one replaces. */
  readonly environment: LogEnvironment;
  /** What is on disk of the log, as of the last batch. */
  readonly extent: () => LogExtent;
  /** Runs between two batches; writes wait meanwhile. */
  readonly exclusively: <T>(run: () => Promise<T>) => Promise<T>;
  /** Takes the new file into use. Called while writes wait. */
  readonly replace: (rewritten: RewrittenLog) => void;
}

export interface RewrittenLog {
  readonly environment: LogEnvironment;
  /** Ranges of entries in the new file that have fallen out of the log since they were copied, ends included. */
  readonly garbage: readonly { readonly from: LogIndex; readonly to: LogIndex }[];
}

/** Copied at a time: little, so that appends hardly wait, and more as long as they are faster than the copy. */
const MIN_SLICE_ENTRIES = 128;
const MAX_SLICE_ENTRIES = 1_024;
const SLICE_BYTES_PER_ENTRY = 512;
/** So few entries are copied while writes wait. */
const LAST_ENTRIES = 128n;
/** Gives up when this many times as much was copied as there is: appends are faster than the copy. */
const MAX_COPIES = 4n;

let generation = 0;

export class LogRewrite {
  readonly #options: LogRewriteOptions;
  readonly #file: string;
  #abandoned = false;
  /** The first index that was ever copied, and the last. */
  #lowest: LogIndex | undefined;
  #highest: LogIndex = 0n;
  /** Up to here the copy is as the file in use is; from the beginning of the log, or from what is left of it. */
  #copied: LogIndex = 0n;
  /** The batch under way writes from here on. */
  #changing: LogIndex | undefined;
  #batchIsUnderWay = false;
  #wake: () => void = () => {};
  #sliceEntries = MIN_SLICE_ENTRIES;

  constructor(options: LogRewriteOptions) {
    this.#options = options;
    generation += 1;
    this.#file = join(options.dir, `${NEW_LOG_PREFIX}-${generation}${NEW_LOG_ENDING}`);
  }

  /** Must be told of every batch before it is written. */
  batchBegins({ entries }: EnvironmentChange): void {
    const first = entries[0]?.index;
    this.#batchIsUnderWay = true;
    this.#changing = first;
    if (first !== undefined) this.#copied = minOf(this.#copied, first - 1n);
  }

  batchEnded(): void {
    this.#batchIsUnderWay = false;
    this.#changing = undefined;
    this.#wake();
  }

  /** Ends the copy at the next occasion. */
  abandon(): void {
    this.#abandoned = true;
    this.#wake();
  }

  /**
   * Resolves with whether the new file took the place of the old one, which is closed by then; if not, nothing has
   * changed.
   * @throws StorageFault `writeFailed`: nothing may be written any more; others when the log turns out to be damaged.
   *   Errors of the file system, with nothing changed.
   */
  async run(): Promise<boolean> {
    // Whoever is the last to close a file without a name frees its blocks, which takes long: not the event loop.
    const old = await open(this.#options.environment.file, "r");
    try {
      return await this.#rewrite();
    } finally {
      await old.close();
    }
  }

  async #rewrite(): Promise<boolean> {
    await this.#remove();
    await requireRoomFor(this.#file);
    const copy = LogEnvironment.open(this.#file);
    let replaced = false;
    try {
      while (!replaced && (await this.#copyMost(copy))) {
        replaced = await this.#options.exclusively(() => this.#finish(copy));
      }
    } catch (error) {
      // Not waited for: after a write that failed lmdb may never finish closing.
      copy.close().catch(() => {});
      await this.#remove();
      throw error;
    }
    const leftOver = replaced ? this.#options.environment : copy;
    await leftOver.close();
    if (!replaced) await this.#remove();
    return replaced;
  }

  /** Copies until few entries are left. False: it is to be given up. */
  async #copyMost(copy: LogEnvironment): Promise<boolean> {
    const { boundary, last } = this.#options.extent();
    let allowance = (last - boundary.index) * MAX_COPIES + LAST_ENTRIES * MAX_COPIES;
    while (this.#missing() > LAST_ENTRIES) {
      if (this.#abandoned || allowance < 0n) return false;
      const missing = this.#missing();
      const slice = this.#readSlice();
      if (slice.records.length === 0) {
        // What the batch under way changes or deletes can only be copied after it.
        await this.#batchIsDone();
        continue;
      }
      allowance -= BigInt(slice.records.length);
      await copy.writeRecords(slice);
      this.#sliceEntries =
        this.#missing() < missing
          ? Math.max(MIN_SLICE_ENTRIES, this.#sliceEntries / 2)
          : Math.min(MAX_SLICE_ENTRIES, this.#sliceEntries * 2);
      await nextTurn();
    }
    return !this.#abandoned;
  }

  /** @throws StorageFault `gap`, at once, when there is no batch that could be the reason */
  #batchIsDone(): Promise<void> {
    if (!this.#batchIsUnderWay) throw this.#gap();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #gap(): StorageFault {
    const { environment, extent } = this.#options;
    const next = maxOf(this.#copied, extent().boundary.index) + 1n;
    return missingEntry(environment.file, entryKeyName(next));
  }

  /** The rest, and the single records, while nothing else is written. False: there is more left than was thought. */
  async #finish(copy: LogEnvironment): Promise<boolean> {
    const { environment, extent, replace, dir } = this.#options;
    const { boundary, last } = extent();
    if (this.#missing() > LAST_ENTRIES) return false;
    let slice = this.#readSlice();
    while (this.#missing() > 0n && slice.records.length > 0) {
      await copy.writeRecords(slice);
      slice = this.#readSlice();
    }
    if (this.#missing() > 0n) throw this.#gap();
    await copy.writeRecords(slice, environment.readAllRecords());
    await rename(this.#file, environment.file);
    try {
      await rm(`${this.#file}-lock`, { force: true });
      await syncFolder(dir);
    } catch (error) {
      // Nobody can tell which file a crash would leave under the name: nothing may be written to either.
      throw new StorageFault("writeFailed", {
        file: environment.file,
        problem: "the compacted log could not be put in place for good",
        remedy: "mend the disk, then start the node again: nothing after this was acknowledged",
        cause: error,
      });
    }
    const garbage = [
      { from: this.#lowest ?? last + 1n, to: minOf(boundary.index, this.#highest) },
      { from: last + 1n, to: this.#highest },
    ];
    replace({ environment: copy.named(environment.file), garbage });
    return true;
  }

  #missing(): bigint {
    const { boundary, last } = this.#options.extent();
    return last - maxOf(this.#copied, boundary.index);
  }

  /** The next entries to be copied, as far as the batch under way leaves them alone. */
  #readSlice(): EntryRecords {
    const { boundary, last } = this.#options.extent();
    const from = maxOf(this.#copied, boundary.index) + 1n;
    const end = minOf(last, this.#changing === undefined ? last : this.#changing - 1n);
    const to = minOf(end, from + BigInt(this.#sliceEntries) - 1n);
    const slice = this.#options.environment.readRecords(from, to, this.#sliceEntries * SLICE_BYTES_PER_ENTRY);
    if (slice.records.length === 0) return slice;
    this.#lowest ??= from;
    this.#copied = from + BigInt(slice.records.length) - 1n;
    this.#highest = maxOf(this.#highest, this.#copied);
    return slice;
  }

  async #remove(): Promise<void> {
    await rm(this.#file, { force: true });
    await rm(`${this.#file}-lock`, { force: true });
  }
}
