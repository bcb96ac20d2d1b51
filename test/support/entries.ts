// Log entries for tests: written as their terms, compared as `index/term`.

import { type Entry, newNormalEntry } from "../../src/core/index.js";

/** Entries at neighbouring places from `firstIndex` on, one for each term. */
export function entriesAt(firstIndex: bigint, ...terms: readonly bigint[]): Entry[] {
  return terms.map((term, position) => newNormalEntry(term, firstIndex + BigInt(position)));
}

/** `index/term` of each, in order. */
export function places(entries: readonly Entry[]): string[] {
  return entries.map(({ index, term }) => `${index}/${term}`);
}

/** The code of the typed error that `input` throws; undefined if it throws none. */
export function errorCodeOf(input: () => unknown): unknown {
  try {
    input();
  } catch (error) {
    if (error instanceof Error && "code" in error) return error.code;
    throw error;
  }
  return undefined;
}
