// The small parts of the runtime by themselves: the inbox, the ticker, the calls and their deadlines, the histogram.

import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { maxElectionTick, minElectionTick } from "../../src/core/config.js";
import { newConfState, newMessage, newNormalEntry } from "../../src/core/messages.js";
import { MessageType } from "../../src/gen/eraftpb_pb.js";
import { Calls } from "../../src/node/calls.js";
import { RaftNodeError } from "../../src/node/errors.js";
import { Inbox } from "../../src/node/inbox.js";
import { membershipOf } from "../../src/node/membership.js";
import { Histogram, NodeMetrics } from "../../src/node/metrics.js";
import { raftConfig } from "../../src/node/options.js";
import { Peers } from "../../src/node/peers.js";
import { Pending } from "../../src/node/pending.js";
import { systemClock } from "../../src/node/system-clock.js";
import { Ticker } from "../../src/node/ticker.js";
import { ManualClock } from "../support/node-clock.js";

const beat = () => newMessage(MessageType.MsgHeartbeat, 1n);
const append = (bytes: number) =>
  newMessage(MessageType.MsgAppend, 1n, { entries: [newNormalEntry(1n, 1n, new Uint8Array(bytes))] });

describe("the inbox", () => {
  test("refuses what does not fit, all or none, and has room again when it was emptied", () => {
    const inbox = new Inbox({ capacityMessages: 3, capacityBytes: 1_000_000 });
    inbox.offer([beat(), beat()]);
    expect(() => inbox.offer([beat(), beat()])).toThrow(RaftNodeError);
    expect(inbox.size).toBe(2);
    inbox.offer([beat()]);
    expect(inbox.takeMessages()).toHaveLength(3);
    inbox.offer([beat(), beat(), beat()]);
    expect(inbox.size).toBe(3);
  });

  test("counts bytes too, but takes any batch while it is empty", () => {
    const inbox = new Inbox({ capacityMessages: 100, capacityBytes: 1_000 });
    inbox.offer([append(5_000)]);
    expect(() => inbox.offer([beat()])).toThrow(/5208 bytes/);
    inbox.takeMessages();
    inbox.offer([append(500)]);
    expect(() => inbox.offer([append(500)])).toThrow(RaftNodeError);
  });

  test("keeps the newest report per peer and kind", () => {
    const inbox = new Inbox({ capacityMessages: 1, capacityBytes: 1 });
    for (let n = 0; n < 1_000; n += 1) inbox.report({ kind: "unreachable", id: 2n });
    inbox.report({ kind: "snapshot", id: 2n, delivered: false });
    inbox.report({ kind: "snapshot", id: 2n, delivered: true });
    expect(inbox.takeReports()).toEqual([
      { kind: "unreachable", id: 2n },
      { kind: "snapshot", id: 2n, delivered: true },
    ]);
    expect(inbox.takeReports()).toEqual([]);
  });
});

test.each([
  { given: {}, range: [10, 15] },
  { given: { electionTick: 3, heartbeatTick: 1 }, range: [3, 6] },
  { given: { electionTick: 20, minElectionTick: 25 }, range: [25, 35] },
  { given: { maxElectionTick: 40 }, range: [10, 40] },
])("random election timeouts are short of one and a half: $given", ({ given, range }) => {
  const config = raftConfig({ id: 1n, raft: given }, 0n, () => 0);
  expect([minElectionTick(config), maxElectionTick(config)]).toEqual(range);
});

describe("the ticker", () => {
  function ticker(maxTicksAtOnce: number) {
    const clock = new ManualClock();
    const stalls: string[] = [];
    const made = new Ticker({
      clock,
      tickIntervalMs: 100,
      maxTicksAtOnce,
      wake: () => {},
      stalled: (stalledMs, skipped) => stalls.push(`${stalledMs} ms, ${skipped} skipped`),
    });
    made.start();
    return { clock, made, stalls };
  }

  test("gives one tick per interval", async () => {
    const { clock, made, stalls } = ticker(2);
    let ticks = 0;
    for (let n = 0; n < 10; n += 1) {
      await clock.advance(100);
      ticks += made.take();
    }
    expect([ticks, stalls]).toEqual([10, []]);
  });

  test("catches up after a short stall, and forgets most of a long one", async () => {
    const { clock, made, stalls } = ticker(2);
    await clock.stall(200);
    expect(made.take()).toBe(2);
    await clock.stall(5_000);
    expect(made.take()).toBe(2);
    expect(stalls).toEqual(["100 ms, 0 skipped", "4900 ms, 48 skipped"]);
    await clock.advance(100);
    expect(made.take()).toBe(1);
  });

  test("does not pile up ticks that nobody takes", async () => {
    const { clock, made } = ticker(2);
    await clock.advance(5_000);
    expect(made.take()).toBe(2);
    expect(made.take()).toBe(0);
  });
});

describe("calls", () => {
  const hooks = {
    expired: () => new RaftNodeError("deadlineExceeded", "late"),
    aborted: () => new RaftNodeError("aborted", "given up"),
  };

  test("end at their own deadline, whatever the order they came in", async () => {
    const clock = new ManualClock();
    const calls = new Calls(clock, 5_000, new NodeMetrics());
    const ended: string[] = [];
    const open = (name: string, deadlineMs?: number) => {
      const call = calls.open("wait", { deadlineMs }, { ...hooks, ended: () => ended.push(name) });
      call.promise.catch(() => {});
      return call;
    };
    open("default");
    open("soon", 50);
    open("later", 500);
    open("answered", 80).resolve("yes");
    await clock.advance(49);
    expect(ended).toEqual(["answered"]);
    await clock.advance(10);
    expect(ended).toEqual(["answered", "soon"]);
    await clock.advance(500);
    expect(ended).toEqual(["answered", "soon", "later"]);
    await clock.advance(5_000);
    expect(ended).toEqual(["answered", "soon", "later", "default"]);
    expect(clock.timerCount).toBe(0);
  });

  test("let go of their signal when they have ended", () => {
    const calls = new Calls(new ManualClock(), 1_000, new NodeMetrics());
    const { signal } = new AbortController();
    const call = calls.open<string>("wait", { signal }, hooks);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    call.resolve("done");
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test("end once", async () => {
    const calls = new Calls(new ManualClock(), 1_000, new NodeMetrics());
    let ended = 0;
    const call = calls.open<string>("wait", undefined, { ...hooks, ended: () => (ended += 1) });
    call.resolve("first");
    call.resolve("second");
    call.reject(new Error("third"));
    calls.failAll(() => new RaftNodeError("nodeStopped", "fourth"));
    expect([await call.promise, ended, call.settled]).toEqual(["first", 1, true]);
  });
});

test("peers are announced without oneself, and a removed one is sent to for a while longer", async () => {
  const clock = new ManualClock();
  const named = (ids: readonly bigint[], index: bigint) =>
    membershipOf(newConfState({ voters: [...ids] }), index, new Map(ids.map((id) => [id, `n${id}:1`])));
  const peers = new Peers({
    id: 1n,
    clock,
    membership: named([1n, 2n, 3n], 1n),
    activeMs: 100,
    farewellMs: 50,
  });
  const announced: string[] = [];
  peers.connect({
    send: () => {},
    setMembers: (addresses) => announced.push([...addresses].map(([id, at]) => `${id}=${at}`).join(" ")),
    close: async () => {},
  });
  peers.heardFrom(3n);
  expect([peers.isActive(1n), peers.isActive(2n), peers.isActive(3n)]).toEqual([true, false, true]);
  expect(peers.adopt(named([1n, 2n], 2n))).toBe(false);
  await clock.advance(101);
  expect(announced).toEqual(["2=n2:1 3=n3:1", "2=n2:1 3=n3:1", "2=n2:1"]);
  expect(peers.isActive(3n)).toBe(false);
  expect(peers.adopt(named([2n], 3n))).toBe(true);
  peers.close();
  expect(clock.timerCount).toBe(0);
});

test("those who wait for an entry learn whether it is theirs", () => {
  const pending = new Pending<string>();
  pending.add({ index: 5n, term: 1n }, "old");
  pending.add({ index: 5n, term: 3n }, "new");
  pending.add({ index: 6n, term: 3n }, "gone");
  pending.add({ index: 7n, term: 3n }, "skipped");
  pending.remove({ index: 6n, term: 3n }, "gone");
  expect(pending.take({ index: 5n, term: 3n })).toEqual({ own: ["new"], lost: ["old"] });
  expect(pending.take({ index: 5n, term: 3n })).toBeUndefined();
  expect(pending.takeUpTo(9n)).toEqual(["skipped"]);
  expect(pending.isEmpty).toBe(true);
});

test("a histogram counts each value at its bound", () => {
  const histogram = new Histogram();
  for (const value of [0.5, 1, 1.5, 100_000]) histogram.record(value);
  const { counts, count, sumMs, maxMs, boundsMs } = histogram.view();
  expect([counts[0], counts[1], counts.at(-1), count]).toEqual([2, 1, 1, 4]);
  expect([sumMs, maxMs, boundsMs.length + 1]).toEqual([100_003, 100_000, counts.length]);
});

test("the real clock runs what it was given, and not what was cancelled", async () => {
  const ran: string[] = [];
  await new Promise<void>((resolve) => {
    systemClock.after(2 ** 40, () => ran.push("never"))();
    systemClock.after(0, () => ran.push("cancelled"))();
    const stop = systemClock.every(1, () => {
      ran.push("every");
      stop();
      systemClock.after(1, () => systemClock.soon(resolve));
    });
  });
  expect(ran).toEqual(["every"]);
  expect(systemClock.nowMs()).toBeGreaterThan(0);
});
