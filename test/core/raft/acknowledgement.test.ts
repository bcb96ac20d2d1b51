// What a leader concludes from one answer of a peer, and what it must not conclude: node 1 leads, the test plays the
// peers. Found by mutants of the core that no scenario noticed.

import { describe, expect, test } from "vitest";
import { type Message, MessageType, newMessage, StorageError } from "../../../src/core/index.js";
import { ack, heartbeatResponse, ofType, rejection } from "../../support/peer-messages.js";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

/** Node 1, leading in term 2, with five entries of term 1, all committed, before its own at 6. */
function leaderOf(voters: readonly bigint[], options: TestNodeOptions = {}): TestNode {
  const leader = new TestNode(1n, { voters, logTerms: [1n, 1n, 1n, 1n, 1n], commit: 5n, ...options });
  leader.settle();
  leader.forceLeader();
  leader.takeMessages();
  return leader;
}

function receive(leader: TestNode, message: Message): Message[] {
  leader.step(message);
  return leader.takeMessages();
}

test("a late acknowledgement proves nothing of a peer that is probed again; that of all it holds does", () => {
  const leader = leaderOf([1n, 2n, 3n]);
  receive(leader, ack(leader, 2, 6n));
  leader.act((raw) => raw.reportUnreachable(2n));
  receive(leader, ack(leader, 2, 4n));
  expect(leader.progress(2)).toMatchObject({ state: "Probe", matched: 6n });
  receive(leader, ack(leader, 2, 6n));
  expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 6n });
});

test("the target of a transfer is told to campaign when it, and nobody else, has everything", () => {
  const leader = leaderOf([1n, 2n, 3n]);
  for (const peer of [2, 3]) receive(leader, ack(leader, peer, 6n));
  leader.propose("a");
  leader.propose("b");
  leader.takeMessages();
  leader.act((raw) => raw.transferLeader(3n));
  leader.takeMessages();
  const urged = (message: Message) => ofType(receive(leader, message), MessageType.MsgTimeoutNow);
  expect(urged(ack(leader, 2, 8n))).toEqual([]);
  expect(urged(ack(leader, 3, 7n))).toEqual([]);
  expect(urged(ack(leader, 3, 8n))).toMatchObject([{ to: 3n }]);
});

describe("a peer that a snapshot is on its way to", () => {
  test("is fed from the log again as soon as the log reaches back to what it holds, and not before", () => {
    const leader = leaderOf([1n, 2n, 3n]);
    leader.storage.compact(4n);
    receive(leader, heartbeatResponse(leader, 2));
    expect(ofType(receive(leader, rejection(leader, 2, 5n, 0n)), MessageType.MsgSnapshot)).toHaveLength(1);
    expect(ofType(receive(leader, ack(leader, 2, 3n)), MessageType.MsgSnapshot), "a second one").toEqual([]);
    expect(leader.progress(2)).toMatchObject({ state: "Snapshot", matched: 3n });
    receive(leader, ack(leader, 2, 4n));
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 4n });
  });
});

describe("a peer that asks for a snapshot", () => {
  /** It holds something else than the leader at the end of its log, so that nothing is concluded from that. */
  const request = (leader: TestNode, fields = {}) =>
    ack(leader, 2, 5n, { reject: true, requestSnapshot: 5n, rejectHint: 5n, logTerm: 9n, ...fields });

  test("still waits for it when it acknowledges less than it has asked for", () => {
    const leader = leaderOf([1n, 2n, 3n]);
    expect(ofType(receive(leader, request(leader)), MessageType.MsgSnapshot)).toHaveLength(1);
    expect(leader.progress(2).matched).toBe(0n);
    expect(ofType(receive(leader, ack(leader, 2, 4n)), MessageType.MsgSnapshot)).toHaveLength(1);
    expect(leader.progress(2)).toMatchObject({ state: "Snapshot", pendingRequestSnapshot: 5n });
    expect(ofType(receive(leader, ack(leader, 2, 5n)), MessageType.MsgSnapshot)).toEqual([]);
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", pendingRequestSnapshot: 0n });
  });

  test("is given it as soon as there is one, even if a late acknowledgement makes it look healthy meanwhile", () => {
    const leader = leaderOf([1n, 2n, 3n]);
    const makeSnapshot = leader.storage.snapshot.bind(leader.storage);
    leader.storage.snapshot = () => {
      throw new StorageError("snapshotTemporarilyUnavailable");
    };
    receive(leader, request(leader));
    receive(leader, ack(leader, 2, 6n));
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 6n, pendingRequestSnapshot: 5n });
    leader.storage.snapshot = makeSnapshot;
    const sent = receive(leader, heartbeatResponse(leader, 2));
    expect(ofType(sent, MessageType.MsgSnapshot)).toMatchObject([{ to: 2n }]);
  });

  test("counts for what its log proves to hold, and so lets the leader commit", () => {
    const leader = leaderOf([1n, 2n]);
    expect(leader.raft.log.committed).toBe(5n);
    receive(leader, request(leader, { rejectHint: 6n, logTerm: 1n }));
    expect(leader.raft.log.committed, "its entry 6 is another one").toBe(5n);
    receive(leader, request(leader, { rejectHint: 6n, logTerm: 2n }));
    expect(leader.raft.log.committed).toBe(6n);
  });

  test("frees the window of what its log holds, and of no more", () => {
    const leader = leaderOf([1n, 2n, 3n]);
    receive(leader, ack(leader, 2, 6n));
    for (const data of ["a", "b", "c"]) {
      leader.propose(data);
      leader.takeMessages();
    }
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", nextIdx: 10n });
    expect(leader.progress(2).inflights.count).toBe(3);
    // The request is older than what is known by now, so that it leads to no snapshot.
    receive(leader, request(leader, { rejectHint: 8n, logTerm: 2n }));
    expect(leader.progress(2)).toMatchObject({ state: "Replicate", matched: 8n });
    expect(leader.progress(2).inflights.count).toBe(1);
  });
});

test("a campaign is in the leader's name only if its mark is the whole mark", () => {
  const mark = "CampaignTransfer";
  const heard = (context: string): boolean => {
    const node = new TestNode(1n, { voters: [1n, 2n, 3n], config: { checkQuorum: true } });
    node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 1n }));
    node.takeMessages();
    const fields = { from: 3n, term: 2n, context: new TextEncoder().encode(context) };
    return receive(node, newMessage(MessageType.MsgRequestVote, 1n, fields)).length > 0;
  };
  expect(heard(mark)).toBe(true);
  for (const other of ["", mark.slice(0, -1), `${mark}s`, mark.toUpperCase(), "ElectionTransfer"]) {
    expect(heard(other), `"${other}"`).toBe(false);
  }
});
