// The term of every entry of the log, in memory: one element per run of entries of the same term, so that asking
// for a term never reads the disk.

import type { LogIndex, Term } from "../core/types.js";

export class TermRuns {
  /** Where each run begins, ascending; a run ends where the next one begins. */
  readonly #starts: LogIndex[] = [];
  readonly #terms: Term[] = [];

  /** The term at `index`, which must lie within what was appended and not removed. */
  at(index: LogIndex): Term | undefined {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const start = this.#starts[middle];
      if (start !== undefined && start <= index) low = middle + 1;
      else high = middle - 1;
    }
    return this.#terms[high];
  }

  /** The term of the last run, or undefined when there is none. */
  get last(): Term | undefined {
    return this.#terms[this.#terms.length - 1];
  }

  append(index: LogIndex, term: Term): void {
    if (this.last === term) return;
    this.#starts.push(index);
    this.#terms.push(term);
  }

  /** Forgets `index` and everything after it. */
  truncateFrom(index: LogIndex): void {
    while (this.#starts.length > 0 && (this.#starts[this.#starts.length - 1] ?? index) >= index) {
      this.#starts.pop();
      this.#terms.pop();
    }
  }

  /** Forgets everything before `index`. */
  dropBefore(index: LogIndex): void {
    let runs = 0;
    while (runs + 1 < this.#starts.length && (this.#starts[runs + 1] ?? index) <= index) runs += 1;
    this.#starts.splice(0, runs);
    this.#terms.splice(0, runs);
  }

  clear(): void {
    this.#starts.length = 0;
    this.#terms.length = 0;
  }
}
