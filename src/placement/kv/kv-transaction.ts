// What a transaction does: compares, then does one of two lists of operations, in order. Pure; the whole of it is
// checked before anything is changed, so that it happens as a whole or not at all.

import { create } from "@bufbuild/protobuf";
import { assertNever } from "../../core/errors.js";
import type { KvRecord } from "../../gen/records_pb.js";
import {
  type Compare,
  Compare_Relation,
  type TxnOperation,
  type TxnRequest,
  type TxnResponse,
  TxnResponseSchema,
  type TxnResult,
  TxnResultSchema,
} from "../../gen/service_pb.js";
import type { KvView } from "./kv-command.js";
import { keyRangeProblem, keySpan } from "./kv-key-range.js";
import {
  keyProblem,
  MAX_TXN_COMPARES,
  MAX_TXN_OPERATIONS,
  MAX_TXN_RANGE_ENTRIES,
  MAX_TXN_RESULT_BYTES,
} from "./kv-limits.js";
import { keyValue } from "./kv-record.js";

/** What is wrong with a transaction, as a sentence; undefined when nothing is. Every node must judge alike. */
export function txnProblem({ compare, success, failure }: TxnRequest): string | undefined {
  if (compare.length > MAX_TXN_COMPARES) {
    return `compare has ${compare.length} comparisons, at most ${MAX_TXN_COMPARES} are allowed`;
  }
  return (
    firstProblem("compare", compare, compareProblem) ??
    operationsProblem("success", success) ??
    operationsProblem("failure", failure)
  );
}

/** Applies a transaction without a `txnProblem`. All its changes are of the revision that follows `view.revision`. */
export function applyTxn(view: KvView, txn: TxnRequest): TxnResponse {
  const succeeded = txn.compare.every((compare) => holds(compare, view.read(compare.key)));
  const revision = view.revision + 1n;
  let bytesLeft = MAX_TXN_RESULT_BYTES;
  const results = (succeeded ? txn.success : txn.failure).map(({ operation }): TxnResult => {
    switch (operation.case) {
      case "set": {
        const existed = setAt(view, revision, operation.value.key, operation.value.value) !== undefined;
        return create(TxnResultSchema, { result: { case: "set", value: { existed } } });
      }
      case "delete": {
        const deleted = removeAt(view, revision, operation.value.key) !== undefined;
        return create(TxnResultSchema, { result: { case: "delete", value: { deleted } } });
      }
      case "get": {
        const { key } = operation.value;
        const record = view.read(key);
        bytesLeft -= record?.value.length ?? 0;
        const value = record === undefined ? {} : { entry: keyValue(key, record) };
        return create(TxnResultSchema, { result: { case: "get", value } });
      }
      case "range": {
        const { range, limit, keysOnly } = operation.value;
        const most = Math.min(limit === 0 ? MAX_TXN_RANGE_ENTRIES : limit, MAX_TXN_RANGE_ENTRIES);
        const page = view.range(keySpan(range), most, Math.max(bytesLeft, 0), keysOnly);
        bytesLeft -= page.bytes;
        const { entries, more } = page;
        return create(TxnResultSchema, { result: { case: "range", value: { entries: [...entries], more } } });
      }
      case undefined:
        return create(TxnResultSchema);
      default:
        return assertNever(operation);
    }
  });
  return create(TxnResponseSchema, { succeeded, revision: view.revision, results });
}

/** Writes a key at a revision, which is the store's from then on. Returns what the key had before. */
export function setAt(view: KvView, revision: bigint, key: string, value: Uint8Array): KvRecord | undefined {
  const before = view.read(key);
  view.revision = revision;
  view.write(key, value, before);
  return before;
}

/** As `setAt`. A key that is not there leaves the store as it is. */
export function removeAt(view: KvView, revision: bigint, key: string): KvRecord | undefined {
  const before = view.read(key);
  if (before === undefined) return undefined;
  view.revision = revision;
  view.write(key, undefined, before);
  return before;
}

function holds({ relation, target }: Compare, record: KvRecord | undefined): boolean {
  switch (target.case) {
    case "version":
      return relates(relation, compareNumbers(record?.version ?? 0n, target.value));
    case "createRevision":
      return relates(relation, compareNumbers(record?.createRevision ?? 0n, target.value));
    case "modRevision":
      return relates(relation, compareNumbers(record?.modRevision ?? 0n, target.value));
    case "value":
      return record !== undefined && relates(relation, Buffer.compare(record.value, target.value));
    case "exists":
      return ((record !== undefined) === target.value) === (relation === Compare_Relation.EQUAL);
    case undefined:
      return false;
    default:
      return assertNever(target);
  }
}

function relates(relation: Compare_Relation, order: number): boolean {
  switch (relation) {
    case Compare_Relation.EQUAL:
      return order === 0;
    case Compare_Relation.NOT_EQUAL:
      return order !== 0;
    case Compare_Relation.LESS:
      return order < 0;
    case Compare_Relation.GREATER:
      return order > 0;
    default:
      return assertNever(relation);
  }
}

function compareNumbers(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareProblem({ key, relation, target }: Compare): string | undefined {
  const problem = keyProblem(key);
  if (problem !== undefined) return problem;
  if (Compare_Relation[relation] === undefined) return `relation ${relation} is not known here`;
  if (target.case === undefined) {
    return "it has no target: give version, create_revision, mod_revision, value or exists";
  }
  const isOrder = relation === Compare_Relation.LESS || relation === Compare_Relation.GREATER;
  if (target.case === "exists" && isOrder) return "exists can only be EQUAL or NOT_EQUAL";
  return undefined;
}

function operationsProblem(name: string, operations: readonly TxnOperation[]): string | undefined {
  if (operations.length > MAX_TXN_OPERATIONS) {
    return `${name} has ${operations.length} operations, at most ${MAX_TXN_OPERATIONS} are allowed`;
  }
  const written = new Set<string>();
  return firstProblem(name, operations, ({ operation }) => {
    switch (operation.case) {
      case "set":
      case "delete": {
        const { key } = operation.value;
        if (written.has(key)) return `key ${JSON.stringify(key)} is written twice`;
        written.add(key);
        return keyProblem(key);
      }
      case "get":
        return keyProblem(operation.value.key);
      case "range":
        return keyRangeProblem(operation.value.range);
      case undefined:
        return "it has no operation that is known here";
      default:
        return assertNever(operation);
    }
  });
}

function firstProblem<T>(
  name: string,
  parts: readonly T[],
  problemOf: (part: T) => string | undefined,
): string | undefined {
  for (const [at, part] of parts.entries()) {
    const problem = problemOf(part);
    if (problem !== undefined) return `${name}[${at}]: ${problem}`;
  }
  return undefined;
}
