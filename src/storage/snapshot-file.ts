// The format of one snapshot file: the body, then the description of the snapshot, then a footer with a checksum of
// the description. The body comes first so that offsets into the body are offsets into the file.

import type { FileHandle } from "node:fs/promises";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Snapshot, SnapshotSchema } from "../gen/eraftpb_pb.js";
import { type SnapshotDescriptor, SnapshotDescriptorSchema } from "../gen/records_pb.js";
import { crc32 } from "./checksum.js";
import { StorageFault } from "./storage-fault.js";

const FOOTER_MAGIC = Buffer.from("RAFTSNP1");
/** Magic, length of the description, checksum of the description. */
const FOOTER_BYTES = FOOTER_MAGIC.length + 8;
const MAX_DESCRIPTION_BYTES = 16 * 1024 * 1024;
export const READ_BYTES = 1024 * 1024;

/** Ids come from other nodes and become file names: nothing that could lead out of the folder. */
const ID_PATTERN = /^[0-9A-Za-z][0-9A-Za-z_-]{0,127}$/;

export function isSnapshotId(id: string): boolean {
  return ID_PATTERN.test(id);
}

/** The descriptor in a snapshot that some node of the group made. */
export function descriptorOf(snapshot: Snapshot): SnapshotDescriptor {
  return fromBinary(SnapshotDescriptorSchema, snapshot.data);
}

/** What follows the body in the file of this snapshot. */
export function encodeTrailer(snapshot: Snapshot): Buffer {
  const description = toBinary(SnapshotSchema, snapshot);
  const footer = Buffer.alloc(FOOTER_BYTES);
  FOOTER_MAGIC.copy(footer);
  footer.writeUInt32BE(description.length, FOOTER_MAGIC.length);
  footer.writeUInt32BE(crc32(description), FOOTER_MAGIC.length + 4);
  return Buffer.concat([description, footer]);
}

/**
 * Reads the description and checks that the file has the size that it implies; the body itself is checked when
 * it is read.
 * @throws StorageFault `incomplete` or `checksum`
 */
export async function readTrailer(handle: FileHandle, file: string): Promise<Snapshot> {
  const { size } = await handle.stat();
  const footer = await readExactly(handle, size - FOOTER_BYTES, FOOTER_BYTES);
  if (
    footer === undefined ||
    footer.compare(FOOTER_MAGIC, 0, FOOTER_MAGIC.length, 0, FOOTER_MAGIC.length) !== 0
  ) {
    throw damaged("incomplete", file, "it does not end like a snapshot");
  }
  const length = footer.readUInt32BE(FOOTER_MAGIC.length);
  const bodyBytes = size - FOOTER_BYTES - length;
  const description =
    length > MAX_DESCRIPTION_BYTES ? undefined : await readExactly(handle, bodyBytes, length);
  if (description === undefined || crc32(description) !== footer.readUInt32BE(FOOTER_MAGIC.length + 4)) {
    throw damaged("checksum", file, "the checksum of its description does not match");
  }
  // A plain array: whoever gets the snapshot should not meet a Buffer in it.
  const snapshot = fromBinary(SnapshotSchema, new Uint8Array(description));
  if (descriptorOf(snapshot).sizeBytes !== BigInt(bodyBytes)) {
    throw damaged(
      "incomplete",
      file,
      `its body has ${bodyBytes} bytes, not ${descriptorOf(snapshot).sizeBytes}`,
    );
  }
  return snapshot;
}

export function damaged(code: "incomplete" | "checksum", file: string, problem: string): StorageFault {
  return new StorageFault(code, {
    file,
    problem,
    remedy: "delete this file: a snapshot that is needed is made or received anew",
  });
}

async function readExactly(handle: FileHandle, offset: number, length: number): Promise<Buffer | undefined> {
  if (offset < 0) return undefined;
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) return undefined;
    filled += bytesRead;
  }
  return bytes;
}

/** Writes all of it. */
export async function writeFully(handle: FileHandle, data: Uint8Array, offset: number): Promise<void> {
  let written = 0;
  while (written < data.length) {
    const { bytesWritten } = await handle.write(data, written, data.length - written, offset + written);
    written += bytesWritten;
  }
}

/** A large body must not pile up in memory: the log's next flush would wait for all of it, in many file systems. */
const FLUSH_EVERY_BYTES = 16 * 1024 * 1024;

/** The same for the file of a snapshot, flushed now and then. @throws StorageFault `noSpace`; a part of it may be written then */
export async function writeOrSayFull(
  handle: FileHandle,
  file: string,
  data: Uint8Array,
  offset: number,
): Promise<void> {
  try {
    await writeFully(handle, data, offset);
    const end = offset + data.length;
    if (Math.floor(offset / FLUSH_EVERY_BYTES) < Math.floor(end / FLUSH_EVERY_BYTES)) await handle.datasync();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    throw code === "ENOSPC" || code === "EDQUOT" ? noRoom(file, `the disk is full (${code})`, error) : error;
  }
}

export function noRoom(file: string, problem: string, cause?: unknown): StorageFault {
  return new StorageFault("noSpace", {
    file,
    problem,
    remedy: "free space on the disk: it is tried again, and what was received before is kept",
    cause,
  });
}

/** The checksum of the first `length` bytes; fewer if the file is shorter. */
export async function checksumOfFile(handle: FileHandle, length: number): Promise<number> {
  const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(READ_BYTES, length)));
  let crc = 0;
  for (let offset = 0; offset < length; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, length - offset), offset);
    if (bytesRead === 0) break;
    crc = crc32(buffer.subarray(0, bytesRead), crc);
    offset += bytesRead;
  }
  return crc;
}
