// A group that begins while its nodes run, by RaftAdminService over real sockets in both protocols: asked of one node, or
// of each, in any order and again; refused by whoever belongs to another; complete after a crash at any moment.

import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { newHardState } from "../../src/core/messages.js";
import { KvService, RaftAdminService } from "../../src/gen/service_pb.js";
import { birthRecord, birthSnapshot } from "../../src/node/initialize.js";
import { startPlacementCenter } from "../../src/placement/server.js";
import { LmdbStorage } from "../../src/storage/lmdb-storage.js";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
import {
  addressesFor,
  allSay,
  leaderOf,
  PROTOCOLS,
  refusalOf,
  startWords,
  TICK_MS,
  temporaryFolder,
  transportTo,
} from "./nodes.js";

describe.each(PROTOCOLS)("a group begins over %s", (protocol) => {
  test("asked of one node, which brings the others in", async () => {
    const members = await addressesFor(3);
    const nodes = await Promise.all(members.map((at) => startWords(at)));
    const [first] = nodes;
    if (first === undefined) throw new Error("three were started");
    const admin = createClient(RaftAdminService, transportTo(first, protocol));
    const { membership } = await admin.initialize({ members });
    expect(membership).toMatchObject({ index: 1n, members, joint: false });
    const leader = await leaderOf(nodes);
    await leader.node.propose(Buffer.from("word"));
    await allSay(nodes, "word");
    for (const { node } of nodes) expect(node.membership.voters).toEqual([1n, 2n, 3n]);
  });

  test("asked of all at once and again: it is one group", async () => {
    const members = await addressesFor(3);
    const nodes = await Promise.all(members.map((at) => startWords(at)));
    const admins = nodes.map((embedded) => createClient(RaftAdminService, transportTo(embedded, protocol)));
    const ask = () =>
      Promise.all(admins.map((admin) => admin.initialize({ members }, { timeoutMs: 15_000 })));
    for (const { membership } of [...(await ask()), ...(await ask())]) {
      expect(membership?.members).toMatchObject(members);
    }
    const leader = await leaderOf(nodes);
    await leader.node.propose(Buffer.from("word"));
    await allSay(nodes, "word");
  });
});

test("a node alone begins, answers, and finds what it said after a restart", async () => {
  const [at] = await addressesFor(1);
  if (at === undefined) throw new Error("one was made");
  const dataDir = temporaryFolder();
  const first = await startWords(at, { dataDir });
  const admin = createClient(RaftAdminService, transportTo(at));
  await admin.initialize({ members: [at] });
  await first.node.leaderKnown();
  await first.node.propose(Buffer.from("kept"));
  await first.close();
  const second = await startWords(at, { dataDir });
  await second.node.leaderKnown();
  await second.node.propose(Buffer.from(" too"));
  expect(second.stateMachine.text).toBe("kept too");
});

test("a placement center begins so too, with an empty store", async () => {
  const [at] = await addressesFor(1);
  if (at === undefined) throw new Error("one was made");
  const center = await startPlacementCenter({
    id: 1n,
    clusterId: "services",
    dataDir: temporaryFolder(),
    listen: at.address,
    tickIntervalMs: TICK_MS,
  });
  onTestFinished(() => center.stop());
  await createClient(RaftAdminService, transportTo(at)).initialize({ members: [at] });
  const store = createClient(KvService, transportTo(at));
  expect(await store.set({ key: "k", value: Buffer.from("v") })).toMatchObject({ revision: 1n });
  expect(await store.get({ key: "k" })).toMatchObject({ found: true, createRevision: 1n });
});

test("a learner may be among the first members", async () => {
  const members = await addressesFor(2);
  const [one, two] = members;
  if (one === undefined || two === undefined) throw new Error("two were made");
  const nodes = await Promise.all(members.map((at) => startWords(at)));
  const admin = createClient(RaftAdminService, transportTo(one));
  const { membership } = await admin.initialize({ members: [one, { ...two, learner: true }] });
  expect(membership?.members.map(({ learner }) => learner)).toEqual([false, true]);
  const [first] = nodes;
  await first?.node.leaderKnown();
  await first?.node.propose(Buffer.from("word"));
  await allSay(nodes, "word");
});

test("a node that belongs to a group, and a request that makes no sense, are told so", async () => {
  const [one, two, three] = await addressesFor(3);
  if (one === undefined || two === undefined || three === undefined) throw new Error("three were made");
  const waiting = await startWords(three);
  await startWords(one, { members: [one] });
  const member = createClient(RaftAdminService, transportTo(one));
  expect((await member.initialize({ members: [one] })).membership).toMatchObject({ members: [one] });
  expect(await refusalOf(member.initialize({ members: [one, two] }))).toEqual({
    reason: "membershipRefused",
    message: "this node belongs to a group already, of the nodes 1: change its membership instead",
  });
  const admin = createClient(RaftAdminService, transportTo(three));
  const refusals = await Promise.all(
    [
      [],
      [one, two],
      [{ ...three, learner: true }, one],
      [three, three],
      [three, { id: 1n, address: three.address }],
      [{ id: 3n, address: "nowhere" }],
      [{ id: 0n, address: one.address }],
    ].map((members) => refusalOf(admin.initialize({ members }))),
  );
  expect(refusals.map(({ reason }) => reason)).toEqual(Array(7).fill("invalidArgument"));
  expect(refusals.map(({ message }) => message)).toEqual([
    "this node, 3, is not among the voters: ask one of them, or name it",
    "this node, 3, is not among the voters: ask one of them, or name it",
    "this node, 3, is not among the voters: ask one of them, or name it",
    "node 3 is named twice",
    `nodes 3 and 1 have the same address ${three.address}`,
    'address "nowhere" has no port: write host:port, as in 127.0.0.1:7001',
    "node_id is missing: give the id of a node, 1 or higher",
  ]);
  expect(waiting.node.status()).toMatchObject({ term: 0n, lastIndex: 0n, member: false });
});

test("a crash right after the write leaves what a start with these members leaves", async () => {
  const members = await addressesFor(1);
  const [at] = members;
  if (at === undefined) throw new Error("one was made");
  const record = birthRecord(members);
  const open = async (dataDir: string, bootstrap: boolean) =>
    LmdbStorage.open({
      dir: join(dataDir, "log"),
      clusterId: "services",
      nodeId: 1n,
      snapshots: await SnapshotFiles.open(join(dataDir, "snapshots")),
      bootstrap: bootstrap ? record : undefined,
    });
  const factsOf = ({ storage, membership }: LmdbStorage) => ({
    initial: storage.initialState(),
    first: storage.firstIndex(),
    last: storage.lastIndex(),
    term: storage.term(1n),
    membership,
  });
  const bornAtStart = await open(temporaryFolder(), true);
  const expected = factsOf(bornAtStart);
  await bornAtStart.close();

  const dataDir = temporaryFolder();
  const log = await open(dataDir, false);
  const hardState = newHardState(1n, 0n, 1n);
  await log.append({ snapshot: birthSnapshot(record), entries: [], hardState, mustSync: true });
  await log.close();
  const again = await open(dataDir, false);
  expect(factsOf(again)).toEqual(expected);
  await again.close();
  const embedded = await startWords(at, { dataDir });
  await embedded.node.leaderKnown();
  expect(Buffer.from((await embedded.node.propose(Buffer.from("word"))).result).toString()).toBe("word");
});
