// The window of unanswered appends: against a plain array, and the cases that have gone wrong elsewhere (an empty
// window freed, a byte count that survives a reset, a ring that grows while it wraps).

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigInvalid, InvariantViolation } from "../../../src/core/errors.js";
import { Inflights } from "../../../src/core/tracker/inflights.js";
import { NO_LIMIT } from "../../../src/core/types.js";
import { propertyRuns } from "../../support/property.js";

function filled(capacity: number, upTo: bigint): Inflights {
  const inflights = new Inflights(capacity, NO_LIMIT);
  for (let index = 1n; index <= upTo; index++) inflights.add(index, 1);
  return inflights;
}

/** Frees one after another and notes after which indexes the count went down: the content, oldest first. */
function drain(inflights: Inflights, upTo: bigint): bigint[] {
  const content: bigint[] = [];
  for (let index = 0n; index <= upTo; index++) {
    const before = inflights.count;
    inflights.freeTo(index);
    for (let freed = inflights.count; freed < before; freed++) content.push(index);
  }
  return content;
}

describe("a window", () => {
  test("is full at its capacity, and not before", () => {
    const inflights = filled(10, 9n);
    expect(inflights.full()).toBe(false);
    inflights.add(10n, 1);
    expect(inflights.full()).toBe(true);
    expect(inflights.count).toBe(10);
  });

  test("refuses to take in more than its capacity, and keeps what it has", () => {
    const inflights = filled(3, 3n);
    expect(() => inflights.add(4n, 1)).toThrow(InvariantViolation);
    expect(inflights.count).toBe(3);
  });

  test("frees everything up to an acknowledged index, and wraps around", () => {
    const inflights = filled(10, 10n);
    inflights.freeTo(5n);
    expect(inflights.count).toBe(5);
    inflights.freeTo(9n);
    expect(inflights.count).toBe(1);
    for (let index = 11n; index <= 15n; index++) inflights.add(index, 1);
    inflights.freeTo(13n);
    expect(inflights.count).toBe(2);
    expect(drain(inflights, 20n)).toEqual([14n, 15n]);
  });

  test("is not moved by an acknowledgement that is older than its content", () => {
    const inflights = filled(10, 10n);
    inflights.freeTo(5n);
    inflights.freeTo(3n);
    inflights.freeTo(0n);
    expect(inflights.count).toBe(5);
  });

  test("R1: can be freed while it is empty, used before or not", () => {
    const inflights = new Inflights(4, NO_LIMIT);
    inflights.freeTo(7n);
    expect(inflights.count).toBe(0);
    inflights.add(1n, 1);
    inflights.freeTo(1n);
    inflights.freeTo(1n);
    expect(inflights.count).toBe(0);
    const closed = new Inflights(0, NO_LIMIT);
    closed.freeTo(7n);
    expect(closed.full()).toBe(true);
  });

  test("takes a message of several entries as one slot", () => {
    const inflights = new Inflights(2, NO_LIMIT);
    inflights.add(100n, 5_000);
    expect([inflights.count, inflights.bytes, inflights.full()]).toEqual([1, 5_000, false]);
    inflights.freeTo(99n);
    expect(inflights.count).toBe(1);
    inflights.freeTo(100n);
    expect([inflights.count, inflights.bytes]).toEqual([0, 0]);
  });
});

describe("a message that grows before it has left", () => {
  test("stays one message, is freed by its new last index, and counts its new size", () => {
    const inflights = filled(3, 2n);
    inflights.growLast(5n, 40);
    expect([inflights.count, inflights.bytes]).toEqual([2, 42]);
    inflights.freeTo(4n);
    expect([inflights.count, inflights.bytes]).toEqual([1, 41]);
    inflights.freeTo(5n);
    expect([inflights.count, inflights.bytes]).toEqual([0, 0]);
  });

  test("may be in a full window, and in one that has wrapped around", () => {
    const inflights = filled(3, 3n);
    inflights.freeTo(2n);
    inflights.add(4n, 1);
    inflights.add(5n, 1);
    expect(inflights.full()).toBe(true);
    inflights.growLast(9n, 1);
    expect(drain(inflights, 20n)).toEqual([3n, 4n, 9n]);
  });

  test("must be under way", () => {
    expect(() => new Inflights(3, NO_LIMIT).growLast(1n, 1)).toThrow(InvariantViolation);
  });
});

describe("the byte limit", () => {
  test.for([
    { name: "is always full with no capacity", capacity: 0, maxBytes: 0, sizes: [], full: true },
    { name: "is not full while empty", capacity: 1, maxBytes: 10, sizes: [], full: false },
    { name: "is full by messages", capacity: 2, maxBytes: 1_000, sizes: [1, 1], full: true },
    { name: "is not full below both limits", capacity: 3, maxBytes: 10, sizes: [4, 5], full: false },
    { name: "is full at the byte limit", capacity: 3, maxBytes: 10, sizes: [4, 6], full: true },
    { name: "may be passed by the last message", capacity: 3, maxBytes: 10, sizes: [4, 99], full: true },
    { name: "is none when it is 0", capacity: 3, maxBytes: 0, sizes: [1e9, 1e9], full: false },
    { name: "is none when it is NO_LIMIT", capacity: 3, maxBytes: NO_LIMIT, sizes: [1e9, 1e9], full: false },
  ])("$name", ({ capacity, maxBytes, sizes, full }) => {
    const inflights = new Inflights(capacity, maxBytes);
    for (const [at, bytes] of sizes.entries()) inflights.add(BigInt(at + 1), bytes);
    expect(inflights.full()).toBe(full);
    if (full) expect(() => inflights.add(9n, 1)).toThrow(InvariantViolation);
  });

  test("E11: counts from nothing again after a reset, so that a window never stays full of what is gone", () => {
    const inflights = new Inflights(10, 100);
    inflights.add(1n, 60);
    inflights.add(2n, 60);
    expect(inflights.full()).toBe(true);
    inflights.reset();
    expect([inflights.count, inflights.bytes, inflights.full()]).toEqual([0, 0, false]);
    inflights.add(1n, 60);
    expect([inflights.bytes, inflights.full()]).toEqual([60, false]);
  });

  test("gives its memory back with a reset", () => {
    const inflights = filled(100, 20n);
    expect(inflights.bufferCapacity).toBe(32);
    inflights.reset();
    expect(inflights.bufferCapacity).toBe(0);
  });

  test("counts the right size for each message when a ring that has wrapped around grows", () => {
    const inflights = new Inflights(100, NO_LIMIT);
    const sizeOf = (index: bigint): number => 2 ** Number(index);
    for (let index = 1n; index <= 16n; index++) inflights.add(index, sizeOf(index));
    inflights.freeTo(5n);
    for (let index = 17n; index <= 25n; index++) inflights.add(index, sizeOf(index));
    for (let freed = 6n; freed <= 25n; freed++) {
      const before = inflights.bytes;
      inflights.freeTo(freed);
      expect(before - inflights.bytes, `message ${freed}`).toBe(sizeOf(freed));
    }
    expect(inflights.bytes).toBe(0);
  });

  test("is freed with the messages, each by its own size", () => {
    const inflights = new Inflights(10, 100);
    inflights.add(1n, 10);
    inflights.add(2n, 20);
    inflights.add(3n, 70);
    inflights.freeTo(2n);
    expect([inflights.bytes, inflights.full()]).toEqual([70, false]);
  });
});

describe("a change of capacity", () => {
  test("to more has room at once", () => {
    const inflights = filled(3, 3n);
    inflights.setCapacity(5);
    expect(inflights.full()).toBe(false);
    inflights.add(4n, 1);
    inflights.add(5n, 1);
    expect(inflights.full()).toBe(true);
    expect(drain(inflights, 9n)).toEqual([1n, 2n, 3n, 4n, 5n]);
  });

  test("to more keeps the order of a ring that has wrapped around", () => {
    const inflights = filled(4, 4n);
    inflights.freeTo(3n);
    inflights.add(5n, 1);
    inflights.add(6n, 1);
    inflights.setCapacity(20);
    for (let index = 7n; index <= 20n; index++) inflights.add(index, 1);
    expect(drain(inflights, 30n)).toEqual(Array.from({ length: 17 }, (_, at) => BigInt(at + 4)));
  });

  test("to less stays full until it has come below, and gives memory back when drained", () => {
    const inflights = filled(1_024, 100n);
    const before = inflights.bufferCapacity;
    inflights.setCapacity(8);
    expect(inflights.full()).toBe(true);
    inflights.freeTo(92n);
    expect([inflights.count, inflights.full(), inflights.bufferCapacity]).toEqual([8, true, before]);
    inflights.freeTo(93n);
    expect(inflights.full()).toBe(false);
    inflights.add(101n, 1);
    expect(inflights.full()).toBe(true);
    inflights.freeTo(101n);
    expect([inflights.count, inflights.bufferCapacity, inflights.capacity]).toEqual([0, 8, 8]);
  });

  test("to less and back before it has drained leaves nothing behind", () => {
    const inflights = filled(1_024, 16n);
    inflights.setCapacity(8);
    inflights.setCapacity(1_024);
    expect(inflights.full()).toBe(false);
    for (let index = 17n; index <= 1_024n; index++) inflights.add(index, 1);
    expect(inflights.full()).toBe(true);
  });

  test("to nothing closes the window for good, even when everything is answered or forgotten", () => {
    const inflights = filled(4, 2n);
    inflights.setCapacity(0);
    inflights.freeTo(2n);
    expect([inflights.count, inflights.full()]).toEqual([0, true]);
    inflights.reset();
    expect(inflights.full()).toBe(true);
    inflights.setCapacity(1);
    expect(inflights.full()).toBe(false);
    inflights.add(3n, 1);
    expect(inflights.count).toBe(1);
  });

  test.for([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
    "to %s is refused, and changes nothing",
    (bad) => {
      const inflights = filled(4, 4n);
      expect(() => inflights.setCapacity(bad)).toThrow(ConfigInvalid);
      expect([inflights.capacity, inflights.full()]).toEqual([4, true]);
      expect(() => new Inflights(bad, NO_LIMIT)).toThrow(ConfigInvalid);
    },
  );
});

describe("the memory of a window", () => {
  test("is none before the first message, grows with the need, and is never more than the capacity", () => {
    const inflights = new Inflights(100, NO_LIMIT);
    expect(inflights.bufferCapacity).toBe(0);
    inflights.add(1n, 1);
    expect(inflights.bufferCapacity).toBeLessThan(100);
    for (let index = 2n; index <= 100n; index++) inflights.add(index, 1);
    expect(inflights.bufferCapacity).toBe(100);
  });

  test("stays as it is when it drains, and is given back as far as a smaller capacity has no need of it", () => {
    const inflights = filled(100, 20n);
    expect(inflights.bufferCapacity).toBe(32);
    inflights.freeTo(20n);
    expect(inflights.bufferCapacity).toBe(32);
    inflights.setCapacity(1_000);
    expect(inflights.bufferCapacity).toBe(32);
    inflights.setCapacity(8);
    expect(inflights.bufferCapacity).toBe(8);
  });

  test("is given back when asked, if nothing is in flight", () => {
    const inflights = filled(10, 2n);
    const allocated = inflights.bufferCapacity;
    inflights.maybeFreeBuffer();
    expect(inflights.bufferCapacity).toBe(allocated);
    inflights.freeTo(2n);
    expect(inflights.bufferCapacity).toBe(allocated);
    inflights.maybeFreeBuffer();
    expect(inflights.bufferCapacity).toBe(0);
    inflights.add(3n, 1);
    expect(drain(inflights, 5n)).toEqual([3n]);
  });
});

test("in any order of calls a window holds what a plain array would", () => {
  type Call =
    | { readonly kind: "add"; readonly step: bigint; readonly bytes: number }
    | { readonly kind: "growLast"; readonly step: bigint; readonly bytes: number }
    | { readonly kind: "freeTo"; readonly back: bigint }
    | { readonly kind: "setCapacity"; readonly capacity: number }
    | { readonly kind: "reset" | "maybeFreeBuffer" };
  const call: fc.Arbitrary<Call> = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constantFrom("add" as const, "add" as const, "growLast" as const),
        step: fc.bigInt(1n, 3n),
        bytes: fc.nat({ max: 9 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("freeTo" as const), back: fc.bigInt(-1n, 40n) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("setCapacity" as const), capacity: fc.nat({ max: 40 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom("reset" as const, "maybeFreeBuffer" as const) }),
    },
  );

  fc.assert(
    fc.property(
      fc.nat({ max: 40 }),
      fc.nat({ max: 90 }),
      fc.array(call, { maxLength: 120 }),
      (cap, max, calls) => {
        const inflights = new Inflights(cap, max);
        let model: { readonly index: bigint; readonly bytes: number }[] = [];
        let capacity = cap;
        let last = 0n;
        const bytes = (): number => model.reduce((sum, message) => sum + message.bytes, 0);
        const full = (): boolean => model.length >= capacity || (max > 0 && bytes() >= max);

        for (const step of calls) {
          switch (step.kind) {
            case "add":
              if (full()) {
                expect(() => inflights.add(last + step.step, step.bytes)).toThrow(InvariantViolation);
                break;
              }
              last += step.step;
              inflights.add(last, step.bytes);
              model.push({ index: last, bytes: step.bytes });
              break;
            case "freeTo":
              inflights.freeTo(last - step.back);
              model = model.filter((message) => message.index > last - step.back);
              break;
            case "setCapacity":
              inflights.setCapacity(step.capacity);
              capacity = step.capacity;
              break;
            case "reset":
              inflights.reset();
              model = [];
              break;
            case "maybeFreeBuffer":
              inflights.maybeFreeBuffer();
              break;
          }
          expect([inflights.count, inflights.bytes, inflights.full()]).toEqual([
            model.length,
            bytes(),
            full(),
          ]);
        }
        expect(drain(inflights, last)).toEqual(model.map((message) => message.index));
        expect([inflights.count, inflights.bytes]).toEqual([0, 0]);
      },
    ),
    propertyRuns(),
  );
});
