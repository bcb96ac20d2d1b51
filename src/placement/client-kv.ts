// What a client of the key-value store says and hears, in plain objects, and how they travel.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { assertNever } from "../core/errors.js";
import {
  Compare_Relation,
  type CompareSchema,
  type KeyRangeSchema,
  type KeyValue,
  type TxnOperationSchema,
  type TxnResponse,
  type TxnResult,
} from "../gen/service_pb.js";

/** Which keys, in the order of their UTF-8 bytes. An interval ends before `end`; empty or absent bounds are open. */
export type KeySelection =
  | { readonly key: string }
  | { readonly prefix: string }
  | { readonly start?: string | undefined; readonly end?: string | undefined };

export interface KvEntry {
  readonly value: Uint8Array;
  /** The store's revisions at which the key was created and last written. */
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  /** How often it was written since it was created, that write included. */
  readonly version: bigint;
}

export interface KeyedEntry extends KvEntry {
  readonly key: string;
}

export interface RangePage {
  /** In key order. */
  readonly entries: readonly KeyedEntry[];
  /** The store's revision that this page, and all that follow it, are of. */
  readonly revision: bigint;
  /** For the next page; undefined: this was the last. */
  readonly nextPageToken: Uint8Array | undefined;
}

/**
 * What must hold of a key; default relation `equal`. A key that does not exist has version and revisions 0n, and no
 * comparison of its value holds.
 */
export type TxnCompare = {
  readonly key: string;
  /** What the key has, in relation to what is given here. `exists`: only `equal` and `notEqual`. */
  readonly relation?: "equal" | "notEqual" | "less" | "greater" | undefined;
} & (
  | { readonly version: bigint }
  | { readonly createRevision: bigint }
  | { readonly modRevision: bigint }
  | { readonly value: Uint8Array | string }
  | { readonly exists: boolean }
);

export type TxnStep =
  | { readonly kind: "set"; readonly key: string; readonly value: Uint8Array | string }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "get"; readonly key: string }
  | {
      readonly kind: "range";
      readonly keys: KeySelection;
      /** At most 1,000, which is the default. */
      readonly limit?: number | undefined;
      readonly keysOnly?: boolean | undefined;
    };

export interface Txn {
  /** All must hold for `success` to be done; otherwise `failure` is. */
  readonly compare?: readonly TxnCompare[] | undefined;
  readonly success?: readonly TxnStep[] | undefined;
  readonly failure?: readonly TxnStep[] | undefined;
}

export type TxnStepResult =
  | { readonly kind: "set"; readonly existed: boolean }
  | { readonly kind: "delete"; readonly deleted: boolean }
  | { readonly kind: "get"; readonly entry: KeyedEntry | undefined }
  | { readonly kind: "range"; readonly entries: readonly KeyedEntry[]; readonly more: boolean };

export interface TxnOutcome {
  readonly succeeded: boolean;
  /** The store's, after the transaction. */
  readonly revision: bigint;
  /** One per step of the list that was done. */
  readonly results: readonly TxnStepResult[];
}

export function toBytes(value: Uint8Array | string): Uint8Array {
  return typeof value === "string" ? Buffer.from(value, "utf8") : value;
}

export function keyRange(keys: KeySelection): MessageInitShape<typeof KeyRangeSchema> {
  if ("key" in keys) return { range: { case: "key", value: keys.key } };
  if ("prefix" in keys) return { range: { case: "prefix", value: keys.prefix } };
  return { range: { case: "interval", value: { start: keys.start ?? "", end: keys.end ?? "" } } };
}

export function keyedEntry({ key, value, createRevision, modRevision, version }: KeyValue): KeyedEntry {
  return { key, value, createRevision, modRevision, version };
}

const RELATIONS = {
  equal: Compare_Relation.EQUAL,
  notEqual: Compare_Relation.NOT_EQUAL,
  less: Compare_Relation.LESS,
  greater: Compare_Relation.GREATER,
} as const;

export function compareMessage(compare: TxnCompare): MessageInitShape<typeof CompareSchema> {
  const { key, relation = "equal" } = compare;
  return { key, relation: RELATIONS[relation], target: targetOf(compare) };
}

function targetOf(compare: TxnCompare): MessageInitShape<typeof CompareSchema>["target"] & object {
  if ("version" in compare) return { case: "version", value: compare.version };
  if ("createRevision" in compare) return { case: "createRevision", value: compare.createRevision };
  if ("modRevision" in compare) return { case: "modRevision", value: compare.modRevision };
  if ("value" in compare) return { case: "value", value: toBytes(compare.value) };
  return { case: "exists", value: compare.exists };
}

export function operationMessage(step: TxnStep): MessageInitShape<typeof TxnOperationSchema> {
  switch (step.kind) {
    case "set":
      return { operation: { case: "set", value: { key: step.key, value: toBytes(step.value) } } };
    case "delete":
      return { operation: { case: "delete", value: { key: step.key } } };
    case "get":
      return { operation: { case: "get", value: { key: step.key } } };
    case "range": {
      const { keys, limit = 0, keysOnly = false } = step;
      return { operation: { case: "range", value: { range: keyRange(keys), limit, keysOnly } } };
    }
    default:
      return assertNever(step);
  }
}

export function txnOutcome({ succeeded, revision, results }: TxnResponse): TxnOutcome {
  return { succeeded, revision, results: results.flatMap(stepResult) };
}

/** A result of a kind that is not known here is left out: only a newer server can send one, and not unasked. */
function stepResult({ result }: TxnResult): TxnStepResult[] {
  switch (result.case) {
    case "set":
      return [{ kind: "set", existed: result.value.existed }];
    case "delete":
      return [{ kind: "delete", deleted: result.value.deleted }];
    case "get": {
      const { entry } = result.value;
      return [{ kind: "get", entry: entry && keyedEntry(entry) }];
    }
    case "range":
      return [{ kind: "range", entries: result.value.entries.map(keyedEntry), more: result.value.more }];
    case undefined:
      return [];
    default:
      return assertNever(result);
  }
}
