// What clients read and write as if it were one register: a key, or two keys that only transactions touch, always
// together. How a call on it is encoded, and what it has said.

import { create } from "@bufbuild/protobuf";
import type { KvRecord, KvResult } from "../../src/gen/records_pb.js";
import { Compare_Relation, TxnRequestSchema, type WriteId } from "../../src/gen/service_pb.js";
import { encodeDelete, encodeSet, encodeTxn } from "../../src/placement/kv/kv-command.js";

/** What a register held; `modRevision` is 0 when it held nothing. */
export interface Held {
  readonly value: string | undefined;
  readonly modRevision: bigint;
}

export interface WriteOutcome {
  /** The condition did not hold, and nothing was changed. */
  readonly refused: boolean;
  readonly modRevision: bigint;
  /** A refused transaction says what is there instead. */
  readonly found?: Held;
}

export interface WriteRequest {
  /** Undefined deletes. */
  readonly value: string | undefined;
  /** Only if the register was last written at this revision; 0: only if it holds nothing. */
  readonly ifModRevision: bigint | undefined;
  readonly writeId: WriteId | undefined;
}

export interface Register {
  readonly name: string;
  encode(request: WriteRequest): Uint8Array;
  outcomeOf(result: KvResult): WriteOutcome;
  read(get: (key: string) => KvRecord | undefined): Held;
}

export class TornTransaction extends Error {
  override readonly name = "TornTransaction";
}

export function singleKey(name: string): Register {
  return {
    name,
    encode: ({ value, ...options }) =>
      value === undefined ? encodeDelete(name, options) : encodeSet(name, Buffer.from(value), options),
    outcomeOf: ({ refused, modRevision }) => ({ refused, modRevision }),
    read: (get) => heldIn(get(name)),
  };
}

/** @throws {TornTransaction} from `outcomeOf` and `read`, when the two keys differ. */
export function pairOfKeys(name: string): Register {
  const keys = [`${name}-left`, `${name}-right`] as const;
  return {
    name,
    encode: ({ value, ifModRevision, writeId }) => {
      const request = create(TxnRequestSchema, {
        compare:
          ifModRevision === undefined
            ? []
            : keys.map((key) => ({
                key,
                relation: Compare_Relation.EQUAL,
                target: { case: "modRevision" as const, value: ifModRevision },
              })),
        success: keys.map((key) => ({
          operation:
            value === undefined
              ? { case: "delete" as const, value: { key } }
              : { case: "set" as const, value: { key, value: Buffer.from(value) } },
        })),
        failure: keys.map((key) => ({ operation: { case: "get" as const, value: { key } } })),
        ...(writeId === undefined ? {} : { writeId }),
      });
      return encodeTxn(request);
    },
    outcomeOf: ({ revision, txn }) => {
      if (txn?.succeeded === true) return { refused: false, modRevision: revision };
      const [left, right] = (txn?.results ?? []).map(({ result }) =>
        heldIn(result.case === "get" ? result.value.entry : undefined),
      );
      return { refused: true, modRevision: 0n, found: same(name, left, right) };
    },
    read: (get) => same(name, heldIn(get(keys[0])), heldIn(get(keys[1]))),
  };
}

function heldIn(record: { readonly value: Uint8Array; readonly modRevision: bigint } | undefined): Held {
  if (record === undefined) return { value: undefined, modRevision: 0n };
  return { value: Buffer.from(record.value).toString(), modRevision: record.modRevision };
}

function same(name: string, left: Held | undefined, right: Held | undefined): Held {
  if (left !== undefined && right !== undefined) {
    if (left.value === right.value && left.modRevision === right.modRevision) return left;
  }
  throw new TornTransaction(
    `one transaction writes both halves of ${name}, which hold ${left?.value} and ${right?.value}`,
  );
}
