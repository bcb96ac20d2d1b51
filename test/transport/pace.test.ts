// The rate of snapshots, against a clock that only the test moves: what is let through when, in which order, and
// that waiting can be given up.

import { describe, expect, it } from "vitest";
import { Pace } from "../../src/transport/pace.js";
import { ManualClock } from "../support/node-clock.js";

const never = new AbortController().signal;

describe("a pace of 1,000 bytes a second", () => {
  it("lets the first piece go at once, and each next one when the one before it is due", async () => {
    const clock = new ManualClock();
    const pace = new Pace(clock, 1_000);
    const startedAtMs = clock.nowMs();
    const wentAtMs: number[] = [];
    const all = (async () => {
      for (const bytes of [500, 250, 250, 100]) {
        await pace.take(bytes, never);
        wentAtMs.push(clock.nowMs() - startedAtMs);
      }
    })();
    await clock.advance(2_000);
    await all;
    expect(wentAtMs).toEqual([0, 500, 750, 1_000]);
  });

  it("is shared: two that take at once are served in turn, at one rate", async () => {
    const clock = new ManualClock();
    const pace = new Pace(clock, 1_000);
    const startedAtMs = clock.nowMs();
    const went: string[] = [];
    const sender = async (name: string): Promise<void> => {
      for (let piece = 0; piece < 3; piece += 1) {
        await pace.take(100, never);
        went.push(`${name} ${clock.nowMs() - startedAtMs}`);
      }
    };
    const both = Promise.all([sender("a"), sender("b")]);
    await clock.advance(1_000);
    await both;
    expect(went).toEqual(["a 0", "b 100", "a 200", "b 300", "a 400", "b 500"]);
  });

  it("gives no credit for time in which nothing was sent", async () => {
    const clock = new ManualClock();
    const pace = new Pace(clock, 1_000);
    await clock.advance(60_000);
    await pace.take(100, never);
    let went = false;
    const second = pace.take(100, never).then(() => {
      went = true;
    });
    await clock.advance(99);
    expect(went).toBe(false);
    await clock.advance(1);
    await second;
  });

  it("stops waiting when the signal fires, and leaves no timer", async () => {
    const clock = new ManualClock();
    const pace = new Pace(clock, 1_000);
    await pace.take(10_000, never);
    const controller = new AbortController();
    const waiting = pace.take(100, controller.signal);
    controller.abort(new Error("given up"));
    await expect(waiting).rejects.toThrow("given up");
    await expect(pace.take(100, controller.signal)).rejects.toThrow("given up");
    expect(clock.timerCount).toBe(0);
  });

  it("cuts pieces that are due within a given time, at least 1 KiB", () => {
    const clock = new ManualClock();
    expect(new Pace(clock, 1_000_000).pieceBytes(500, 256 * 1024)).toBe(256 * 1024);
    expect(new Pace(clock, 100_000).pieceBytes(500, 256 * 1024)).toBe(50_000);
    expect(new Pace(clock, 10).pieceBytes(500, 256 * 1024)).toBe(1024);
    expect(new Pace(clock, Number.POSITIVE_INFINITY).pieceBytes(500, 256 * 1024)).toBe(256 * 1024);
  });
});

describe("without a rate", () => {
  it("nothing waits", async () => {
    const pace = new Pace(new ManualClock(), Number.POSITIVE_INFINITY);
    for (let piece = 0; piece < 1_000; piece += 1) await pace.take(1e9, never);
  });
});
