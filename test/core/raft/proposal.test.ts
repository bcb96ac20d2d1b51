// What becomes of a proposal: appended, passed on, or dropped with a reason and without a trace; and how a leader
// lets one membership change through at a time.

import { describe, expect, test } from "vitest";
import { encodeConfChange } from "../../../src/core/confchange/conf-change.js";
import { EntryType, MessageType, newMessage, newNormalEntry } from "../../../src/core/index.js";
import { newEntry } from "../../../src/core/messages.js";
import { change, leaveJoint } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { ack } from "../../support/peer-messages.js";
import { bytes, TestNode, text } from "../../support/test-node.js";

/** Voters 1 to `size`, of which only `alive` run. */
function groupOf(size: number, alive: readonly number[]): Network {
  const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
  return Network.of(alive.map((id) => new TestNode(BigInt(id), { voters })));
}

describe("a proposal", () => {
  test.each([
    { size: 3, alive: [1, 2, 3] },
    { size: 3, alive: [1, 2] },
    { size: 5, alive: [1, 4, 5] },
  ])("is committed by $alive of $size", ({ size, alive }) => {
    const network = groupOf(size, alive);
    network.campaign(1);
    expect(network.node(1).propose("a")).toEqual({ accepted: true, appended: { index: 2n, term: 1n } });
    network.settle();
    for (const { raft } of network.nodes) {
      expect([raft.log.committed, raft.log.lastIndex()]).toEqual([2n, 2n]);
    }
    expect(network.node(1).raft.term).toBe(1n);
  });

  test.each([
    { size: 3, alive: [1] },
    { size: 4, alive: [1, 4] },
  ])("is dropped while $alive of $size elect nobody, and nothing is logged", ({ size, alive }) => {
    const network = groupOf(size, alive);
    network.campaign(1);
    expect(network.node(1).propose("a")).toEqual({ accepted: false, reason: "noLeader" });
    network.settle();
    for (const { raft } of network.nodes) expect(raft.log.lastIndex()).toBe(0n);
    expect(network.node(1).raft.term).toBe(1n);
  });

  test.each([{ alive: [1, 2, 3] }, { alive: [1, 2] }])(
    "made at a follower is passed on to the leader, with $alive alive",
    ({ alive }) => {
      const network = groupOf(3, alive);
      network.campaign(1);
      // Where it will stand is the leader's to decide, so the follower cannot say.
      expect(network.node(2).propose("a")).toEqual({ accepted: true });
      network.settle();
      for (const node of network.nodes) {
        expect(node.committedData()).toEqual(["a"]);
        expect(node.raft.log.lastIndex()).toBe(2n);
      }
    },
  );
});

test("a proposal of nothing is taken, and nothing comes of it, even while proposals are refused", () => {
  const leader = new TestNode(1n, { voters: [1n, 2n] }).forceLeader();
  leader.step(ack(leader, 2, 1n));
  leader.takeMessages();
  expect(leader.act((raw) => raw.proposeBatch([]))).toEqual({ accepted: true });
  leader.act((raw) => raw.transferLeader(2n));
  leader.takeMessages();
  expect(leader.act((raw) => raw.proposeBatch([]))).toEqual({ accepted: true });
  expect(leader.takeMessages()).toEqual([]);
  expect(leader.raft.log.lastIndex()).toBe(1n);
});

describe("a membership change", () => {
  /** A leader that cannot make progress: the other voter is silent. */
  const stuckLeader = (logTerms: readonly bigint[] = []) =>
    new TestNode(1n, { voters: [1n, 2n], logTerms }).forceLeader();

  const pendingIndexOf = ({ raft }: TestNode): bigint | undefined =>
    raft.role.kind === "leader" ? raft.role.pendingConfIndex : undefined;

  const lastEntryOf = ({ raft }: TestNode) => raft.log.unstable.entries.at(-1);

  test("is appended like anything else, and then pending", () => {
    const leader = stuckLeader();
    expect(pendingIndexOf(leader)).toBe(0n);
    const last = leader.raft.log.lastIndex();
    expect(leader.proposeConfChange(change("v3"))).toMatchObject({ accepted: true });
    expect(leader.raft.log.lastIndex()).toBe(last + 1n);
    expect(lastEntryOf(leader)?.entryType).toBe(EntryType.EntryConfChangeV2);
    expect(pendingIndexOf(leader)).toBe(last + 1n);
  });

  test("proposed while another is pending becomes an empty entry in its place, and the first stays pending", () => {
    const leader = stuckLeader();
    leader.proposeConfChange(change("v3"));
    const pending = pendingIndexOf(leader);
    expect(leader.proposeConfChange(change("v4"))).toEqual({
      accepted: true,
      appended: { index: 3n, term: 1n },
    });
    expect(lastEntryOf(leader)).toMatchObject({ entryType: EntryType.EntryNormal, index: 3n, term: 1n });
    expect(lastEntryOf(leader)?.data).toHaveLength(0);
    expect(pendingIndexOf(leader)).toBe(pending);
    expect(leader.trace.at(-1)).toMatchObject({ type: "confChangeRefused", index: 3n });
  });

  test("may come between commands in one proposal, and pends at its own place", () => {
    const leader = stuckLeader();
    const { entryType, data } = encodeConfChange(change("v3"));
    const entries = [
      newNormalEntry(0n, 0n, bytes("before")),
      newEntry(entryType, 0n, 0n, data, bytes("why")),
      newNormalEntry(0n, 0n, bytes("after")),
    ];
    const message = newMessage(MessageType.MsgPropose, 1n, { from: 2n, entries });
    expect(leader.step(message)).toMatchObject({ accepted: true, appended: { index: 4n } });
    const appended = leader.raft.log.unstable.entries.map((entry) => [entry.index, text(entry.data)]);
    expect(appended.slice(1)).toEqual([
      [2n, "before"],
      [3n, text(data)],
      [4n, "after"],
    ]);
    expect(pendingIndexOf(leader)).toBe(3n);
  });

  test("that leaves no joint configuration is refused with that reason", () => {
    const leader = stuckLeader();
    leader.proposeConfChange(leaveJoint());
    expect(lastEntryOf(leader)).toMatchObject({ entryType: EntryType.EntryNormal });
    expect(leader.trace.at(-1)).toMatchObject({
      type: "confChangeRefused",
      because: expect.stringContaining("no joint configuration"),
    });
  });

  test.each([
    { logTerms: [], pending: 0n, what: "nothing" },
    { logTerms: [1n], pending: 1n, what: "an entry that may be a change, for all it knows" },
  ])("has to wait, under a new leader, for $what", ({ logTerms, pending }) => {
    const leader = stuckLeader(logTerms);
    expect(pendingIndexOf(leader)).toBe(pending);
    leader.proposeConfChange(change("v3"));
    const expected = pending === 0n ? EntryType.EntryConfChangeV2 : EntryType.EntryNormal;
    expect(lastEntryOf(leader)?.entryType).toBe(expected);
  });
});
