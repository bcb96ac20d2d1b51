// Which keys a request is about: one, those with a prefix, or an interval. Keys are ordered by their UTF-8 bytes, as
// LMDB orders them; the order of JavaScript strings differs beyond U+FFFF.

import type { KeyRange } from "../../gen/service_pb.js";
import { keyProblem, MAX_KEY_BYTES } from "./kv-limits.js";

export interface KeySpan {
  /** The first key that may belong. */
  readonly start: Buffer;
  /** The key behind the last one; undefined: no end. */
  readonly end: Buffer | undefined;
  includes(key: string): boolean;
}

/** What is wrong with a range, as a sentence; undefined when nothing is. Every node must judge alike. */
export function keyRangeProblem(range: KeyRange | undefined): string | undefined {
  const chosen = range?.range;
  switch (chosen?.case) {
    case "key":
      return keyProblem(chosen.value);
    case "prefix":
      return lengthProblem("prefix", chosen.value);
    case "interval": {
      const { start, end } = chosen.value;
      const problem = lengthProblem("start", start) ?? lengthProblem("end", end);
      if (problem !== undefined || end === "") return problem;
      if (Buffer.compare(Buffer.from(start), Buffer.from(end)) < 0) return undefined;
      return `the interval from ${JSON.stringify(start)} to ${JSON.stringify(end)} is empty: its end must come behind its start`;
    }
    case undefined:
      return "range is missing: give a key, a prefix or an interval";
  }
}

/** Only for ranges without a `keyRangeProblem`. */
export function keySpan(range: KeyRange | undefined): KeySpan {
  const chosen = range?.range;
  switch (chosen?.case) {
    case "key": {
      const start = Buffer.from(chosen.value);
      // Nothing lies between a key and the same key with a zero byte behind it.
      return {
        start,
        end: Buffer.concat([start, Buffer.alloc(1)]),
        includes: (key) => key === chosen.value,
      };
    }
    case "prefix":
      return prefixSpan(chosen.value);
    case "interval": {
      const start = Buffer.from(chosen.value.start);
      const end = chosen.value.end === "" ? undefined : Buffer.from(chosen.value.end);
      return { start, end, includes: (key) => isWithin(Buffer.from(key), start, end) };
    }
    case undefined:
      return prefixSpan("");
  }
}

function prefixSpan(prefix: string): KeySpan {
  const start = Buffer.from(prefix);
  const last = start.at(-1);
  if (last === undefined) return { start, end: undefined, includes: () => true };
  // No byte of UTF-8 is 0xff, so that adding one always works.
  const end = Buffer.concat([start.subarray(0, -1), Buffer.of(last + 1)]);
  return { start, end, includes: (key) => key.startsWith(prefix) };
}

function isWithin(key: Buffer, start: Buffer, end: Buffer | undefined): boolean {
  return Buffer.compare(start, key) <= 0 && (end === undefined || Buffer.compare(key, end) < 0);
}

function lengthProblem(name: string, text: string): string | undefined {
  if (Buffer.byteLength(text, "utf8") <= MAX_KEY_BYTES) return undefined;
  return `${name} has more than ${MAX_KEY_BYTES.toLocaleString("en")} bytes of UTF-8: no key is that long`;
}
