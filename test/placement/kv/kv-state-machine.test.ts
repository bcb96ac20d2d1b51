// The key-value state machine on a real LMDB file: what commands do, what they answer when they make no sense, that
// answers do not wait for the disk while memory is bounded, and that a reopened store goes on where it was.

import { statSync, truncateSync, writeFileSync } from "node:fs";
import { open as openFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { KvStateMachine, type KvStateMachineOptions } from "../../../src/placement/kv/kv-state-machine.js";
import { applyAll, deleteCommand, setCommand, temporaryFolder, textOf } from "./support.js";

/** Never flushes by itself: the test says when. */
const NO_TIMER = { flushDelayMs: 3_600_000 };

async function openMachine(options: Partial<KvStateMachineOptions> = {}) {
  const dir = options.dir ?? temporaryFolder(onTestFinished);
  const machine = await KvStateMachine.open({ ...NO_TIMER, ...options, dir });
  onTestFinished(() => machine.close().catch(() => undefined));
  return { dir, machine };
}

describe("commands", () => {
  test("every write raises the revision by one, and a record tells when it was made, changed and how often", async () => {
    const { machine } = await openMachine();
    const results = await applyAll(machine, [
      setCommand(5n, "a", "1"),
      setCommand(6n, "b", "1"),
      setCommand(7n, "a", "2"),
    ]);
    expect(results).toEqual([
      { revision: 1n, existed: false, rejected: "" },
      { revision: 2n, existed: false, rejected: "" },
      { revision: 3n, existed: true, rejected: "" },
    ]);
    expect(machine.get("a")).toMatchObject({ createRevision: 1n, modRevision: 3n, version: 2n });
    expect(machine.get("b")).toMatchObject({ createRevision: 2n, modRevision: 2n, version: 1n });
    expect(machine.appliedIndex).toBe(7n);
    expect(machine.recordCount).toBe(2n);
  });

  test("a delete answers whether the key was there, and only then makes a revision", async () => {
    const { machine } = await openMachine();
    const results = await applyAll(machine, [
      setCommand(1n, "a", "1"),
      deleteCommand(2n, "a"),
      deleteCommand(3n, "a"),
      setCommand(4n, "a", "again"),
    ]);
    expect(results.map(({ revision, existed }) => ({ revision, existed }))).toEqual([
      { revision: 1n, existed: false },
      { revision: 2n, existed: true },
      { revision: 2n, existed: false },
      { revision: 3n, existed: false },
    ]);
    expect(machine.get("a")).toMatchObject({ createRevision: 3n, modRevision: 3n, version: 1n });
  });

  test("a key that was deleted is gone in memory, while being written, and on disk", async () => {
    const { machine } = await openMachine();
    await applyAll(machine, [setCommand(1n, "a", "1")]);
    await machine.flush();
    await applyAll(machine, [deleteCommand(2n, "a")]);
    expect([machine.exists("a"), machine.get("a")]).toEqual([false, undefined]);
    const flushing = machine.flush();
    expect([machine.exists("a"), machine.get("a")]).toEqual([false, undefined]);
    await flushing;
    expect([machine.exists("a"), machine.get("a")]).toEqual([false, undefined]);
    expect(machine.recordCount).toBe(0n);
  });

  test("commands that make no sense answer why, change nothing, and do not hold up those behind them", async () => {
    const { machine } = await openMachine();
    const nonsense = (index: bigint, data: Uint8Array) => ({ index, term: 1n, data });
    const results = await applyAll(machine, [
      nonsense(1n, Uint8Array.of(0xff, 0xff, 0xff)),
      nonsense(2n, new Uint8Array()),
      setCommand(3n, "", "no key"),
      setCommand(4n, "é".repeat(513), "1,026 bytes"),
      setCommand(5n, "é".repeat(512), "1,024 bytes"),
    ]);
    expect(results.map(({ rejected }) => rejected)).toEqual([
      "the bytes are no KvCommand",
      "the KvCommand holds no command that is known here",
      "key is empty: give 1 to 1,024 bytes of UTF-8",
      "key has more than 1,024 bytes of UTF-8 (at least 1,026): use a shorter one",
      "",
    ]);
    expect(machine.recordCount).toBe(1n);
    await machine.flush();
    expect(textOf(machine, "é".repeat(512))).toBe("1,024 bytes");
  });

  test("entries without a command move the applied index", async () => {
    const { machine } = await openMachine();
    expect(await machine.apply([], 9n)).toEqual([]);
    expect(machine.appliedIndex).toBe(9n);
    await machine.flush();
    expect(machine.durableIndex).toBe(9n);
  });

  test("applying what is already applied is a broken invariant", async () => {
    const { machine } = await openMachine();
    await applyAll(machine, [setCommand(3n, "a", "1")]);
    expect(() => machine.apply([setCommand(3n, "a", "1")], 4n)).toThrow(/already contains 3/);
    expect(() => machine.apply([], 2n)).toThrow(/already contains 3/);
  });
});

describe("durability", () => {
  test("an answer does not wait for the disk, and the durable index follows the write", async () => {
    const { machine } = await openMachine();
    const results = machine.apply([setCommand(1n, "a", "1")], 1n);
    expect(results).toHaveLength(1);
    expect(machine.durableIndex).toBe(0n);
    await machine.flush();
    expect(machine.durableIndex).toBe(1n);
  });

  test("with too much in memory, apply waits until the disk has caught up", async () => {
    const { machine } = await openMachine({ maxUnflushedBytes: 1_000 });
    expect(machine.apply([setCommand(1n, "a", "x".repeat(2_000))], 1n)).toHaveLength(1);
    const waiting = machine.apply([setCommand(2n, "b", "1")], 2n);
    expect(waiting).toBeInstanceOf(Promise);
    expect(machine.appliedIndex).toBe(1n);
    expect(await waiting).toHaveLength(1);
    expect([machine.appliedIndex, machine.durableIndex]).toEqual([2n, 1n]);
  });

  test("what is applied while a batch is being written goes into the next one", async () => {
    const { machine } = await openMachine();
    await applyAll(machine, [setCommand(1n, "a", "old")]);
    const first = machine.flush();
    await applyAll(machine, [setCommand(2n, "a", "new"), setCommand(3n, "b", "1")]);
    await first;
    expect([machine.durableIndex, textOf(machine, "a")]).toEqual([1n, "new"]);
    await machine.flush();
    expect([machine.durableIndex, textOf(machine, "a"), textOf(machine, "b")]).toEqual([3n, "new", "1"]);
  });

  test("without being told, changes reach the disk by themselves", async () => {
    const { machine } = await openMachine({ flushDelayMs: 0 });
    await applyAll(machine, [setCommand(1n, "a", "1")]);
    await expect.poll(() => machine.durableIndex).toBe(1n);
  });

  test("a reopened store has every record, revision and its applied index", async () => {
    const { dir, machine } = await openMachine();
    const value = "v".repeat(100_000);
    await applyAll(machine, [setCommand(1n, "a", "1"), setCommand(2n, "b", value), deleteCommand(3n, "a")]);
    await machine.close();
    const { machine: again } = await openMachine({ dir });
    expect([again.appliedIndex, again.durableIndex, again.revision, again.recordCount]).toEqual([
      3n,
      3n,
      3n,
      1n,
    ]);
    expect([textOf(again, "a"), textOf(again, "b")]).toEqual([undefined, value]);
    expect(await applyAll(again, [setCommand(4n, "c", "1")])).toMatchObject([{ revision: 4n }]);
  });

  test("after close nothing is applied or read", async () => {
    const { machine } = await openMachine();
    await machine.close();
    expect(() => machine.get("a")).toThrow(/closed/);
    expect(() => machine.apply([setCommand(1n, "a", "1")], 1n)).toThrow(/closed/);
  });
});

describe("damaged files", () => {
  test.each([
    ["empty", Buffer.alloc(0), /the file is too short \(0 bytes\)/],
    ["full of zeros", Buffer.alloc(64 * 1024), /meta page 0: /],
    ["a text", Buffer.alloc(64 * 1024, "hello "), /meta page 0: /],
  ])("a file that is %s is refused with a sentence, and the process lives", async (_, content, message) => {
    const dir = temporaryFolder(onTestFinished);
    writeFileSync(join(dir, "state.mdb"), content);
    await expect(KvStateMachine.open({ dir })).rejects.toThrow(message);
    await expect(KvStateMachine.open({ dir })).rejects.toThrow(
      /move the folder away and let the node rejoin/,
    );
  });

  test("a file that was cut short is refused: LMDB would read behind its end", async () => {
    const { dir, machine } = await openMachine();
    await applyAll(machine, [setCommand(1n, "a", "x".repeat(500_000))]);
    await machine.close();
    const path = join(dir, "state.mdb");
    truncateSync(path, statSync(path).size - 4096);
    await expect(KvStateMachine.open({ dir })).rejects.toThrow(/the file is too short/);
  });

  test("a value that changed on disk is noticed when the store is opened", async () => {
    const { dir, machine } = await openMachine();
    await applyAll(machine, [setCommand(1n, "a", "needle-in-the-file")]);
    await machine.close();
    const file = await openFile(join(dir, "state.mdb"), "r+");
    const bytes = await file.readFile();
    for (let at = bytes.indexOf("needle"); at >= 0; at = bytes.indexOf("needle", at + 1)) {
      await file.write(Buffer.from("N"), 0, 1, at);
    }
    await file.close();
    await expect(KvStateMachine.open({ dir })).rejects.toThrow(/key "a": the record is not what was written/);
  });
});
