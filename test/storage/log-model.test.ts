// The log as the core sees it, and the batches that bring it to disk, against the simplest possible model: a list of
// entries. Random histories of appends, conflicts, snapshots, compactions, batch ends and evictions; after every step
// the view must answer as the model does, and after every batch the disk must hold what the model held at that point.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StorageError } from "../../src/core/errors.js";
import { entrySize, newNormalEntry } from "../../src/core/messages.js";
import type { Entry } from "../../src/gen/eraftpb_pb.js";
import { type LogChange, type LogExtent, planBatch } from "../../src/storage/batch-plan.js";
import { Garbage } from "../../src/storage/garbage.js";
import { LogView } from "../../src/storage/log-view.js";
import { TermRuns } from "../../src/storage/term-runs.js";
import { propertyRuns } from "../support/property.js";

type Step =
  | { readonly kind: "append"; readonly back: number; readonly count: number; readonly newTerm: boolean }
  | { readonly kind: "snapshot"; readonly ahead: number }
  | { readonly kind: "compact"; readonly keep: number }
  | { readonly kind: "form"; readonly changes: number }
  | { readonly kind: "finish" }
  | { readonly kind: "read"; readonly from: number; readonly count: number; readonly maxEntries: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      back: fc.constantFrom(0, 0, 1, 3, 9),
      count: fc.integer({ min: 1, max: 6 }),
      newTerm: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("snapshot" as const), ahead: fc.integer({ min: -5, max: 5 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("compact" as const), keep: fc.integer({ min: 0, max: 5 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("form" as const), changes: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 4, arbitrary: fc.constant({ kind: "finish" as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("read" as const),
      from: fc.nat(20),
      count: fc.nat(20),
      maxEntries: fc.nat(10),
    }),
  },
);

/** The log as a list. */
interface Model {
  readonly boundary: { readonly index: bigint; readonly term: bigint };
  readonly entries: readonly Entry[];
}

const lastOf = ({ boundary, entries }: Model): bigint => boundary.index + BigInt(entries.length);

/** The view, the plan and a disk that is a map, driven as the storage drives them. */
class Harness {
  model: Model = { boundary: { index: 0n, term: 0n }, entries: [] };
  readonly #disk = new Map<bigint, Entry>();
  readonly #garbage = new Garbage();
  readonly #view: LogView;
  #extent: LogExtent = { boundary: { index: 0n, term: 0n }, last: 0n };
  #queue: { readonly change: LogChange; readonly after: Model }[] = [];
  #underWay: { readonly changes: number; readonly apply: () => void } | undefined;
  #term = 1n;

  constructor(cacheBytes: number) {
    this.#view = new LogView(
      this.#extent.boundary,
      0n,
      new TermRuns(),
      (low, high, maxBytes) => {
        const result: Entry[] = [];
        let bytes = 0;
        for (let index = low; index < high; index += 1n) {
          const entry = this.#disk.get(index);
          if (entry === undefined)
            throw new Error(`entry ${index} was read from the disk before it was there`);
          bytes += entrySize(entry);
          if (bytes > maxBytes && result.length > 0) break;
          result.push(entry);
        }
        return result;
      },
      cacheBytes,
    );
  }

  run(step: Step): void {
    switch (step.kind) {
      case "append":
        this.#append(step.back, step.count, step.newTerm);
        break;
      case "snapshot":
        this.#snapshot(step.ahead);
        break;
      case "compact":
        this.#compact(step.keep);
        break;
      case "form":
        this.#form(step.changes);
        break;
      case "finish":
        this.#finish();
        break;
      case "read":
        this.#read(step.from, step.count, step.maxEntries);
        break;
    }
  }

  /** Writes everything, then compares the disk with the model, dead keys included. */
  drain(): void {
    while (this.#queue.length > 0 || this.#underWay !== undefined || !this.#garbage.isEmpty) {
      this.#form(4);
      this.#finish();
      if (this.#queue.length === 0 && this.#underWay === undefined && !this.#garbage.isEmpty) {
        const { change } = planBatch(this.#extent, [], this.#garbage, 100);
        for (const index of change.removals) this.#disk.delete(index);
      }
    }
    expect([...this.#disk.keys()].sort((a, b) => Number(a - b))).toEqual(
      this.model.entries.map(({ index }) => index),
    );
  }

  compareView(): void {
    const { boundary, entries } = this.model;
    expect(this.#view.firstIndex).toBe(boundary.index + 1n);
    expect(this.#view.lastIndex).toBe(lastOf(this.model));
    expect(this.#view.term(boundary.index)).toBe(boundary.term);
    for (const entry of entries) expect(this.#view.term(entry.index)).toBe(entry.term);
    const all = this.#view.entries(boundary.index + 1n, lastOf(this.model) + 1n, Number.POSITIVE_INFINITY);
    expect(all).toEqual(entries);
    expect(() => this.#view.term(lastOf(this.model) + 1n)).toThrow(StorageError);
    if (boundary.index > 0n) expect(() => this.#view.term(boundary.index - 1n)).toThrow(StorageError);
  }

  #append(back: number, count: number, newTerm: boolean): void {
    if (newTerm || back > 0) this.#term += 1n;
    const { boundary, entries } = this.model;
    const kept = entries.slice(0, Math.max(0, entries.length - back));
    const first = boundary.index + BigInt(kept.length) + 1n;
    const added = Array.from({ length: count }, (_, at) =>
      newNormalEntry(this.#term, first + BigInt(at), new Uint8Array(20)),
    );
    this.model = { boundary, entries: [...kept, ...added] };
    this.#view.append(added);
    this.#queue.push({ change: { entries: added }, after: this.model });
  }

  #snapshot(ahead: number): void {
    const index = lastOf(this.model) + BigInt(ahead);
    if (index <= this.model.boundary.index) return;
    this.#term += 1n;
    this.model = { boundary: { index, term: this.#term }, entries: [] };
    this.#view.reset(index, this.#term);
    const reset = { position: this.model.boundary, snapshot: new Uint8Array(0) };
    this.#queue.push({ change: { reset }, after: this.model });
  }

  #compact(keep: number): void {
    const { entries } = this.model;
    const gone = entries.length - keep;
    const last = entries[gone - 1];
    if (last === undefined) return;
    this.model = { boundary: { index: last.index, term: last.term }, entries: entries.slice(gone) };
    this.#view.compact(last.index);
    this.#queue.push({ change: { compaction: this.model.boundary }, after: this.model });
  }

  #form(changes: number): void {
    if (this.#underWay !== undefined) return;
    const batch = this.#queue.slice(0, changes);
    const newest = batch[batch.length - 1];
    if (newest === undefined) return;
    const { change, extent } = planBatch(
      this.#extent,
      batch.map((queued) => queued.change),
      this.#garbage,
      2,
    );
    this.#underWay = {
      changes: batch.length,
      apply: () => {
        for (const index of change.removals) this.#disk.delete(index);
        for (const entry of change.entries) this.#disk.set(entry.index, entry);
        this.#extent = extent;
        this.#compareDisk(newest.after);
      },
    };
  }

  #finish(): void {
    if (this.#underWay === undefined) return;
    this.#underWay.apply();
    this.#queue = this.#queue.slice(this.#underWay.changes);
    this.#underWay = undefined;
    let durable = this.#extent.last;
    for (const { change } of this.#queue) {
      if (change.reset !== undefined) return;
      const first = change.entries?.[0];
      if (first !== undefined && first.index <= durable) durable = first.index - 1n;
    }
    this.#view.markDurable(durable);
  }

  /** A crash here would leave exactly this: the log as it was after the last change of the batch. */
  #compareDisk(expected: Model): void {
    expect(this.#extent).toEqual({ boundary: expected.boundary, last: lastOf(expected) });
    for (const entry of expected.entries) expect(this.#disk.get(entry.index)).toBe(entry);
  }

  #read(from: number, count: number, maxEntries: number): void {
    const { boundary, entries } = this.model;
    const low = Math.min(from, entries.length);
    const high = Math.min(low + count, entries.length);
    const limit = maxEntries * (entries[low] === undefined ? 0 : entrySize(entries[low]));
    const found = this.#view.entries(
      boundary.index + 1n + BigInt(low),
      boundary.index + 1n + BigInt(high),
      limit,
    );
    expect(found).toEqual(entries.slice(low, low + found.length));
    if (high > low)
      expect(found.length).toBeGreaterThanOrEqual(Math.max(1, Math.min(maxEntries, high - low) - 1));
    expect(found.length).toBeLessThanOrEqual(Math.min(high - low, Math.max(1, maxEntries + 1)));
  }
}

describe.each([0, 200, 100_000])("with %d bytes of cache", (cacheBytes) => {
  test("the view and the disk hold what the model holds, whatever happens in which order", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const harness = new Harness(cacheBytes);
        for (const next of steps) {
          harness.run(next);
          harness.compareView();
        }
        harness.drain();
        harness.compareView();
      }),
      propertyRuns(1000),
    );
  });
});

describe("dead keys", () => {
  test("that came to life again are not deleted", () => {
    const garbage = new Garbage();
    garbage.add(1n, 10n);
    expect(garbage.take(100, 4n, 6n)).toEqual([1n, 2n, 3n, 7n, 8n, 9n, 10n]);
    expect(garbage.isEmpty).toBe(true);
  });

  test("are handed out a few at a time", () => {
    const garbage = new Garbage();
    garbage.add(1n, 5n);
    garbage.add(8n, 9n);
    expect(garbage.take(3, 100n, 200n)).toEqual([1n, 2n, 3n]);
    expect(garbage.size).toBe(4);
    expect(garbage.take(3, 100n, 200n)).toEqual([4n, 5n, 8n]);
    expect(garbage.take(3, 100n, 200n)).toEqual([9n]);
    expect(garbage.take(3, 100n, 200n)).toEqual([]);
  });
});
