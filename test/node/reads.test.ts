// Linearizable reads: shared rounds, asked again when an answer may be lost, and never answered before what they
// must show is applied. Real nodes on ports in memory.

import { expect, test } from "vitest";
import { MessageType } from "../../src/gen/eraftpb_pb.js";
import { ELECTION_MS, errorOf, Group, type Station } from "../support/node-harness.js";
import { bytesOf } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];

async function ledGroup() {
  const group = await Group.led(IDS);
  await group.clock.advance(300);
  const leader = group.leader();
  const [follower, other] = group.stations.filter(({ node }) => !node.isLeader);
  if (leader === undefined || follower === undefined || other === undefined) throw new Error("no group");
  return { group, leader, follower, other };
}

async function read(group: Group, { node }: Station): Promise<bigint> {
  const answer = node.readIndex();
  await group.settled(answer);
  return answer;
}

test("a read on the leader and on a follower shows what was acknowledged before", async () => {
  const { group, leader, follower } = await ledGroup();
  const answer = leader.node.propose(bytesOf("x"));
  await group.settled(answer);
  const { index } = await answer;
  expect(await read(group, leader)).toBeGreaterThanOrEqual(index);
  expect(await read(group, follower)).toBeGreaterThanOrEqual(index);
  expect(follower.machine.commands).toEqual(["x"]);
  await group.stop();
});

test("a read waits until the state machine here has applied its index", async () => {
  const { group, leader, follower } = await ledGroup();
  let open = () => {};
  follower.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  await group.propose(leader.id, "x");
  let served = false;
  const answer = follower.node.readIndex().then(() => {
    served = true;
  });
  await group.clock.advance(500);
  expect(served).toBe(false);
  follower.machine.gate = undefined;
  open();
  await group.settled(answer);
  expect(follower.machine.commands).toEqual(["x"]);
  await group.stop();
});

test("reads that come together, and while a round is under way, share rounds", async () => {
  const { group, leader } = await ledGroup();
  const first = Array.from({ length: 50 }, () => leader.node.readIndex());
  await Promise.resolve();
  await group.settled(Promise.all(first));
  expect(leader.node.metrics.counters.readRounds).toBe(1);
  expect(leader.node.metrics.counters.readsServed).toBe(50);

  group.network.filter = (message) => message.msgType !== MessageType.MsgHeartbeat;
  const second = [leader.node.readIndex()];
  await group.clock.settle();
  for (let n = 0; n < 20; n += 1) {
    second.push(leader.node.readIndex());
    await group.clock.settle();
  }
  group.network.heal();
  await group.settled(Promise.all(second));
  // One under way, and one for all that came meanwhile; the lost one may have been asked again.
  expect(leader.node.metrics.counters.readRounds).toBeLessThanOrEqual(4);
  await group.stop();
});

test("a read whose answer was lost on the network is asked again", async () => {
  const { group, follower } = await ledGroup();
  let lost = 0;
  group.network.filter = (message) => {
    if (message.msgType !== MessageType.MsgReadIndexResp || lost > 0) return true;
    lost += 1;
    return false;
  };
  const answer = follower.node.readIndex({ deadlineMs: 10 * ELECTION_MS });
  await group.settled(answer);
  await answer;
  expect(lost).toBe(1);
  expect(follower.node.metrics.counters).toMatchObject({ readRounds: 2, slowReadRounds: 1, readsFailed: 0 });
  await group.stop();
});

test("a late answer to the first asking does not vouch for reads that came after it", async () => {
  const { group, leader, follower } = await ledGroup();
  const contexts = new Set<string>();
  group.network.filter = (message) => {
    if (message.msgType !== MessageType.MsgReadIndex) return true;
    contexts.add(Buffer.from(message.entries[0]?.data ?? new Uint8Array(0)).toString("hex"));
    return false;
  };
  const answer = follower.node.readIndex({ deadlineMs: 20 * ELECTION_MS });
  await group.clock.advance(3 * ELECTION_MS);
  expect(contexts.size).toBeGreaterThanOrEqual(3);
  for (const context of contexts) expect(context).toHaveLength(32);
  group.network.heal();
  await group.settled(answer);
  expect(await answer).toBe(leader.node.status().commit);
  await group.stop();
});

test("a read that waits when the leader dies is served by the next one", async () => {
  const { group, leader, follower } = await ledGroup();
  group.network.isolate(leader.id);
  const answer = follower.node.readIndex({ deadlineMs: 20 * ELECTION_MS });
  await group.settled(answer);
  await answer;
  expect(follower.node.leaderId).not.toBe(leader.id);
  await group.stop();
});

test("a leader that is cut off serves no read, and ends those that wait as soon as it knows", async () => {
  const { group, leader, other } = await ledGroup();
  group.network.isolate(leader.id);
  const stale = errorOf(leader.node.readIndex({ deadlineMs: 60 * ELECTION_MS }));
  await group.clock.advance(3 * ELECTION_MS);
  expect(leader.node.isLeader).toBe(false);
  expect(leader.node.status().pendingReads).toBe(0);
  const next = group.stations.find(({ id, node }) => id !== leader.id && node.isLeader);
  await group.propose(next?.id ?? other.id, "unseen");
  await group.clock.advance(3 * ELECTION_MS);
  expect([(await stale).code, (await stale).message]).toEqual([
    "noLeader",
    "this node lost its leadership before a majority confirmed the read: it may be cut off; ask another node",
  ]);
  expect(leader.machine.commands).toEqual([]);
  await group.stop();
});

test("a leader's own read under way when it hands over is served by its successor", async () => {
  const { group, leader, other } = await ledGroup();
  group.network.filter = ({ msgType }) => msgType !== MessageType.MsgHeartbeatResponse;
  const answer = leader.node.readIndex({ deadlineMs: 20 * ELECTION_MS });
  await group.clock.settle();
  const moved = leader.node.transferLeadership(other.id);
  await group.clock.settle();
  group.network.heal();
  await group.settled(answer);
  expect(await moved).toBe(other.id);
  expect(await answer).toBe(other.node.status().commit);
  await group.stop();
});

test("a read without any leader ends with noLeader at its deadline", async () => {
  const group = await Group.of(IDS);
  group.network.filter = () => false;
  const { node } = group.at(1n);
  const error = errorOf(node.readIndex({ deadlineMs: 250 }));
  await group.clock.advance(300);
  expect((await error).code).toBe("noLeader");
  expect((await error).message).toContain("no leader was known");
  expect(node.status().pendingReads).toBe(0);
  expect(node.metrics.counters.readsFailed).toBe(1);
  await group.stop();
});

test("a read that is confirmed and not applied in time says so", async () => {
  const { group, leader, follower } = await ledGroup();
  let open = () => {};
  follower.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  await group.propose(leader.id, "x");
  const error = errorOf(follower.node.readIndex({ deadlineMs: 300 }));
  await group.clock.advance(400);
  expect((await error).code).toBe("deadlineExceeded");
  follower.machine.gate = undefined;
  open();
  await group.stop();
});

test("more reads than the limit are refused", async () => {
  const group = await Group.led(IDS, { limits: { maxPendingReads: 2 } });
  const { node } = group.at(1n);
  const served = [node.readIndex(), node.readIndex()];
  expect((await errorOf(node.readIndex())).code).toBe("inboxFull");
  await group.settled(Promise.all(served));
  await group.stop();
});

test("a caller's signal ends a read", async () => {
  const { group, follower } = await ledGroup();
  const caller = new AbortController();
  const error = errorOf(follower.node.readIndex({ signal: caller.signal }));
  caller.abort();
  expect((await error).code).toBe("aborted");
  expect(follower.node.status().pendingReads).toBe(0);
  await group.stop();
});

test("a new leader serves reads only with what its predecessor acknowledged", async () => {
  const { group, leader, follower } = await ledGroup();
  await group.propose(leader.id, "acknowledged");
  group.network.isolate(leader.id);
  await group.clock.advance(3 * ELECTION_MS);
  const answer = follower.node.readIndex({ deadlineMs: 10 * ELECTION_MS });
  await group.settled(answer);
  await answer;
  expect(follower.machine.commands).toEqual(["acknowledged"]);
  await group.stop();
});

test("a read that waits without a leader is asked as soon as there is one", async () => {
  const { group, leader, follower } = await ledGroup();
  group.network.isolate(leader.id);
  await group.clock.advance(100);
  let servedMs: number | undefined;
  let knownMs: number | undefined;
  follower.node.on("leader", ({ leaderId }) => {
    if (leaderId !== undefined) knownMs = group.clock.nowMs();
  });
  // Late enough that its own second asking would come long after the election.
  while (follower.node.leaderId === leader.id) await group.clock.advance(10);
  const answer = follower.node.readIndex({ deadlineMs: 20 * ELECTION_MS }).then(() => {
    servedMs = group.clock.nowMs();
  });
  await group.settled(answer);
  expect(knownMs).toBeDefined();
  expect(servedMs).toBe(knownMs);
  await group.stop();
});

test("a read under way when leadership moves is asked again at once", async () => {
  const { group, leader, follower, other } = await ledGroup();
  group.network.filter = ({ msgType }) => msgType !== MessageType.MsgReadIndexResp;
  const answer = follower.node.readIndex({ deadlineMs: 20 * ELECTION_MS });
  await group.clock.settle();
  group.network.heal();
  const moved = leader.node.transferLeadership(other.id);
  // No time passes.
  await group.clock.settle();
  expect(await moved).toBe(other.id);
  expect(await answer).toBe(other.node.status().commit);
  await group.stop();
});
