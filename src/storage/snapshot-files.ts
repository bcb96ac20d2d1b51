// The bodies of snapshots, one file each. A file gets the name `<id>.snap` when it is complete and on disk, never before.

import { randomBytes } from "node:crypto";
import { access, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { snapshotPosition } from "../core/messages.js";
import { type Snapshot, type SnapshotMetadata, SnapshotSchema } from "../gen/eraftpb_pb.js";
import {
  type MembershipRecord,
  type SnapshotDescriptor,
  SnapshotDescriptorSchema,
} from "../gen/records_pb.js";
import type { SnapshotReader, SnapshotReceiver, SnapshotSink, SnapshotStore } from "../node/ports.js";
import { crc32 } from "./checksum.js";
import {
  damaged,
  descriptorOf,
  encodeTrailer,
  isSnapshotId,
  noRoom,
  readTrailer,
  writeOrSayFull,
} from "./snapshot-file.js";
import { FileReader } from "./snapshot-reader.js";
import { FileReceiver, receivedAlready } from "./snapshot-receiver.js";
import { DEFAULT_SPACE_LIMITS, freeBytesOf } from "./space-guard.js";
import { StorageFault } from "./storage-fault.js";
import { makeFolderDurable, syncFolder } from "./storage-files.js";

export interface SnapshotFilesOptions {
  /** Larger bodies are refused, own and received. Default 64 GiB. */
  readonly maxBytes?: number | undefined;
  /**
   * What a body must leave free in the file system, in bytes: the log lives on it. Default 128 MiB, as much as the
   * log may write beyond its own limits.
   */
  readonly keepFreeBytes?: number | undefined;
  /** What the file system has left, in bytes. Default: asked of the system. */
  readonly freeBytes?: (() => Promise<number>) | undefined;
}

/** The snapshot asked for is not here, or not any more. */
export class SnapshotNotFound extends Error {
  override readonly name = "SnapshotNotFound";
}

const COMPLETE = ".snap";
/** Received in full, not yet accepted by the core. */
const RECEIVED = ".body";
const PARTIAL = ".part";
const TEMPORARY = ".tmp";
const DEFAULT_MAX_BYTES = 64 * 1024 ** 3;
/** Bodies that wait to be resumed or installed; beyond that the oldest goes. */
const MAX_UNINSTALLED = 2;
/** While a body is made, the disk is looked at when so much was written. */
const LOOK_EVERY_BYTES = 16 * 1024 ** 2;

export class SnapshotFiles implements SnapshotStore {
  readonly #dir: string;
  readonly #maxBytes: number;
  readonly #keepFreeBytes: number;
  readonly #freeBytes: () => Promise<number>;
  /** Complete snapshots by id. */
  readonly #complete = new Map<string, Snapshot>();
  readonly #readers = new Map<string, number>();
  readonly #receivers = new Map<string, FileReceiver>();
  #latest: Snapshot | undefined;
  #tidying: Promise<void> = Promise.resolve();
  #turns: Promise<void> = Promise.resolve();
  #leftoversRemoved: Promise<void> | undefined;

  private constructor(dir: string, options: SnapshotFilesOptions) {
    this.#dir = dir;
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    this.#keepFreeBytes = options.keepFreeBytes ?? DEFAULT_SPACE_LIMITS.reserveBytes;
    this.#freeBytes = options.freeBytes ?? (() => freeBytesOf(dir));
  }

  /**
   * Opens the folder, creating it if need be. What a crash has left half done is removed with the first change, not
   * here: another process may still be at work in the folder, until the node's log has been opened and thereby
   * locked. Partial bodies stay: they can be resumed.
   * @throws StorageFault when a complete snapshot's file is damaged
   */
  static async open(dir: string, options: SnapshotFilesOptions = {}): Promise<SnapshotFiles> {
    await makeFolderDurable(dir);
    const store = new SnapshotFiles(dir, options);
    for (const name of await readdir(dir)) {
      if (name.endsWith(COMPLETE)) await store.#load(name.slice(0, -COMPLETE.length));
    }
    return store;
  }

  latest(): Snapshot | undefined {
    return this.#latest;
  }

  async create(
    metadata: SnapshotMetadata,
    membership: MembershipRecord,
    write: (sink: SnapshotSink) => Promise<void>,
  ): Promise<Snapshot> {
    await this.#removeLeftovers();
    const id = `${metadata.term}-${metadata.index}-${randomBytes(8).toString("hex")}`;
    const temporary = this.#path(id, TEMPORARY);
    await this.#requireRoom(temporary, 0);
    const handle = await open(temporary, "wx");
    let snapshot: Snapshot;
    try {
      const { sizeBytes, crc } = await this.#writeBody(handle, temporary, write);
      const descriptor = create(SnapshotDescriptorSchema, {
        snapshotId: id,
        sizeBytes: BigInt(sizeBytes),
        crc32: crc,
        membership,
      });
      snapshot = create(SnapshotSchema, { data: toBinary(SnapshotDescriptorSchema, descriptor), metadata });
      await writeOrSayFull(handle, temporary, encodeTrailer(snapshot), sizeBytes);
      await handle.sync();
    } catch (error) {
      await handle.close();
      await rm(temporary, { force: true });
      throw error;
    }
    await handle.close();
    await rename(temporary, this.#path(id, COMPLETE));
    await syncFolder(this.#dir);
    this.#adopt(id, snapshot);
    await this.#tidy();
    return snapshot;
  }

  async openRead(snapshotId: string): Promise<SnapshotReader> {
    const snapshot = this.#complete.get(snapshotId);
    if (snapshot === undefined)
      throw new SnapshotNotFound(`there is no snapshot ${JSON.stringify(snapshotId)}`);
    this.#hold(snapshotId, 1);
    try {
      return await FileReader.open(this.#path(snapshotId, COMPLETE), descriptorOf(snapshot), async () => {
        this.#hold(snapshotId, -1);
        await this.#tidy();
      });
    } catch (error) {
      this.#hold(snapshotId, -1);
      throw error;
    }
  }

  receive(descriptor: SnapshotDescriptor): Promise<SnapshotReceiver> {
    return this.#inTurn(() => this.#receive(descriptor));
  }

  install(snapshot: Snapshot): Promise<void> {
    return this.#inTurn(() => this.#install(snapshot));
  }

  /** Two who receive or install the same body must not meet on its way from one name to the next. */
  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#turns.then(run);
    this.#turns = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  async #receive(descriptor: SnapshotDescriptor): Promise<SnapshotReceiver> {
    const { snapshotId, sizeBytes } = descriptor;
    this.#requireAcceptable(descriptor);
    await this.#removeLeftovers();
    if (this.#complete.has(snapshotId)) return receivedAlready(Number(sizeBytes));
    await this.#receivers.get(snapshotId)?.supersede();
    const files = { part: this.#path(snapshotId, PARTIAL), body: this.#path(snapshotId, RECEIVED) };
    if (await exists(files.body)) return receivedAlready(Number(sizeBytes));
    await this.#requireRoom(files.part, Number(sizeBytes) - (await sizeOf(files.part)));
    const receiver = await FileReceiver.open(descriptor, files, () => {
      if (this.#receivers.get(snapshotId) === receiver) this.#receivers.delete(snapshotId);
    });
    this.#receivers.set(snapshotId, receiver);
    await this.#tidy();
    return receiver;
  }

  async #install(snapshot: Snapshot): Promise<void> {
    const descriptor = descriptorOf(snapshot);
    const { snapshotId, sizeBytes } = descriptor;
    this.#requireAcceptable(descriptor);
    await this.#removeLeftovers();
    if (!this.#complete.has(snapshotId)) {
      const body = this.#path(snapshotId, RECEIVED);
      if (!(await exists(body))) {
        throw new SnapshotNotFound(`the body of snapshot ${snapshotId} has not been received`);
      }
      const handle = await open(body, "r+");
      try {
        // An attempt that a crash cut short may have left a part of the description behind the body.
        await handle.truncate(Number(sizeBytes));
        await writeOrSayFull(handle, body, encodeTrailer(snapshot), Number(sizeBytes));
        await handle.sync();
        await readTrailer(handle, body);
      } finally {
        await handle.close();
      }
      await rename(body, this.#path(snapshotId, COMPLETE));
      await syncFolder(this.#dir);
    }
    this.#adopt(snapshotId, snapshot);
    await this.#tidy();
  }

  async #writeBody(
    handle: Awaited<ReturnType<typeof open>>,
    file: string,
    write: (sink: SnapshotSink) => Promise<void>,
  ): Promise<{ sizeBytes: number; crc: number }> {
    let sizeBytes = 0;
    let crc = 0;
    let lookAt = LOOK_EVERY_BYTES;
    let queue: Promise<void> = Promise.resolve();
    await write((chunk) => {
      queue = queue.then(async () => {
        if (sizeBytes + chunk.length > this.#maxBytes)
          throw this.#tooLarge(file, BigInt(sizeBytes + chunk.length));
        await writeOrSayFull(handle, file, chunk, sizeBytes);
        crc = crc32(chunk, crc);
        sizeBytes += chunk.length;
        if (sizeBytes < lookAt) return;
        lookAt = sizeBytes + LOOK_EVERY_BYTES;
        await this.#requireRoom(file, 0);
      });
      return queue;
    });
    await queue;
    return { sizeBytes, crc };
  }

  async #load(id: string): Promise<void> {
    const file = this.#path(id, COMPLETE);
    const handle = await open(file, "r");
    try {
      const snapshot = await readTrailer(handle, file);
      if (descriptorOf(snapshot).snapshotId !== id) {
        throw damaged("incomplete", file, `it holds snapshot ${descriptorOf(snapshot).snapshotId}`);
      }
      this.#adopt(id, snapshot);
    } finally {
      await handle.close();
    }
  }

  #adopt(id: string, snapshot: Snapshot): void {
    this.#complete.set(id, snapshot);
    const { index, term } = snapshotPosition(snapshot);
    const latest = this.#latest === undefined ? undefined : snapshotPosition(this.#latest);
    if (latest === undefined || index > latest.index || (index === latest.index && term >= latest.term)) {
      this.#latest = snapshot;
    }
  }

  #requireAcceptable({ snapshotId, sizeBytes }: SnapshotDescriptor): void {
    if (!isSnapshotId(snapshotId)) {
      throw new RangeError(
        `${JSON.stringify(snapshotId)} is no snapshot id: letters, digits, "-" and "_", at most 128 of them`,
      );
    }
    if (sizeBytes > BigInt(this.#maxBytes)) throw this.#tooLarge(this.#path(snapshotId, PARTIAL), sizeBytes);
  }

  /** The log must not die of a snapshot. What cannot be found out counts as room. @throws StorageFault `noSpace` */
  async #requireRoom(file: string, bytes: number): Promise<void> {
    const free = await this.#freeBytes().catch(() => Number.POSITIVE_INFINITY);
    const needed = bytes + this.#keepFreeBytes;
    if (free < needed) throw noRoom(file, `the disk has ${free} bytes left, and ${needed} are needed`);
  }

  #tooLarge(file: string, sizeBytes: bigint): StorageFault {
    return new StorageFault("tooLarge", {
      file,
      problem: `the snapshot has ${sizeBytes} bytes or more, allowed are ${this.#maxBytes}`,
      remedy: "raise the limit on snapshot bodies on every node, if there is room for it",
    });
  }

  #hold(id: string, by: 1 | -1): void {
    const count = (this.#readers.get(id) ?? 0) + by;
    if (count === 0) this.#readers.delete(id);
    else this.#readers.set(id, count);
  }

  #removeLeftovers(): Promise<void> {
    this.#leftoversRemoved ??= (async () => {
      for (const name of await readdir(this.#dir)) {
        if (name.endsWith(TEMPORARY)) await rm(join(this.#dir, name), { force: true });
      }
    })();
    return this.#leftoversRemoved;
  }

  /** Removes what nobody needs: older snapshots without a reader, and unfinished bodies beyond a few. */
  #tidy(): Promise<void> {
    this.#tidying = this.#tidying.catch(() => {}).then(() => this.#removeUnneeded());
    return this.#tidying;
  }

  async #removeUnneeded(): Promise<void> {
    for (const [id, snapshot] of [...this.#complete]) {
      if (snapshot === this.#latest || this.#readers.has(id)) continue;
      this.#complete.delete(id);
      await rm(this.#path(id, COMPLETE), { force: true });
    }
    const unfinished: { name: string; changedMs: number }[] = [];
    for (const name of await readdir(this.#dir)) {
      const id = name.slice(0, name.lastIndexOf("."));
      if (!name.endsWith(PARTIAL) && !name.endsWith(RECEIVED)) continue;
      if (this.#receivers.has(id)) continue;
      unfinished.push({ name, changedMs: (await stat(join(this.#dir, name))).mtimeMs });
    }
    unfinished.sort((a, b) => b.changedMs - a.changedMs);
    for (const { name } of unfinished.slice(MAX_UNINSTALLED))
      await rm(join(this.#dir, name), { force: true });
  }

  #path(id: string, ending: string): string {
    return join(this.#dir, id + ending);
  }
}

async function sizeOf(file: string): Promise<number> {
  return (await exists(file)) ? (await stat(file)).size : 0;
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}
