// What a node must not do with what it learnt as a leader once it leads no more: what peers acknowledged was said of
// its log as it was then. The tracker still remembers it until the next election is won.

import { describe, expect, test } from "vitest";
import { type Entry, MessageType, newMessage, newNormalEntry } from "../../../src/core/index.js";
import { changeV1 } from "../../support/conf-changes.js";
import { ack } from "../../support/peer-messages.js";
import { bytes, TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

describe("what peers acknowledged to a former leader", () => {
  // Figure 8 of the paper: entries of an old term are on a majority, and are replaced all the same.
  test("commits nothing when its own disk catches up with another leader's log", () => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n, 1n], term: 2n, commit: 1n });
    node.settle();
    node.forceLeader();
    node.step(ack(node, 2, 3n));
    node.settle();
    expect(node.progress(2).matched).toBe(3n);
    expect(node.raft.log.committed, "entries of term 1 are not counted").toBe(1n);

    // Node 3 has an entry of term 2 at index 2, so it could win term 4 with the vote of a fourth that knew of none.
    const entries: Entry[] = [2n, 4n, 4n, 4n].map((term, position) =>
      newNormalEntry(term, BigInt(position + 2), bytes("new")),
    );
    const previous = { index: 1n, logTerm: 1n, commit: 1n };
    node.step(newMessage(MessageType.MsgAppend, 1n, { from: 3n, term: 4n, entries, ...previous }));
    node.settle();
    expect(node.logSummary()).toEqual(["1/1", "2/2", "3/4", "4/4", "5/4"]);
    expect(node.raft.log.committed).toBe(1n);
  });

  test("commits nothing when a rule that held it back is lifted", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.node.enableGroupCommit(true);
    const groups = VOTERS.map((id) => ({ id, groupId: id === 3n ? 2n : 1n }));
    node.act((raw) => raw.assignCommitGroups(groups));
    node.forceLeader();
    node.step(ack(node, 2, 1n));
    node.settle();
    // It steps down in its own term, as a leader does that hears from no quorum.
    node.step(newMessage(MessageType.MsgCheckQuorum, 1n, { from: 1n }));
    node.step(newMessage(MessageType.MsgCheckQuorum, 1n, { from: 1n }));
    expect(node.role).toBe("follower");
    node.takeMessages();
    node.act((raw) => raw.enableGroupCommit(false));
    expect(node.raft.log.committed).toBe(0n);
    expect(node.takeMessages()).toEqual([]);
  });

  test("does not tell whether what is committed is in two groups", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.node.enableGroupCommit(true);
    node.act((raw) => raw.assignCommitGroups(VOTERS.map((id) => ({ id, groupId: id }))));
    node.forceLeader();
    node.step(ack(node, 2, 1n));
    node.settle();
    expect(node.node.checkGroupCommitConsistent()).toBe(true);
    node.step(newMessage(MessageType.MsgCheckQuorum, 1n, { from: 1n }));
    node.step(newMessage(MessageType.MsgCheckQuorum, 1n, { from: 1n }));
    expect(node.role).toBe("follower");
    expect(node.node.checkGroupCommitConsistent()).toBeUndefined();
  });
});

describe("a candidate that is removed by a change it applies meanwhile", () => {
  test("may still win, and then leads a group that it is no member of, without counting itself", () => {
    const node = new TestNode(1n, { voters: VOTERS, autoApply: false });
    node.forceCandidate();
    node.act((raw) => raw.applyConfChange(changeV1("r1")));
    expect(node.role).toBe("candidate");
    for (const from of [2n, 3n]) {
      const { term } = node.raft;
      node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from, term }));
    }
    expect(node.role).toBe("leader");
    node.settle();
    node.step(ack(node, 2, 1n));
    expect(node.raft.log.committed).toBe(0n);
    node.step(ack(node, 3, 1n));
    expect(node.raft.log.committed).toBe(1n);
  });
});
