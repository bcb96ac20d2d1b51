// Bodies of snapshots: a name always stands for a complete and intact file, a broken transfer goes on where it
// stopped, old bodies go when nobody reads them, and nothing that comes from another node leads out of the folder.

import { readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, fromBinary } from "@bufbuild/protobuf";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { newConfState, newSnapshot } from "../../src/core/messages.js";
import type { Snapshot, SnapshotMetadata } from "../../src/gen/eraftpb_pb.js";
import { type SnapshotDescriptor, SnapshotDescriptorSchema } from "../../src/gen/records_pb.js";
import type { SnapshotReader, SnapshotReceiver } from "../../src/node/ports.js";
import { crc32, crc32ByTable } from "../../src/storage/checksum.js";
import { writeOrSayFull } from "../../src/storage/snapshot-file.js";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
import { MEMBERS, temporaryFolder } from "./support.js";

const CHUNK = 64 * 1024;

describe("making a snapshot", () => {
  test("describes the body: size, checksum, membership; and finds it again after a restart", async () => {
    const dir = await temporaryFolder();
    const files = await SnapshotFiles.open(dir);
    expect(files.latest()).toBeUndefined();
    const body = bytes(300_000, 1);
    const snapshot = await make(files, 10n, body);
    const descriptor = describeOf(snapshot);
    expect(descriptor.sizeBytes).toBe(300_000n);
    expect(descriptor.crc32).toBe(crc32ByTable(body));
    expect(descriptor.membership).toEqual(MEMBERS);
    expect(files.latest()).toEqual(snapshot);
    const again = await SnapshotFiles.open(dir);
    expect(again.latest()).toEqual(snapshot);
    expectBytes(await readAll(later(await again.openRead(descriptor.snapshotId))), body);
  });

  test("a large body is flushed as it grows, so that the log's next flush does not wait for all of it", async () => {
    const handle = await open(join(await temporaryFolder(), "body"), "w");
    onTestFinished(() => handle.close());
    const flush = vi.spyOn(handle, "datasync");
    const chunk = bytes(1024 * 1024, 1);
    for (let mib = 0; mib < 33; mib += 1) {
      await writeOrSayFull(handle, "body", chunk, mib * chunk.length);
    }
    expect(flush).toHaveBeenCalledTimes(2);
  });

  test("an empty body is a body", async () => {
    const files = await SnapshotFiles.open(await temporaryFolder());
    const { snapshotId } = describeOf(await make(files, 10n, bytes(0, 1)));
    expectBytes(await readAll(later(await files.openRead(snapshotId))), bytes(0, 1));
  });

  test("that fails half way leaves nothing", async () => {
    const dir = await temporaryFolder();
    const files = await SnapshotFiles.open(dir);
    const broken = files.create(metadata(10n), MEMBERS, async (sink) => {
      await sink(bytes(1000, 1));
      throw new Error("the state machine gave up");
    });
    await expect(broken).rejects.toThrow("the state machine gave up");
    expect(files.latest()).toBeUndefined();
    expect(readdirSync(dir)).toEqual([]);
  });

  test("beyond the limit is refused", async () => {
    const dir = await temporaryFolder();
    const files = await SnapshotFiles.open(dir, { maxBytes: 1000 });
    await expect(make(files, 10n, bytes(1001, 1))).rejects.toMatchObject({ code: "tooLarge" });
    expect(readdirSync(dir)).toEqual([]);
    await make(files, 10n, bytes(1000, 1));
  });

  test("takes chunks in order, also from a writer that does not wait", async () => {
    const files = await SnapshotFiles.open(await temporaryFolder());
    const chunks = Array.from({ length: 20 }, (_, at) => bytes(1 + at * 100, at));
    const snapshot = await files.create(metadata(3n), MEMBERS, async (sink) => {
      await Promise.all(chunks.map((chunk) => sink(chunk)));
    });
    const reader = later(await files.openRead(describeOf(snapshot).snapshotId));
    expect(Buffer.from(await readAll(reader))).toEqual(Buffer.concat(chunks));
  });
});

describe("an older snapshot", () => {
  test("goes when a newer one is there, but not while it is read", async () => {
    const dir = await temporaryFolder();
    const files = await SnapshotFiles.open(dir);
    const old = describeOf(await make(files, 10n, bytes(200_000, 1)));
    const reader = later(await files.openRead(old.snapshotId));
    const next = describeOf(await make(files, 20n, bytes(10, 2)));
    expectBytes(await readAll(reader), bytes(200_000, 1));
    expect(readdirSync(dir)).toContain(`${old.snapshotId}.snap`);
    await reader.close();
    expect(readdirSync(dir)).toEqual([`${next.snapshotId}.snap`]);
    await expect(files.openRead(old.snapshotId)).rejects.toMatchObject({ name: "SnapshotNotFound" });
  });

  test("that is finished late does not become the latest", async () => {
    const files = await SnapshotFiles.open(await temporaryFolder());
    const newer = await make(files, 20n, bytes(10, 2));
    await make(files, 10n, bytes(10, 1));
    expect(files.latest()).toEqual(newer);
  });
});

describe("on a disk that fills up", () => {
  const KEEP = 1_000_000;

  test("a body that does not fit is refused before a byte of it is written", async () => {
    const dir = await temporaryFolder();
    const disk = { free: KEEP + 149_999 };
    const files = await SnapshotFiles.open(dir, { keepFreeBytes: KEEP, freeBytes: async () => disk.free });
    const { snapshot, body, receiver } = await transfer();
    const descriptor = describeOf(snapshot);
    await expect(files.receive(descriptor)).rejects.toMatchObject({
      code: "noSpace",
      message: expect.stringContaining(`${KEEP + 149_999} bytes left, and ${KEEP + 150_000} are needed`),
    });
    expect(readdirSync(dir)).toEqual([]);
    await receiver.suspend();
    disk.free += 1;
    const begun = later(await files.receive(descriptor));
    await begun.write(0, body.subarray(0, 100_000));
    await begun.suspend();
    // What is there already needs no room any more.
    disk.free = KEEP + 50_000;
    const resumed = later(await files.receive(descriptor));
    expect(resumed.receivedBytes).toBe(100_000);
    await send(resumed, body);
    await resumed.finish();
    await files.install(snapshot);
    expectBytes(await readAll(later(await files.openRead(descriptor.snapshotId))), body);
  });

  test("a body is not made when there is no room, and given up when there is none any more", async () => {
    const dir = await temporaryFolder();
    const disk = { free: KEEP - 1 };
    const files = await SnapshotFiles.open(dir, { keepFreeBytes: KEEP, freeBytes: async () => disk.free });
    await expect(make(files, 10n, bytes(1000, 1))).rejects.toMatchObject({ code: "noSpace" });
    disk.free = KEEP;
    const before = await make(files, 10n, bytes(1000, 1));
    const growing = files.create(metadata(20n), MEMBERS, async (sink) => {
      const piece = bytes(1024 * 1024, 1);
      for (let at = 0; at < 32; at += 1) {
        if (at === 8) disk.free = KEEP - 1;
        await sink(piece);
      }
    });
    await expect(growing).rejects.toMatchObject({ code: "noSpace" });
    expect(files.latest()).toEqual(before);
    expect(readdirSync(dir)).toEqual([`${describeOf(before).snapshotId}.snap`]);
  });

  test.skipIf(process.platform !== "linux")("a write that the disk refuses says so by name", async () => {
    const { files, snapshot, body, receiver } = await transfer();
    await receiver.suspend();
    const { snapshotId } = describeOf(snapshot);
    const part = join(files.dir, `${snapshotId}.part`);
    rmSync(part);
    symlinkSync("/dev/full", part);
    const full = later(await files.receive(describeOf(snapshot)));
    await expect(full.write(0, body.subarray(0, 1000))).rejects.toMatchObject({
      code: "noSpace",
      file: part,
      message: expect.stringContaining("ENOSPC"),
    });
    expect(full.receivedBytes).toBe(0);
    await full.suspend();
    rmSync(part);
    const again = later(await files.receive(describeOf(snapshot)));
    await send(again, body);
    await again.finish();
    await files.install(snapshot);
    expect(files.latest()).toEqual(snapshot);
  });
});

describe("receiving a snapshot", () => {
  test("makes it the latest once it is installed, not before", async () => {
    const { files, receiver, snapshot, body } = await transfer();
    await send(receiver, body);
    await receiver.finish();
    expect(files.latest()).toBeUndefined();
    await files.install(snapshot);
    expect(files.latest()).toEqual(snapshot);
    expectBytes(await readAll(later(await files.openRead(describeOf(snapshot).snapshotId))), body);
    const again = await SnapshotFiles.open(files.dir);
    expect(again.latest()).toEqual(snapshot);
  });

  test("goes on where it stopped, over restarts too", async () => {
    const { files, receiver, snapshot, body } = await transfer();
    await receiver.write(0, body.subarray(0, 70_000));
    await receiver.suspend();
    const second = later(await files.receive(describeOf(snapshot)));
    expect(second.receivedBytes).toBe(70_000);
    await second.write(70_000, body.subarray(70_000, 90_000));
    await second.suspend();
    const restarted = await SnapshotFiles.open(files.dir);
    const third = later(await restarted.receive(describeOf(snapshot)));
    expect(third.receivedBytes).toBe(90_000);
    await send(third, body);
    await third.finish();
    await restarted.install(snapshot);
    expectBytes(await readAll(later(await restarted.openRead(describeOf(snapshot).snapshotId))), body);
  });

  test("refuses chunks that do not follow, and more than was announced", async () => {
    const { receiver, body } = await transfer();
    await receiver.write(0, body.subarray(0, 1000));
    await expect(receiver.write(999, body.subarray(999, 2000))).rejects.toMatchObject({ code: "incomplete" });
    await expect(receiver.write(2000, body.subarray(2000, 3000))).rejects.toMatchObject({
      code: "incomplete",
    });
    await expect(receiver.write(1000, bytes(body.length, 9))).rejects.toMatchObject({ code: "tooLarge" });
    expect(receiver.receivedBytes).toBe(1000);
    await send(receiver, body);
    await receiver.finish();
  });

  test("forgets a body whose checksum does not match", async () => {
    const { files, receiver, snapshot, body } = await transfer();
    await send(receiver, bytes(body.length, 77));
    await expect(receiver.finish()).rejects.toMatchObject({ code: "checksum" });
    expect(readdirSync(files.dir)).toEqual([]);
    expect(later(await files.receive(describeOf(snapshot))).receivedBytes).toBe(0);
  });

  test("forgets a body that is finished too early", async () => {
    const { files, receiver, body } = await transfer();
    await receiver.write(0, body.subarray(0, 1000));
    await expect(receiver.finish()).rejects.toMatchObject({ code: "incomplete" });
    expect(readdirSync(files.dir)).toEqual([]);
  });

  test("is taken over by a second attempt; the first one can do no more harm", async () => {
    const { files, receiver, snapshot, body } = await transfer();
    await receiver.write(0, body.subarray(0, 1000));
    const [second, third] = await Promise.all([
      files.receive(describeOf(snapshot)),
      files.receive(describeOf(snapshot)),
    ]);
    await expect(receiver.write(1000, body.subarray(1000, 2000))).rejects.toMatchObject({
      code: "superseded",
    });
    await expect(second.write(1000, body.subarray(1000, 2000))).rejects.toMatchObject({ code: "superseded" });
    expect(third.receivedBytes).toBe(1000);
    await send(third, body);
    await third.finish();
    await receiver.suspend();
    await files.install(snapshot);
  });

  test("of a body that is here already needs no bytes", async () => {
    const { files, receiver, snapshot, body } = await transfer();
    await send(receiver, body);
    await receiver.finish();
    for (const state of ["received", "installed"]) {
      const again = later(await files.receive(describeOf(snapshot)));
      expect(again.receivedBytes, state).toBe(body.length);
      await again.finish();
      await files.install(snapshot);
    }
  });

  test("refuses ids that are no names, and bodies beyond the limit", async () => {
    const files = await SnapshotFiles.open(await temporaryFolder(), { maxBytes: 1000 });
    for (const snapshotId of ["../escape", "a/b", "", ".hidden", "x".repeat(129), "nul\0", "a.snap"]) {
      const descriptor = create(SnapshotDescriptorSchema, { snapshotId, sizeBytes: 10n });
      await expect(files.receive(descriptor), snapshotId).rejects.toThrow("is no snapshot id");
    }
    const large = create(SnapshotDescriptorSchema, { snapshotId: "large", sizeBytes: 2n ** 63n });
    await expect(files.receive(large)).rejects.toMatchObject({ code: "tooLarge" });
  });

  test("keeps only a few bodies that nobody finishes", async () => {
    const dir = await temporaryFolder();
    const files = await SnapshotFiles.open(dir);
    for (let at = 0; at < 6; at += 1) {
      const descriptor = create(SnapshotDescriptorSchema, { snapshotId: `s${at}`, sizeBytes: 100n });
      const receiver = later(await files.receive(descriptor));
      await receiver.write(0, bytes(10, at));
      await receiver.suspend();
    }
    expect(readdirSync(dir).length).toBeLessThanOrEqual(3);
    expect(readdirSync(dir)).toContain("s5.part");
  });

  test("installs nothing that was not received", async () => {
    const { files, snapshot } = await transfer();
    await expect(files.install(snapshot)).rejects.toMatchObject({ name: "SnapshotNotFound" });
  });
});

describe("what a crash or a bad disk leaves behind", () => {
  test("temporary files are removed with the first change, not before", async () => {
    const dir = await temporaryFolder();
    await writeFile(join(dir, "1-1-00.tmp"), "half a body");
    const files = await SnapshotFiles.open(dir);
    expect(readdirSync(dir)).toEqual(["1-1-00.tmp"]);
    const { snapshotId } = describeOf(await make(files, 10n, bytes(10, 1)));
    expect(readdirSync(dir)).toEqual([`${snapshotId}.snap`]);
  });

  test("an install that was cut off can be done again", async () => {
    const { files, receiver, snapshot, body } = await transfer();
    await send(receiver, body);
    await receiver.finish();
    const bodyFile = join(files.dir, `${describeOf(snapshot).snapshotId}.body`);
    writeFileSync(bodyFile, Buffer.concat([readFileSync(bodyFile), Buffer.from("half a description")]));
    const restarted = await SnapshotFiles.open(files.dir);
    expect(restarted.latest()).toBeUndefined();
    expect(later(await restarted.receive(describeOf(snapshot))).receivedBytes).toBe(body.length);
    await restarted.install(snapshot);
    expectBytes(await readAll(later(await restarted.openRead(describeOf(snapshot).snapshotId))), body);
  });

  test("a complete file that was cut or changed is refused by name", async () => {
    const dir = await temporaryFolder();
    const { snapshotId } = describeOf(await make(await SnapshotFiles.open(dir), 10n, bytes(5000, 1)));
    const file = join(dir, `${snapshotId}.snap`);
    const whole = readFileSync(file);
    for (let size = 0; size < whole.length; size += 97) {
      writeFileSync(file, whole.subarray(0, size));
      await expect(SnapshotFiles.open(dir), `cut to ${size}`).rejects.toMatchObject({
        name: "StorageFault",
        file,
      });
    }
    for (let at = 5000; at < whole.length; at += 1) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      writeFileSync(file, changed);
      await expect(SnapshotFiles.open(dir), `byte ${at} changed`).rejects.toMatchObject({
        name: "StorageFault",
        file,
      });
    }
    await truncate(file, 0);
    await expect(SnapshotFiles.open(dir)).rejects.toThrow("delete this file");
  });

  test("a flipped bit in the body is found by whoever reads it through", async () => {
    const dir = await temporaryFolder();
    const { snapshotId } = describeOf(await make(await SnapshotFiles.open(dir), 10n, bytes(200_000, 1)));
    const file = join(dir, `${snapshotId}.snap`);
    const changed = readFileSync(file);
    changed[100_000] = (changed[100_000] ?? 0) ^ 1;
    writeFileSync(file, changed);
    const reader = later(await (await SnapshotFiles.open(dir)).openRead(snapshotId));
    await expect(readAll(reader)).rejects.toMatchObject({ code: "checksum", file });
  });
});

test("both ways to compute a checksum agree", () => {
  const data = bytes(1000, 3);
  expect(crc32(data)).toBe(crc32ByTable(data));
  expect(crc32(data.subarray(400), crc32(data.subarray(0, 400)))).toBe(crc32(data));
  expect(crc32ByTable(data.subarray(400), crc32ByTable(data.subarray(0, 400)))).toBe(crc32(data));
  expect(crc32(Buffer.from("123456789"))).toBe(0xcbf43926);
});

/** Whatever becomes of it, its file is closed with the test. */
function later<T extends Pick<SnapshotReader, "close"> | Pick<SnapshotReceiver, "suspend">>(file: T): T {
  onTestFinished(() => ("close" in file ? file.close() : file.suspend()));
  return file;
}

/** Another node's snapshot, and a receiver for it in an empty store. */
async function transfer() {
  const body = bytes(150_000, 4);
  const sender = await SnapshotFiles.open(await temporaryFolder());
  const snapshot = await make(sender, 30n, body);
  const dir = await temporaryFolder();
  const files = Object.assign(await SnapshotFiles.open(dir), { dir });
  return { files, snapshot, body, receiver: later(await files.receive(describeOf(snapshot))) };
}

async function send(
  receiver: { readonly receivedBytes: number; write(offset: number, data: Uint8Array): Promise<void> },
  body: Uint8Array,
): Promise<void> {
  while (receiver.receivedBytes < body.length) {
    const offset = receiver.receivedBytes;
    await receiver.write(offset, body.subarray(offset, offset + CHUNK));
  }
}

async function make(files: SnapshotFiles, index: bigint, body: Uint8Array): Promise<Snapshot> {
  return files.create(metadata(index), MEMBERS, async (sink) => {
    for (let offset = 0; offset < body.length; offset += CHUNK)
      await sink(body.subarray(offset, offset + CHUNK));
  });
}

async function readAll(reader: SnapshotReader): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const chunk = await reader.read(offset, CHUNK);
    if (chunk.length === 0) break;
    chunks.push(chunk);
    offset += chunk.length;
  }
  expect(chunks.reduce((sum, chunk) => sum + chunk.length, 0)).toBe(reader.sizeBytes);
  return new Uint8Array(Buffer.concat(chunks));
}

/** Comparing element by element takes a test runner seconds. */
function expectBytes(found: Uint8Array, expected: Uint8Array): void {
  expect(Buffer.compare(found, expected)).toBe(0);
}

function metadata(index: bigint): SnapshotMetadata {
  const { metadata } = newSnapshot(index, 2n, newConfState({ voters: [1n, 2n, 3n] }));
  if (metadata === undefined) throw new Error("a snapshot has metadata");
  return metadata;
}

function describeOf(snapshot: Snapshot): SnapshotDescriptor {
  return fromBinary(SnapshotDescriptorSchema, snapshot.data);
}

function bytes(length: number, seed: number): Uint8Array {
  const result = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) result[at] = (at * 31 + seed * 7 + (at >> 8)) & 0xff;
  return result;
}
