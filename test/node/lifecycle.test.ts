// How a node starts, reports, breaks and ends. Real nodes on ports in memory; the test breaks the disk, the state
// machine and the clock.

import { expect, test } from "vitest";
import { addressOf, codeOf, ELECTION_MS, errorOf, Group, TICK_MS } from "../support/node-harness.js";
import { bytesOf } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];

async function ledGroup() {
  const group = await Group.led(IDS);
  await group.clock.advance(300);
  const leader = group.leader();
  const follower = group.stations.find(({ node }) => !node.isLeader);
  if (leader === undefined || follower === undefined) throw new Error("no group");
  return { group, leader, follower };
}

test("a node reports what it knows without waiting", async () => {
  const { group, leader, follower } = await ledGroup();
  await group.propose(leader.id, "x");
  await group.clock.advance(300);
  const status = leader.node.status();
  expect(status).toMatchObject({
    id: leader.id,
    clusterId: "test",
    state: "running",
    role: "leader",
    leaderId: leader.id,
    leaderAddress: `node-${leader.id}:7000`,
    member: true,
    promotable: true,
    pendingProposals: 0,
  });
  expect(status.progress.map(({ id }) => id)).toEqual(IDS);
  expect([status.commit, status.applied, status.persisted]).toEqual([
    status.lastIndex,
    status.lastIndex,
    status.lastIndex,
  ]);
  expect(follower.node.status()).toMatchObject({ role: "follower", leaderId: leader.id, progress: [] });
  expect(leader.node.metrics.counters.proposalsApplied).toBe(1);
  await group.stop();
});

test("listeners hear of leaders and roles, can be cancelled, and cannot break the node", async () => {
  const group = await Group.of(IDS);
  const heard: string[] = [];
  const { node } = group.at(1n);
  const cancel = node.on("leader", ({ leaderId, term }) => heard.push(`leader ${leaderId} in ${term}`));
  node.on("role", ({ role }) => heard.push(role));
  node.on("leader", () => {
    throw new Error("a listener of bad manners");
  });
  await group.elect();
  expect(heard.some((line) => line.startsWith("leader "))).toBe(true);
  cancel();
  cancel();
  const count = heard.filter((line) => line.startsWith("leader ")).length;
  group.network.isolate(group.leader()?.id ?? 1n);
  await group.clock.advance(4 * ELECTION_MS);
  expect(heard.filter((line) => line.startsWith("leader "))).toHaveLength(count);
  expect(node.status().state).toBe("running");
  await group.stop();
});

test("one may wait until a leader is known", async () => {
  const group = await Group.of(IDS);
  const early = codeOf(group.node(1n).leaderKnown({ deadlineMs: 10 }));
  const known = group.node(2n).leaderKnown();
  await group.clock.advance(20);
  expect(await early).toBe("noLeader");
  await group.elect();
  expect(await known).toBe(group.leader()?.id);
  expect(await group.node(2n).leaderKnown()).toBe(group.leader()?.id);
  await group.stop();
});

test("a leader that stops hands over first, so that the others need no election timeout", async () => {
  const { group, leader } = await ledGroup();
  await group.propose(leader.id, "x");
  const stopped = leader.node.stop();
  await group.clock.settle();
  await group.clock.advance(5);
  const next = group.stations.find(({ id, node }) => id !== leader.id && node.isLeader);
  expect(next).toBeDefined();
  await group.settled(stopped);
  await stopped;
  await leader.node.stopped;
  expect(leader.node.status().state).toBe("stopped");
  await group.propose(next?.id ?? 0n, "y");
  await group.stop();
});

test("a node closes its transport, its log and its state machine, in that order, and once", async () => {
  const { group, follower } = await ledGroup();
  follower.events.length = 0;
  const stopped = Promise.all([follower.node.stop(), follower.node.stop()]);
  await group.settled(stopped);
  await stopped;
  expect(follower.events.filter((event) => event.endsWith(".close") || event === "transport.close")).toEqual([
    "transport.close",
    "log.close",
    "machine.close",
  ]);
  await group.stop();
});

test("what is pending when a node stops ends with nodeStopped, and nothing new is taken", async () => {
  const { group, leader } = await ledGroup();
  group.network.filter = () => false;
  const write = codeOf(leader.node.propose(bytesOf("x"), { deadlineMs: 60_000 }));
  const read = codeOf(leader.node.readIndex({ deadlineMs: 60_000 }));
  await group.clock.settle();
  const stopped = leader.node.stop({ handOverMs: 100 });
  expect(await codeOf(leader.node.propose(bytesOf("y")))).toBe("nodeStopped");
  await group.settled(stopped);
  await stopped;
  expect(await write).toBe("nodeStopped");
  expect(await read).toBe("nodeStopped");
  expect(await codeOf(leader.node.readIndex())).toBe("nodeStopped");
  group.network.heal();
  await group.stop();
});

test("a command that is applied shortly after the handover is still answered", async () => {
  const { group, leader } = await ledGroup();
  let open = () => {};
  leader.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  const answer = leader.node.propose(bytesOf("last words"));
  await group.clock.settle();
  const stopped = leader.node.stop();
  await group.clock.advance(50);
  expect(leader.node.isLeader).toBe(false);
  open();
  await group.settled(Promise.all([answer, stopped]));
  expect((await answer).index).toBeGreaterThan(0n);
  await group.stop();
});

test("a snapshot that is being made, or waits to be, does not hold up the end", async () => {
  for (const when of ["waits", "is written"]) {
    const { group, leader } = await ledGroup();
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    if (when === "waits") leader.machine.gate = gate;
    else {
      leader.machine.snapshot = async () => ({
        appliedIndex: leader.machine.appliedIndex,
        write: async (sink) => {
          await gate;
          for (;;) await sink(bytesOf("without an end"));
        },
        release: () => leader.events.push("released"),
      });
    }
    await group.add(4n);
    const added = leader.node.addLearner(4n, addressOf(4n));
    added.catch(() => {});
    await group.clock.advance(500);
    if (when === "waits") leader.log.onSnapshotWanted(0n, 4n);
    const stopped = leader.node.stop({ handOverMs: 1, closeMs: 1_000 });
    await group.clock.advance(100);
    open();
    await group.settled(stopped);
    await stopped;
    if (when === "is written") expect(leader.events).toContain("released");
    await group.stop();
  }
});

test("a long replay leaves the event loop its turns", async () => {
  const group = await Group.led([1n], { limits: { maxApplyBatchEntries: 1 } });
  const { node, machine, events } = group.at(1n);
  const apply = machine.apply.bind(machine);
  machine.apply = (commands, appliedIndex) => {
    group.clock.jump(6);
    return apply(commands, appliedIndex);
  };
  events.length = 0;
  const turn = () => {
    events.push("turn");
    if (!machine.commands.includes("c9")) group.clock.soon(turn);
  };
  const answers = Array.from({ length: 10 }, (_, n) => node.propose(bytesOf(`c${n}`)));
  group.clock.soon(turn);
  await group.settled(Promise.all(answers));
  const order = events
    .filter((event) => event === "turn" || event.startsWith("applied"))
    .map((event) => event[0]);
  // Two of 6 ms, then a turn of everybody else.
  expect(order.join("")).toContain("aataataataa");
  await group.stop();
});

test("what does not close in time is named, and the rest is closed all the same", async () => {
  const { group, follower } = await ledGroup();
  follower.log.close = () => new Promise(() => {});
  const stopped = follower.node.stop({ closeMs: 200 }).then(
    () => undefined,
    (error: unknown) => error,
  );
  await group.settled(stopped);
  const error = await stopped;
  expect(error).toBeInstanceOf(AggregateError);
  expect(error instanceof AggregateError ? error.errors.map(String) : []).toEqual([
    "Error: the log did not close within 200 ms",
  ]);
  expect(follower.machine.closed).toBe(true);
  await follower.node.stopped;
});

test("a stopped node leaves no timer behind", async () => {
  const group = await Group.led([1n]);
  await group.propose(1n, "x");
  await group.stop();
  expect(group.clock.timerCount).toBe(0);
});

test("a failed disk write ends the node: nothing is acknowledged after it", async () => {
  const { group, leader } = await ledGroup();
  leader.log.held = true;
  const write = errorOf(leader.node.propose(bytesOf("x")));
  const read = codeOf(leader.node.readIndex({ deadlineMs: 60_000 }));
  group.network.filter = () => false;
  await group.clock.settle();
  const error = new Error("the disk is gone");
  leader.log.fail(error);
  leader.log.held = false;
  leader.log.release();
  await group.clock.settle();
  expect(await leader.node.fatal).toBe(error);
  expect((await write).code).toBe("outcomeUnknown");
  expect((await write).cause).toBe(error);
  expect(await read).toBe("readDropped");
  expect(leader.node.status().state).toBe("failed");
  expect(leader.warnings.join()).toContain("the disk is gone");
  leader.events.length = 0;
  await group.clock.advance(2 * ELECTION_MS);
  expect(leader.events.filter((event) => event.startsWith("send"))).toEqual([]);
  expect(await codeOf(leader.node.propose(bytesOf("y")))).toBe("nodeStopped");
  group.network.heal();
  await group.stop();
});

test("a follower whose disk fails acknowledges nothing, and the others go on without it", async () => {
  const { group, leader, follower } = await ledGroup();
  follower.log.fail(new Error("the disk is gone"));
  follower.events.length = 0;
  await group.propose(leader.id, "x");
  await group.clock.advance(300);
  expect(follower.events.filter((event) => event.startsWith("send MsgAppendResponse"))).toEqual([]);
  expect(follower.node.status().state).toBe("failed");
  expect(await group.propose(leader.id, "y")).toMatch(/^y@/);
  await group.stop();
});

test("a state machine that throws ends the node, and what it held up is in doubt", async () => {
  const { group, leader } = await ledGroup();
  leader.machine.poison = "poison";
  const answers = ["fine", "poison", "late"].map((text) => leader.node.propose(bytesOf(text)));
  const codes = Promise.all(answers.map(codeOf));
  await group.settled(codes);
  expect(await codes).toEqual(["outcomeUnknown", "outcomeUnknown", "outcomeUnknown"]);
  expect((await leader.node.fatal).message).toBe("poisoned by poison");
  await group.stop();
});

test("a state machine that answers too few commands ends the node", async () => {
  const group = await Group.led([1n]);
  const { node, machine } = group.at(1n);
  machine.apply = async () => [];
  const code = codeOf(node.propose(bytesOf("x")));
  await group.settled(code);
  expect(await code).toBe("outcomeUnknown");
  expect((await node.fatal).message).toContain("answered 0 of 1");
  await group.stop();
});

test("a stalled event loop starts no election against a leader that is alive", async () => {
  const { group, leader } = await ledGroup();
  const stalls: number[] = [];
  for (const { node } of group.stations) node.on("stall", ({ skippedTicks }) => stalls.push(skippedTicks));
  const { term } = leader.node.status();
  for (let times = 0; times < 5; times += 1) {
    await group.clock.stall(50 * TICK_MS);
    await group.clock.advance(3 * TICK_MS);
  }
  expect(leader.node.isLeader).toBe(true);
  expect(leader.node.status().term).toBe(term);
  expect(stalls.every((skipped) => skipped > 0)).toBe(true);
  expect(stalls).toHaveLength(15);
  expect(leader.warnings).toContain("the event loop stood still");
  await group.stop();
});

test("options that make no sense are refused by name", async () => {
  const start = (options: Parameters<typeof Group.led>[1]) => errorOf(Group.of([1n], options));
  expect((await start({ limits: { maxPendingReads: 0 } })).message).toContain("limits.maxPendingReads");
  expect((await start({ raft: { electionTick: 1 } })).message).toContain("electionTick");
  expect((await start({ tickIntervalMs: 0 })).message).toContain("tickIntervalMs");
  expect((await start({ compaction: { afterEntries: 1, keepEntries: 2 } })).message).toContain("keepEntries");
  expect((await errorOf(Group.of([0n]))).message).toContain("id must lie in");
});
