// Taking over a snapshot that no peer has sent: how a node that waits with an empty log begins a group while it runs.

import { expect, test } from "vitest";
import { MemoryStorage, newConfState, newHardState, newSnapshot } from "../../../src/core/index.js";
import { PLAIN, TestNode } from "../../support/test-node.js";

const ALONE = newConfState({ voters: [1n] });

function waiting(): TestNode {
  return new TestNode(1n, { storage: new MemoryStorage(), config: PLAIN });
}

test("a node with an empty log comes out of it as if it had been started with its members", () => {
  const node = waiting();
  expect(node.act((raw) => raw.restore(newSnapshot(1n, 1n, ALONE)))).toBe(true);
  node.settle();
  expect(node.storage.initialState()).toMatchObject({
    hardState: { term: 1n, vote: 0n, commit: 1n },
    confState: { voters: [1n] },
  });
  expect([node.storage.firstIndex(), node.storage.lastIndex()]).toEqual([2n, 1n]);
  const { leaderId, raftState } = node.node.status().softState;
  expect([leaderId, raftState]).toEqual([0n, "follower"]);
  // It holds an election alone, and the group is there.
  node.timeOut();
  node.settle();
  expect(node.role).toBe("leader");
});

test("a term that is higher already stays, and nobody leads it", () => {
  const storage = new MemoryStorage();
  storage.setHardState(newHardState(5n, 2n, 0n));
  const node = new TestNode(1n, { storage, config: PLAIN });
  expect(node.act((raw) => raw.restore(newSnapshot(1n, 1n, ALONE)))).toBe(true);
  node.settle();
  expect(storage.initialState().hardState).toMatchObject({ term: 5n, vote: 2n, commit: 1n });
  expect(node.leader).toBe(0n);
});

test("one that names other members only, or lies behind what is committed, is not taken", () => {
  const stranger = waiting();
  const others = newConfState({ voters: [2n, 3n] });
  expect(stranger.act((raw) => raw.restore(newSnapshot(1n, 1n, others)))).toBe(false);
  stranger.settle();
  expect(stranger.storage.lastIndex()).toBe(0n);

  const member = new TestNode(1n, { voters: [1n], logTerms: [1n, 1n, 1n], term: 1n, commit: 3n });
  expect(member.act((raw) => raw.restore(newSnapshot(2n, 1n, ALONE)))).toBe(false);
  expect(member.storage.lastIndex()).toBe(3n);
});

test.each(["candidate", "leader"])("a %s does not give its log up for one of its own term", (role) => {
  const node = new TestNode(1n, { voters: [1n, 2n] });
  if (role === "leader") node.forceLeader();
  else node.forceCandidate();
  const members = newConfState({ voters: [1n, 2n] });
  expect(node.act((raw) => raw.restore(newSnapshot(9n, node.raft.term, members)))).toBe(false);
  expect(node.role).toBe(role);
  expect(node.raft.log.unstable.snapshot).toBeUndefined();
  expect(node.trace.at(-1)).toEqual({ type: "snapshotIgnored", index: 9n, because: "notAFollower" });
});
