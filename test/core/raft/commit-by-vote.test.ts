// Vote requests and refusals tell what their sender knows to be committed (R20, etcd-io/etcd#12359). Without that, a
// group can be left without any node that could win: one has the newest log and does not know that it has become a
// voter, the others know and lack its entries.

import { describe, expect, test } from "vitest";
import {
  type ConfChange,
  ConfChangeTransition,
  type ConfChangeV2,
  MessageType,
  newMessage,
} from "../../../src/core/index.js";
import { change, changeV1, leaveJoint } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

interface Stranded {
  readonly network: Network;
  readonly changeIndex: bigint;
}

function fourNodes(options: {
  readonly voters: readonly bigint[];
  readonly learners?: readonly bigint[];
  readonly preVote: boolean;
}): Network {
  const { preVote, ...members } = options;
  return Network.of(
    [1n, 2n, 3n, 4n].map((id) => new TestNode(id, { ...members, autoApply: false, config: { preVote } })),
  );
}

/** Node 1 leads and proposes the change; everybody has it, nobody commits it, and node 4 has one entry more. */
function proposeAndFavourFour(network: Network, confChange: ConfChange | ConfChangeV2): Stranded {
  network.campaign(1);
  for (const node of network.nodes) node.applyCommitted();
  network.ignore(MessageType.MsgAppendResponse);
  network.node(1).proposeConfChange(confChange);
  network.settle();
  const changeIndex = network.node(1).raft.log.lastIndex();
  network.recover();
  network.cut(1, 2);
  network.cut(1, 3);
  network.propose(1, "for four only");
  expect(network.node(4).raft.log.lastIndex()).toBe(changeIndex + 1n);
  return { network, changeIndex };
}

/** A late acknowledgement of node 2 commits the change on the leader, whose heartbeats tell whom they reach. */
function commitOnLeader({ network, changeIndex }: Stranded): void {
  const { term } = network.node(1).raft;
  network.send(
    newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term, index: changeIndex }),
    newMessage(MessageType.MsgBeat, 1n),
  );
}

describe.each([
  { by: "a vote", preVote: false },
  { by: "a pre-vote", preVote: true },
])("a node that learns from $by of a committed change", ({ preVote }) => {
  test.each([
    { what: "makes it a voter", confChange: changeV1("v4") },
    { what: "makes it a voter jointly", confChange: change("l3 v4") },
  ])("that $what, from a request, can win then", ({ confChange }) => {
    const stranded = proposeAndFavourFour(
      fourNodes({ voters: [1n, 2n, 3n], learners: [4n], preVote }),
      confChange,
    );
    const { network, changeIndex } = stranded;
    network.recover();
    network.cut(1, 4);
    network.ignore(MessageType.MsgAppend);
    commitOnLeader(stranded);
    network.recover();
    network.isolate(1);
    const [second, fourth] = [network.node(2), network.node(4)];
    expect(fourth.raft.log.committed).toBeLessThan(changeIndex);
    fourth.timeOut();
    expect(fourth.role).toBe("follower");

    expect(second.raft.log.committed).toBe(changeIndex);
    second.applyCommitted();
    network.campaign(2);
    expect(second.role).not.toBe("leader");
    expect(fourth.raft.log.committed).toBe(changeIndex);

    fourth.applyCommitted();
    network.campaign(4);
    expect(fourth.role).toBe("leader");
  });

  test.each([
    { what: "removes the one that refuses it", joint: false, confChange: changeV1("r4") },
    { what: "ends a joint configuration", joint: true, confChange: leaveJoint() },
  ])("that $what, from the refusal, steps back, applies it and wins", ({ joint, confChange }) => {
    const network = fourNodes({ voters: [1n, 2n, 3n, 4n], preVote });
    if (joint) {
      const enter = change("v3 l4", ConfChangeTransition.Explicit);
      for (const node of network.nodes) node.act((raw) => raw.applyConfChange(enter));
    }
    const stranded = proposeAndFavourFour(network, confChange);
    const { changeIndex } = stranded;
    commitOnLeader(stranded);
    network.recover();
    network.isolate(1);
    const [second, fourth] = [network.node(2), network.node(4)];
    expect(fourth.raft.log.committed).toBeGreaterThanOrEqual(changeIndex);
    fourth.applyCommitted();
    fourth.timeOut();
    expect(fourth.role).toBe("follower");
    expect(second.raft.log.committed).toBeLessThan(changeIndex);

    network.campaign(2);
    expect(second.role).toBe("follower");
    expect(second.raft.log.committed).toBe(changeIndex);
    second.applyCommitted();
    network.campaign(2);
    expect(second.role).toBe("leader");
  });
});

describe("what a vote tells of the commit index", () => {
  const VOTERS = [1n, 2n, 3n];

  test("is the sender's commit index and the term of the entry there", () => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 2n, 3n], commit: 2n });
    node.act((raw) => raw.campaign());
    expect(node.takeMessages()).toMatchObject([
      { msgType: MessageType.MsgRequestVote, commit: 2n, commitTerm: 2n },
      { msgType: MessageType.MsgRequestVote, commit: 2n, commitTerm: 2n },
    ]);
    node.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term: 9n }));
    expect(node.takeMessages()).toMatchObject([{ reject: true, commit: 2n, commitTerm: 2n }]);
  });

  test.each([
    { what: "another term at that index", fields: { commit: 2n, commitTerm: 1n }, committed: 0n },
    { what: "an index beyond the log", fields: { commit: 9n, commitTerm: 3n }, committed: 0n },
    { what: "no index", fields: { commit: 0n, commitTerm: 3n }, committed: 0n },
    { what: "no term", fields: { commit: 2n, commitTerm: 0n }, committed: 0n },
    { what: "an entry that this log has too", fields: { commit: 2n, commitTerm: 2n }, committed: 2n },
  ])("with $what leaves the receiver at $committed", ({ fields, committed }) => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 2n, 3n] });
    node.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term: 9n, ...fields }));
    expect(node.raft.log.committed).toBe(committed);
  });

  test("is nothing to a leader, who knows best", () => {
    const leader = new TestNode(1n, { voters: VOTERS, logTerms: [1n] }).forceLeader();
    leader.takeMessages();
    const { term } = leader.raft;
    leader.step(newMessage(MessageType.MsgRequestVote, 1n, { from: 2n, term, commit: 1n, commitTerm: 1n }));
    expect(leader.raft.log.committed).toBe(0n);
    expect(leader.takeMessages()).toMatchObject([{ to: 2n, reject: true }]);
  });

  test("does not stop a candidate when it uncovers no change of membership", () => {
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n] }).forceCandidate();
    const { term } = node.raft;
    node.step(
      newMessage(MessageType.MsgRequestVoteResponse, 1n, {
        from: 2n,
        term,
        reject: true,
        commit: 2n,
        commitTerm: 1n,
      }),
    );
    expect(node.role).toBe("candidate");
    expect(node.raft.log.committed).toBe(2n);
  });

  test("is told to the trace, and costs a follower nothing: it keeps its leader whatever it uncovers", () => {
    const network = fourNodes({ voters: VOTERS, preVote: false });
    network.campaign(1);
    for (const node of network.nodes) node.applyCommitted();
    network.ignore(MessageType.MsgAppendResponse);
    network.node(1).proposeConfChange(changeV1("l4"));
    network.settle();
    const follower = network.node(2);
    const index = follower.raft.log.lastIndex();
    expect([follower.leader, follower.raft.log.committed]).toEqual([1n, index - 1n]);
    const { term } = follower.raft;
    const request = newMessage(MessageType.MsgRequestVote, 2n, { from: 3n, term, commit: index });
    follower.step({ ...request, commitTerm: term });
    expect([follower.leader, follower.raft.log.committed]).toEqual([1n, index]);
    expect(follower.trace).toContainEqual({ type: "committed", index });
  });

  test("makes a candidate look at what it uncovers only, and for no other purpose", () => {
    const purposes: unknown[] = [];
    const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n, 1n], commit: 1n });
    const read = node.storage.entries.bind(node.storage);
    node.settle();
    node.forceCandidate();
    node.storage.entries = (low, high, maxBytes, context) => {
      purposes.push([low, high, context]);
      return read(low, high, maxBytes, context);
    };
    const { term } = node.raft;
    const refusal = newMessage(MessageType.MsgRequestVoteResponse, 1n, { from: 2n, term, reject: true });
    node.step({ ...refusal, commit: 3n, commitTerm: 1n });
    expect(purposes).toEqual([[2n, 4n, { canAsync: false, purpose: "commitByVote" }]]);
  });
});
