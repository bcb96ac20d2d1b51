// Reads the body of one snapshot; whoever reads it from one end to the other learns whether it is intact.

import { type FileHandle, open } from "node:fs/promises";
import type { SnapshotDescriptor } from "../gen/records_pb.js";
import type { SnapshotReader } from "../node/ports.js";
import { crc32 } from "./checksum.js";
import { damaged } from "./snapshot-file.js";

export class FileReader implements SnapshotReader {
  readonly sizeBytes: number;
  readonly #file: string;
  readonly #handle: FileHandle;
  readonly #expectedCrc: number;
  readonly #release: () => Promise<void>;
  /** Up to here the body was read without a break, with this checksum. */
  #checkedBytes = 0;
  #crc = 0;
  #closing: Promise<void> | undefined;

  private constructor(
    file: string,
    handle: FileHandle,
    descriptor: SnapshotDescriptor,
    release: () => Promise<void>,
  ) {
    this.#file = file;
    this.#handle = handle;
    this.sizeBytes = Number(descriptor.sizeBytes);
    this.#expectedCrc = descriptor.crc32;
    this.#release = release;
  }

  static async open(
    file: string,
    descriptor: SnapshotDescriptor,
    release: () => Promise<void>,
  ): Promise<FileReader> {
    return new FileReader(file, await open(file, "r"), descriptor, release);
  }

  /** @throws StorageFault `checksum` with the last piece of a body that was read in order and is not intact */
  async read(offset: number, maxBytes: number): Promise<Uint8Array> {
    const length = Math.max(0, Math.min(maxBytes, this.sizeBytes - offset));
    const bytes = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(bytes, filled, length - filled, offset + filled);
      if (bytesRead === 0) throw damaged("incomplete", this.#file, `it ends at byte ${offset + filled}`);
      filled += bytesRead;
    }
    this.#check(offset, bytes);
    return bytes;
  }

  close(): Promise<void> {
    this.#closing ??= this.#handle.close().then(() => this.#release());
    return this.#closing;
  }

  #check(offset: number, bytes: Uint8Array): void {
    if (offset !== this.#checkedBytes || bytes.length === 0) return;
    this.#crc = crc32(bytes, this.#crc);
    this.#checkedBytes += bytes.length;
    if (this.#checkedBytes === this.sizeBytes && this.#crc !== this.#expectedCrc) {
      throw damaged("checksum", this.#file, "the body's checksum does not match");
    }
  }
}
