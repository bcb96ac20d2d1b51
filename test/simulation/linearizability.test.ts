// Shows that the checker of histories accepts what a register may do and nothing else: histories known good and bad,
// and histories of a real register with calls that overlap, as they are and with one answer changed.

import { describe, expect, test } from "vitest";
import { checkRegister, type HistoryCall, type Operation } from "./linearizability.js";
import { Random } from "./random.js";

function call(begun: number, ended: number | undefined, operation: Operation): HistoryCall {
  return { begun, ended, operation, who: "somebody" };
}

const write = (value: string | undefined): Operation => ({ kind: "write", value });
const read = (saw: string | undefined): Operation => ({ kind: "read", saw });
const swap = (
  expected: string | undefined,
  value: string | undefined,
  succeeded: boolean | undefined,
): Operation => ({ kind: "compareAndSet", expected, value, succeeded });

const GOOD: readonly (readonly [string, readonly HistoryCall[]])[] = [
  ["nothing at all", []],
  ["a read of a key that was never written", [call(1, 2, read(undefined))]],
  ["a read after a write", [call(1, 2, write("a")), call(3, 4, read("a"))]],
  ["a read during a write that sees the old value", [call(1, 4, write("a")), call(2, 3, read(undefined))]],
  ["a read during a write that sees the new value", [call(1, 4, write("a")), call(2, 3, read("a"))]],
  [
    "two writes at once, read in the order of neither beginning",
    [call(1, 6, write("a")), call(2, 5, write("b")), call(7, 8, read("a"))],
  ],
  [
    "a write of unknown outcome that takes effect late",
    [call(1, undefined, write("a")), call(2, 3, read(undefined)), call(4, 5, read("a"))],
  ],
  [
    "a write of unknown outcome that never takes effect",
    [call(1, undefined, write("a")), call(2, 3, read(undefined))],
  ],
  [
    "a compare-and-set that fails because of a write nobody else saw",
    [
      call(1, 2, write("a")),
      call(3, undefined, write("b")),
      call(4, 5, swap("a", "c", false)),
      call(6, 7, write("d")),
      call(8, 9, read("d")),
    ],
  ],
  [
    "a chain of compare-and-sets",
    [call(1, 2, swap(undefined, "a", true)), call(3, 4, swap("a", "b", true)), call(5, 6, read("b"))],
  ],
  [
    "a compare-and-set of unknown outcome that was seen",
    [call(1, 2, write("a")), call(3, undefined, swap("a", "b", undefined)), call(4, 5, read("b"))],
  ],
];

const BAD: readonly (readonly [string, readonly HistoryCall[]])[] = [
  ["a read of what nobody wrote", [call(1, 2, read("a"))]],
  ["a stale read", [call(1, 2, write("a")), call(3, 4, write("b")), call(5, 6, read("a"))]],
  ["a lost write", [call(1, 2, write("a")), call(3, 4, read(undefined))]],
  [
    "two reads that see two writes in different orders",
    [call(1, 10, write("a")), call(2, 11, write("b")), call(12, 13, read("a")), call(14, 15, read("b"))],
  ],
  [
    "a value that is seen and then not seen",
    [call(1, 8, write("a")), call(2, 3, read("a")), call(4, 5, read(undefined))],
  ],
  [
    "two compare-and-sets that both found the same value",
    [call(1, 2, write("a")), call(3, 4, swap("a", "b", true)), call(5, 6, swap("a", "c", true))],
  ],
  [
    "a compare-and-set that failed for no reason",
    [call(1, 2, write("a")), call(3, 4, swap("a", "b", false))],
  ],
  [
    "a compare-and-set that succeeded against the value",
    [call(1, 2, write("a")), call(3, 4, swap("b", "c", true))],
  ],
  ["a write that is seen before it began", [call(1, 2, read("a")), call(3, 4, write("a"))]],
  [
    "a write of unknown outcome that was undone",
    [call(1, undefined, write("a")), call(2, 3, read("a")), call(4, 5, read(undefined))],
  ],
];

/** Calls of several clients on a real register, each taking effect at some point between its beginning and its end. */
function realHistory(seed: number): HistoryCall[] {
  const random = new Random(seed);
  const calls: HistoryCall[] = [];
  let value: string | undefined;
  let freeFrom = Array.from({ length: 4 }, () => 0);
  for (let at = 10; at < 400; at += 10) {
    const client = random.int(0, freeFrom.length);
    const begun = Math.max(freeFrom[client] ?? 0, at - random.int(0, 40)) + client / 10 + 0.01;
    if (begun > at) continue;
    const ended = at + random.int(1, 40) + client / 10 + 0.05;
    freeFrom = freeFrom.map((free, other) => (other === client ? ended : free));
    const draw = random.float();
    const isUnknown = draw >= 0.5 && random.chance(0.1);
    let operation: Operation;
    if (draw < 0.5) {
      operation = read(value);
    } else if (draw < 0.8) {
      operation = write(random.chance(0.2) ? undefined : `v${at}`);
      value = operation.kind === "write" ? operation.value : value;
    } else {
      const expected = random.chance(0.6) ? value : "other";
      const succeeded = expected === value;
      operation = swap(expected, `v${at}`, isUnknown ? undefined : succeeded);
      if (succeeded) value = `v${at}`;
    }
    calls.push(call(begun, isUnknown ? undefined : ended, operation));
  }
  return calls;
}

/** Tries every order in which the calls can have happened. */
function bruteForce(calls: readonly HistoryCall[], value: string | undefined = undefined): boolean {
  if (calls.every(({ ended }) => ended === undefined)) return true;
  const earliestEnd = Math.min(...calls.map(({ ended }) => ended ?? Number.POSITIVE_INFINITY));
  return calls.some((first) => {
    if (first.begun > earliestEnd) return false;
    const next = applied(first.operation, value);
    return (
      next !== undefined &&
      bruteForce(
        calls.filter((other) => other !== first),
        next.value,
      )
    );
  });
}

function applied(operation: Operation, value: string | undefined): { value: string | undefined } | undefined {
  switch (operation.kind) {
    case "read":
      return operation.saw === value ? { value } : undefined;
    case "write":
      return { value: operation.value };
    case "compareAndSet": {
      const fits = operation.expected === value;
      if (operation.succeeded !== undefined && operation.succeeded !== fits) return undefined;
      return { value: fits ? operation.value : value };
    }
  }
}

/** A few calls with answers by chance; values are mostly written once. */
function anyHistory(random: Random): HistoryCall[] {
  const values = [undefined, "a", "b", "c", "d"];
  return Array.from({ length: random.int(2, 8) }, (_, at) => {
    const begun = random.int(0, 12) + at / 100;
    const isUnknown = random.chance(0.3);
    const draw = random.float();
    const own = random.chance(0.2) ? values[random.int(0, values.length)] : values[at % values.length];
    const saw = values[random.int(0, values.length)];
    let operation: Operation = read(saw);
    if (draw < 0.4) operation = write(own);
    else if (draw < 0.7) operation = swap(saw, own, isUnknown ? undefined : random.chance(0.5));
    const ended = isUnknown ? undefined : begun + random.int(1, 8) + 0.5;
    return call(begun, ended, operation);
  });
}

describe("the checker of histories", () => {
  test.each(GOOD)("accepts %s", (_, calls) => {
    expect(checkRegister(calls)).toEqual({ kind: "linearizable" });
  });

  test.each(BAD)("refuses %s", (_, calls) => {
    expect(checkRegister(calls).kind).toBe("violation");
  });

  test("accepts whatever a real register does", () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      expect(checkRegister(realHistory(seed)).kind, `seed ${seed}`).toBe("linearizable");
    }
  });

  test("notices one answer that nobody could have got", () => {
    for (let seed = 1; seed <= 100; seed += 1) {
      const calls = realHistory(seed);
      const at = calls.findIndex(({ operation }) => operation.kind === "read");
      const [wrong] = calls.splice(at, 1);
      if (wrong === undefined) continue;
      expect(checkRegister([...calls, { ...wrong, operation: read("never written") }]).kind).toBe(
        "violation",
      );
    }
  });

  test("says of histories by chance what trying every order says", () => {
    const random = new Random(1);
    const verdicts = { linearizable: 0, violation: 0, undecided: 0 };
    for (let round = 0; round < 4_000; round += 1) {
      const calls = anyHistory(random);
      const { kind } = checkRegister(calls);
      verdicts[kind] += 1;
      const expected = bruteForce(calls) ? "linearizable" : "violation";
      expect(kind, JSON.stringify(calls)).toBe(expected);
    }
    expect(Math.min(verdicts.linearizable, verdicts.violation)).toBeGreaterThan(400);
  });

  test("decides quickly about thousands of calls, many of them of unknown outcome", () => {
    const random = new Random(7);
    const calls: HistoryCall[] = [];
    for (let at = 0; at < 3_000; at += 1) {
      const draw = random.float();
      const value = random.chance(0.2) ? undefined : `v${at}`;
      if (draw < 0.3) calls.push(call(at, undefined, write(value)));
      else if (draw < 0.5) calls.push(call(at, at + 0.5, swap(`v${at - 1}`, value, false)));
      else calls.push(call(at, at + 3.3, write(value)));
    }
    expect(checkRegister(calls).kind).not.toBe("undecided");
  });

  test("gives up rather than search for ever", () => {
    expect(checkRegister(realHistory(1), 3).kind).toBe("undecided");
  });
});
