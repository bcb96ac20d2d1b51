// The order of a node's effects, as its ports see them: nothing is promised before it is durable, and nothing waits
// for the disk that need not. Real nodes on recording ports; disk and state machine are held up by the test.

import { expect, test } from "vitest";
import type { ProposeResult } from "../../src/node/proposals.js";
import { Group, type Station } from "../support/node-harness.js";
import { bytesOf } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];

async function ledGroup() {
  const group = await Group.led(IDS);
  await group.clock.advance(300);
  const leader = group.leader();
  if (leader === undefined) throw new Error("no leader");
  const [follower, other] = group.stations.filter(({ id }) => id !== leader.id);
  if (follower === undefined || other === undefined) throw new Error("no followers");
  for (const { events } of group.stations) events.length = 0;
  return { group, leader, follower, other };
}

const at = (events: readonly string[], pattern: RegExp): number =>
  events.findIndex((event) => pattern.test(event));
const count = (events: readonly string[], pattern: RegExp): number =>
  events.filter((event) => pattern.test(event)).length;
/** Up to where a node has acknowledged entries, each index once. */
const acknowledged = ({ events }: Station): readonly bigint[] => [
  ...new Set(
    events
      .filter((event) => event.startsWith("send MsgAppendResponse"))
      .map((event) => BigInt(event.split("index=")[1] ?? 0)),
  ),
];

async function proposed(group: Group, { node }: Station, text: string): Promise<ProposeResult> {
  const answer = node.propose(bytesOf(text));
  await group.settled(answer);
  return answer;
}

test("a leader sends its entries before its own disk has them", async () => {
  const { group, leader } = await ledGroup();
  leader.log.held = true;
  const answer = leader.node.propose(bytesOf("x"));
  await group.clock.settle();
  expect(leader.events.slice(0, 3)).toEqual([
    expect.stringMatching(/^send MsgAppend to/),
    expect.stringMatching(/^send MsgAppend to/),
    expect.stringMatching(/^append entries/),
  ]);
  expect(count(leader.events, /^durable/)).toBe(0);
  leader.log.held = false;
  leader.log.release();
  await group.settled(answer);
  expect((await answer).index).toBeGreaterThan(1n);
  await group.stop();
});

test("a leader does not apply what only the others' disks have", async () => {
  const { group, leader, follower } = await ledGroup();
  leader.log.held = true;
  const answer = leader.node.propose(bytesOf("x"));
  await group.clock.advance(300);
  expect(follower.machine.commands).toEqual(["x"]);
  expect(leader.machine.commands).toEqual([]);
  leader.log.held = false;
  leader.log.release();
  await group.settled(answer);
  expect(leader.machine.commands).toEqual(["x"]);
  await group.stop();
});

test("a follower acknowledges entries only when they are durable", async () => {
  const { group, leader, follower } = await ledGroup();
  await group.propose(leader.id, "x");
  const durable = at(follower.events, /^durable append entries/);
  const acknowledged = at(follower.events, /^send MsgAppendResponse/);
  expect(durable).toBeGreaterThanOrEqual(0);
  expect(acknowledged).toBeGreaterThan(durable);
  await group.stop();
});

test("the next Ready goes to the disk while the one before is still on its way, and its acknowledgement waits for both", async () => {
  const { group, leader, follower } = await ledGroup();
  follower.log.held = true;
  const { index: x } = await proposed(group, leader, "x");
  const { index: y } = await proposed(group, leader, "y");
  const waiting = follower.log.waiting.filter((write) => write.includes("entries"));
  expect(waiting).toHaveLength(2);
  expect(follower.node.status().readysInFlight).toBeGreaterThanOrEqual(2);
  expect(count(follower.events, /^send MsgAppendResponse/)).toBe(0);
  follower.log.release(1);
  await group.clock.settle();
  expect(acknowledged(follower)).toEqual([x]);
  follower.log.held = false;
  follower.log.release();
  await group.clock.settle();
  expect(acknowledged(follower)).toEqual([x, y]);
  await group.stop();
});

test("heartbeats are answered although the disk stands still", async () => {
  const { group, follower } = await ledGroup();
  follower.log.held = true;
  const leader = group.leader();
  await group.propose(leader?.id ?? 0n, "x");
  follower.events.length = 0;
  await group.clock.advance(500);
  expect(count(follower.events, /^send MsgHeartbeatResponse/)).toBeGreaterThanOrEqual(4);
  expect(count(follower.events, /^send MsgAppendResponse/)).toBe(0);
  follower.log.held = false;
  follower.log.release();
  await group.stop();
});

test("a slow state machine holds up neither the disk nor the others", async () => {
  const { group, leader } = await ledGroup();
  let open = () => {};
  leader.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  const answers = ["a", "b", "c"].map((text) => leader.node.propose(bytesOf(text)));
  await group.clock.settle();
  const more = leader.node.propose(bytesOf("d"));
  await group.clock.advance(300);
  expect(count(leader.events, /^durable append entries/)).toBeGreaterThanOrEqual(2);
  expect(leader.node.status().commit).toBe(leader.node.status().lastIndex);
  expect(leader.machine.commands).toEqual([]);
  expect(leader.node.isLeader).toBe(true);
  leader.machine.gate = undefined;
  open();
  await group.settled(Promise.all([...answers, more]));
  expect(leader.machine.commands).toEqual(["a", "b", "c", "d"]);
  await group.stop();
});

test("what was committed while the state machine was busy is applied in one batch", async () => {
  const { group, leader } = await ledGroup();
  let open = () => {};
  leader.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  const first = leader.node.propose(bytesOf("first"));
  await group.clock.settle();
  const rest: Promise<unknown>[] = [];
  for (const text of ["a", "b", "c"]) {
    rest.push(leader.node.propose(bytesOf(text)));
    await group.clock.settle();
  }
  leader.machine.batches.length = 0;
  leader.machine.gate = undefined;
  open();
  await group.settled(Promise.all([first, ...rest]));
  expect(leader.machine.batches).toEqual([1, 3]);
  await group.stop();
});

test("a membership is durable, then in force, before its entry counts as applied", async () => {
  const { group, leader } = await ledGroup();
  const change = leader.node.addLearner(4n, "node-4:7000");
  await group.settled(change);
  const { index } = await change;
  const durable = at(leader.events, new RegExp(`^durable membership=${index}`));
  const inForce = at(leader.events, /^setMembers .*4/);
  const applied = at(leader.events, new RegExp(`^applied ${index}`));
  expect(durable).toBeGreaterThanOrEqual(0);
  expect(inForce).toBeGreaterThan(durable);
  expect(applied).toBeGreaterThan(inForce);
  await group.stop();
});

test("commands after a membership change are not applied before it is in force", async () => {
  const { group, leader } = await ledGroup();
  const before = leader.node.propose(bytesOf("before"));
  const change = leader.node.addLearner(4n, "node-4:7000");
  await group.clock.settle();
  const after = leader.node.propose(bytesOf("after"));
  await group.settled(Promise.all([before, change, after]));
  const [first, second, last] = [(await before).index, (await change).index, (await after).index];
  expect([second - first, last - second]).toEqual([1n, 1n]);
  const inForce = at(leader.events, /^setMembers .*4/);
  expect(at(leader.events, new RegExp(`^applied ${first}`))).toBeLessThan(inForce);
  expect(at(leader.events, new RegExp(`^applied ${last}`))).toBeGreaterThan(inForce);
  await group.stop();
});

test("a node takes no more than its limit of Readys while the disk stands still, and goes on when it moves", async () => {
  const group = await Group.led([1n], { limits: { maxReadysInFlight: 3 } });
  const { node, log } = group.at(1n);
  log.held = true;
  const answers: Promise<unknown>[] = [];
  for (let n = 0; n < 6; n += 1) {
    answers.push(node.propose(bytesOf(`${n}`)));
    await group.clock.settle();
  }
  expect(node.status().readysInFlight).toBe(3);
  expect(log.waiting).toHaveLength(3);
  log.held = false;
  log.release();
  // Without time passing: what waited is taken up at once.
  await group.clock.settle();
  await Promise.all(answers);
  expect(group.at(1n).machine.commands).toEqual(["0", "1", "2", "3", "4", "5"]);
  await group.stop();
});

test("an acknowledgement does not wait for a commit index that may be written lazily", async () => {
  const { group, leader, follower } = await ledGroup();
  follower.log.held = true;
  await group.propose(leader.id, "x");
  // The entry, and then the commit index of it alone.
  expect(follower.log.waiting).toHaveLength(2);
  follower.log.release(1);
  await group.clock.settle();
  expect(follower.log.waiting).toHaveLength(1);
  expect(follower.node.status().readysInFlight).toBe(0);
  expect(count(follower.events, /^send MsgAppendResponse/)).toBe(2);
  follower.log.held = false;
  follower.log.release();
  await group.stop();
});

test("a node whose disk stands still turns messages away instead of piling them up, and catches up later", async () => {
  const group = await Group.led(IDS, { limits: { maxReadysInFlight: 2, inboxCapacityMessages: 5 } });
  const leader = group.leader();
  const follower = group.stations.find(({ node }) => !node.isLeader);
  if (leader === undefined || follower === undefined) throw new Error("no group");
  await group.clock.advance(300);
  follower.log.held = true;
  const texts = Array.from({ length: 20 }, (_, n) => `c${n}`);
  for (const text of texts) await group.propose(leader.id, text);
  expect(follower.node.status().inboxMessages).toBe(5);
  expect(follower.node.status().readysInFlight).toBe(2);
  expect(follower.node.metrics.counters.inboxRejections).toBeGreaterThan(0);
  follower.log.held = false;
  follower.log.release();
  await group.clock.advance(1_000);
  expect(follower.machine.commands).toEqual(texts);
  await group.stop();
});
