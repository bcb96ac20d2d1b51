// Snapshots, restarts and crashes: a node that lags is brought up by a snapshot, a node that restarts goes on from
// what its disk kept, and nothing acknowledged is lost. Real nodes on ports in memory; a crash leaves only what was
// durable.

import { expect, test } from "vitest";
import { newConfState, newMessage, newSnapshot } from "../../src/core/messages.js";
import { MessageType } from "../../src/gen/eraftpb_pb.js";
import { RaftNode } from "../../src/node/raft-node.js";
import { addressOf, bornWith, ELECTION_MS, Group, type Station } from "../support/node-harness.js";
import { MemoryLog, MemorySnapshots } from "../support/node-log.js";
import { bytesOf, NotebookMachine } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];
const SMALL_LOG = { compaction: { afterEntries: 4, keepEntries: 2 } };

async function ledGroup(options = {}) {
  const group = await Group.led(IDS, options);
  await group.clock.advance(300);
  const leader = group.leader();
  const [follower, other] = group.stations.filter(({ node }) => !node.isLeader);
  if (leader === undefined || follower === undefined || other === undefined) throw new Error("no group");
  return { group, leader, follower, other };
}

async function proposeMany(group: Group, leader: Station, count: number, prefix = "c"): Promise<string[]> {
  const texts = Array.from({ length: count }, (_, n) => `${prefix}${n}`);
  for (const text of texts) await group.propose(leader.id, text);
  return texts;
}

test("the log is compacted behind what the state machine holds durably, and keeps its tail", async () => {
  const { group, leader } = await ledGroup(SMALL_LOG);
  await proposeMany(group, leader, 20);
  await group.clock.advance(300);
  for (const { node } of group.stations) {
    const { firstIndex, applied } = node.status();
    expect(applied - firstIndex).toBeLessThanOrEqual(5n);
    expect(applied - firstIndex).toBeGreaterThanOrEqual(1n);
  }
  await group.stop();
});

test("the log is not compacted beyond what the state machine would keep in a crash", async () => {
  const { group, leader } = await ledGroup(SMALL_LOG);
  leader.machine.lazy = true;
  const kept = leader.machine.durableIndex;
  await proposeMany(group, leader, 20);
  expect(leader.node.status().firstIndex).toBeLessThanOrEqual(kept);
  await group.stop();
});

test("a node that fell behind the leader's log is brought up by a snapshot and goes on with the log", async () => {
  const { group, leader, follower } = await ledGroup(SMALL_LOG);
  const installed: bigint[] = [];
  follower.node.on("snapshot", ({ kind, index }) => {
    if (kind === "installed") installed.push(index);
  });
  group.network.isolate(follower.id);
  const texts = await proposeMany(group, leader, 20);
  group.network.heal();
  await group.clock.advance(3 * ELECTION_MS);
  expect(installed).toHaveLength(1);
  expect(follower.machine.restoredAt).toEqual(installed);
  const current = group.leader() ?? leader;
  texts.push(...(await proposeMany(group, current, 3, "after")));
  await group.clock.advance(300);
  expect(follower.machine.commands).toEqual(texts);
  expect(follower.node.status().snapshotIndex).toBe(installed[0]);
  await group.stop();
});

test("a snapshot's body is in place before the log is replaced, and the state is replaced after it", async () => {
  const { group, leader, follower } = await ledGroup(SMALL_LOG);
  group.network.isolate(follower.id);
  await proposeMany(group, leader, 20);
  let open = () => {};
  follower.snapshots.gate = new Promise((resolve) => {
    open = resolve;
  });
  follower.events.length = 0;
  group.network.heal();
  await group.clock.advance(3 * ELECTION_MS);
  expect(follower.events.filter((event) => event.includes("snapshot="))).toEqual([]);
  open();
  await group.clock.advance(ELECTION_MS);
  const order = ["append snapshot=", "durable append snapshot=", "restored "].map((prefix) =>
    follower.events.findIndex((event) => event.startsWith(prefix)),
  );
  expect(order[0]).toBeGreaterThanOrEqual(0);
  expect([...order].sort((a, b) => a - b)).toEqual(order);
  expect(follower.machine.commands).toEqual(leader.machine.commands);
  await group.stop();
});

test("a snapshot for a node that joins names it as a member", async () => {
  const { group, leader } = await ledGroup(SMALL_LOG);
  await proposeMany(group, leader, 10);
  const created: bigint[] = [];
  leader.node.on("snapshot", ({ index }) => created.push(index));
  const one = await group.add(4n);
  const addOne = leader.node.addLearner(4n, addressOf(4n));
  await group.settled(addOne);
  await addOne;
  await group.clock.advance(ELECTION_MS);
  expect(one.machine.commands).toEqual(leader.machine.commands);
  // The snapshot made for the first does not know the second.
  const two = await group.add(5n);
  const addTwo = leader.node.addLearner(5n, addressOf(5n));
  await group.settled(addTwo);
  await addTwo;
  await group.clock.advance(ELECTION_MS);
  expect(two.machine.commands).toEqual(leader.machine.commands);
  expect(two.node.membership).toEqual(leader.node.membership);
  expect(created).toHaveLength(2);
  await group.stop();
});

test("a snapshot that cannot be made is tried again, and the node lives on", async () => {
  const { group, leader } = await ledGroup(SMALL_LOG);
  await proposeMany(group, leader, 10);
  const snapshot = leader.machine.snapshot.bind(leader.machine);
  let failures = 0;
  leader.machine.snapshot = () => {
    if (failures > 0) return snapshot();
    failures += 1;
    return Promise.reject(new Error("no room"));
  };
  const blank = await group.add(4n);
  const added = leader.node.addLearner(4n, addressOf(4n));
  await group.settled(added);
  await group.clock.advance(4 * ELECTION_MS);
  expect(failures).toBe(1);
  expect(leader.warnings.join()).toContain("could not be made");
  expect(blank.machine.commands).toEqual(leader.machine.commands);
  expect(leader.node.status().state).toBe("running");
  await group.stop();
});

test("a follower may ask for a snapshot in place of the log", async () => {
  const { group, leader, follower } = await ledGroup();
  await proposeMany(group, leader, 3);
  await group.clock.advance(300);
  await follower.node.requestSnapshot();
  await group.clock.advance(2 * ELECTION_MS);
  expect(follower.machine.restoredAt).toHaveLength(1);
  await expect(leader.node.requestSnapshot()).rejects.toMatchObject({ code: "proposalDropped" });
  await group.stop();
});

test("a node that crashed goes on from what was durable and applies the rest again", async () => {
  const { group, leader, follower } = await ledGroup();
  const texts = await proposeMany(group, leader, 3);
  await group.clock.advance(300);
  follower.machine.lazy = true;
  texts.push(...(await proposeMany(group, leader, 3, "lazy")));
  await group.clock.advance(300);
  const crashed = group.crash(follower.id);
  texts.push(...(await proposeMany(group, leader, 2, "away")));
  expect(crashed.machine.afterCrash().commands).toEqual(texts.slice(0, 3));
  const back = await group.restart(crashed);
  await group.clock.advance(2 * ELECTION_MS);
  expect(back.machine.commands).toEqual(texts);
  await group.stop();
});

test("every acknowledged command survives the crash of the whole group", async () => {
  const { group, leader } = await ledGroup();
  const texts = await proposeMany(group, leader, 5);
  for (const { machine } of group.stations) machine.lazy = true;
  texts.push(...(await proposeMany(group, leader, 5, "more")));
  const crashed = IDS.map((id) => group.crash(id));
  for (const station of crashed) await group.restart(station);
  const next = await group.elect();
  await group.propose(next.id, "last");
  await group.clock.advance(300);
  for (const { machine } of group.stations) expect(machine.commands).toEqual([...texts, "last"]);
  await group.stop();
});

test("membership changes that were in force before a crash are not applied a second time", async () => {
  const { group, leader } = await ledGroup();
  await group.add(4n);
  for (const { machine } of group.stations) machine.lazy = true;
  const added = leader.node.addLearner(4n, addressOf(4n));
  await group.settled(added);
  await added;
  await group.clock.advance(ELECTION_MS);
  const promoted = leader.node.promote(4n);
  await group.settled(promoted);
  const before = await promoted;
  await group.propose(leader.id, "x");
  await group.clock.advance(300);
  const crashed = group.crash(leader.id);
  expect(crashed.machine.durableIndex).toBeLessThan(before.index);
  const back = await group.restart(crashed);
  expect(back.node.membership).toEqual(before);
  await group.elect();
  await group.clock.advance(ELECTION_MS);
  expect(back.node.membership).toEqual(before);
  expect(back.machine.commands).toEqual(["x"]);
  expect(back.node.metrics.counters.membershipChanges).toBe(0);
  await group.stop();
});

test("a crash while a snapshot is taken over leaves a node that takes it over when it starts", async () => {
  const { group, leader, follower } = await ledGroup(SMALL_LOG);
  const texts = await proposeMany(group, leader, 20);
  const behind = group.crash(follower.id);
  texts.push(...(await proposeMany(group, leader, 20, "d")));
  group.network.heal();
  const again = await group.restart(behind);
  // The log and the body arrive; the state machine does not get to take them over.
  again.machine.restore = () => new Promise(() => {});
  await group.clock.advance(3 * ELECTION_MS);
  expect(again.log.storage.firstIndex() - 1n).toBeGreaterThan(again.machine.appliedIndex);
  const last = await group.restart(group.crash(again.id));
  expect(last.machine.restoredAt).toHaveLength(1);
  await group.clock.advance(2 * ELECTION_MS);
  expect(last.machine.commands).toEqual(texts);
  await group.stop();
});

test("a state that a snapshot brought ahead of the log takes the log along", async () => {
  const { group, leader, follower } = await ledGroup(SMALL_LOG);
  await proposeMany(group, leader, 20);
  await group.clock.advance(300);
  const blank = await group.add(4n);
  const added = leader.node.addLearner(4n, addressOf(4n));
  await group.settled(added);
  await group.clock.advance(ELECTION_MS);
  const snapshot = blank.snapshots.latest();
  if (snapshot?.metadata === undefined) throw new Error("no snapshot came");
  // The state holds the snapshot, the log begins and ends before it.
  const log = MemoryLog.born(group.clock, blank.snapshots, bornWith(IDS));
  const machine = new NotebookMachine({ appliedIndex: snapshot.metadata.index, commands: ["kept"] });
  const starting = RaftNode.start({
    id: follower.id,
    clusterId: "test",
    log,
    snapshots: blank.snapshots,
    stateMachine: machine,
    transport: () => ({ send: () => {}, setMembers: () => {}, close: async () => {} }),
    clock: group.clock,
  });
  await group.clock.settle();
  const node = await starting;
  expect(node.status()).toMatchObject({
    firstIndex: snapshot.metadata.index + 1n,
    applied: snapshot.metadata.index,
    commit: snapshot.metadata.index,
  });
  expect(node.membership.learners).toEqual([4n]);
  expect(machine.commands).toEqual(["kept"]);
  const stopped = node.stop();
  await group.settled(stopped);
  await stopped;
  await group.stop();
});

test("a node whose entries are lost refuses to start and says what is missing", async () => {
  const group = await Group.of([]);
  const snapshots = new MemorySnapshots("s");
  const start = (log: MemoryLog, machine: NotebookMachine) => {
    const starting = RaftNode.start({
      id: 1n,
      clusterId: "test",
      log,
      snapshots,
      stateMachine: machine,
      transport: () => ({ send: () => {}, setMembers: () => {}, close: async () => {} }),
      clock: group.clock,
    });
    const failed = starting.then(
      () => "it started",
      (error: unknown) => String(error),
    );
    return group.clock.settle().then(() => failed);
  };
  const ahead = MemoryLog.born(group.clock, snapshots, bornWith([1n]));
  expect(await start(ahead, new NotebookMachine({ appliedIndex: 9n, commands: [] }))).toContain(
    "the log has lost entries",
  );
  const compacted = MemoryLog.born(group.clock, snapshots, bornWith([1n]));
  const writes = [
    compacted.append({
      snapshot: undefined,
      entries: [2n, 3n].map((index) => ({
        $typeName: "eraftpb.Entry" as const,
        entryType: 0,
        term: 1n,
        index,
        data: bytesOf("x"),
        context: new Uint8Array(0),
        syncLog: false,
      })),
      hardState: { $typeName: "eraftpb.HardState", term: 1n, vote: 0n, commit: 3n },
      mustSync: true,
    }),
    compacted.compact(3n),
  ];
  await group.settled(Promise.all(writes));
  expect(await start(compacted, new NotebookMachine())).toContain("what lies between is lost");
});

test("a membership change that waits behind a busy state machine is not put on top of a newer snapshot's", async () => {
  const { group, leader, follower } = await ledGroup(SMALL_LOG);
  let open = () => {};
  follower.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  await group.propose(leader.id, "holds the follower up");
  const added = leader.node.addLearner(4n, addressOf(4n));
  await group.settled(added);
  await group.clock.advance(300);
  group.network.isolate(follower.id);
  const removed = leader.node.removeNode(4n);
  await group.settled(removed);
  await removed;
  await proposeMany(group, leader, 20);
  group.network.heal();
  await group.clock.advance(3 * ELECTION_MS);
  follower.machine.gate = undefined;
  open();
  await group.clock.advance(ELECTION_MS);
  expect(follower.machine.restoredAt).toHaveLength(1);
  expect(follower.machine.commands).toEqual(leader.machine.commands);
  const moved = (group.leader() ?? leader).node.transferLeadership(follower.id);
  await group.settled(moved);
  expect(follower.node.status().progress.map(({ id }) => id)).toEqual(IDS);
  await group.stop();
});

test("a snapshot that waits behind a busy state machine gives way to a newer one, whose coming removes its body", async () => {
  const { group, leader, follower } = await ledGroup(SMALL_LOG);
  let open = () => {};
  follower.machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  await group.propose(leader.id, "holds the follower up");
  for (const times of [1, 2]) {
    group.network.isolate(follower.id);
    // Nothing is kept for a peer that is not heard.
    await group.clock.advance(1.5 * ELECTION_MS);
    await proposeMany(group, group.leader() ?? leader, 20, `${times}-`);
    group.network.heal();
    await group.clock.advance(3 * ELECTION_MS);
    // What comes with the log after the first snapshot waits behind it.
    await group.propose((group.leader() ?? leader).id, `after ${times}`);
    await group.clock.advance(300);
  }
  const taken = follower.events.filter((event) => event.startsWith("append snapshot="));
  expect(taken).toHaveLength(2);
  expect(follower.machine.restoredAt).toEqual([]);
  follower.machine.gate = undefined;
  open();
  await group.clock.advance(300);
  expect(taken[1]).toContain(`snapshot=${follower.machine.restoredAt[0]} `);
  expect(follower.machine.restoredAt).toHaveLength(1);
  expect(follower.machine.commands).toEqual(leader.machine.commands);
  expect(follower.node.status().state).toBe("running");
  await group.stop();
});

test("a snapshot whose body is empty is taken over like any other", async () => {
  const { group, leader } = await ledGroup();
  for (const { machine } of group.stations) {
    machine.snapshot = async () => ({
      appliedIndex: machine.appliedIndex,
      write: async () => {},
      release: () => {},
    });
  }
  const blank = await group.add(4n);
  const restoredAt: bigint[] = [];
  blank.machine.restore = async (index, body) => {
    for await (const chunk of body) throw new Error(`a chunk of ${chunk.length} bytes came`);
    blank.machine.restoreTo({ appliedIndex: index, commands: [] });
    restoredAt.push(index);
  };
  const added = leader.node.addLearner(4n, addressOf(4n));
  await group.settled(added);
  await group.clock.advance(ELECTION_MS);
  expect(restoredAt).toHaveLength(1);
  expect(blank.node.status()).toMatchObject({ state: "running", role: "learner" });
  await group.stop();
});

test("a snapshot that names no body is ignored", async () => {
  const { group, leader, follower } = await ledGroup();
  const { term, commit } = leader.node.status();
  group.network.inboxOf(follower.id).step([
    newMessage(MessageType.MsgSnapshot, follower.id, {
      from: leader.id,
      term,
      snapshot: newSnapshot(commit + 10n, term, newConfState({ voters: [...IDS] }), bytesOf("garbage")),
    }),
  ]);
  await group.clock.advance(300);
  expect(follower.node.status()).toMatchObject({ state: "running", commit });
  expect(follower.warnings).toContain("a snapshot came without its descriptor; it is ignored");
  await group.stop();
});

test("a state that is ahead of the commit index that survived a crash sees no command twice", async () => {
  const { group, leader, follower } = await ledGroup();
  follower.log.held = true;
  await group.propose(leader.id, "x");
  follower.log.release(1);
  await group.clock.settle();
  expect(follower.log.waiting).toEqual([expect.stringMatching(/^append term=\d+ commit=/)]);
  expect(follower.machine.commands).toEqual(["x"]);
  const { applied } = follower.node.status();
  const back = await group.restart(group.crash(follower.id));
  expect(back.node.status().commit).toBeLessThan(applied);
  expect(back.node.status().applied).toBe(applied);
  await group.clock.advance(ELECTION_MS);
  await group.propose((group.leader() ?? leader).id, "y");
  await group.clock.advance(300);
  expect(back.machine.commands).toEqual(["x", "y"]);
  await group.stop();
});

test("one snapshot is made at a time, however often it is asked for", async () => {
  const { group, leader } = await ledGroup(SMALL_LOG);
  await proposeMany(group, leader, 10);
  let made = 0;
  const snapshot = leader.machine.snapshot.bind(leader.machine);
  leader.machine.snapshot = () => {
    made += 1;
    return snapshot();
  };
  let open = () => {};
  leader.snapshots.gate = new Promise((resolve) => {
    open = resolve;
  });
  const blank = await group.add(4n);
  const added = leader.node.addLearner(4n, addressOf(4n));
  await group.settled(added);
  await group.clock.advance(2 * ELECTION_MS);
  expect(made).toBe(1);
  open();
  await group.clock.advance(ELECTION_MS);
  expect(blank.machine.commands).toEqual(leader.machine.commands);
  await group.stop();
});

test.each([
  { survives: "the first of two commands", lastDurable: "x", batch: 1_000 },
  { survives: "both commands, handed out one by one", lastDurable: "y", batch: 1 },
])("a replay skips what the state contains: $survives", async ({ lastDurable, batch }) => {
  const group = await Group.led([1n], { limits: { maxApplyBatchEntries: 1 } });
  const { node, log, machine } = group.at(1n);
  machine.lazy = true;
  const apply = machine.apply.bind(machine);
  machine.apply = async (commands, appliedIndex) => {
    const results = await apply(commands, appliedIndex);
    if (machine.commands.at(-1) === lastDurable) machine.sync();
    return results;
  };
  log.held = true;
  const answers = [node.propose(bytesOf("x")), node.propose(bytesOf("y"))];
  await group.clock.settle();
  log.release(1);
  await group.settled(Promise.all(answers));
  // The commit index of the two does not reach the disk.
  expect(log.waiting).toHaveLength(1);
  const back = await group.restart(group.crash(1n), { limits: { maxApplyBatchEntries: batch } });
  expect(back.node.status().commit).toBeLessThan(back.machine.durableIndex);
  await group.elect();
  await group.clock.settle();
  expect(back.machine.commands).toEqual(["x", "y"]);
  expect(back.node.status().state).toBe("running");
  await group.stop();
});

test("a peer that is brought up while commands pour in needs one snapshot: the log behind it is kept", async () => {
  const { group, leader, follower } = await ledGroup(SMALL_LOG);
  group.network.isolate(follower.id);
  await proposeMany(group, leader, 20);
  const [open, gate] = gateOf();
  leader.snapshots.gate = gate;
  const deliver = holdDelivery(leader);
  group.network.heal();
  await group.clock.advance(ELECTION_MS);

  // While it is being made, then while it is on its way.
  const made = await proposeMany(group, leader, 20, "made");
  expect(made).toHaveLength(20);
  open();
  await group.clock.advance(300);
  const { snapshotIndex, progress } = leader.node.status();
  expect(progress.find(({ id }) => id === follower.id)?.state).toBe("Snapshot");
  await proposeMany(group, leader, 20, "sent");
  expect(leader.node.status().firstIndex).toBeLessThanOrEqual(snapshotIndex + 1n);
  deliver();
  await group.clock.advance(ELECTION_MS);
  expect(follower.machine.restoredAt).toHaveLength(1);
  expect(follower.machine.commands).toEqual(leader.machine.commands);
  expect(leader.node.metrics.counters.snapshotsCreated).toBe(1);

  // It has caught up, and the log is cut again.
  await proposeMany(group, leader, 10, "after");
  const { applied, firstIndex } = leader.node.status();
  expect(applied - firstIndex).toBeLessThanOrEqual(5n);
  await group.stop();
});

test.each([
  ["that is gone", {}, (group: Group, id: bigint) => group.network.isolate(id)],
  ["that takes too long", { maxHeldEntries: 10 }, () => {}],
])("the log is not kept for a peer %s", async (_, limit, happen) => {
  const { group, leader, follower } = await ledGroup({ compaction: { ...SMALL_LOG.compaction, ...limit } });
  group.network.isolate(follower.id);
  await proposeMany(group, leader, 20);
  const deliver = holdDelivery(leader);
  group.network.heal();
  await group.clock.advance(ELECTION_MS);
  happen(group, follower.id);
  await group.clock.advance(1.5 * ELECTION_MS);
  await proposeMany(group, leader, 30, "more");
  const { applied, firstIndex } = leader.node.status();
  expect(applied - firstIndex).toBeLessThanOrEqual(11n);
  deliver();
  await group.stop();
});

/** Snapshots of this node are on their way until the returned function is called. */
function holdDelivery({ snapshots }: Station): () => void {
  const [open, gate] = gateOf();
  const openRead = snapshots.openRead.bind(snapshots);
  snapshots.openRead = async (snapshotId) => {
    await gate;
    return openRead(snapshotId);
  };
  return open;
}

function gateOf(): [() => void, Promise<void>] {
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  return [open, gate];
}
