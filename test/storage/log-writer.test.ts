// How writes share batches, and what happens when one fails or never ends: the writer with a commit function and a
// clock that the test controls, so that every order of events can be shown.

import { describe, expect, test } from "vitest";
import { newHardState } from "../../src/core/messages.js";
import type { EnvironmentChange } from "../../src/storage/environment.js";
import { Garbage } from "../../src/storage/garbage.js";
import { RECORD_KEYS } from "../../src/storage/keys.js";
import { LogWriter } from "../../src/storage/log-writer.js";
import { StorageFault } from "../../src/storage/storage-fault.js";
import { entriesOf } from "./support.js";

const WATCHDOG_MS = 5_000;

describe("writing", () => {
  test("one batch is under way at a time; what comes meanwhile shares the next one", async () => {
    const disk = new Disk();
    const order: number[] = [];
    const writes = [1, 2, 3, 4, 5].map((index) => {
      const written = disk.writer
        .enqueue({ entries: entriesOf(index, index, 1) })
        .then(() => order.push(index));
      // The first one is on its way before the others come.
      if (index === 1) disk.runSoon();
      return written;
    });
    await disk.settle();
    expect(disk.commits.map(indexesOf)).toEqual([[1]]);
    disk.finish();
    await disk.settle();
    expect(order).toEqual([1]);
    expect(disk.commits.map(indexesOf)).toEqual([[1], [2, 3, 4, 5]]);
    disk.finish();
    await Promise.all(writes);
    expect(order).toEqual([1, 2, 3, 4, 5]);
    expect(disk.writer.counts).toMatchObject({ batches: 2, changes: 5 });
  });

  test("a batch never grows beyond its limit, and no change is split", async () => {
    const disk = new Disk();
    const megabyte = 1024 * 1024;
    const writes = [1, 2, 3].map((index) =>
      disk.writer.enqueue({ entries: entriesOf(index * 2 - 1, index * 2, 1, 3 * megabyte) }),
    );
    for (let batch = 0; batch < 3; batch += 1) {
      await disk.settle();
      disk.finish();
    }
    await Promise.all(writes);
    expect(disk.commits.map(indexesOf)).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
  });

  test("what a later change of the same batch replaces is never written", async () => {
    const disk = new Disk();
    const writes = [
      disk.writer.enqueue({ entries: entriesOf(1, 9, 1), hardState: newHardState(1n, 0n, 0n) }),
      disk.writer.enqueue({ entries: entriesOf(4, 5, 2), hardState: newHardState(2n, 3n, 0n) }),
    ];
    await disk.settle();
    disk.finish();
    await Promise.all(writes);
    const [commit] = disk.commits;
    expect(commit?.entries.map(({ index, term }) => `${index}/${term}`)).toEqual([
      "1/1",
      "2/1",
      "3/1",
      "4/2",
      "5/2",
    ]);
    expect(commit?.records.size).toBe(2);
  });

  test("entries that wait to be replaced do not count as durable", async () => {
    const disk = new Disk();
    void disk.writer.enqueue({ entries: entriesOf(1, 9, 1) });
    await disk.settle();
    void disk.writer.enqueue({ entries: entriesOf(4, 5, 2) });
    disk.finish();
    await disk.settle();
    expect(disk.durable).toEqual([3n]);
    disk.finish();
    await disk.settle();
    expect(disk.durable).toEqual([3n, 5n]);
  });
});

describe("a hard state of which only the commit index is new", () => {
  test("costs no batch of its own, and is written with the next", async () => {
    const disk = new Disk();
    await disk.writer.enqueueLazily(newHardState(1n, 0n, 1n));
    await disk.writer.enqueueLazily(newHardState(1n, 0n, 2n));
    await disk.settle();
    expect(disk.commits).toEqual([]);
    const written = disk.writer.enqueue({ entries: entriesOf(1, 3, 1) });
    await disk.settle();
    disk.finish();
    await written;
    expect(disk.commits).toHaveLength(1);
    expect(disk.commits[0]?.records.get(RECORD_KEYS.hardState)).toEqual(new Uint8Array([8, 1, 24, 2]));
  });

  test("is done only when everything before it is", async () => {
    const disk = new Disk();
    const order: string[] = [];
    void disk.writer.enqueue({ entries: entriesOf(1, 1, 1) }).then(() => order.push("entries"));
    void disk.writer.enqueueLazily(newHardState(1n, 0n, 1n)).then(() => order.push("commit index"));
    await disk.settle();
    expect(order).toEqual([]);
    disk.finish();
    await disk.settle();
    expect(order).toEqual(["entries", "commit index"]);
  });

  test("is written when the writer stops", async () => {
    const disk = new Disk();
    await disk.writer.enqueueLazily(newHardState(1n, 0n, 2n));
    const stopped = disk.writer.stop();
    await disk.settle();
    disk.finish();
    await disk.settle();
    await stopped;
    expect(disk.commits[0]?.records.has(RECORD_KEYS.hardState)).toBe(true);
  });
});

describe("what runs between two batches", () => {
  test("may be followed by the next at once", async () => {
    const disk = new Disk();
    const order: string[] = [];
    const ran = (async () => {
      for (const name of ["first", "second", "third"]) {
        await disk.writer.exclusively(async () => {
          order.push(name);
        });
      }
    })();
    await disk.settle();
    await ran;
    expect(order).toEqual(["first", "second", "third"]);
    expect(disk.timers).toBe(0);
  });

  test("lets nothing be written meanwhile, and is given up when it never ends", async () => {
    const disk = new Disk();
    const stuck = outcome(disk.writer.exclusively(() => new Promise<void>(() => {})));
    await disk.settle();
    const written = outcome(disk.writer.enqueue({ entries: entriesOf(1, 1, 1) }));
    await disk.settle();
    expect(disk.commits).toEqual([]);
    disk.passTime(WATCHDOG_MS);
    expect(await stuck).toMatchObject({ code: "writeStalled" });
    expect(await written).toMatchObject({ code: "writeStalled" });
  });
});

describe("dead keys", () => {
  test("are deleted a bounded number at a time, fewer when somebody waits", async () => {
    const garbage = new Garbage();
    garbage.add(1n, 5000n);
    const disk = new Disk({ garbage, first: 5001n });
    const collected = disk.writer.garbageCollected();
    await disk.settle();
    expect(disk.commits[0]?.removals).toHaveLength(2000);
    const written = disk.writer.enqueue({ entries: entriesOf(5001, 5001, 1) });
    disk.finish();
    await disk.settle();
    expect(disk.commits[1]?.removals).toHaveLength(256);
    for (let batch = 0; batch < 3; batch += 1) {
      disk.finish();
      await disk.settle();
    }
    await written;
    await collected;
    expect(disk.commits.flatMap((commit) => commit.removals.map(Number)).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 5000 }, (_, at) => at + 1),
    );
  });

  test("do not keep the writer from stopping", async () => {
    const garbage = new Garbage();
    garbage.add(1n, 50_000n);
    const disk = new Disk({ garbage, first: 50_001n });
    const collected = disk.writer.garbageCollected();
    await disk.settle();
    const stopped = disk.writer.stop();
    disk.finish();
    await disk.settle();
    await stopped;
    await collected;
    expect(disk.commits).toHaveLength(1);
  });
});

describe("the first failure", () => {
  test("is final: what waits and what comes later is rejected, and nothing more is written", async () => {
    const disk = new Disk();
    const first = outcome(disk.writer.enqueue({ entries: entriesOf(1, 1, 1) }));
    await disk.settle();
    const second = outcome(disk.writer.enqueue({ entries: entriesOf(2, 2, 1) }));
    const lazy = outcome(disk.writer.enqueueLazily(newHardState(1n, 0n, 1n)));
    disk.fail(new Error("the disk is gone"));
    const faults = await Promise.all([first, second, lazy, outcome(disk.writer.enqueue({ entries: [] }))]);
    for (const fault of faults) {
      expect(fault).toMatchObject({
        code: "writeFailed",
        message: expect.stringContaining("the disk is gone"),
      });
    }
    expect(disk.fatal).toHaveLength(1);
    await disk.settle();
    expect(disk.commits).toHaveLength(1);
    await disk.writer.stop();
  });

  test("carries the reason that lmdb gives in a promise of its own", async () => {
    const disk = new Disk();
    const written = outcome(disk.writer.enqueue({ entries: entriesOf(1, 1, 1) }));
    await disk.settle();
    const commitError = Promise.reject(Object.assign(new Error("No space left on device"), { code: 28 }));
    disk.fail(Object.assign(new Error("Commit failed (see commitError for details)"), { commitError }));
    expect(await written).toMatchObject({ message: expect.stringContaining("No space left on device") });
  });

  test("does not wait for ever for that reason", async () => {
    const disk = new Disk();
    const written = outcome(disk.writer.enqueue({ entries: entriesOf(1, 1, 1) }));
    await disk.settle();
    disk.fail(Object.assign(new Error("Commit failed"), { commitError: new Promise(() => {}) }));
    await disk.settle();
    disk.passTime(WATCHDOG_MS);
    expect(await written).toMatchObject({ message: expect.stringContaining("Commit failed") });
  });

  test("may be a write that never ends: the watchdog gives it up", async () => {
    const disk = new Disk();
    const written = outcome(disk.writer.enqueue({ entries: entriesOf(1, 1, 1) }));
    await disk.settle();
    disk.passTime(WATCHDOG_MS - 1);
    await disk.settle();
    expect(disk.fatal).toEqual([]);
    disk.passTime(1);
    expect(await written).toMatchObject({ code: "writeStalled" });
    expect(disk.fatal).toHaveLength(1);
    // Should it end after all, nobody hears of it.
    disk.finish();
    await disk.settle();
    expect(disk.durable).toEqual([]);
    await disk.writer.stop();
  });

  test("is not mistaken for one by a write that ends in time", async () => {
    const disk = new Disk();
    const written = disk.writer.enqueue({ entries: entriesOf(1, 1, 1) });
    await disk.settle();
    disk.passTime(WATCHDOG_MS - 1);
    disk.finish();
    await written;
    disk.passTime(WATCHDOG_MS);
    expect(disk.fatal).toEqual([]);
    expect(disk.timers).toBe(0);
  });
});

/** A writer whose commits end when the test says so, and whose time passes when the test says so. */
class Disk {
  readonly commits: EnvironmentChange[] = [];
  readonly durable: bigint[] = [];
  readonly fatal: Error[] = [];
  readonly writer: LogWriter;
  #underWay: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #soon: (() => void)[] = [];
  #timers = new Set<{ dueMs: number; run: () => void }>();
  #nowMs = 0;

  constructor({ garbage = new Garbage(), first = 1n }: { garbage?: Garbage; first?: bigint } = {}) {
    this.writer = new LogWriter({
      file: "test.mdb",
      extent: { boundary: { index: first - 1n, term: 0n }, last: first - 1n },
      garbage,
      commit: (change) => {
        expect(this.#underWay, "two batches at once").toBeUndefined();
        this.commits.push(change);
        return new Promise((resolve, reject) => {
          this.#underWay = { resolve, reject };
        });
      },
      onDurable: (index) => this.durable.push(index),
      onFatal: (error) => this.fatal.push(error),
      watchdogMs: WATCHDOG_MS,
      clock: {
        nowMs: () => this.#nowMs,
        soon: (run) => this.#soon.push(run),
        after: (delayMs, run) => {
          const timer = { dueMs: this.#nowMs + delayMs, run };
          this.#timers.add(timer);
          return () => this.#timers.delete(timer);
        },
      },
    });
  }

  get timers(): number {
    return this.#timers.size;
  }

  finish(): void {
    this.#underWay?.resolve();
    this.#underWay = undefined;
  }

  fail(error: Error): void {
    this.#underWay?.reject(error);
    this.#underWay = undefined;
  }

  passTime(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#timers]) {
      if (timer.dueMs > this.#nowMs) continue;
      this.#timers.delete(timer);
      timer.run();
    }
  }

  runSoon(): void {
    const due = this.#soon;
    this.#soon = [];
    for (const run of due) run();
  }

  /** Runs everything that can run without the disk and without time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 10; turn += 1) {
      for (let step = 0; step < 20; step += 1) await Promise.resolve();
      this.runSoon();
    }
  }
}

function indexesOf(change: EnvironmentChange): number[] {
  return change.entries.map((entry) => Number(entry.index));
}

async function outcome(promise: Promise<void>): Promise<StorageFault> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof StorageFault) return error;
    throw error;
  }
  throw new Error("it was acknowledged");
}
