// What is encoded by hand is what protobuf-es encodes, byte for byte: sizes and numbers at every edge of a varint, keys
// of every width of UTF-8, with and without condition and write id.

import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { KvCommandSchema, KvRecordSchema } from "../../../src/gen/records_pb.js";
import { WriteIdSchema } from "../../../src/gen/service_pb.js";
import { encodeSetCommand, putRecord, recordBytes } from "../../../src/placement/kv/kv-wire.js";

const EDGES = [7n, 14n, 21n, 28n, 31n, 32n, 35n, 42n, 49n, 53n, 56n, 63n].flatMap((bits) => [
  (1n << bits) - 1n,
  1n << bits,
  (1n << bits) + 1n,
]);
const NUMBERS = [0n, 1n, ...EDGES, (1n << 64n) - 1n];
const SIZES = [0, 1, 31, 127, 128, 129, 255, 16_383, 16_384, 70_000, 1024 * 1024];
const KEYS = ["", "a", "grüße/€/𝄞", "k".repeat(127), "k".repeat(128), "ü".repeat(500), "\ud800 alone"];

function bytesOf(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at * 31);
}

test("a set is encoded as protobuf-es encodes it", () => {
  const writeId = create(WriteIdSchema, { clientId: bytesOf(16), sequence: 1n << 40n });
  for (const key of KEYS) {
    for (const size of SIZES) {
      const value = bytesOf(size);
      for (const ifModRevision of [undefined, 0n, 1n, (1n << 64n) - 1n]) {
        for (const id of [undefined, writeId]) {
          const condition = ifModRevision === undefined ? {} : { ifModRevision };
          const command = create(KvCommandSchema, {
            command: { case: "set", value: { key, value, ...condition } },
            ...(id === undefined ? {} : { writeId: id }),
          });
          const ours = encodeSetCommand(key, value, ifModRevision, id);
          const same = Buffer.compare(ours, toBinary(KvCommandSchema, command)) === 0;
          expect(same, `${key.slice(0, 10)} ${size} ${ifModRevision} ${id !== undefined}`).toBe(true);
        }
      }
    }
  }
});

test("a record is encoded as protobuf-es encodes it", () => {
  for (const [at, number] of NUMBERS.entries()) {
    const record = create(KvRecordSchema, {
      value: bytesOf(SIZES[at % SIZES.length] ?? 0),
      createRevision: number,
      modRevision: NUMBERS[(at + 5) % NUMBERS.length] ?? 0n,
      version: NUMBERS[(at + 11) % NUMBERS.length] ?? 0n,
    });
    const ours = Buffer.alloc(3 + recordBytes(record));
    putRecord(ours, 3, record);
    const same = Buffer.compare(ours.subarray(3), toBinary(KvRecordSchema, record)) === 0;
    expect(same, `${number}`).toBe(true);
  }
});
