// A small file that is read again while the node runs. Its contents are compared, not its times, because a folder that is
// replaced behind a symbolic link defeats those. What makes no sense changes nothing and is logged once.

import { readFile } from "node:fs/promises";
import type { Cancel, Clock, Logger } from "../node/ports.js";

export interface WatchedFileOptions<T> {
  readonly path: string;
  /** For logs and messages: `file of tokens`. */
  readonly what: string;
  /** @throws an Error whose message is a sentence for operators */
  readonly parse: (text: string, path: string) => T;
  readonly onChange: (value: T) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly intervalMs: number;
}

export class WatchedFile<T> {
  readonly #options: WatchedFileOptions<T>;
  readonly #stopWatching: Cancel;
  #text: string;
  #current: T;
  #reloading: Promise<boolean> | undefined;
  #refusal: string | undefined;
  #failures = 0;

  private constructor(options: WatchedFileOptions<T>, text: string, current: T) {
    this.#options = options;
    this.#text = text;
    this.#current = current;
    this.#stopWatching = options.clock.every(options.intervalMs, () => void this.reload());
  }

  /** @throws what `parse` throws; the error of the file system when the file cannot be read */
  static async open<T>(options: WatchedFileOptions<T>): Promise<WatchedFile<T>> {
    const text = await readFile(options.path, "utf8");
    return new WatchedFile(options, text, options.parse(text, options.path));
  }

  /** As of the last time that the file made sense. */
  get current(): T {
    return this.#current;
  }

  /** Contents that were refused, since the node started. */
  get failures(): number {
    return this.#failures;
  }

  /** Looks now. Resolves with whether there was something new that makes sense; never rejects. */
  reload(): Promise<boolean> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  close(): void {
    this.#stopWatching();
  }

  async #reload(): Promise<boolean> {
    const { path, what, parse, onChange, logger } = this.#options;
    try {
      const text = await readFile(path, "utf8");
      if (text === this.#text) {
        this.#refusal = undefined;
        return false;
      }
      this.#current = parse(text, path);
      this.#text = text;
      this.#refusal = undefined;
      onChange(this.#current);
      logger.info({ file: path }, `the ${what} has changed and is in force`);
      return true;
    } catch (error) {
      const refusal = error instanceof Error ? error.message : String(error);
      if (refusal !== this.#refusal) {
        this.#failures += 1;
        logger.error({ error: refusal }, `the ${what} is of no use: what it held before stays in force`);
      }
      this.#refusal = refusal;
      return false;
    }
  }
}
