// Stories that take several elections, losses or limits to tell, most of them known from etcd/raft's interaction tests.

import { describe, expect, test } from "vitest";
import { type Message, MessageType } from "../../../src/core/index.js";
import { entriesSize } from "../../../src/core/messages.js";
import { Network } from "../../support/network.js";
import { ofType } from "../../support/peer-messages.js";

const SAFE = { preVote: true, checkQuorum: true };

function between(one: bigint, other: bigint, messages: readonly Message[]): string[] {
  return messages
    .filter(({ from, to }) => (from === one && to === other) || (from === other && to === one))
    .map(({ from, msgType }) => `${from} ${MessageType[msgType]}`);
}

test("a follower whose acknowledgement was lost learns of the commit within a heartbeat and one and a half round trips", () => {
  const network = Network.ofSize(3);
  network.campaign(1);
  const follower = network.node(3);
  network.filter(({ from, to, msgType, entries }) => {
    if (from === 3n && msgType === MessageType.MsgAppendResponse) return false;
    return to !== 3n || entries.length > 0;
  });
  network.propose(1, "x");
  expect([follower.raft.log.lastIndex(), follower.raft.log.committed]).toEqual([2n, 1n]);
  network.recover();

  const before = network.delivered.length;
  network.tick();
  const heard = network.delivered.slice(before);
  expect(between(1n, 3n, heard).slice(0, 3)).toEqual([
    "1 MsgHeartbeat",
    "3 MsgHeartbeatResponse",
    "1 MsgAppend",
  ]);
  // The heartbeat could not tell it: the leader did not know that the follower has the entry.
  expect(ofType(heard, MessageType.MsgHeartbeat).find(({ to }) => to === 3n)?.commit).toBe(1n);
  expect(follower.raft.log.committed).toBe(2n);
});

describe("under pre-vote and check-quorum", () => {
  test("one node alone cannot replace a leader that lives, two that have both given it up can", () => {
    const network = Network.ofSize(3, { config: SAFE });
    network.campaign(1);
    network.propose(1, "x");

    network.campaign(2);
    expect(network.nodes.map(({ role }) => role)).toEqual(["leader", "preCandidate", "follower"]);
    expect(network.nodes.map(({ raft }) => raft.term)).toEqual([1n, 1n, 1n]);

    // A pre-candidate has no leader, hence no lease to honour.
    network.campaign(3);
    expect(network.nodes.map(({ role }) => role)).toEqual(["follower", "follower", "leader"]);
  });

  test("a follower that was told to forget its leader votes for another at once", () => {
    const network = Network.ofSize(3, { config: SAFE });
    network.campaign(1);
    network.campaign(2);
    expect(network.leader).toBe(network.node(1));
    network.node(3).act((raw) => raw.forgetLeader());
    network.campaign(2);
    expect(network.leader).toBe(network.node(2));
    expect(network.node(1).role).toBe("follower");
  });

  test("a follower that was told to forget its leader still refuses a log that lacks something", () => {
    const network = Network.ofSize(3, { config: SAFE });
    network.campaign(1);
    network.isolate(2);
    network.propose(1, "not for node 2");
    network.recover();
    network.node(3).act((raw) => raw.forgetLeader());
    network.campaign(2);
    expect(network.leader).toBe(network.node(1));
    expect(network.node(2).raft.term).toBe(1n);
  });
});

test("appends keep to their limit of bytes and make use of it, whatever is proposed and lost", () => {
  const maxSizePerMsg = 2_048;
  const network = Network.ofSize(3, { config: { maxSizePerMsg } });
  network.campaign(1);
  network.isolate(2);
  for (let count = 0; count < 30; count += 1) network.propose(1, "y".repeat((count * 137) % 900));
  network.recover();
  network.tick(3);

  const sizes = ofType(network.delivered, MessageType.MsgAppend).map(({ entries }) => entriesSize(entries));
  expect(Math.max(...sizes)).toBeLessThanOrEqual(maxSizePerMsg);
  expect(Math.max(...sizes)).toBeGreaterThan(maxSizePerMsg / 2);
  expect(network.node(2).committedData()).toEqual(network.node(1).committedData());
});
