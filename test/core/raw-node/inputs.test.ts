// The inputs of RawNode: which messages it takes, how requests find the leader, what can be changed while it runs, and
// what its status tells.

import { describe, expect, test } from "vitest";
import {
  isLocalMessage,
  MemoryStorage,
  type Message,
  MessageType,
  newMessage,
  newNormalEntry,
} from "../../../src/core/index.js";
import { changeV1 } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { bytes, TestNode, text } from "../../support/test-node.js";
import { typesOf } from "./support.js";

const VOTERS = [1n, 2n, 3n];
const ALL_TYPES = Object.values(MessageType).filter((value) => typeof value === "number");
const LOCAL = ["MsgHup", "MsgBeat", "MsgUnreachable", "MsgSnapStatus", "MsgCheckQuorum"];
const RESPONSES = [
  "MsgAppendResponse",
  "MsgRequestVoteResponse",
  "MsgHeartbeatResponse",
  "MsgRequestPreVoteResponse",
];

describe("step", () => {
  test.each(ALL_TYPES.map((msgType) => ({ msgType, name: MessageType[msgType] })))(
    "takes $name from the network only if it is made to travel",
    ({ msgType, name }) => {
      const local = LOCAL.includes(name);
      expect(isLocalMessage(msgType)).toBe(local);
      for (const role of ["follower", "candidate", "leader"]) {
        const node = new TestNode(1n, { voters: VOTERS });
        if (role === "leader") node.forceLeader();
        if (role === "candidate") node.forceCandidate();
        const before = node.node.status();
        const message = newMessage(msgType, 1n, { from: 2n, term: node.raft.term + 1n });
        const outcome = node.act((raw) => raw.step(message));
        expect(outcome.accepted || outcome.reason !== "localMessage").toBe(!local);
        if (local) expect(node.node.status()).toEqual(before);
      }
    },
  );

  test("takes answers from members only, and requests from anybody (2.88)", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    for (const msgType of ALL_TYPES) {
      const name = MessageType[msgType];
      if (LOCAL.includes(name)) continue;
      const outcome = node.act((raw) => raw.step(newMessage(msgType, 1n, { from: 9n, term: 5n })));
      const refused = !outcome.accepted && outcome.reason === "unknownPeer";
      expect(refused, name).toBe(RESPONSES.includes(name));
    }
  });

  test.each([
    { what: "without a term (2.15)", fields: { from: 2n, term: 0n } },
    { what: "without a sender", fields: { from: 0n, term: 9n } },
    { what: "in the name of the node itself", fields: { from: 1n, term: 9n } },
  ])("ignores what comes $what, whatever the type and the role: it cannot come from a peer", ({ fields }) => {
    const requests = ["MsgPropose", "MsgReadIndex", "MsgTransferLeader"];
    for (const msgType of ALL_TYPES.filter((type) => !requests.includes(MessageType[type] ?? ""))) {
      for (const role of ["follower", "candidate", "leader"]) {
        const node = new TestNode(1n, { voters: VOTERS, term: 3n });
        if (role === "leader") node.forceLeader();
        if (role === "candidate") node.forceCandidate();
        node.settle();
        const before = node.node.status();
        node.act((raw) => raw.step(newMessage(msgType, 1n, fields)));
        expect(node.node.status(), `${MessageType[msgType]} to a ${role}`).toEqual(before);
      }
    }
  });

  test("takes the wish of another node to lead, and of nobody: those who pass it on name a term", () => {
    const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
    leader.takeMessages();
    const wish = (from: bigint, term: bigint) =>
      leader.act((raw) => raw.step(newMessage(MessageType.MsgTransferLeader, 1n, { from, term })));
    const { term } = leader.raft;
    wish(2n, 0n);
    expect(leader.trace.at(-1)).toMatchObject({ type: "messageIgnored", reason: "malformed" });
    expect(leader.node.status().leadTransferee).toBeUndefined();
    // A follower may pass on that this node is to lead, which it does.
    wish(1n, term);
    expect(leader.trace.at(-1)).toMatchObject({ type: "messageIgnored", reason: "alreadyThere" });
    wish(2n, term);
    expect(leader.node.status().leadTransferee).toBe(2n);
  });

  test("of a response with a later term from a stranger changes nothing", () => {
    const node = new TestNode(1n, { voters: VOTERS }).forceLeader();
    const before = node.node.status();
    const stranger = newMessage(MessageType.MsgHeartbeatResponse, 1n, { from: 9n, term: 99n });
    expect(node.act((raw) => raw.step(stranger))).toEqual({ accepted: false, reason: "unknownPeer" });
    expect(node.node.status()).toEqual(before);
  });
});

describe("a read", () => {
  test("of the leader itself comes out of one Ready", () => {
    const node = new TestNode(1n, { storage: MemoryStorage.withConfState({ voters: [1n] }) }).forceLeader();
    node.settle();
    node.act((raw) => raw.readIndex(bytes("somedata")));
    expect(node.node.hasReady()).toBe(true);
    const ready = node.node.ready();
    expect(ready.readStates).toEqual([{ index: 2n, requestCtx: bytes("somedata") }]);
    node.act((raw) => raw.advance(ready));
    expect(node.node.hasReady()).toBe(false);
    expect(node.node.ready().readStates).toEqual([]);
  });

  test("that finds a deposed leader goes on to the new one, in the name of who asked, without a term (R18)", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    const forwarded: Message[] = [];
    for (const id of [2n, 3n]) {
      network.node(id).act((raw) => raw.readIndex(bytes("testdata")));
      const messages = network.node(id).takeMessages();
      expect(messages).toMatchObject([{ msgType: MessageType.MsgReadIndex, from: id, to: 1n, term: 0n }]);
      forwarded.push(...messages);
    }
    network.campaign(3);
    const deposed = network.node(1);
    for (const message of forwarded) deposed.act((raw) => raw.step(message));
    expect(deposed.takeMessages()).toMatchObject([
      {
        msgType: MessageType.MsgReadIndex,
        from: 2n,
        to: 3n,
        term: 0n,
        entries: [{ data: bytes("testdata") }],
      },
      {
        msgType: MessageType.MsgReadIndex,
        from: 3n,
        to: 3n,
        term: 0n,
        entries: [{ data: bytes("testdata") }],
      },
    ]);
    // The answer goes to node 2, not to the node in between.
    for (const message of forwarded.slice(0, 1)) deposed.act((raw) => raw.step(message));
    network.settle();
    expect(network.node(2).readStates.map(({ requestCtx }) => text(requestCtx))).toEqual(["testdata"]);
    expect(deposed.readStates).toEqual([]);
  });
});

describe("a proposal", () => {
  test("of a follower reaches the leader, unless that follower is told not to pass it on", () => {
    const network = Network.of(
      VOTERS.map(
        (id) => new TestNode(id, { voters: VOTERS, config: { disableProposalForwarding: id === 3n } }),
      ),
    );
    network.campaign(1);
    network.propose(2, "passed on");
    expect(network.node(3).propose("kept")).toEqual({ accepted: false, reason: "forwardingDisabled" });
    network.propose(1, "of the leader");
    expect(network.node(3).committedData()).toEqual(["passed on", "of the leader"]);
  });

  test("of a leader is taken even if it is told not to pass on any", () => {
    const node = new TestNode(1n, {
      voters: [1n],
      config: { disableProposalForwarding: true },
    }).forceLeader();
    expect(node.propose("x")).toMatchObject({ accepted: true });
  });

  test("of a node without a leader is refused", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    expect(node.propose("x")).toEqual({ accepted: false, reason: "noLeader" });
    node.forceCandidate();
    expect(node.propose("x")).toEqual({ accepted: false, reason: "noLeader" });
  });

  test("of a leader that is cut off is refused when too much is uncommitted, and taken again after a commit", () => {
    const config = { maxUncommittedSize: 12, maxSizePerMsg: 12 };
    const node = new TestNode(1n, { voters: [1n], config }).forceLeader();
    node.settle();
    expect(node.propose("hello world!")).toMatchObject({ accepted: true });
    expect(node.propose("hello world!")).toEqual({ accepted: false, reason: "uncommittedLimit" });
    node.settle();
    expect(node.propose("hello world!")).toMatchObject({ accepted: true });
  });

  test("says where its last entry was put", () => {
    const node = new TestNode(1n, { voters: [1n] }).forceLeader();
    const command = (data: string) => ({ context: bytes(""), data: bytes(data) });
    expect(node.act((raw) => raw.proposeBatch([command("2"), command("3")]))).toEqual({
      accepted: true,
      appended: { index: 3n, term: 1n },
    });
  });

  test("is the leader's own: the caller may change its bytes afterwards", () => {
    const node = new TestNode(1n, { voters: [1n] }).forceLeader();
    const data = bytes("before");
    node.act((raw) => raw.propose(data, data));
    data.fill(0);
    node.settle();
    const entry = node.committed.at(-1);
    expect([text(entry?.data ?? data), text(entry?.context ?? data)]).toEqual(["before", "before"]);
  });
});

describe("skipBcastCommit", () => {
  function committedBy(network: Network): bigint[] {
    return network.nodes.map(({ raft }) => raft.log.committed);
  }

  test("lets followers learn of commits late, with whatever is sent next, but for changes of membership (2.43)", () => {
    const network = Network.of(
      VOTERS.map((id) => new TestNode(id, { voters: VOTERS, config: { skipBcastCommit: id === 1n } })),
    );
    network.campaign(1);
    network.propose(1, "2");
    expect(committedBy(network)).toEqual([2n, 1n, 1n]);
    network.node(1).tick();
    network.settle();
    expect(committedBy(network)).toEqual([2n, 2n, 2n]);

    network.node(1).act((raw) => raw.skipBcastCommit(false));
    network.propose(1, "3");
    expect(committedBy(network)).toEqual([3n, 3n, 3n]);

    network.node(1).act((raw) => raw.skipBcastCommit(true));
    network.propose(1, "4");
    network.propose(1, "5");
    expect(committedBy(network)).toEqual([5n, 4n, 4n]);

    network.node(1).proposeConfChange(changeV1("r3"));
    network.settle();
    expect(committedBy(network)).toEqual([6n, 6n, 6n]);
  });
});

describe("while it runs", () => {
  test.each([0n, 1n, 5n, 10_000n, -3n])("a node takes the priority %i", (priority) => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.act((raw) => raw.setPriority(priority));
    node.act((raw) => raw.campaign());
    expect(node.takeMessages()).toMatchObject([{ priority }, { priority }]);
  });

  test("a leader can be made to send heartbeats, others not", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.act((raw) => raw.ping());
    expect(node.takeMessages()).toEqual([]);
    node.forceLeader().takeMessages();
    node.act((raw) => raw.ping());
    expect(typesOf(node.takeMessages())).toEqual(["MsgHeartbeat", "MsgHeartbeat"]);
  });

  test("a follower can be made to forget its leader, and votes for another at once", () => {
    const config = { checkQuorum: true };
    const node = new TestNode(1n, { voters: VOTERS, config });
    const request = newMessage(MessageType.MsgRequestVote, 1n, {
      from: 3n,
      term: 2n,
      index: 9n,
      logTerm: 9n,
    });
    node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 1n }));
    node.takeMessages();
    node.step(request);
    expect(node.takeMessages()).toEqual([]);
    node.act((raw) => raw.forgetLeader());
    expect(node.leader).toBe(0n);
    node.step(request);
    expect(node.takeMessages()).toMatchObject([{ to: 3n, reject: false }]);
  });

  test("a follower that has no leader to forget keeps its patience: it would never campaign", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    node.tick(9);
    node.act((raw) => raw.forgetLeader());
    node.tick();
    expect(node.role).toBe("candidate");
  });

  test.each(["leader", "candidate", "leaseBased"])("forgetLeader is nothing to a %s", (what) => {
    const lease = what === "leaseBased" ? ({ checkQuorum: true, readOnlyOption: "leaseBased" } as const) : {};
    const node = new TestNode(1n, { voters: VOTERS, config: lease });
    if (what === "leader") node.forceLeader();
    else if (what === "candidate") node.forceCandidate();
    else node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 1n }));
    const before = node.node.status();
    node.act((raw) => raw.forgetLeader());
    expect(node.node.status()).toEqual(before);
  });

  test("reports about strangers are ignored", () => {
    const node = new TestNode(1n, { voters: VOTERS }).forceLeader();
    const before = node.node.status();
    node.act((raw) => raw.reportUnreachable(9n));
    node.act((raw) => raw.reportSnapshot(9n, "failure"));
    node.act((raw) => raw.adjustMaxInflightMsgs(9n, 1));
    expect(node.node.status()).toEqual(before);
  });
});

describe("the status", () => {
  test("of a follower tells its state and nothing of others; of a leader also every member's progress", () => {
    const node = new TestNode(1n, { voters: [1n, 2n], learners: [3n] });
    expect(node.node.status()).toMatchObject({
      id: 1n,
      softState: { leaderId: 0n, raftState: "follower" },
      applied: 0n,
      lastIndex: 0n,
      promotable: true,
      leadTransferee: undefined,
      progress: undefined,
    });
    node.forceLeader();
    node.settle();
    node.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 1n, commit: 1n }));
    node.settle();
    const status = node.node.status();
    expect(status).toMatchObject({
      softState: { leaderId: 1n, raftState: "leader" },
      hardState: { term: 1n, vote: 1n, commit: 1n },
      applied: 1n,
      persisted: 1n,
      confState: { voters: [1n, 2n], learners: [3n] },
    });
    expect(status.progress).toMatchObject([
      { id: 1n, state: "Replicate", matched: 1n, nextIdx: 2n, learner: false, committedIndex: 1n },
      { id: 2n, state: "Replicate", matched: 1n, nextIdx: 2n, learner: false, committedIndex: 1n },
      { id: 3n, state: "Probe", matched: 0n, learner: true, committedIndex: 0n },
    ]);
  });

  test("is a copy that never shows a later state, and cannot change the node", () => {
    const node = new TestNode(1n, { voters: [1n, 2n] }).forceLeader();
    const status = node.node.status();
    status.confState.voters.push(9n);
    status.hardState.term = 99n;
    node.propose("x");
    node.settle();
    expect(status.lastIndex).toBe(1n);
    expect(node.node.status()).toMatchObject({ confState: { voters: [1n, 2n] }, hardState: { term: 1n } });
  });
});

test("a proposal that a follower passes on keeps its entries as they came", () => {
  const network = Network.ofSize(2);
  network.campaign(1);
  const entries = [newNormalEntry(0n, 0n, bytes("data"), bytes("context"))];
  network.node(2).act((raw) => raw.step(newMessage(MessageType.MsgPropose, 2n, { from: 9n, entries })));
  expect(network.node(2).takeMessages()).toMatchObject([
    {
      msgType: MessageType.MsgPropose,
      from: 9n,
      to: 1n,
      term: 0n,
      entries: [{ data: bytes("data"), context: bytes("context") }],
    },
  ]);
});
