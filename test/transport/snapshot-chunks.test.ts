// The head that is written before a chunk by hand makes, with the chunk behind it, the bytes that protobuf-es would write.

import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { InstallSnapshotRequestSchema } from "../../src/gen/service_pb.js";
import { chunkPrefix } from "../../src/transport/snapshot-sender.js";

test.each([
  [0, 0],
  [0, 1],
  [1, 127],
  [127, 128],
  [262_144, 16_383],
  [2 ** 32, 16_384],
  [2 ** 40 + 1, 262_144],
  [Number.MAX_SAFE_INTEGER, 300_000],
])("a chunk at %i of %i bytes", (offset, bytes) => {
  const data = new Uint8Array(bytes).fill(7);
  const part = { case: "chunk", value: { offset: BigInt(offset), data } } as const;
  const whole = toBinary(InstallSnapshotRequestSchema, create(InstallSnapshotRequestSchema, { part }));
  const byHand = Buffer.concat([chunkPrefix(offset, bytes), data]);
  // An empty field is left out by one and written by the other; both read the same.
  if (bytes > 0) expect(byHand.equals(whole)).toBe(true);
  else expect(byHand.subarray(0, 2)).toEqual(Buffer.from([0x12, 2]));
});
