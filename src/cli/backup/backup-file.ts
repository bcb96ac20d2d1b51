// A backup: the body of a snapshot, then what is known about it, then a footer with a checksum of that. A file without
// its footer is no backup. The snapshot files of a node's own folder can be read too.

import { type FileHandle, open } from "node:fs/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type SnapshotInfo, SnapshotInfoSchema } from "../../gen/service_pb.js";
import { fromRecord } from "../../node/membership.js";
import { membershipMessage } from "../../services/membership-message.js";
import { crc32 } from "../../storage/checksum.js";
import { descriptorOf, READ_BYTES, readTrailer, writeFully } from "../../storage/snapshot-file.js";
import { StorageFault } from "../../storage/storage-fault.js";
import { CommandError, ExitStatus } from "../exit-status.js";

const MAGIC = Buffer.from("RAFTBAK1");
/** Magic, length of the description, checksum of the description. */
const FOOTER_BYTES = MAGIC.length + 8;
const MAX_DESCRIPTION_BYTES = 16 * 1024 * 1024;

/** What follows the body. */
export function encodeBackupTrailer(info: SnapshotInfo): Buffer {
  const description = toBinary(SnapshotInfoSchema, info);
  const footer = Buffer.alloc(FOOTER_BYTES);
  MAGIC.copy(footer);
  footer.writeUInt32BE(description.length, MAGIC.length);
  footer.writeUInt32BE(crc32(description), MAGIC.length + 4);
  return Buffer.concat([description, footer]);
}

/** An open file, to be closed. */
export class BackupFile {
  private constructor(
    readonly path: string,
    readonly info: SnapshotInfo,
    /** `node`: a snapshot from a node's own folder, which does not say of which cluster it is. */
    readonly kind: "backup" | "node",
    private readonly handle: FileHandle,
  ) {}

  /** Checks everything but the body. @throws CommandError for a file that is none, or not a complete one */
  static async open(path: string): Promise<BackupFile> {
    const handle = await openForReading(path);
    try {
      const own = await readBackupTrailer(path, handle);
      if (own !== undefined) return new BackupFile(path, own, "backup", handle);
      return new BackupFile(path, await readNodeSnapshot(path, handle), "node", handle);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * All of it, in order.
   * @throws CommandError with the last piece when the body is not what it must be
   */
  async *body(onProgress: (readBytes: number) => void = () => {}): AsyncGenerator<Uint8Array> {
    const size = Number(this.info.sizeBytes);
    let crc = 0;
    for (let offset = 0; offset < size; ) {
      // A piece of its own each time: whoever reads may keep it for a while.
      const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, size - offset));
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) throw notSound(this.path, `it ends at byte ${offset}`);
      const piece = buffer.subarray(0, bytesRead);
      crc = crc32(piece, crc);
      offset += bytesRead;
      if (offset === size && crc !== this.info.checksum)
        throw notSound(this.path, "its checksum does not match");
      onProgress(offset);
      yield piece;
    }
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

export function notSound(path: string, problem: string): CommandError {
  return new CommandError(
    ExitStatus.failed,
    `${path}: ${problem}; use another backup, this one is of no use`,
    "backupDamaged",
  );
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.failed, `the backup cannot be read: ${why}`, "backupUnreadable");
  }
}

/** Undefined: the file is none of these. */
async function readBackupTrailer(path: string, handle: FileHandle): Promise<SnapshotInfo | undefined> {
  const { size } = await handle.stat();
  const footer = await readAt(handle, size - FOOTER_BYTES, FOOTER_BYTES);
  if (footer === undefined || !footer.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const length = footer.readUInt32BE(MAGIC.length);
  const bodyBytes = size - FOOTER_BYTES - length;
  const description = length > MAX_DESCRIPTION_BYTES ? undefined : await readAt(handle, bodyBytes, length);
  if (description === undefined || crc32(description) !== footer.readUInt32BE(MAGIC.length + 4)) {
    throw notSound(path, "the checksum of its description does not match");
  }
  const info = fromBinary(SnapshotInfoSchema, new Uint8Array(description));
  if (info.sizeBytes === BigInt(bodyBytes)) return info;
  throw notSound(path, `its body has ${bodyBytes} bytes, not ${info.sizeBytes}`);
}

async function readNodeSnapshot(path: string, handle: FileHandle): Promise<SnapshotInfo> {
  try {
    const snapshot = await readTrailer(handle, path);
    const { sizeBytes, crc32: checksum, membership } = descriptorOf(snapshot);
    return create(SnapshotInfoSchema, {
      index: snapshot.metadata?.index ?? 0n,
      term: snapshot.metadata?.term ?? 0n,
      sizeBytes,
      checksum,
      ...(membership !== undefined && { membership: membershipMessage(fromRecord(membership)) }),
    });
  } catch (error) {
    if (!(error instanceof StorageFault)) throw error;
    throw notSound(path, "it is no backup, or it was cut off");
  }
}

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer | undefined> {
  if (offset < 0) return undefined;
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, offset);
  return bytesRead === length ? bytes : undefined;
}

/** Writes a body piece by piece, then the trailer; durable when it resolves. */
export class BackupWriter {
  #bytes = 0;

  constructor(private readonly handle: FileHandle) {}

  async write(piece: Uint8Array): Promise<number> {
    await writeFully(this.handle, piece, this.#bytes);
    this.#bytes += piece.length;
    return this.#bytes;
  }

  async finish(info: SnapshotInfo): Promise<void> {
    await writeFully(this.handle, encodeBackupTrailer(info), this.#bytes);
    await this.handle.sync();
  }
}
