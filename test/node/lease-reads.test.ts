// Reads that ask nobody: by the leader's lease, and by what this node was vouched for a bounded time ago. Real nodes on
// ports in memory; the clock is moved by hand, and at every step nobody may be served what another leader made stale.

import { expect, test } from "vitest";
import { MessageType } from "../../src/gen/eraftpb_pb.js";
import type { RaftNode } from "../../src/node/raft-node.js";
import { Ticker } from "../../src/node/ticker.js";
import { ManualClock } from "../support/node-clock.js";
import { ELECTION_MS, errorOf, Group, TICK_MS } from "../support/node-harness.js";
import { bytesOf } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];
const LEASE_MS = 5 * TICK_MS;

async function leasedGroup(leaseReads = true) {
  const group = await Group.led(IDS, { leaseReads });
  await group.clock.advance(300);
  const leader = group.leader();
  const [follower, other] = group.stations.filter(({ node }) => !node.isLeader);
  if (leader === undefined || follower === undefined || other === undefined) throw new Error("no group");
  return { group, leader, follower, other };
}

/** Whether a read by lease is served without any time passing and without a message. */
async function servedAtOnce(group: Group, node: RaftNode): Promise<boolean> {
  const before = node.metrics.counters.readsWithoutRound;
  node.readIndex({ lease: true, deadlineMs: 1 }).catch(() => undefined);
  await group.clock.settle();
  return node.metrics.counters.readsWithoutRound > before;
}

async function read(group: Group, node: RaftNode): Promise<void> {
  const answer = node.readIndex();
  await group.settled(answer);
  await answer;
}

test("after one round the leader answers by its lease, for as long as that lasts", async () => {
  const { group, leader } = await leasedGroup();
  expect(await servedAtOnce(group, leader.node)).toBe(false);
  await read(group, leader.node);
  expect(await servedAtOnce(group, leader.node)).toBe(true);
  await group.clock.advance(LEASE_MS - TICK_MS);
  expect(await servedAtOnce(group, leader.node)).toBe(true);
  await group.clock.advance(TICK_MS);
  expect(await servedAtOnce(group, leader.node)).toBe(false);
  await group.stop();
});

test("without leases enabled, on a follower, and for reads that do not ask for it, a round is asked", async () => {
  const plain = await leasedGroup(false);
  await read(plain.group, plain.leader.node);
  expect(await servedAtOnce(plain.group, plain.leader.node)).toBe(false);
  await plain.group.stop();

  const { group, leader, follower } = await leasedGroup();
  await read(group, leader.node);
  await read(group, follower.node);
  expect(await servedAtOnce(group, follower.node)).toBe(false);
  const rounds = leader.node.metrics.counters.readRounds;
  await read(group, leader.node);
  expect(leader.node.metrics.counters.readRounds).toBe(rounds + 1);
  await group.stop();
});

test("a leader that is cut off stops answering before anybody else can lead", async () => {
  for (let offset = 0; offset < TICK_MS; offset += 20) {
    const { group, leader } = await leasedGroup();
    await group.clock.advance(offset);
    await read(group, leader.node);
    expect(await servedAtOnce(group, leader.node)).toBe(true);
    group.network.filter = ({ from, to }) => from !== leader.id && to !== leader.id;
    let served = 0;
    let others = 0;
    for (let step = 0; step < 60; step += 1) {
      await group.clock.advance(TICK_MS / 2);
      const another = group.stations.some(({ node, id }) => id !== leader.id && node.isLeader);
      if (await servedAtOnce(group, leader.node)) {
        expect(another, `offset ${offset}, step ${step}`).toBe(false);
        served += 1;
      }
      if (another) others += 1;
    }
    expect(served).toBeGreaterThan(5);
    expect(others).toBeGreaterThan(0);
    group.network.heal();
    await group.stop();
  }
});

/** The lease of a leader whose follower is restarted while a rival campaigns `ticks` after it was cut off. */
async function restartUnderLease(ticks: number): Promise<{ readonly withheld: number }> {
  const { group, leader, follower } = await leasedGroup();
  // A second term, so that the restart is not the first start of a group.
  const moving = leader.node.transferLeadership(follower.id);
  await group.settled(moving);
  const now = await group.elect();
  const [helper, rival] = group.stations.filter(({ id }) => id !== now.id);
  if (helper === undefined || rival === undefined) throw new Error("no followers");
  group.network.filter = ({ from, to }) => from !== rival.id && to !== rival.id;
  await group.clock.advance(ELECTION_MS + ticks * TICK_MS);
  await read(group, now.node);
  const restarted = await group.restart(group.crash(helper.id));
  // From here on only the rival and the restarted node hear each other.
  group.network.filter = ({ from, to }) => from !== now.id && to !== now.id;
  for (let step = 0; step < ELECTION_MS / TICK_MS; step += 1) {
    if (await servedAtOnce(group, now.node)) expect(rival.node.isLeader, `${ticks} ticks`).toBe(false);
    await group.clock.advance(TICK_MS);
  }
  const withheld = restarted.node.metrics.counters.messagesDropped;
  await group.clock.advance(4 * ELECTION_MS);
  expect([rival.node.isLeader, restarted.node.isLeader]).toContain(true);
  group.network.heal();
  await group.stop();
  return { withheld };
}

test("a follower that was restarted in between does not help to break a lease that it granted", async () => {
  let withheld = 0;
  for (let ticks = 0; ticks < 20; ticks += 1) withheld += (await restartUnderLease(ticks)).withheld;
  expect(withheld).toBeGreaterThan(0);
});

test("a leader that hands over has no lease any more, even if the handover fails", async () => {
  const { group, leader, follower } = await leasedGroup();
  await read(group, leader.node);
  group.network.filter = ({ msgType }) => msgType !== MessageType.MsgTimeoutNow;
  const handing = errorOf(leader.node.transferLeadership(follower.id, { deadlineMs: ELECTION_MS }));
  await group.clock.settle();
  expect(await servedAtOnce(group, leader.node)).toBe(false);
  await group.clock.advance(2 * ELECTION_MS);
  await handing;
  expect(leader.node.isLeader).toBe(true);
  await read(group, leader.node);
  expect(await servedAtOnce(group, leader.node)).toBe(false);
  await group.stop();
});

test("a change of members ends a lease; the next round begins another", async () => {
  const { group, leader } = await leasedGroup();
  await read(group, leader.node);
  const adding = leader.node.addLearner(4n, "node-4:7000");
  await group.settled(adding);
  await adding;
  expect(await servedAtOnce(group, leader.node)).toBe(false);
  await read(group, leader.node);
  expect(await servedAtOnce(group, leader.node)).toBe(true);
  await group.stop();
});

test("a bounded staleness is kept on any node: vouched for recently enough, or asked, or refused", async () => {
  const { group, leader, follower } = await leasedGroup(false);
  await read(group, follower.node);
  group.network.filter = ({ from, to }) => from !== follower.id && to !== follower.id;
  await group.clock.advance(500);
  const without = () => follower.node.metrics.counters.readsWithoutRound;
  await follower.node.readIndex({ maxStalenessMs: 1_000 });
  expect(without()).toBe(1);
  const refused = errorOf(follower.node.readIndex({ maxStalenessMs: 400, deadlineMs: 300 }));
  await group.clock.advance(300);
  expect((await refused).code).toBe("noLeader");
  group.network.heal();
  await group.clock.advance(2 * ELECTION_MS);
  const asked = follower.node.readIndex({ maxStalenessMs: 400 });
  await group.settled(asked);
  await asked;
  await follower.node.readIndex({ maxStalenessMs: 400 });
  expect(without()).toBe(2);
  expect(leader.node.metrics.counters.readsWithoutRound).toBe(0);
  await group.stop();
});

test("a lease is over after a standstill that is longer, whatever the ticks say that were counted", async () => {
  const { group, leader } = await leasedGroup();
  await read(group, leader.node);
  await group.clock.stall(LEASE_MS - TICK_MS);
  expect(await servedAtOnce(group, leader.node)).toBe(true);
  const { ticks } = leader.node.metrics.counters;
  await group.clock.stall(TICK_MS);
  expect(await servedAtOnce(group, leader.node)).toBe(false);
  await read(group, leader.node);
  // Nothing was counted yet: the read comes before the timers that are overdue.
  group.clock.jump(LEASE_MS);
  expect(await servedAtOnce(group, leader.node)).toBe(false);
  expect(leader.node.metrics.counters.ticks - ticks).toBeLessThan(LEASE_MS / TICK_MS);
  await group.stop();
});

test("a follower that stood still twice does not vote before the lease that it granted is over", async () => {
  const clock = new ManualClock();
  const maxTicksAtOnce = 2;
  const ticker = new Ticker({
    clock,
    tickIntervalMs: TICK_MS,
    maxTicksAtOnce,
    wake: () => {},
    stalled: () => {},
  });
  ticker.start();
  // Ticks are due when the heartbeat is taken in, and the timer is overdue again.
  await clock.stall(10 * TICK_MS);
  clock.jump(10 * TICK_MS);
  const takenInMs = clock.nowMs();
  let elapsed = ticker.take();
  await clock.stall(0);
  while (elapsed < ELECTION_MS / TICK_MS) {
    elapsed += ticker.take();
    if (elapsed < ELECTION_MS / TICK_MS) await clock.advance(TICK_MS / 10);
  }
  expect(clock.nowMs() - takenInMs).toBeGreaterThan(LEASE_MS);
  ticker.stop();
});

test("a read by lease sees what a follower has acknowledged or shown already", async () => {
  const { group, leader, follower } = await leasedGroup();
  await read(group, leader.node);
  let open = () => {};
  leader.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  const write = leader.node.propose(bytesOf("x"), { deadlineMs: 60_000 });
  await group.clock.advance(TICK_MS);
  // Committed, applied by the follower, and not yet by the leader.
  await read(group, follower.node);
  expect(follower.machine.commands).toEqual(["x"]);
  let served = false;
  const answer = leader.node.readIndex({ lease: true }).then(() => {
    served = true;
  });
  await group.clock.settle();
  expect([served, leader.machine.commands, leader.node.status().pendingReads]).toEqual([false, [], 1]);
  leader.machine.gate = undefined;
  open();
  await group.clock.settle();
  await answer;
  expect(leader.machine.commands).toEqual(["x"]);
  await write;
  await group.stop();
});
