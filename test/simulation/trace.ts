// What happened, line by line: all of it goes into a hash, the end of it is kept to be read.

import { createHash } from "node:crypto";

const KEPT_LINES = 4_000;

export class Trace {
  readonly #hash = createHash("sha256");
  #kept: string[] = [];
  #lines = 0;
  #nowMs = 0;

  at(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  add(who: string, what: string): void {
    const line = `${this.#nowMs.toFixed(3).padStart(10)}  ${who.padEnd(9)} ${what}`;
    this.#hash.update(line);
    this.#lines += 1;
    this.#kept.push(line);
    if (this.#kept.length >= 2 * KEPT_LINES) this.#kept = this.#kept.slice(-KEPT_LINES);
  }

  get lines(): number {
    return this.#lines;
  }

  /** Of everything so far. */
  digest(): string {
    return this.#hash.copy().digest("hex").slice(0, 16);
  }

  tail(lines: number): readonly string[] {
    return this.#kept.slice(-lines);
  }
}
