// The events of a node as async iterables: order, what gives way when nobody reads, and every way to an end. Real
// nodes on ports in memory.

import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { codeOf, ELECTION_MS, Group } from "../support/node-harness.js";

const IDS = [1n, 2n, 3n];

/** Reads a stream to its end. */
async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const events: T[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

test("a stream has every event since it was made, in order, and ends when the node has stopped", async () => {
  const group = await Group.of(IDS);
  const { node } = group.at(1n);
  const heard: string[] = [];
  node.on("leader", ({ leaderId, term }) => heard.push(`${leaderId} in ${term}`));
  const stream = node.events("leader");
  const roles = node.events("role");
  await group.elect();
  const leader = group.leader()?.id ?? 0n;
  group.network.isolate(leader);
  await group.clock.advance(4 * ELECTION_MS);
  group.network.heal();
  await group.elect();
  await group.stop();
  expect((await all(stream)).map(({ leaderId, term }) => `${leaderId} in ${term}`)).toEqual(heard);
  expect(heard.length).toBeGreaterThan(1);
  expect((await all(roles)).length).toBeGreaterThan(0);
  expect(await all(node.events("leader"))).toEqual([]);
});

test("a reader that waits gets the event as it happens", async () => {
  const group = await Group.of(IDS);
  const stream = group.node(2n).events("leader");
  const first = stream.next();
  await group.elect();
  expect((await first).value).toMatchObject({ leaderId: group.leader()?.id });
  await group.stop();
});

test("when nobody reads, the oldest events give way and are counted", async () => {
  const group = await Group.led(IDS);
  const { node } = group.at(1n);
  const stream = node.events("stall", { capacity: 2 });
  for (const seconds of [1, 2, 3, 4, 5]) await group.clock.stall(seconds * 1_000);
  expect(stream.dropped).toBe(3);
  await group.stop();
  expect((await all(stream)).map(({ stalledMs }) => Math.round((stalledMs + 100) / 1_000))).toEqual([4, 5]);
});

test("a signal ends a stream without an error, whether it waits, is read, or fired before", async () => {
  const group = await Group.led(IDS);
  const { node } = group.at(1n);
  const { signal, abort } = controller();
  const waiting = all(node.events("leader", { signal }));
  const unread = node.events("stall", { signal });
  await group.clock.stall(1_000);
  abort();
  expect(await waiting).toEqual([]);
  expect(await all(unread)).toEqual([]);
  expect(await all(node.events("leader", { signal }))).toEqual([]);
  expect(getEventListeners(signal, "abort")).toEqual([]);
  await group.stop();
});

test("leaving the loop lets go of the stream", async () => {
  const group = await Group.led(IDS);
  const { node } = group.at(1n);
  const { signal } = controller();
  const stream = node.events("stall", { signal });
  await group.clock.stall(1_000);
  await group.clock.stall(1_000);
  for await (const { skippedTicks } of stream) {
    expect(skippedTicks).toBeGreaterThan(0);
    break;
  }
  expect(getEventListeners(signal, "abort")).toEqual([]);
  await group.clock.stall(1_000);
  expect(await stream.next()).toEqual({ done: true, value: undefined });
  expect(stream.dropped).toBe(0);
  await group.stop();
});

test("when the node fails, the streams tell what happened before and end", async () => {
  const group = await Group.led([1n]);
  const { node, log } = group.at(1n);
  const fatal = all(node.events("fatal"));
  const leaders = all(node.events("leader"));
  log.fail(new Error("the disk is gone"));
  const code = codeOf(node.propose(new Uint8Array([1])));
  await group.clock.settle();
  expect((await fatal).map(({ error }) => error.message)).toEqual(["the disk is gone"]);
  expect(await leaders).toEqual([]);
  expect(await code).toBe("outcomeUnknown");
  await group.stop();
});

test("a capacity that makes no sense and too many waiting calls are refused", async () => {
  const group = await Group.of(IDS);
  const { node } = group.at(1n);
  for (const capacity of [0, 1.5, 1e9]) {
    expect(() => node.events("leader", { capacity })).toThrow("capacity must be a whole number");
  }
  const stream = node.events("snapshot");
  const waiting = Array.from({ length: 64 }, () => stream.next());
  expect(await codeOf(stream.next())).toBe("inboxFull");
  await stream.return?.();
  expect((await Promise.all(waiting)).every(({ done }) => done)).toBe(true);
  await group.stop();
});

function controller() {
  const made = new AbortController();
  return { signal: made.signal, abort: () => made.abort() };
}
