// Snapshots of the key-value state machine on real LMDB files: what is restored equals what was pinned, whatever is
// applied meanwhile; damaged bodies are refused and leave the state alone; leftovers of a restore are ignored.

import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { KvStateMachine } from "../../../src/placement/kv/kv-state-machine.js";
import {
  applyAll,
  deleteCommand,
  inChunks,
  setCommand,
  snapshotBytes,
  temporaryFolder,
  textOf,
} from "./support.js";

async function openMachine(dir = temporaryFolder(onTestFinished)) {
  const machine = await KvStateMachine.open({ dir, flushDelayMs: 3_600_000 });
  onTestFinished(() => machine.close().catch(() => undefined));
  return { dir, machine };
}

/** A store of `count` records of mixed sizes, the last index being `count`. */
async function filled(count: number) {
  const { machine, dir } = await openMachine();
  const commands = Array.from({ length: count }, (_, number) =>
    setCommand(BigInt(number + 1), `key-${number % 97}-${number}`, `${number}`.repeat(1 + (number % 500))),
  );
  await applyAll(machine, commands);
  return { machine, dir };
}

describe("snapshot and restore", () => {
  test("a restored store is equal: records, revisions, count, applied index, and its own snapshot byte for byte", async () => {
    const { machine } = await filled(3_000);
    const body = await snapshotBytes(machine);
    const { machine: other } = await openMachine();
    await applyAll(other, [setCommand(1n, "only here", "1")]);
    await other.restore(3_000n, inChunks(body, 65_536));
    expect(other.get("only here")).toBeUndefined();
    expect([other.appliedIndex, other.durableIndex]).toEqual([3_000n, 3_000n]);
    expect([other.revision, other.recordCount]).toEqual([machine.revision, machine.recordCount]);
    expect(other.get("key-2-99")).toEqual(machine.get("key-2-99"));
    expect((await snapshotBytes(other)).equals(body)).toBe(true);
    expect(await applyAll(other, [setCommand(3_001n, "next", "1")])).toMatchObject([{ revision: 3_001n }]);
  });

  test("it does not matter how the body is cut into chunks", async () => {
    const { machine } = await filled(40);
    const body = await snapshotBytes(machine);
    for (const chunkBytes of [1, 7, 1_000, body.length]) {
      const { machine: other } = await openMachine();
      await other.restore(40n, inChunks(body, chunkBytes));
      expect((await snapshotBytes(other)).equals(body)).toBe(true);
    }
  });

  test("an empty store can be pinned and restored", async () => {
    const { machine } = await openMachine();
    await applyAll(machine, [setCommand(4n, "a", "1"), deleteCommand(5n, "a")]);
    const { machine: other } = await openMachine();
    await other.restore(5n, inChunks(await snapshotBytes(machine), 10));
    expect([other.appliedIndex, other.revision, other.recordCount]).toEqual([5n, 2n, 0n]);
  });

  test("commands applied while a snapshot is written are not in it", async () => {
    const { machine } = await filled(2_000);
    const expected = await snapshotBytes(machine);
    const snapshot = await machine.snapshot();
    expect(snapshot.appliedIndex).toBe(2_000n);
    let index = 2_000n;
    const chunks: Uint8Array[] = [];
    await snapshot.write(async (chunk) => {
      chunks.push(Uint8Array.from(chunk));
      await applyAll(machine, [
        deleteCommand(++index, "key-0-0"),
        setCommand(++index, "zzz", "late"),
        setCommand(++index, "key-1-1", "changed"),
      ]);
      await machine.flush();
    });
    snapshot.release();
    expect(chunks.length).toBeGreaterThan(2);
    expect(Buffer.concat(chunks).equals(expected)).toBe(true);
    expect(textOf(machine, "key-1-1")).toBe("changed");
  });

  test("a pinned snapshot survives the store being restored only as an error, not as a crash", async () => {
    const { machine } = await filled(100);
    const body = await snapshotBytes(machine);
    const pinned = await machine.snapshot();
    await machine.restore(100n, inChunks(body, 1_000));
    await expect(pinned.write(async () => undefined)).rejects.toThrow(/released/);
    pinned.release();
  });

  test("a restored store is found again after a restart", async () => {
    const { machine } = await filled(50);
    const body = await snapshotBytes(machine);
    const { machine: other, dir } = await openMachine();
    await other.restore(50n, inChunks(body, 100));
    await other.close();
    const { machine: again } = await openMachine(dir);
    expect((await snapshotBytes(again)).equals(body)).toBe(true);
    expect(readdirSync(dir).sort()).toEqual(["state.mdb", "state.mdb-lock"]);
  });
});

describe("what cannot be restored", () => {
  test("a body that is cut off anywhere, or has any one byte changed, is refused and the state stays as it was", async () => {
    const { machine } = await filled(12);
    const body = await snapshotBytes(machine);
    const { machine: other, dir } = await openMachine();
    await applyAll(other, [setCommand(1n, "mine", "still here")]);
    for (let at = 0; at < body.length; at += 13) {
      await expect(other.restore(12n, inChunks(body.subarray(0, at), 50))).rejects.toThrow(/snapshot/);
      const changed = Buffer.from(body);
      changed.writeUInt8(changed.readUInt8(at) ^ 0x41, at);
      await expect(other.restore(12n, inChunks(changed, 50))).rejects.toThrow(/snapshot|checksum/);
    }
    expect(textOf(other, "mine")).toBe("still here");
    expect(existsSync(join(dir, "incoming.mdb"))).toBe(false);
    await other.restore(12n, inChunks(body, 50));
    expect(other.appliedIndex).toBe(12n);
  });

  test("a body of another index is refused", async () => {
    const { machine } = await filled(3);
    const body = await snapshotBytes(machine);
    const { machine: other } = await openMachine();
    await expect(other.restore(4n, inChunks(body, 50))).rejects.toThrow("is as of 3, expected 4");
  });

  test("a source that fails half way leaves the state as it was", async () => {
    const { machine } = await filled(500);
    const body = await snapshotBytes(machine);
    async function* failing() {
      yield body.subarray(0, body.length / 2);
      throw new Error("connection lost");
    }
    await expect(machine.restore(500n, failing())).rejects.toThrow("connection lost");
    expect((await snapshotBytes(machine)).equals(body)).toBe(true);
  });

  test("what an interrupted restore left behind is removed when the store is opened", async () => {
    const { machine, dir } = await filled(5);
    await machine.close();
    writeFileSync(join(dir, "incoming.mdb"), "half a file");
    writeFileSync(join(dir, "incoming.mdb-lock"), "");
    const { machine: again } = await openMachine(dir);
    expect(again.recordCount).toBe(5n);
    expect(readdirSync(dir).sort()).toEqual(["state.mdb", "state.mdb-lock"]);
  });
});
