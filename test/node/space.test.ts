// What a node does while there is little room for its log: it refuses what needs more, takes what makes room, cuts its
// log, and goes on by itself as soon as there is room. Real nodes on ports in memory; the test says how much room there is.

import { expect, test } from "vitest";
import type { SpaceState } from "../../src/node/ports.js";
import { codeOf, errorOf, Group } from "../support/node-harness.js";
import { bytesOf, textOf } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];

async function ledGroup(options = {}) {
  const group = await Group.led(IDS, options);
  await group.clock.advance(300);
  const leader = group.leader();
  const [follower, other] = group.stations.filter(({ node }) => !node.isLeader);
  if (leader === undefined || follower === undefined || other === undefined) throw new Error("no group");
  return { group, leader, follower, other };
}

test("a full leader refuses commands, and takes those that make room", async () => {
  const { group, leader } = await ledGroup();
  leader.log.space.found("full");
  const error = await errorOf(leader.node.propose(bytesOf("more")));
  expect(error.code).toBe("noSpace");
  expect(error.message).toMatch(/free disk space or raise the quota/);
  const answer = leader.node.propose(bytesOf("less"), { essential: true });
  await group.settled(answer);
  expect(textOf((await answer).result)).toMatch(/^less@/);
  leader.log.space.found("exhausted");
  expect(await codeOf(leader.node.propose(bytesOf("less"), { essential: true }))).toBe("noSpace");
  await group.stop();
});

test("a full leader goes on reading and changing the membership", async () => {
  const { group, leader, follower } = await ledGroup();
  leader.log.space.found("full");
  const read = leader.node.readIndex();
  await group.settled(read);
  expect(await read).toBeGreaterThan(0n);
  const removed = leader.node.removeNode(follower.id);
  await group.settled(removed);
  expect((await removed).voters).toHaveLength(2);
  await group.stop();
});

test("commands are taken again when there is room, and listeners hear of both", async () => {
  const { group, leader } = await ledGroup();
  const told: SpaceState[] = [];
  leader.node.on("space", ({ state }) => told.push(state));
  for (const state of ["full", "full", "ok", "ok"] as const) leader.log.space.found(state);
  expect(told).toEqual(["full", "ok"]);
  expect(leader.node.status().space).toBe("ok");
  expect(await group.propose(leader.id, "more")).toMatch(/^more@/);
  await group.stop();
});

test("while space is short the log is cut below its usual tail, more of it at every look", async () => {
  const { group, leader } = await ledGroup({ compaction: { afterEntries: 1000, keepEntries: 8 } });
  for (let nth = 0; nth < 20; nth += 1) await group.propose(leader.id, `c${nth}`);
  const kept: number[] = [];
  for (let looks = 0; looks < 5; looks += 1) {
    leader.log.space.found("full");
    await group.clock.advance(100);
    const { firstIndex, applied } = leader.node.status();
    kept.push(Number(applied - firstIndex) + 1);
  }
  expect(kept).toEqual([4, 2, 1, 0, 0]);
  leader.log.space.found("ok");
  expect(await group.propose(leader.id, "more")).toMatch(/^more@/);
  await group.stop();
});

test("a full follower takes what the leader sends, an exhausted one does not until there is room", async () => {
  const { group, leader, follower } = await ledGroup();
  follower.log.space.found("full");
  await group.propose(leader.id, "a");
  await group.clock.advance(300);
  expect(follower.machine.commands).toEqual(["a"]);
  follower.log.space.found("exhausted");
  const lastIndex = follower.node.status().lastIndex;
  await group.propose(leader.id, "b");
  await group.clock.advance(3_000);
  expect(follower.node.status()).toMatchObject({ lastIndex, leaderId: leader.id, state: "running" });
  follower.log.space.found("ok");
  await group.clock.advance(3_000);
  expect(follower.machine.commands).toEqual(["a", "b"]);
  await group.stop();
});
