// The queue of reads that wait for a quorum, by itself: which answers confirm which rounds, and how much is remembered.

import { describe, expect, test } from "vitest";
import { JointConfig } from "../../../src/core/quorum/joint.js";
import { MajorityConfig } from "../../../src/core/quorum/majority.js";
import { decodeToken, encodeToken, ReadQueue } from "../../../src/core/raft/read-queue.js";

const SELF = 1n;
const VOTERS = new JointConfig(new MajorityConfig([1n, 2n, 3n]));

/** A queue with so many reads, at commit indexes 1, 2, … */
function queueOf(reads: number): ReadQueue {
  const queue = new ReadQueue();
  for (let nth = 1; nth <= reads; nth += 1)
    queue.add({ from: 0n, context: new Uint8Array([nth]) }, BigInt(nth));
  return queue;
}

const confirmed = (queue: ReadQueue): bigint[] => queue.takeConfirmed(SELF, VOTERS).map(({ index }) => index);

describe("a read is confirmed", () => {
  test("by the echo of a token that was given out with it or later", () => {
    const queue = queueOf(3);
    queue.echo(2n, 2n);
    expect(confirmed(queue)).toEqual([1n, 2n]);
    expect(queue.size).toBe(1);
    queue.echo(3n, 3n);
    expect(confirmed(queue)).toEqual([3n]);
    expect(queue.size).toBe(0);
  });

  test("no less because an older echo arrives behind a newer one", () => {
    const queue = queueOf(3);
    queue.echo(2n, 3n);
    queue.echo(2n, 1n);
    expect(confirmed(queue)).toEqual([1n, 2n, 3n]);
  });

  test("never by a token that was not given out yet when it was echoed", () => {
    const queue = queueOf(1);
    queue.echo(2n, 1n);
    queue.echo(2n, 2n);
    queue.echo(2n, 99n);
    expect(confirmed(queue)).toEqual([1n]);
    queue.add({ from: 0n, context: new Uint8Array([2]) }, 2n);
    expect(confirmed(queue), "an echo from before it was asked").toEqual([]);
  });
});

describe("the lease starts", () => {
  test("when the newest round was sent that a quorum has answered, not when it was answered", () => {
    const queue = new ReadQueue();
    const tokens = [10, 20, 30].map((tick) => queue.beginLeaseRound(tick, 100));
    expect(queue.leaseStartTick).toBeUndefined();
    confirmed(queue);
    expect(queue.leaseStartTick, "nobody has answered").toBeUndefined();
    queue.echo(3n, tokens[1] ?? 0n);
    confirmed(queue);
    expect(queue.leaseStartTick).toBe(20);
    queue.echo(2n, tokens[0] ?? 0n);
    confirmed(queue);
    expect(queue.leaseStartTick, "an older round").toBe(20);
  });

  test("with no round that is too old to be remembered: so many are, and the oldest is forgotten first", () => {
    const queue = new ReadQueue();
    const tokens = [10, 20, 30, 40].map((tick) => queue.beginLeaseRound(tick, 2));
    queue.echo(2n, tokens[1] ?? 0n);
    confirmed(queue);
    expect(queue.leaseStartTick).toBeUndefined();
    queue.echo(2n, tokens[2] ?? 0n);
    confirmed(queue);
    expect(queue.leaseStartTick).toBe(30);
  });
});

test("a token travels as eight bytes, and nothing else is taken for one", () => {
  for (const token of [0n, 1n, 255n, 2n ** 40n, 2n ** 64n - 1n])
    expect(decodeToken(encodeToken(token))).toBe(token);
  expect([...encodeToken(258n)]).toEqual([0, 0, 0, 0, 0, 0, 1, 2]);
  for (const length of [0, 7, 9]) expect(decodeToken(new Uint8Array(length))).toBeUndefined();
  expect(decodeToken(new Uint8Array(12).subarray(4)), "a window on a larger buffer").toBe(0n);
});
