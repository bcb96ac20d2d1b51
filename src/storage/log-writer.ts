// Writes changes to the environment: one batch at a time, and into each batch everything that waits by then, so that
// many callers share one flush of the disk. The first failure is final.

import type { LogIndex } from "../core/types.js";
import type { HardState } from "../gen/eraftpb_pb.js";
import type { Clock } from "../node/ports.js";
import { type LogChange, type LogExtent, planBatch } from "./batch-plan.js";
import type { EnvironmentChange } from "./environment.js";
import type { Garbage } from "./garbage.js";
import { entryRecordBytes } from "./record-codec.js";
import { StorageFault } from "./storage-fault.js";
import { WriteWatchdog } from "./write-watchdog.js";

/** A batch takes no further change in once it holds this much; one change is never split. */
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const MAX_BATCH_CHANGES = 4096;
/** Dead keys deleted by a batch that has nothing else to do, and by one that somebody waits for. */
const IDLE_GARBAGE_LIMIT = 2000;
const BUSY_GARBAGE_LIMIT = 256;
/** How long to wait for lmdb to say why a batch failed. */
const CAUSE_WAIT_MS = 1000;

export interface LogWriterOptions {
  readonly file: string;
  readonly extent: LogExtent;
  readonly garbage: Garbage;
  /** Resolves when the change is on disk. */
  readonly commit: (change: EnvironmentChange) => Promise<void>;
  /** A batch of about so many bytes is on disk, and `extent` says so. Not called after one that failed. */
  readonly onBatch?: ((bytes: number) => void) | undefined;
  /** Entries up to this index are on disk as they were appended last. */
  readonly onDurable: (index: LogIndex) => void;
  /** Called once, before the promises of the changes that failed are rejected. */
  readonly onFatal: (error: Error) => void;
  readonly watchdogMs: number;
  readonly clock: Pick<Clock, "nowMs" | "after" | "soon">;
}

interface QueuedChange {
  readonly change: LogChange;
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Interlude {
  readonly run: () => Promise<void>;
  readonly reject: (error: Error) => void;
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #garbage: Garbage;
  #extent: LogExtent;
  #queue: QueuedChange[] = [];
  /** A hard state that may wait for the next batch. */
  #lazyHardState: HardState | undefined;
  #running = false;
  #failure: Error | undefined;
  #stopping = false;
  #interlude: Interlude | undefined;
  /** The batch on its way to the disk, or the interlude that runs. */
  #underWay: readonly (QueuedChange | Interlude)[] = [];
  readonly #watchdog: WriteWatchdog;
  /** The promise of the change that was queued last. */
  #tail: Promise<void> = Promise.resolve();
  #garbageWaiters: (() => void)[] = [];
  #idleWaiters: (() => void)[] = [];
  #batches = 0;
  #changes = 0;

  constructor(options: LogWriterOptions) {
    this.#options = options;
    this.#extent = options.extent;
    this.#garbage = options.garbage;
    this.#watchdog = new WriteWatchdog(options.clock, options.watchdogMs, () => this.fail(this.#stalled()));
    if (!this.#garbage.isEmpty) this.#wake();
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  get counts(): { readonly batches: number; readonly changes: number; readonly garbageKeys: number } {
    return { batches: this.#batches, changes: this.#changes, garbageKeys: this.#garbage.size };
  }

  /** Resolves when the change and all before it are on disk. */
  enqueue(change: LogChange): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const lazy = this.#lazyHardState;
    this.#lazyHardState = undefined;
    const full =
      lazy === undefined || change.hardState !== undefined ? change : { ...change, hardState: lazy };
    this.#changes += 1;
    const written = new Promise<void>((resolve, reject) => {
      this.#queue.push({ change: full, bytes: changeBytes(full), resolve, reject });
    });
    this.#tail = written;
    this.#wake();
    return written;
  }

  /**
   * Keeps a hard state of which only the commit index is new for the next batch. Resolves when all changes before
   * it are on disk: losing it in a crash breaks no promise.
   */
  enqueueLazily(hardState: HardState): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#lazyHardState = hardState;
    return this.#tail;
  }

  /** What is on disk, as of the last batch. */
  get extent(): LogExtent {
    return this.#extent;
  }

  /**
   * Runs between two batches; writes wait meanwhile, no longer than the watchdog's time. One at a time.
   * @throws what `run` throws, and the failure of the writer
   */
  exclusively<T>(run: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#interlude = { run: () => run().then(resolve, reject), reject };
      this.#wake();
    });
  }

  /** Resolves when no dead key waits to be deleted any more, or when the writer is told to stop. */
  garbageCollected(): Promise<void> {
    if (this.#garbage.isEmpty || this.#stopping) return Promise.resolve();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve) => this.#garbageWaiters.push(resolve));
  }

  /** Another file has taken the place of the one written to: these are the dead keys in it, ends included. */
  replaceGarbage(ranges: readonly { readonly from: LogIndex; readonly to: LogIndex }[]): void {
    this.#garbage.clear();
    for (const { from, to } of ranges) this.#garbage.add(from, to);
    if (this.#garbage.isEmpty) this.#releaseGarbageWaiters();
  }

  /** Writes what waits, then stops; dead keys stay for the next start. Resolves also after a failure. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#lazyHardState !== undefined) this.enqueue({}).catch(() => {});
    this.#releaseGarbageWaiters();
    if (this.#running && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
    }
  }

  /** Refuses everything from now on, what waits included. Does nothing after the first time. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#watchdog.stop();
    const interlude = this.#interlude === undefined ? [] : [this.#interlude];
    const waiting = [...this.#underWay, ...this.#queue, ...interlude];
    this.#underWay = [];
    this.#queue = [];
    this.#interlude = undefined;
    try {
      this.#options.onFatal(error);
    } finally {
      for (const { reject } of waiting) reject(error);
      this.#releaseGarbageWaiters();
      this.#releaseIdleWaiters();
    }
  }

  #wake(): void {
    if (this.#running) return;
    this.#running = true;
    this.#options.clock.soon(() => void this.#run());
  }

  async #run(): Promise<void> {
    while (this.#failure === undefined && this.#hasWork()) {
      if (this.#interlude === undefined) await this.#writeBatch();
      else await this.#runInterlude(this.#interlude);
      // Those who were just answered write again at once: without this pause the next batch would go without them.
      if (this.#failure === undefined)
        await new Promise<void>((resolve) => this.#options.clock.soon(resolve));
    }
    this.#running = false;
    this.#watchdog.stop();
    this.#releaseIdleWaiters();
  }

  async #runInterlude(interlude: Interlude): Promise<void> {
    // Who is told of its end may ask for the next one at once.
    this.#interlude = undefined;
    this.#underWay = [interlude];
    this.#watchdog.begin();
    await interlude.run();
    this.#watchdog.end();
    this.#underWay = [];
  }

  async #writeBatch(): Promise<void> {
    const batch = this.#takeBatch();
    this.#underWay = batch;
    const limit = batch.length > 0 ? BUSY_GARBAGE_LIMIT : IDLE_GARBAGE_LIMIT;
    const changes = batch.map((queued) => queued.change);
    const planned = planBatch(this.#extent, changes, this.#garbage, this.#stopping ? 0 : limit);
    this.#watchdog.begin();
    try {
      await this.#options.commit(planned.change);
      this.#watchdog.end();
    } catch (error) {
      this.#watchdog.end();
      this.fail(this.#writeFailed(await this.#causeOf(error)));
    }
    // Also when it was given up meanwhile: nobody may hear of a write that ends after all.
    if (this.#failure !== undefined) return;
    this.#underWay = [];
    this.#batches += 1;
    this.#extent = planned.extent;
    this.#options.onBatch?.(batch.reduce((bytes, queued) => bytes + queued.bytes, 0));
    this.#reportDurable();
    for (const { resolve } of batch) resolve();
    if (this.#garbage.isEmpty) this.#releaseGarbageWaiters();
  }

  #hasWork(): boolean {
    if (this.#interlude !== undefined || this.#queue.length > 0) return true;
    return !this.#stopping && !this.#garbage.isEmpty;
  }

  #takeBatch(): QueuedChange[] {
    let bytes = 0;
    let count = 0;
    for (const queued of this.#queue) {
      bytes += queued.bytes;
      if (count > 0 && (bytes > MAX_BATCH_BYTES || count >= MAX_BATCH_CHANGES)) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  #stalled(): StorageFault {
    return new StorageFault("writeStalled", {
      file: this.#options.file,
      problem: `a write has not finished within ${this.#options.watchdogMs} ms`,
      remedy: "check the disk, then start the node again: nothing after this write was acknowledged",
    });
  }

  #writeFailed(cause: unknown): StorageFault {
    return new StorageFault("writeFailed", {
      file: this.#options.file,
      problem: `a write failed (${cause instanceof Error ? cause.message : String(cause)})`,
      remedy:
        "free space or mend the disk, then start the node again: nothing after this write was acknowledged",
      cause,
    });
  }

  /** lmdb tells the reason in a promise beside the error, which rejects: unwatched, it would end the process. */
  async #causeOf(error: unknown): Promise<unknown> {
    if (!(error instanceof Error) || !("commitError" in error)) return error;
    const { commitError } = error;
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(CAUSE_WAIT_MS, () => resolve(error));
      Promise.resolve(commitError).then(
        () => resolve(error),
        (cause: unknown) => {
          cancel();
          resolve(cause);
        },
      );
    });
  }

  /** What a queued change is going to replace does not count as durable, whatever is on disk. */
  #reportDurable(): void {
    let durable = this.#extent.last;
    for (const { change } of this.#queue) {
      if (change.reset !== undefined) return;
      const first = change.entries?.[0];
      if (first !== undefined && first.index <= durable) durable = first.index - 1n;
    }
    this.#options.onDurable(durable);
  }

  #releaseGarbageWaiters(): void {
    const waiters = this.#garbageWaiters;
    this.#garbageWaiters = [];
    for (const release of waiters) release();
  }

  #releaseIdleWaiters(): void {
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const release of waiters) release();
  }
}

function changeBytes(change: LogChange): number {
  let bytes = change.reset?.snapshot.length ?? 0;
  for (const entry of change.entries ?? []) bytes += entryRecordBytes(entry);
  return bytes;
}
