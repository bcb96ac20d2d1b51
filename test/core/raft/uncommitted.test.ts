// The limit on uncommitted data: a leader that cannot commit does not fill its log without end (raft-rs:
// max_uncommitted_size). Here the limit is twelve bytes, one greeting.

import { describe, expect, test } from "vitest";
import {
  MemoryStorage,
  MessageType,
  newHardState,
  newMessage,
  newNormalEntry,
} from "../../../src/core/index.js";
import { newConfState } from "../../../src/core/messages.js";
import { Network } from "../../support/network.js";
import { bytes, TestNode } from "../../support/test-node.js";

const GREETING = "hello world!";
const VOTERS = [1n, 2n, 3n];
const TWELVE_BYTES = { maxUncommittedSize: 12, maxSizePerMsg: 12 };
const REFUSED = { accepted: false, reason: "uncommittedLimit" };
const TAKEN = { accepted: true };

function uncommittedBytes({ raft }: TestNode): number {
  if (raft.role.kind !== "leader") throw new Error(`node ${raft.id} does not lead`);
  return raft.role.uncommitted.bytes;
}

/** A leader that has not committed anything. */
function leaderOfThree(): TestNode {
  const leader = new TestNode(1n, { voters: VOTERS, config: TWELVE_BYTES }).forceLeader();
  leader.settle();
  return leader;
}

/** A follower has everything, so all of it is committed and handed out. */
function commitAll(leader: TestNode): void {
  const index = leader.raft.log.lastIndex();
  const { term } = leader.raft;
  leader.settle();
  leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term, index }));
  leader.settle();
}

describe("a proposal", () => {
  test("that would exceed the limit is refused and leaves no trace in the log", () => {
    const leader = leaderOfThree();
    expect(leader.propose(GREETING)).toMatchObject(TAKEN);
    const lastIndex = leader.raft.log.lastIndex();
    expect(leader.propose(GREETING)).toEqual(REFUSED);
    expect(leader.propose("!")).toEqual(REFUSED);
    expect(leader.raft.log.lastIndex()).toBe(lastIndex);
    expect(uncommittedBytes(leader)).toBe(12);
  });

  test("fits again when something has been committed", () => {
    const leader = leaderOfThree();
    leader.propose(GREETING);
    commitAll(leader);
    expect(uncommittedBytes(leader)).toBe(0);
    expect(leader.propose(GREETING)).toMatchObject(TAKEN);
  });

  test("without data is always taken", () => {
    const leader = leaderOfThree();
    leader.propose(GREETING);
    expect(leader.propose("")).toMatchObject(TAKEN);
    leader.act((raw) => raw.propose(bytes("a context is not counted"), bytes("")));
    expect(uncommittedBytes(leader)).toBe(12);
  });

  test("larger than the limit is taken by a leader with nothing uncommitted, and then none", () => {
    const leader = leaderOfThree();
    expect(leader.propose("hello world and raft")).toMatchObject(TAKEN);
    expect(leader.propose("hello world and raft")).toEqual(REFUSED);
    expect(leader.propose("")).toMatchObject(TAKEN);
    commitAll(leader);
    expect(leader.propose("hello world and raft")).toMatchObject(TAKEN);
  });

  test("of several commands is taken whole or refused whole", () => {
    const leader = leaderOfThree();
    const batch = (...commands: string[]) =>
      leader.act((raw) =>
        raw.proposeBatch(commands.map((data) => ({ context: bytes(""), data: bytes(data) }))),
      );
    expect(batch("1234", "5678")).toMatchObject(TAKEN);
    const lastIndex = leader.raft.log.lastIndex();
    expect(batch("9", "012345")).toEqual(REFUSED);
    expect(leader.raft.log.lastIndex()).toBe(lastIndex);
    expect(batch("9", "012")).toMatchObject({ accepted: true, appended: { index: lastIndex + 2n } });
  });

  test("up to the limit goes on for ever when everything is committed in turn", () => {
    const leader = leaderOfThree();
    for (let round = 0; round < 1_024; round += 1) {
      expect(leader.propose(GREETING)).toMatchObject(TAKEN);
      commitAll(leader);
    }
    expect(uncommittedBytes(leader)).toBe(0);
  });

  test("that a follower passes on is refused by the leader in silence: nothing comes of it", () => {
    const network = Network.ofSize(3, { config: TWELVE_BYTES });
    network.campaign(1);
    network.ignore(MessageType.MsgAppendResponse);
    network.propose(1, GREETING);
    expect(network.node(2).propose("late")).toEqual(TAKEN);
    network.settle();
    expect(network.node(1).trace.at(-1)).toEqual({ type: "proposalDropped", reason: "uncommittedLimit" });
    network.recover();
    network.tick(3);
    expect(network.node(3).committedData()).toEqual([GREETING]);
  });
});

describe("a leader that is cut off", () => {
  test("stops growing its log, and goes on when it is heard again", () => {
    const network = Network.ofSize(3, { config: TWELVE_BYTES });
    network.campaign(1);
    network.isolate(1);
    const leader = network.node(1);
    for (let attempt = 0; attempt < 100; attempt += 1) leader.propose(GREETING);
    expect(leader.raft.log.lastIndex()).toBe(2n);
    network.recover();
    network.tick(2);
    expect(leader.propose(GREETING)).toMatchObject(TAKEN);
  });
});

describe("a new leader", () => {
  test("starts counting at zero, whatever it inherits: the limit is a soft one", () => {
    const network = Network.ofSize(5, { config: TWELVE_BYTES });
    network.campaign(1);
    for (const id of [3, 4, 5]) network.cut(1, id);
    network.propose(1, GREETING);
    network.isolate(1);
    network.ignore(MessageType.MsgAppend);
    network.campaign(2);
    expect(network.node(2).role).toBe("leader");
    expect(network.node(2).raft.log.committed).toBeLessThan(network.node(2).raft.log.lastIndex());
    expect(uncommittedBytes(network.node(2))).toBe(0);
  });

  test("does not give back what it never counted: entries of earlier leaders", () => {
    const storage = new MemoryStorage();
    storage.setConfState(newConfState({ voters: VOTERS }));
    storage.append([1n, 2n].map((index) => newNormalEntry(1n, index, bytes(GREETING))));
    storage.setHardState(newHardState(1n, 0n, 2n));
    // One committed entry is handed out at a time, so that the second one comes only when this node leads.
    const config = { ...TWELVE_BYTES, maxCommittedSizePerReady: 1 };
    const leader = new TestNode(1n, { storage, autoApply: false, config }).forceLeader();
    expect(leader.committed).toHaveLength(1);
    leader.propose(GREETING);
    leader.applyCommitted();
    leader.settle();
    expect(leader.committed).toHaveLength(2);
    expect(uncommittedBytes(leader)).toBe(12);
  });
});
