// Commands and results of the key-value store as bytes, and what a command does to one record. Pure.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  DeleteCommandSchema,
  type KvCommand,
  KvCommandSchema,
  type KvRecord,
  KvRecordSchema,
  type KvResult,
  KvResultSchema,
  SetCommandSchema,
} from "../../gen/records_pb.js";
import { keyProblem } from "./kv-limits.js";

export function encodeSet(key: string, value: Uint8Array): Uint8Array {
  const command = { case: "set", value: create(SetCommandSchema, { key, value }) } as const;
  return toBinary(KvCommandSchema, create(KvCommandSchema, { command }));
}

export function encodeDelete(key: string): Uint8Array {
  const command = { case: "delete", value: create(DeleteCommandSchema, { key }) } as const;
  return toBinary(KvCommandSchema, create(KvCommandSchema, { command }));
}

export function decodeResult(bytes: Uint8Array): KvResult {
  return fromBinary(KvResultSchema, bytes);
}

/** What a command works on. `revision` is the store's; raising it is part of a write. */
export interface KvView {
  revision: bigint;
  read(key: string): KvRecord | undefined;
  /** `undefined` deletes. */
  write(key: string, record: KvRecord | undefined): void;
}

/**
 * Applies one encoded KvCommand and returns the encoded KvResult. Deterministic, and total: bytes that are no
 * command, and keys that may not be, come back as `rejected` and change nothing.
 * @throws only what `view` throws.
 */
export function applyEncodedCommand(view: KvView, data: Uint8Array): Uint8Array {
  return toBinary(KvResultSchema, apply(view, decodeCommand(data)));
}

function decodeCommand(data: Uint8Array): KvCommand | string {
  try {
    return fromBinary(KvCommandSchema, data);
  } catch {
    return "the bytes are no KvCommand";
  }
}

function apply(view: KvView, decoded: KvCommand | string): KvResult {
  if (typeof decoded === "string") return rejection(view, decoded);
  const { command } = decoded;
  if (command.case === undefined) return rejection(view, "the KvCommand holds no command that is known here");
  const problem = keyProblem(command.value.key);
  if (problem !== undefined) return rejection(view, problem);
  return command.case === "set"
    ? set(view, command.value.key, command.value.value)
    : remove(view, command.value.key);
}

function set(view: KvView, key: string, value: Uint8Array): KvResult {
  const before = view.read(key);
  view.revision += 1n;
  const record = create(KvRecordSchema, {
    value,
    createRevision: before?.createRevision ?? view.revision,
    modRevision: view.revision,
    version: (before?.version ?? 0n) + 1n,
  });
  view.write(key, record);
  return create(KvResultSchema, { revision: view.revision, existed: before !== undefined });
}

function remove(view: KvView, key: string): KvResult {
  const existed = view.read(key) !== undefined;
  if (existed) {
    view.revision += 1n;
    view.write(key, undefined);
  }
  return create(KvResultSchema, { revision: view.revision, existed });
}

function rejection(view: KvView, rejected: string): KvResult {
  return create(KvResultSchema, { revision: view.revision, rejected });
}
