// Merges what is on disk with what is not there yet, in key order, up to a limit.

import type { KvRecord } from "../../gen/records_pb.js";
import type { KeyValue } from "../../gen/service_pb.js";
import type { KvPage } from "./kv-command.js";
import { keyValue } from "./kv-record.js";

interface Stored {
  readonly key: Buffer;
  readonly open: () => KvRecord;
}

export interface PageLimits {
  readonly limit: number;
  readonly maxBytes: number;
  readonly keysOnly: boolean;
}

/**
 * @param stored in key order.
 * @param changes what takes precedence over `stored`; `undefined` stands for "not there".
 */
export function readPage(
  stored: Iterable<Stored>,
  changes: ReadonlyMap<string, KvRecord | undefined>,
  { limit, maxBytes, keysOnly }: PageLimits,
): KvPage {
  const entries: KeyValue[] = [];
  let bytes = 0;
  for (const { key, open } of merge(stored, changes)) {
    if (entries.length >= limit || bytes >= maxBytes) return { entries, more: true, bytes };
    const entry = keyValue(key, open(), keysOnly);
    entries.push(entry);
    bytes += key.length + entry.value.length;
  }
  return { entries, more: false, bytes };
}

function* merge(
  stored: Iterable<Stored>,
  changes: ReadonlyMap<string, KvRecord | undefined>,
): Generator<{ readonly key: string; readonly open: () => KvRecord }> {
  const changed = [...changes]
    .map(([key, record]) => ({ key, record, bytes: Buffer.from(key) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  let at = 0;
  for (const { key, open } of stored) {
    let order = -1;
    while (order < 0) {
      const change = changed[at];
      order = change === undefined ? 1 : Buffer.compare(change.bytes, key);
      if (change === undefined || order > 0) continue;
      at += 1;
      const { record } = change;
      if (record !== undefined) yield { key: change.key, open: () => record };
    }
    // A change of the same key has taken its place.
    if (order > 0) yield { key: key.toString("utf8"), open };
  }
  for (const { key, record } of changed.slice(at))
    if (record !== undefined) yield { key, open: () => record };
}
