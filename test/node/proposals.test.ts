// What becomes of a proposal: batched with others of its turn, and ended exactly once, with what is certain about
// it. Real nodes on ports in memory; the test moves time, the network and the disk.

import { expect, test } from "vitest";
import type { RaftNodeError } from "../../src/node/errors.js";
import { codeOf, ELECTION_MS, errorOf, Group } from "../support/node-harness.js";
import { bytesOf, textOf } from "../support/node-machine.js";

const IDS = [1n, 2n, 3n];

test("commands of one turn share one entry batch and one disk write", async () => {
  const group = await Group.led([1n]);
  const { node, events, machine } = group.at(1n);
  events.length = 0;
  const answers = Array.from({ length: 20 }, (_, n) => node.propose(bytesOf(`c${n}`)));
  await group.settled(Promise.all(answers));
  const results = (await Promise.all(answers)).map(({ result }) => textOf(result).split("@")[0]);
  expect(results).toEqual(Array.from({ length: 20 }, (_, n) => `c${n}`));
  expect(events.filter((event) => event.startsWith("append entries"))).toHaveLength(1);
  expect(machine.batches.at(-1)).toBe(20);
  expect(node.metrics.counters.proposalBatches).toBe(1);
  await group.stop();
});

test("a batch holds no more bytes than its limit", async () => {
  const group = await Group.led([1n], { limits: { proposalBatchBytes: 10 } });
  const { node } = group.at(1n);
  const answers = Array.from({ length: 5 }, (_, n) => node.propose(bytesOf(`abcd${n}`)));
  await group.settled(Promise.all(answers));
  expect(node.metrics.counters.proposalBatches).toBe(3);
  await group.stop();
});

test("a follower refuses a command and names the leader", async () => {
  const group = await Group.led(IDS);
  const leader = group.leader();
  const follower = group.stations.find(({ node }) => !node.isLeader);
  const error = await errorOf(follower?.node.propose(bytesOf("x")) ?? Promise.resolve());
  expect(error.code).toBe("notLeader");
  expect(error.leaderHint).toBe(leader?.id);
  await group.stop();
});

test("a node that knows no leader refuses a command without a hint", async () => {
  const group = await Group.of(IDS);
  const error = await errorOf(group.node(1n).propose(bytesOf("x")));
  expect([error.code, error.leaderHint]).toEqual(["notLeader", undefined]);
  await group.stop();
});

test("commands that are empty or too large are refused", async () => {
  const group = await Group.led([1n], { limits: { maxProposalBytes: 4 } });
  const { node } = group.at(1n);
  expect(await codeOf(node.propose(new Uint8Array(0)))).toBe("invalidArgument");
  expect(await codeOf(node.propose(bytesOf("12345")))).toBe("tooLarge");
  expect(await codeOf(node.propose(bytesOf("1"), { deadlineMs: 0 }))).toBe("invalidArgument");
  expect(await group.propose(1n, "1234")).toMatch(/^1234@/);
  await group.stop();
});

test("more commands than the limit are refused, and room comes back with the answers", async () => {
  const group = await Group.led([1n], { limits: { maxPendingProposals: 2 } });
  const { node } = group.at(1n);
  const taken = [node.propose(bytesOf("a")), node.propose(bytesOf("b"))];
  expect(await codeOf(node.propose(bytesOf("c")))).toBe("inboxFull");
  await group.settled(Promise.all(taken));
  expect(node.status().pendingProposals).toBe(0);
  expect(await group.propose(1n, "d")).toMatch(/^d@/);
  await group.stop();
});

test("more bytes of commands than the limit are refused", async () => {
  const group = await Group.led([1n], { limits: { maxPendingProposalBytes: 5 } });
  const { node } = group.at(1n);
  const taken = node.propose(bytesOf("1234"));
  expect(await codeOf(node.propose(bytesOf("56")))).toBe("inboxFull");
  await group.settled(taken);
  await group.stop();
});

test("a command whose deadline passes ends so, and frees its place", async () => {
  const group = await Group.led(IDS);
  const leader = group.leader()?.node;
  group.network.filter = () => false;
  const answer = leader?.propose(bytesOf("x"), { deadlineMs: 50 }) ?? Promise.resolve();
  const error = errorOf(answer);
  await group.clock.advance(49);
  expect(leader?.status().pendingProposals).toBe(1);
  await group.clock.advance(6);
  expect((await error).code).toBe("deadlineExceeded");
  expect(leader?.status().pendingProposals).toBe(0);
  expect(leader?.metrics.counters).toMatchObject({ proposalsApplied: 0, proposalsFailed: 1 });
  group.network.heal();
  await group.stop();
});

test("a caller's signal ends a command, before and after it is in the log", async () => {
  const group = await Group.led([1n]);
  const { node, log, machine } = group.at(1n);
  const fired = AbortSignal.abort();
  expect(await codeOf(node.propose(bytesOf("never"), { signal: fired }))).toBe("aborted");

  const queued = new AbortController();
  const first = codeOf(node.propose(bytesOf("queued"), { signal: queued.signal }));
  queued.abort();
  expect(await first).toBe("aborted");

  log.held = true;
  const appended = new AbortController();
  const second = errorOf(node.propose(bytesOf("appended"), { signal: appended.signal }));
  await group.clock.settle();
  appended.abort();
  expect((await second).message).toContain("may or may not");
  log.held = false;
  log.release();
  await group.clock.settle();
  expect(machine.commands).toEqual(["appended"]);
  await group.stop();
});

test("a command that outlives its leader's office is still answered when it is committed", async () => {
  const group = await Group.led(IDS);
  const old = group.leader();
  if (old === undefined) throw new Error("no leader");
  // Its entries get out, but no answer comes back: it must step down without knowing.
  group.network.filter = (message) => message.to !== old.id;
  const answer = old.node.propose(bytesOf("x"), { deadlineMs: 60_000 });
  await group.clock.advance(3 * ELECTION_MS);
  expect(old.node.isLeader).toBe(false);
  group.network.heal();
  await group.settled(answer);
  expect(textOf((await answer).result)).toMatch(/^x@/);
  for (const { machine } of group.stations) expect(machine.commands).toEqual(["x"]);
  await group.stop();
});

test("a command whose place another leader's entry took is certain not to be applied", async () => {
  const group = await Group.led(IDS);
  const old = group.leader();
  if (old === undefined) throw new Error("no leader");
  group.network.isolate(old.id);
  const answer = codeOf(old.node.propose(bytesOf("lost"), { deadlineMs: 60_000 }));
  await group.clock.advance(3 * ELECTION_MS);
  const next = group.stations.find(({ id, node }) => id !== old.id && node.isLeader);
  if (next === undefined) throw new Error("no new leader");
  await group.propose(next.id, "kept");
  group.network.heal();
  await group.clock.advance(ELECTION_MS);
  expect(await answer).toBe("proposalDropped");
  for (const { machine } of group.stations) expect(machine.commands).toEqual(["kept"]);
  await group.stop();
});

test("a command whose leader lost its office is in doubt when its deadline comes", async () => {
  const group = await Group.led(IDS);
  const old = group.leader();
  if (old === undefined) throw new Error("no leader");
  group.network.isolate(old.id);
  const answer = codeOf(old.node.propose(bytesOf("x"), { deadlineMs: 4 * ELECTION_MS }));
  await group.clock.advance(5 * ELECTION_MS);
  expect(old.node.isLeader).toBe(false);
  expect(await answer).toBe("outcomeUnknown");
  await group.stop();
});

test("a command in the log of a node that is then brought up by a snapshot is in doubt", async () => {
  const group = await Group.led(IDS, { compaction: { afterEntries: 1, keepEntries: 0 } });
  const old = group.leader();
  if (old === undefined) throw new Error("no leader");
  group.network.isolate(old.id);
  const answer = codeOf(old.node.propose(bytesOf("doubtful"), { deadlineMs: 600_000 }));
  await group.clock.advance(3 * ELECTION_MS);
  const next = group.stations.find(({ id, node }) => id !== old.id && node.isLeader);
  if (next === undefined) throw new Error("no new leader");
  for (let n = 0; n < 10; n += 1) await group.propose(next.id, `n${n}`);
  group.network.heal();
  await group.clock.advance(2 * ELECTION_MS);
  expect(old.machine.restoredAt).toHaveLength(1);
  expect(await answer).toBe("outcomeUnknown");
  expect(old.machine.commands).toEqual(next.machine.commands);
  await group.stop();
});

test("commands are refused with their reason while too much is uncommitted", async () => {
  const group = await Group.led(IDS, { raft: { maxUncommittedSize: 1_000, maxSizePerMsg: 100 } });
  const leader = group.leader()?.node;
  group.network.filter = () => false;
  const large = leader?.propose(new Uint8Array(900), { deadlineMs: 100 }) ?? Promise.resolve();
  const first = codeOf(large);
  await group.clock.settle();
  const error = await new Promise<RaftNodeError>((resolve) => {
    void errorOf(leader?.propose(new Uint8Array(900)) ?? Promise.resolve()).then(resolve);
    void group.clock.settle();
  });
  expect([error.code, error.reason]).toEqual(["proposalDropped", "uncommittedLimit"]);
  await group.clock.advance(200);
  expect(await first).toBe("deadlineExceeded");
  group.network.heal();
  await group.stop();
});

test("commands that are refused while leadership is handed over may be sent again", async () => {
  const group = await Group.led(IDS);
  const leader = group.leader();
  const follower = group.stations.find(({ node }) => !node.isLeader);
  if (leader === undefined || follower === undefined) throw new Error("no group");
  group.network.filter = () => false;
  const transfer = codeOf(leader.node.transferLeadership(follower.id, { deadlineMs: 300 }));
  await group.clock.settle();
  const refused = errorOf(leader.node.propose(bytesOf("x")));
  await group.clock.settle();
  expect([(await refused).code, (await refused).reason]).toEqual(["proposalDropped", "transferInProgress"]);
  await group.clock.advance(400);
  expect(await transfer).toBe("deadlineExceeded");
  group.network.heal();
  await group.stop();
});
