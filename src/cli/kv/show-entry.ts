// How keys and values look on a line of text and in JSON.

import type { KeyedEntry, KvEntry } from "../../placement/client-kv.js";

/** The value as text, for readers of JSON; undefined when it is none. */
export function textOf(value: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    return undefined;
  }
}

/** One line: text in which no line break is left, or hexadecimal. */
export function valueLine(value: Uint8Array): string {
  const text = textOf(value);
  if (text === undefined) return `0x${Buffer.from(value).toString("hex")}`;
  return /[\p{Cc}]/u.test(text) ? JSON.stringify(text) : text;
}

export function entryLine({ key, value }: KeyedEntry, keysOnly = false): string {
  return keysOnly ? key : `${key}\t${valueLine(value)}`;
}

/** `value` is base64; `text` is there when the value is text. */
export function entryToJson(key: string, entry: KvEntry, keysOnly = false): object {
  const { value, createRevision, modRevision, version } = entry;
  const revisions = { createRevision, modRevision, version };
  if (keysOnly) return { key, ...revisions };
  return { key, value: Buffer.from(value).toString("base64"), text: textOf(value), ...revisions };
}
