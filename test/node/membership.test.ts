// Membership changes as an operator meets them: a node joins as a learner, is promoted, is removed; what would be
// dangerous is refused with a reason. Real nodes on ports in memory.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  ConfChangeTransition,
  ConfChangeType,
  ConfChangeV2Schema,
  ConfStateSchema,
  MessageType,
} from "../../src/gen/eraftpb_pb.js";
import { NodeRemoved, type RaftNodeError } from "../../src/node/errors.js";
import type { Membership } from "../../src/node/membership.js";
import { addressOf, ELECTION_MS, errorOf, Group, type Station } from "../support/node-harness.js";
import { bytesOf } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];

async function refusalOf(group: Group, promise: Promise<unknown>): Promise<RaftNodeError> {
  const error = errorOf(promise);
  await group.settled(error);
  return error;
}

async function done(group: Group, change: Promise<Membership>): Promise<Membership> {
  await group.settled(change);
  return change;
}

async function ledGroup(ids: readonly bigint[] = IDS) {
  const group = await Group.led(ids);
  await group.clock.advance(300);
  const leader = group.leader();
  if (leader === undefined) throw new Error("no leader");
  const followers = group.stations.filter(({ node }) => !node.isLeader);
  return { group, leader, followers };
}

function first(stations: readonly Station[]): Station {
  const [station] = stations;
  if (station === undefined) throw new Error("there is none");
  return station;
}

test("a blank node is added as a learner, catches up by a snapshot, is promoted and leads", async () => {
  const { group, leader } = await ledGroup();
  for (const text of ["a", "b", "c"]) await group.propose(leader.id, text);
  const blank = await group.add(4n);
  expect(blank.node.status()).toMatchObject({ role: "follower", member: false, promotable: false });

  const added = await done(group, leader.node.addLearner(4n, addressOf(4n)));
  expect(added.learners).toEqual([4n]);
  expect(added.addresses.get(4n)).toBe(addressOf(4n));
  await group.clock.advance(ELECTION_MS);
  expect(blank.machine.commands).toEqual(["a", "b", "c"]);
  expect(blank.machine.restoredAt).toHaveLength(1);
  expect(blank.node.status()).toMatchObject({ role: "learner", member: true });
  expect(blank.node.membership.addresses.get(leader.id)).toBe(addressOf(leader.id));

  const promoted = await done(group, leader.node.promote(4n));
  expect(promoted.voters).toEqual([1n, 2n, 3n, 4n]);
  await group.clock.advance(300);
  const moved = leader.node.transferLeadership(4n);
  await group.settled(moved);
  expect(await moved).toBe(4n);
  expect(blank.node.isLeader).toBe(true);
  expect(await group.propose(4n, "d")).toMatch(/^d@/);
  await group.stop();
});

test("a leader that has just been elected does not refuse a change, but waits until it may take one", async () => {
  const { group, leader, followers } = await ledGroup();
  const next = first(followers);
  let change: Promise<Membership> | undefined;
  next.node.on("role", ({ role }) => {
    if (role === "leader") change = next.node.addLearner(9n, addressOf(9n), { deadlineMs: 5_000 });
  });
  // What the next leader has in its log when it is elected, and does not know to be committed.
  const write = leader.node.propose(bytesOf("x"));
  const transfer = leader.node.transferLeadership(next.id);
  await group.settled(Promise.all([write, transfer]));
  if (change === undefined) throw new Error("it never led");
  expect((await done(group, change)).learners).toEqual([9n]);
  await group.stop();
});

test("what is wrong with a change is said at once, also by a leader that may not take one yet", async () => {
  const group = await Group.of(IDS);
  let refusal: Promise<RaftNodeError> | undefined;
  for (const { node } of group.stations) {
    node.on("role", ({ role }) => {
      if (role === "leader") refusal ??= errorOf(node.removeNode(9n));
    });
  }
  await group.elect();
  expect((await refusal)?.code).toBe("membershipRefused");
  await group.stop();
});

test("a removed node learns of it, stays up and disturbs nobody", async () => {
  const { group, leader, followers } = await ledGroup();
  const gone = first(followers);
  const told: boolean[] = [];
  gone.node.on("membership", ({ removed }) => told.push(removed));
  const after = await done(group, leader.node.removeNode(gone.id));
  expect(after.voters).not.toContain(gone.id);
  expect(after.addresses.has(gone.id)).toBe(false);
  await group.clock.advance(5 * ELECTION_MS);
  expect(told).toEqual([true]);
  expect(gone.node.status()).toMatchObject({ state: "running", member: false, role: "follower" });
  expect(leader.node.isLeader).toBe(true);
  expect(group.network.members.get(leader.id)?.has(gone.id)).toBe(false);
  await group.propose(leader.id, "x");
  expect(gone.machine.commands).toEqual([]);
  await group.stop();
});

test("a leader that removes itself steps down and the others go on", async () => {
  const { group, leader, followers } = await ledGroup();
  await done(group, leader.node.removeNode(leader.id));
  await group.clock.advance(4 * ELECTION_MS);
  expect(leader.node.isLeader).toBe(false);
  const next = group.stations.find(({ node }) => node.isLeader);
  expect(followers.map(({ id }) => id)).toContain(next?.id);
  expect(await group.propose(next?.id ?? 0n, "x")).toMatch(/^x@/);
  await group.stop();
});

test("several steps at once go through joint consensus, and the answer comes when it has been left", async () => {
  const { group, leader, followers } = await ledGroup();
  const gone = first(followers);
  await group.add(4n);
  const joint: boolean[] = [];
  leader.node.on("membership", ({ membership }) => joint.push(membership.votersOutgoing.length > 0));
  await done(group, leader.node.addLearner(4n, addressOf(4n)));
  await group.clock.advance(ELECTION_MS);
  const after = await done(
    group,
    leader.node.changeMembership([
      { type: "promote", id: 4n },
      { type: "remove", id: gone.id },
    ]),
  );
  expect(joint).toEqual([false, true, false]);
  expect(after.voters).toEqual([1n, 2n, 3n, 4n].filter((id) => id !== gone.id));
  expect(after.votersOutgoing).toEqual([]);
  await group.stop();
});

test("a second change while one is pending is refused and changes nothing", async () => {
  const { group, leader } = await ledGroup();
  const one = leader.node.addLearner(4n, addressOf(4n));
  const two = refusalOf(group, leader.node.addLearner(5n, addressOf(5n)));
  expect((await two).code).toBe("membershipRefused");
  expect((await two).message).toContain("another change is pending");
  expect((await one).learners).toEqual([4n]);
  // When the answer is there, the next one is welcome.
  expect((await done(group, leader.node.addLearner(5n, addressOf(5n)))).learners).toEqual([4n, 5n]);
  await group.stop();
});

test("changes that make no sense are refused before they reach the log", async () => {
  const { group, leader, followers } = await ledGroup();
  const { node } = leader;
  const lastIndex = node.status().lastIndex;
  const cases: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["is a member already", () => node.addLearner(2n, "elsewhere:1")],
    ["belongs to node 2", () => node.addLearner(4n, addressOf(2n))],
    ["needs an address", () => node.addLearner(4n, "")],
    ["is no node id", () => node.addLearner(0n, "a:1")],
    ["is no learner", () => node.promote(9n)],
    ["is a voter already", () => node.promote(2n)],
    ["is not a member", () => node.removeNode(9n)],
    ["at least one step", () => node.changeMembership([])],
    [
      "only once",
      () =>
        node.changeMembership([
          { type: "remove", id: 2n },
          { type: "addVoter", id: 2n, address: "b:1" },
        ]),
    ],
    [
      "the same address",
      () =>
        node.changeMembership([
          { type: "addLearner", id: 4n, address: "b:1" },
          { type: "addLearner", id: 5n, address: "b:1" },
        ]),
    ],
    [
      "at least one voter",
      () =>
        node.changeMembership(
          [1n, 2n, 3n].map((id) => ({ type: "remove" as const, id })),
          { force: true },
        ),
    ],
  ];
  for (const [why, change] of cases) {
    const error = await refusalOf(group, change());
    expect(error.message).toContain(why);
    expect(["membershipRefused", "invalidArgument"]).toContain(error.code);
  }
  const elsewhere = await refusalOf(group, first(followers).node.addLearner(4n, "d:1"));
  expect([elsewhere.code, elsewhere.leaderHint]).toEqual(["notLeader", leader.id]);
  expect(node.status().lastIndex).toBe(lastIndex);
  await group.stop();
});

test("a learner that lags is promoted only by force", async () => {
  const { group, leader } = await ledGroup();
  await done(group, leader.node.addLearner(4n, addressOf(4n)));
  const error = await refusalOf(group, leader.node.promote(4n));
  expect(error.code).toBe("membershipRefused");
  expect(error.message).toContain("has not caught up");
  const forced = await done(group, leader.node.promote(4n, { force: true }));
  expect(forced.voters).toEqual([1n, 2n, 3n, 4n]);
  await group.stop();
});

test("a removal that leaves too few answering voters needs force", async () => {
  const { group, leader, followers } = await ledGroup();
  const [up, down] = followers;
  if (up === undefined || down === undefined) throw new Error("too few");
  group.network.isolate(down.id);
  await group.clock.advance(2 * ELECTION_MS);
  const error = await refusalOf(group, leader.node.removeNode(up.id));
  expect(error.message).toContain("only 1 answer");
  expect((await done(group, leader.node.removeNode(down.id))).voters).toHaveLength(2);
  await group.stop();
});

test("a voter that nobody has heard of is not added to a group of one without force", async () => {
  const { group, leader } = await ledGroup([1n]);
  const add = { type: "addVoter", id: 2n, address: addressOf(2n) } as const;
  const error = await refusalOf(group, leader.node.changeMembership([add]));
  expect(error.message).toContain("add new ones as learners");
  await group.add(2n);
  const forced = await done(group, leader.node.changeMembership([add], { force: true }));
  expect(forced.voters).toEqual([1n, 2n]);
  await group.stop();
});

test("a member's new address reaches everybody", async () => {
  const { group, leader, followers } = await ledGroup();
  const moved = first(followers);
  await done(group, leader.node.updateAddress(moved.id, "elsewhere:1"));
  await group.clock.advance(300);
  for (const { id, node } of group.stations) {
    expect(node.membership.addresses.get(moved.id)).toBe("elsewhere:1");
    expect(node.membership.voters).toEqual(IDS);
    if (id !== moved.id) expect(group.network.members.get(id)?.get(moved.id)).toBe("elsewhere:1");
  }
  await group.stop();
});

test("an encoded change is proposed as it is and answered with the membership after it", async () => {
  const { group, leader } = await ledGroup();
  const change = create(ConfChangeV2Schema, {
    transition: ConfChangeTransition.Auto,
    changes: [{ type: ConfChangeType.AddLearnerNode, nodeId: 9n }],
    context: bytesOf("not a MembershipContext \u0001"),
  });
  const answer = leader.node.proposeConfChange(toBinary(ConfChangeV2Schema, change));
  await group.settled(answer);
  expect(fromBinary(ConfStateSchema, await answer).learners).toEqual([9n]);
  const garbled = await refusalOf(group, leader.node.proposeConfChange(Uint8Array.of(0xff, 0xff)));
  expect(garbled.code).toBe("invalidArgument");
  await group.stop();
});

test("a change that does not fit when it is applied is refused, and the group goes on", async () => {
  const { group, leader } = await ledGroup();
  // Two voters at once in one simple step: the core cannot carry that out.
  const change = create(ConfChangeV2Schema, {
    transition: ConfChangeTransition.Auto,
    changes: [{ type: ConfChangeType.RemoveNode, nodeId: 1n }],
  });
  const single = await ledGroup([1n]);
  const error = await refusalOf(
    single.group,
    single.leader.node.proposeConfChange(toBinary(ConfChangeV2Schema, change)),
  );
  expect(error.code).toBe("membershipRefused");
  expect(single.leader.node.status().state).toBe("running");
  expect(await single.group.propose(1n, "x")).toMatch(/^x@/);
  await single.group.stop();
  await group.stop();
  expect(leader.node.status().state).toBe("stopped");
});

test("leadership moves to the named voter, or to the one with most of the log", async () => {
  const { group, leader, followers } = await ledGroup();
  const [near, far] = followers;
  if (near === undefined || far === undefined) throw new Error("too few");
  group.network.isolate(far.id);
  await group.propose(leader.id, "x");
  await group.clock.advance(300);
  group.network.heal();
  const moved = leader.node.transferLeadership();
  await group.settled(moved);
  expect(await moved).toBe(near.id);
  await group.clock.advance(300);
  const back = far.node.transferLeadership(leader.id);
  await group.settled(back);
  expect(await back).toBe(leader.id);
  expect(await leader.node.transferLeadership(leader.id)).toBe(leader.id);
  await group.stop();
});

test("leadership is not handed to strangers, nor to two nodes at once", async () => {
  const { group, leader, followers } = await ledGroup();
  const [one, two] = followers;
  if (one === undefined || two === undefined) throw new Error("too few");
  expect((await refusalOf(group, leader.node.transferLeadership(9n))).code).toBe("invalidArgument");
  expect((await refusalOf(group, one.node.transferLeadership())).code).toBe("notLeader");
  group.network.filter = () => false;
  const pending = leader.node.transferLeadership(one.id, { deadlineMs: 200 });
  const late = refusalOf(group, pending);
  const other = await refusalOf(group, leader.node.transferLeadership(two.id));
  expect([other.code, other.reason]).toEqual(["proposalDropped", "transferInProgress"]);
  expect((await late).code).toBe("deadlineExceeded");
  group.network.heal();
  await group.stop();
});

test("a transfer that raft gave up is asked for again until the deadline", async () => {
  const { group, leader, followers } = await ledGroup();
  const target = first(followers);
  group.network.filter = ({ msgType }) => msgType !== MessageType.MsgTimeoutNow;
  const moved = leader.node.transferLeadership(target.id);
  await group.clock.advance(1.05 * ELECTION_MS);
  expect(leader.node.status().transferringTo).toBeUndefined();
  group.network.heal();
  await group.settled(moved);
  expect(await moved).toBe(target.id);
  await group.stop();
});

test("while a joint configuration is to be left by hand, other changes are refused", async () => {
  const { group, leader } = await ledGroup();
  const propose = async (change: MessageInitShape<typeof ConfChangeV2Schema>) => {
    const answer = leader.node.proposeConfChange(
      toBinary(ConfChangeV2Schema, create(ConfChangeV2Schema, change)),
    );
    await group.settled(answer);
    return fromBinary(ConfStateSchema, await answer);
  };
  const joint = await propose({
    transition: ConfChangeTransition.Explicit,
    changes: [{ type: ConfChangeType.AddLearnerNode, nodeId: 4n }],
  });
  expect(joint.votersOutgoing).toHaveLength(3);
  const error = await refusalOf(group, leader.node.addLearner(5n, addressOf(5n)));
  expect([error.code, error.message]).toEqual([
    "membershipRefused",
    "another change is pending: joint consensus is under way",
  ]);
  expect((await propose({})).votersOutgoing).toEqual([]);
  expect((await done(group, leader.node.addLearner(5n, addressOf(5n)))).learners).toEqual([4n, 5n]);
  await group.stop();
});

test("a removed node is turned away at the door, until it is added again; strangers are not", async () => {
  const { group, leader, followers } = await ledGroup();
  const gone = first(followers);
  const door = group.network.inboxOf(leader.id);
  expect([door.admits(gone.id), door.admits(9n), door.admits(leader.id)]).toEqual([true, true, false]);
  await done(group, leader.node.removeNode(gone.id));
  expect(door.admits(gone.id)).toBe(false);
  await done(group, leader.node.addLearner(gone.id, addressOf(gone.id)));
  expect(door.admits(gone.id)).toBe(true);
  await group.stop();
  expect(door.admits(9n)).toBe(false);
});

test("a removed node that still runs refuses calls and says why, until it is added again", async () => {
  const { group, leader, followers } = await ledGroup();
  const gone = first(followers);
  await done(group, leader.node.removeNode(gone.id));
  await group.clock.advance(300);
  expect(gone.warnings).toContain("this node was removed from its group: it only waits to be stopped");
  for (const call of [gone.node.propose(bytesOf("x")), gone.node.readIndex(), gone.node.requestSnapshot()]) {
    const error = await errorOf(call);
    expect([error.code, error.message]).toEqual([
      "nodeStopped",
      "the node stopped; it was removed from its group and takes no part any more; nothing was done; go to another node",
    ]);
  }
  await done(group, leader.node.addLearner(gone.id, addressOf(gone.id)));
  await group.clock.advance(ELECTION_MS);
  const read = gone.node.readIndex();
  await group.settled(read);
  expect(await read).toBeGreaterThan(0n);
  await group.stop();
});

test("what waits on a node when it is removed ends at once, and its own removal is answered", async () => {
  const { group, leader, followers } = await ledGroup();
  const gone = first(followers);
  group.network.filter = ({ msgType }) => msgType !== MessageType.MsgReadIndex;
  const read = errorOf(gone.node.readIndex({ deadlineMs: 60_000 }));
  await done(group, leader.node.removeNode(gone.id));
  await group.settled(read, 3);
  expect([(await read).code, (await read).message]).toEqual([
    "nodeStopped",
    "the node stopped; it was removed from its group and takes no part any more; go to another node",
  ]);

  group.network.filter = ({ to }) => to !== leader.id;
  const removal = leader.node.removeNode(leader.id, { force: true });
  await group.clock.settle();
  const command = errorOf(leader.node.propose(bytesOf("x"), { deadlineMs: 60_000 }));
  await group.clock.settle();
  group.network.heal();
  await group.settled(command, 3);
  expect((await removal).voters).not.toContain(leader.id);
  expect([(await command).code, (await command).message]).toEqual([
    "nodeStopped",
    "the node stopped; it was removed from its group and takes no part any more; " +
      "what was proposed before may or may not be applied; go to another node",
  ]);
  await group.stop();
});

test("a removed node remembers it over a restart and a crash, and refuses to start with a sentence", async () => {
  const { group, leader, followers } = await ledGroup();
  const gone = first(followers);
  await done(group, leader.node.removeNode(gone.id));
  await group.clock.advance(300);
  const crashed = group.crash(gone.id);
  const error: unknown = await group.restart(crashed).catch((failure: unknown) => failure);
  expect(error).toBeInstanceOf(NodeRemoved);
  expect(error instanceof NodeRemoved ? error.message : "").toMatch(
    /^node \d was removed from its group by the membership change at index \d+ and must not start again: .*empty data folder$/,
  );
  await group.stop();
});

test("a node that waits to be added, and one that crashes while it joins, are not taken for removed", async () => {
  const { group, leader } = await ledGroup();
  await group.add(4n);
  await group.restart(group.crash(4n));
  await done(group, leader.node.addLearner(4n, addressOf(4n)));
  await group.clock.advance(ELECTION_MS);
  const again = await group.restart(group.crash(4n));
  await group.clock.advance(ELECTION_MS);
  expect(again.node.status()).toMatchObject({ member: true, role: "learner" });
  await group.stop();
});
