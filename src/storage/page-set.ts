// Which pages of a file have been accounted for: one bit a page.

import { META_PAGES } from "./lmdb-file.js";

export class PageSet {
  readonly #bits: Uint8Array;
  readonly #lastPage: number;
  #size = 0;

  constructor(lastPage: number) {
    this.#lastPage = lastPage;
    this.#bits = new Uint8Array((lastPage >> 3) + 1);
  }

  get size(): number {
    return this.#size;
  }

  has(page: number): boolean {
    return ((this.#bits[page >> 3] ?? 0) & (1 << (page & 7))) !== 0;
  }

  /** Adds a page of which nothing was known yet. Returns what is wrong with it, if anything is. */
  add(page: number): string | undefined {
    if (page < META_PAGES || page > this.#lastPage) return "there is no such page";
    if (this.has(page)) return "it is used twice";
    this.#bits[page >> 3] = (this.#bits[page >> 3] ?? 0) | (1 << (page & 7));
    this.#size += 1;
    return undefined;
  }
}
