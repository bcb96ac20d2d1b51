// Receives the body of one snapshot into a partial file that outlives a broken connection.

import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { SnapshotDescriptor } from "../gen/records_pb.js";
import type { SnapshotReceiver } from "../node/ports.js";
import { crc32 } from "./checksum.js";
import { checksumOfFile, damaged, writeOrSayFull } from "./snapshot-file.js";
import { StorageFault } from "./storage-fault.js";
import { syncFolder } from "./storage-files.js";

export class FileReceiver implements SnapshotReceiver {
  readonly #descriptor: SnapshotDescriptor;
  readonly #partFile: string;
  readonly #bodyFile: string;
  readonly #onClosed: () => void;
  #handle: FileHandle | undefined;
  #received: number;
  #crc: number;
  /** Calls run one after the other, whatever the caller does. */
  #queue: Promise<void> = Promise.resolve();
  #ended: "finished" | "suspended" | "superseded" | "failed" | undefined;

  private constructor(
    descriptor: SnapshotDescriptor,
    files: { readonly part: string; readonly body: string },
    handle: FileHandle,
    received: number,
    crc: number,
    onClosed: () => void,
  ) {
    this.#descriptor = descriptor;
    this.#partFile = files.part;
    this.#bodyFile = files.body;
    this.#handle = handle;
    this.#received = received;
    this.#crc = crc;
    this.#onClosed = onClosed;
  }

  /** Goes on with the partial file if there is one that can belong to this descriptor. */
  static async open(
    descriptor: SnapshotDescriptor,
    files: { readonly part: string; readonly body: string },
    onClosed: () => void,
  ): Promise<FileReceiver> {
    const handle = await openForWriting(files.part);
    try {
      const { size } = await handle.stat();
      const received = size > Number(descriptor.sizeBytes) ? 0 : size;
      if (received !== size) await handle.truncate(0);
      const crc = await checksumOfFile(handle, received);
      return new FileReceiver(descriptor, files, handle, received, crc, onClosed);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get receivedBytes(): number {
    return this.#received;
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.#inTurn(async (handle) => {
      if (offset !== this.#received) {
        throw this.#fault(
          "incomplete",
          `a chunk begins at byte ${offset}, but ${this.#received} bytes are there`,
          "resume from receivedBytes",
        );
      }
      if (offset + data.length > Number(this.#descriptor.sizeBytes)) {
        throw this.#fault(
          "tooLarge",
          `more than the announced ${this.#descriptor.sizeBytes} bytes arrive`,
          "send the snapshot again from its beginning",
        );
      }
      await writeOrSayFull(handle, this.#partFile, data, offset);
      this.#crc = crc32(data, this.#crc);
      this.#received += data.length;
    });
  }

  finish(): Promise<void> {
    return this.#inTurn(async (handle) => {
      const complete = this.#received === Number(this.#descriptor.sizeBytes);
      if (!complete || this.#crc !== this.#descriptor.crc32) {
        await this.#end("failed");
        await rm(this.#partFile, { force: true });
        throw complete
          ? damaged("checksum", this.#partFile, "the received body's checksum does not match")
          : damaged("incomplete", this.#partFile, `only ${this.#received} bytes of the body arrived`);
      }
      await handle.sync();
      await this.#end("finished");
      await rename(this.#partFile, this.#bodyFile);
      await syncFolder(dirname(this.#bodyFile));
    });
  }

  async suspend(): Promise<void> {
    await this.#close("suspended");
  }

  /** Ends this attempt because another one begins; its later calls fail. */
  async supersede(): Promise<void> {
    await this.#close("superseded");
  }

  async #close(reason: "suspended" | "superseded"): Promise<void> {
    if (this.#ended !== undefined) return;
    await this.#inTurn(() => this.#end(reason)).catch((error: unknown) => {
      if (this.#ended === undefined) throw error;
    });
  }

  #inTurn(run: (handle: FileHandle) => Promise<void>): Promise<void> {
    const result = this.#queue.then(async () => {
      const handle = this.#handle;
      if (handle === undefined) {
        throw this.#fault(
          "superseded",
          `this attempt is over (${this.#ended})`,
          "receive the snapshot again",
        );
      }
      await run(handle);
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  async #end(reason: "finished" | "suspended" | "superseded" | "failed"): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#ended = reason;
    await handle?.close();
    this.#onClosed();
  }

  #fault(code: "incomplete" | "tooLarge" | "superseded", problem: string, remedy: string): StorageFault {
    return new StorageFault(code, { file: this.#partFile, problem, remedy });
  }
}

async function openForWriting(file: string): Promise<FileHandle> {
  try {
    return await open(file, "r+");
  } catch {
    return open(file, "wx+");
  }
}

/** For a body that is here already, complete: nothing is missing, nothing is done. */
export function receivedAlready(sizeBytes: number): SnapshotReceiver {
  return {
    receivedBytes: sizeBytes,
    async write(_offset, data) {
      if (data.length > 0) throw new RangeError("the body is here already: nothing is missing");
    },
    async finish() {},
    async suspend() {},
  };
}
