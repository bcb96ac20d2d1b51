// Commands and results of the key-value store as bytes, and what a command does to the store. Pure.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { assertNever } from "../../core/errors.js";
import {
  type DeleteCommand,
  type KvCommand,
  KvCommandSchema,
  type KvRecord,
  type KvResult,
  KvResultSchema,
  SessionProblem,
  type SetCommand,
} from "../../gen/records_pb.js";
import type { KeyValue, TxnRequest, WriteId } from "../../gen/service_pb.js";
import type { KeySpan } from "./kv-key-range.js";
import { keyProblem } from "./kv-limits.js";
import { type KvSessions, writeIdProblem } from "./kv-sessions.js";
import { applyTxn, removeAt, setAt, txnProblem } from "./kv-transaction.js";
import { encodeSetCommand } from "./kv-wire.js";

export interface WriteOptions {
  /** Only if the key was last written at this revision; 0n: only if it does not exist. */
  readonly ifModRevision?: bigint | undefined;
  /** Takes effect once, however often it is in the log. */
  readonly writeId?: WriteId | undefined;
}

export function encodeSet(key: string, value: Uint8Array, options: WriteOptions = {}): Uint8Array {
  return encodeSetCommand(key, value, options.ifModRevision, options.writeId);
}

export function encodeDelete(key: string, options: WriteOptions = {}): Uint8Array {
  return encode({ case: "delete", value: { key, ...condition(options) } }, options.writeId);
}

export function encodeTxn({ compare, success, failure, writeId }: TxnRequest): Uint8Array {
  return encode({ case: "txn", value: { compare, success, failure } }, writeId);
}

export function decodeResult(bytes: Uint8Array): KvResult {
  return fromBinary(KvResultSchema, bytes);
}

/** What a command works on. `revision` is the store's; raising it is part of a write. */
export interface KvView {
  revision: bigint;
  read(key: string): KvRecord | undefined;
  /** At `revision`. `undefined` deletes. @param before what `read` gave for this key */
  write(key: string, value: Uint8Array | undefined, before: KvRecord | undefined): void;
  range(span: KeySpan, limit: number, maxBytes: number, keysOnly: boolean): KvPage;
}

export interface KvPage {
  readonly entries: readonly KeyValue[];
  /** The limit or the bytes ended it. */
  readonly more: boolean;
  /** Of keys and values, about. */
  readonly bytes: number;
}

/**
 * Applies one encoded KvCommand and returns the encoded KvResult. Deterministic, and total: bytes that are no
 * command, and keys that may not be, come back as `rejected` and change nothing.
 * @param index of the command, in the log.
 * @throws only what `view` throws.
 */
export function applyEncodedCommand(
  view: KvView,
  sessions: KvSessions,
  index: bigint,
  data: Uint8Array,
): Uint8Array {
  sessions.expire(index);
  const command = decodeCommand(data);
  if (typeof command === "string") return encodeResult(rejection(view, command));
  const problem = commandProblem(command);
  if (problem !== undefined) return encodeResult(rejection(view, problem));
  const { writeId } = command;
  if (writeId === undefined) return encodeResult(apply(view, command));
  const admission = sessions.admit(writeId);
  switch (admission.kind) {
    case "known":
      return admission.result;
    case "expired":
      return encodeResult(
        create(KvResultSchema, { revision: view.revision, sessionProblem: SessionProblem.EXPIRED }),
      );
    case "new": {
      const result = encodeResult(apply(view, command));
      sessions.record(writeId, index, view.revision, result);
      return result;
    }
    default:
      return assertNever(admission);
  }
}

function decodeCommand(data: Uint8Array): KvCommand | string {
  try {
    return fromBinary(KvCommandSchema, data);
  } catch {
    return "the bytes are no KvCommand";
  }
}

function commandProblem({ command, writeId }: KvCommand): string | undefined {
  const problem = writeId && writeIdProblem(writeId);
  if (problem !== undefined) return problem;
  switch (command.case) {
    case "set":
    case "delete":
      return keyProblem(command.value.key);
    case "txn":
      return txnProblem(command.value);
    case undefined:
      return "the KvCommand holds no command that is known here";
    default:
      return assertNever(command);
  }
}

function apply(view: KvView, { command }: KvCommand): KvResult {
  switch (command.case) {
    case "set":
      return set(view, command.value);
    case "delete":
      return remove(view, command.value);
    case "txn": {
      const txn = applyTxn(view, command.value);
      return create(KvResultSchema, { revision: view.revision, txn });
    }
    case undefined:
      return create(KvResultSchema, { revision: view.revision });
    default:
      return assertNever(command);
  }
}

function set(view: KvView, { key, value, ifModRevision }: SetCommand): KvResult {
  const refusal = refusalOf(view, key, ifModRevision);
  if (refusal !== undefined) return refusal;
  const existed = setAt(view, view.revision + 1n, key, value) !== undefined;
  return create(KvResultSchema, { revision: view.revision, existed, modRevision: view.revision });
}

function remove(view: KvView, { key, ifModRevision }: DeleteCommand): KvResult {
  const refusal = refusalOf(view, key, ifModRevision);
  if (refusal !== undefined) return refusal;
  const existed = removeAt(view, view.revision + 1n, key) !== undefined;
  return create(KvResultSchema, { revision: view.revision, existed });
}

function refusalOf(view: KvView, key: string, ifModRevision: bigint | undefined): KvResult | undefined {
  if (ifModRevision === undefined) return undefined;
  const modRevision = view.read(key)?.modRevision ?? 0n;
  if (modRevision === ifModRevision) return undefined;
  return create(KvResultSchema, { revision: view.revision, refused: true, modRevision });
}

function rejection(view: KvView, rejected: string): KvResult {
  return create(KvResultSchema, { revision: view.revision, rejected });
}

function condition({ ifModRevision }: WriteOptions): { ifModRevision?: bigint } {
  return ifModRevision === undefined ? {} : { ifModRevision };
}

function encode(
  command: NonNullable<MessageInitShape<typeof KvCommandSchema>["command"]>,
  writeId: WriteId | undefined,
): Uint8Array {
  const id = writeId === undefined ? {} : { writeId };
  return toBinary(KvCommandSchema, create(KvCommandSchema, { command, ...id }));
}

function encodeResult(result: KvResult): Uint8Array {
  return toBinary(KvResultSchema, result);
}
