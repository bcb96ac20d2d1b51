// Decides when the log's file is written anew without its free pages, and sees to it that this happens once at a time.

import type { Logger } from "../node/ports.js";
import type { EnvironmentChange, LogEnvironment } from "./environment.js";
import { LogRewrite, type LogRewriteOptions } from "./log-rewrite.js";
import { StorageFault } from "./storage-fault.js";

export interface FileCompactionOptions extends Omit<LogRewriteOptions, "environment"> {
  readonly environment: () => LogEnvironment;
  /** What the file system has left. */
  readonly freeBytes: () => Promise<number>;
  /** Space is short: less is worth the work. */
  readonly isShort: () => boolean;
  /** Fewer free bytes in the file are not worth it. */
  readonly thresholdBytes: number;
  readonly logger: Logger | undefined;
  /** Nothing may be written any more. */
  readonly fail: (error: Error) => void;
}

export const DEFAULT_COMPACT_FILE_BYTES = 64 * 1024 ** 2;
/** A log that is cut again and again has as much free as used: only what is far beyond that is given back. */
const FREE_PER_USED = 3;
const FREE_PER_USED_WHEN_SHORT = 0.5;
const THRESHOLD_WHEN_SHORT = 0.25;
/** What the file system must have left beside the copy. */
const MARGIN_BYTES = 16 * 1024 ** 2;

export class FileCompaction {
  readonly #options: FileCompactionOptions;
  #rewrite: LogRewrite | undefined;
  /** Under way to the disk. */
  #batch: EnvironmentChange | undefined;
  #running: Promise<boolean> | undefined;
  #stopped = false;
  #count = 0;

  constructor(options: FileCompactionOptions) {
    this.#options = options;
  }

  /** How often it was done. */
  get count(): number {
    return this.#count;
  }

  batchBegins(change: EnvironmentChange): void {
    this.#batch = change;
    this.#rewrite?.batchBegins(change);
  }

  batchEnded(): void {
    this.#batch = undefined;
    this.#rewrite?.batchEnded();
  }

  /** Begins if it is worth it. What goes wrong is logged: the log in use is not touched by it. */
  maybeRun(): void {
    if (this.#running !== undefined || this.#stopped || !this.#isWorthIt()) return;
    this.run().catch((error: unknown) => {
      this.#options.logger?.error({ error }, "the file of the log could not be compacted; it stays as it is");
    });
  }

  /** Joins what is under way. */
  run(): Promise<boolean> {
    this.#running ??= this.#run().finally(() => {
      this.#rewrite = undefined;
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#rewrite?.abandon();
    await this.#running?.catch(() => {});
  }

  async #run(): Promise<boolean> {
    const { environment, freeBytes, logger, fail } = this.#options;
    const before = environment().stats();
    if (process.platform === "win32" || this.#stopped) return false;
    if ((await freeBytes()) < before.usedBytes + MARGIN_BYTES) {
      logger?.warn({ neededBytes: before.usedBytes + MARGIN_BYTES }, "no room to compact the log's file");
      return false;
    }
    if (this.#stopped) return false;
    this.#rewrite = new LogRewrite({ ...this.#options, environment: environment() });
    if (this.#batch !== undefined) this.#rewrite.batchBegins(this.#batch);
    try {
      if (!(await this.#rewrite.run())) return false;
    } catch (error) {
      if (error instanceof StorageFault && error.code === "writeFailed") fail(error);
      throw error;
    }
    this.#count += 1;
    const { fileBytes } = environment().stats();
    logger?.info({ fileBytes, givenBackBytes: before.fileBytes - fileBytes }, "the log's file was compacted");
    return true;
  }

  #isWorthIt(): boolean {
    const { environment, isShort, thresholdBytes } = this.#options;
    const { usedBytes, freeBytes } = environment().stats();
    const short = isShort();
    const threshold = thresholdBytes * (short ? THRESHOLD_WHEN_SHORT : 1);
    return (
      freeBytes >= threshold && freeBytes >= usedBytes * (short ? FREE_PER_USED_WHEN_SHORT : FREE_PER_USED)
    );
  }
}
