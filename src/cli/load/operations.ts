// What a load does again and again: one operation on a random key of its own part of the store.

import { assertNever } from "../../core/errors.js";
import type { PlacementClient } from "../../placement/client.js";

export const OPERATION_KINDS = ["set", "get", "get-serializable", "txn", "range"] as const;
export type OperationKind = (typeof OPERATION_KINDS)[number];

export interface OperationTarget {
  readonly client: PlacementClient;
  /** Every key begins so. */
  readonly prefix: string;
  /** How many different keys. */
  readonly keys: number;
  readonly value: Uint8Array;
  /** In [0, 1). */
  readonly random: () => number;
}

/** Entries of a page that `range` asks for. */
export const RANGE_ENTRIES = 100;
const KEY_DIGITS = 9;

/** The names of the keys are in the order of their numbers. */
export function loadKey(prefix: string, nth: number): string {
  return `${prefix}${String(nth).padStart(KEY_DIGITS, "0")}`;
}

/** @throws PlacementError */
export async function runOperation(kind: OperationKind, target: OperationTarget): Promise<void> {
  const { client, prefix, keys, value, random } = target;
  const key = loadKey(prefix, Math.floor(random() * keys));
  switch (kind) {
    case "set":
      await client.set(key, value);
      return;
    case "get":
      await client.get(key);
      return;
    case "get-serializable":
      await client.get(key, { consistency: "serializable" });
      return;
    case "txn":
      await client.txn({
        compare: [{ key, exists: true }],
        success: [
          { kind: "get", key },
          { kind: "set", key, value },
        ],
        failure: [{ kind: "set", key, value }],
      });
      return;
    case "range":
      await client.range({ start: key, end: `${prefix}~` }, { limit: RANGE_ENTRIES });
      return;
    default:
      assertNever(kind);
  }
}
