// What a MsgSnapshot says about its body: which file, how long, which checksum.

import { fromBinary } from "@bufbuild/protobuf";
import type { Message } from "../gen/eraftpb_pb.js";
import { type SnapshotDescriptor, SnapshotDescriptorSchema } from "../gen/records_pb.js";
import { EnvelopeError } from "./envelope.js";
import { describeError } from "./transport-errors.js";

// The name becomes a file name on the receiver.
const SNAPSHOT_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/**
 * The descriptor of a snapshot that has a body; undefined for one that has none.
 * @throws EnvelopeError `malformed` or `tooLarge`.
 */
export function bodyOf(message: Message, maxSnapshotBytes: number): SnapshotDescriptor | undefined {
  const data = message.snapshot?.data;
  if (data === undefined || data.length === 0) return undefined;
  let descriptor: SnapshotDescriptor;
  try {
    descriptor = fromBinary(SnapshotDescriptorSchema, data);
  } catch (error) {
    throw new EnvelopeError("malformed", `Snapshot.data is no SnapshotDescriptor: ${describeError(error)}`);
  }
  if (descriptor.sizeBytes === 0n) return undefined;
  if (!SNAPSHOT_ID.test(descriptor.snapshotId)) {
    throw new EnvelopeError(
      "malformed",
      `the snapshot id ${JSON.stringify(descriptor.snapshotId)} is no plain name of letters, digits, dots, dashes and underscores`,
    );
  }
  if (descriptor.sizeBytes > BigInt(Math.min(maxSnapshotBytes, Number.MAX_SAFE_INTEGER))) {
    throw new EnvelopeError(
      "tooLarge",
      `snapshot ${descriptor.snapshotId} of ${descriptor.sizeBytes} bytes exceeds maxSnapshotBytes (${maxSnapshotBytes})`,
    );
  }
  return descriptor;
}
