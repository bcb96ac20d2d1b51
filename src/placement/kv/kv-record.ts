// A record of the store as the services show it.

import { create } from "@bufbuild/protobuf";
import type { KvRecord } from "../../gen/records_pb.js";
import { type KeyValue, KeyValueSchema } from "../../gen/service_pb.js";

export function keyValue(key: string, record: KvRecord, keysOnly = false): KeyValue {
  const { createRevision, modRevision, version } = record;
  const value = keysOnly ? new Uint8Array() : record.value;
  return create(KeyValueSchema, { key, value, createRevision, modRevision, version });
}
