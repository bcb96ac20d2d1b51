// What a change of membership does to the nodes of a group: who counts from then on, who may campaign, and what
// becomes of a leader that has to go. Changes are applied where they are committed; the wires are in memory.

import { describe, expect, test } from "vitest";
import { ConfChangeError, MemoryStorage, MessageType, newMessage } from "../../../src/core/index.js";
import { change, changeV1 } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { bytes, TestNode, text } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** The membership that a node goes by. */
function membershipOf(node: TestNode): { voters: bigint[]; learners: bigint[] } {
  const { voters, learners } = node.node.status().confState;
  return { voters, learners };
}

describe("a change that is applied", () => {
  test.each([
    { what: "adds a voter", before: [1n], text: "v2", voters: [1n, 2n], learners: [] },
    { what: "adds a learner", before: [1n], text: "l2", voters: [1n], learners: [2n] },
    { what: "removes a voter", before: [1n, 2n], text: "r2", voters: [1n], learners: [] },
    { what: "demotes a voter", before: [1n, 2n], text: "l2", voters: [1n], learners: [2n] },
    { what: "removes a stranger, which is nothing", before: [1n], text: "r9", voters: [1n], learners: [] },
  ])("$what", ({ before, text, voters, learners }) => {
    const node = new TestNode(1n, { voters: before });
    const confState = node.act((raw) => raw.applyConfChange(changeV1(text)));
    expect(confState).toMatchObject({ voters, learners });
    expect(membershipOf(node)).toEqual({ voters, learners });
  });

  test("removes a learner and leaves the voters alone", () => {
    const node = new TestNode(1n, { voters: [1n], learners: [2n] });
    node.act((raw) => raw.applyConfChange(changeV1("r2")));
    expect(membershipOf(node)).toEqual({ voters: [1n], learners: [] });
  });

  test("promotes a learner and keeps what is known of its log", () => {
    const leader = new TestNode(1n, { voters: [1n], learners: [2n] }).forceLeader();
    leader.progress(2).maybeUpdate(1n);
    leader.act((raw) => raw.applyConfChange(changeV1("v2")));
    expect(membershipOf(leader)).toEqual({ voters: [1n, 2n], learners: [] });
    expect(leader.progress(2)).toMatchObject({ matched: 1n, isLearner: false });
  });

  test.each([
    { what: "the only voter", learners: [], text: "r1" },
    { what: "the only voter while there is a learner", learners: [2n], text: "r1" },
    { what: "the only voter by demoting it", learners: [2n], text: "l1" },
  ])("never takes away $what: it is refused and nothing has changed", ({ learners, text }) => {
    const node = new TestNode(1n, { voters: [1n], learners });
    expect(() => node.act((raw) => raw.applyConfChange(changeV1(text)))).toThrow(ConfChangeError);
    expect(membershipOf(node)).toEqual({ voters: [1n], learners });
    expect(node.raft.promotable).toBe(true);
  });

  test("lets what waited for a larger quorum commit (R14, §6 of the paper)", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n] }).forceLeader();
    leader.proposeConfChange(changeV1("r2"));
    leader.settle();
    const removalIndex = leader.raft.log.lastIndex();
    leader.propose("hello");
    leader.settle();
    expect(leader.raft.log.committed).toBe(0n);

    const { term } = leader.raft;
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term, index: removalIndex }));
    leader.settle();

    expect(membershipOf(leader).voters).toEqual([1n]);
    expect(leader.committedData()).toContain("hello");
  });

  test("releases a read that waited for a larger quorum (R15)", () => {
    const network = Network.ofSize(2);
    network.campaign(1);
    const leader = network.node(1);
    leader.act((raw) => raw.readIndex(bytes("who?")));
    leader.takeMessages();
    expect(leader.readStates).toEqual([]);

    leader.act((raw) => raw.applyConfChange(changeV1("r2")));
    leader.settle();
    expect(leader.readStates.map(({ requestCtx }) => text(requestCtx))).toEqual(["who?"]);
  });
});

describe("a new member", () => {
  test("counts as active for one election timeout, then its silence deposes the leader", () => {
    const leader = new TestNode(1n, { voters: [1n], config: { checkQuorum: true } }).forceLeader();
    leader.tick(9);
    leader.act((raw) => raw.applyConfChange(changeV1("v2")));
    leader.tick();
    expect(leader.role).toBe("leader");
    leader.tick(10);
    expect(leader.role).toBe("follower");
  });

  test("joins with a blank log, is brought up by a snapshot and commits what the others commit", () => {
    const birth = { voters: [1n] };
    const leader = new TestNode(1n, { storage: MemoryStorage.withConfState(birth) });
    const blank = new TestNode(2n, { storage: new MemoryStorage() });
    const network = Network.of([leader, blank]);
    network.campaign(1);
    leader.proposeConfChange(changeV1("v2"));
    network.settle();
    network.tick(2);
    leader.act((raw) => raw.reportSnapshot(2n, "finish"));
    network.propose(1, "for two");

    expect(membershipOf(blank).voters).toEqual([1n, 2n]);
    expect(blank.committedData()).toEqual(["for two"]);
    expect(leader.raft.log.committed).toBe(leader.raft.log.lastIndex());
  });
});

describe("only a voter of its own configuration", () => {
  test.each([
    { voters: [1n], promotable: true },
    { voters: VOTERS, promotable: true },
    { voters: [], promotable: false },
    { voters: [2n, 3n], promotable: false },
  ])("may campaign: in $voters node 1 may: $promotable", ({ voters, promotable }) => {
    const node = new TestNode(1n, { voters });
    expect(node.raft.promotable).toBe(promotable);
    expect(node.act((raw) => raw.campaign()).accepted).toBe(promotable);
  });

  test.each(["tick", "MsgHup", "MsgTimeoutNow"])("may campaign: a learner ignores %s (U8)", (how) => {
    const learner = new TestNode(2n, { voters: [1n], learners: [2n], term: 1n });
    if (how === "tick") learner.tick(100);
    else if (how === "MsgHup") learner.step(newMessage(MessageType.MsgHup, 2n));
    else learner.step(newMessage(MessageType.MsgTimeoutNow, 2n, { from: 1n, term: 1n }));
    expect(learner.role).toBe("follower");
    expect(learner.raft.term).toBe(1n);
    expect(learner.takeMessages()).toEqual([]);
  });

  test("may campaign: a snapshot that waits to be stored comes first (U8)", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    const snapshot = new TestNode(2n, { voters: VOTERS, logTerms: [1n], commit: 1n }).storage.snapshot(
      1n,
      1n,
    );
    node.step(newMessage(MessageType.MsgSnapshot, 1n, { from: 2n, term: 1n, snapshot }));
    expect(node.act((raw) => raw.campaign())).toEqual({ accepted: false, reason: "notPromotable" });
    node.settle();
    expect(node.act((raw) => raw.campaign())).toEqual({ accepted: true });
  });

  test("lists its members in id order, whatever the order they were given in", () => {
    expect(membershipOf(new TestNode(1n, { voters: [3n, 2n, 1n] })).voters).toEqual(VOTERS);
  });
});

describe("a learner", () => {
  function voterAndLearner(): Network {
    return Network.of([1n, 2n].map((id) => new TestNode(id, { voters: [1n], learners: [2n] })));
  }

  test("receives the log and commits it, without a say in it", () => {
    const network = voterAndLearner();
    network.campaign(1);
    network.propose(1, "news");
    expect(network.node(2).committedData()).toEqual(["news"]);
    expect(network.node(1).progress(2).matched).toBe(network.node(2).raft.log.lastIndex());

    network.isolate(2);
    network.propose(1, "more");
    expect(network.node(1).committedData()).toEqual(["news", "more"]);
  });

  test("can lead once it has been promoted", () => {
    const network = voterAndLearner();
    network.campaign(1);
    network.node(1).proposeConfChange(changeV1("v2"));
    network.settle();
    expect(network.node(2).raft.promotable).toBe(true);
    network.node(2).timeOut();
    network.settle();
    expect(network.nodes.map(({ role }) => role)).toEqual(["follower", "leader"]);
  });

  test("that does not know of its promotion is asked and its vote counts", () => {
    const membership = { voters: [1n, 2n], learners: [3n] };
    const candidate = new TestNode(1n, membership);
    const learner = new TestNode(3n, membership);
    const network = Network.of([candidate, learner]);
    network.campaign(1);
    expect(candidate.role).toBe("candidate");

    candidate.act((raw) => raw.applyConfChange(changeV1("v3")));
    network.campaign(1);
    expect(candidate.role).toBe("leader");
    expect(learner.raft.promotable).toBe(false);
  });
});

describe("a committed change that is not applied", () => {
  test.each([
    { form: "V1", confChange: changeV1("r3") },
    { form: "V2", confChange: change("r3") },
  ])("keeps a node from campaigning, whoever asks for it ($form)", ({ confChange }) => {
    const network = Network.ofSize(3, { autoApply: false });
    const [leader, second] = [network.node(1), network.node(2)];
    network.campaign(1);
    leader.applyCommitted();
    leader.proposeConfChange(confChange);
    network.settle();

    second.timeOut();
    network.settle();
    expect(second.role).toBe("follower");
    expect(second.trace).toContainEqual({ type: "campaignRefused", reason: "pendingConfChange" });

    leader.act((raw) => raw.transferLeader(2n));
    network.settle();
    expect(network.leader).toBe(leader);
    leader.tick(10);

    second.applyCommitted();
    leader.act((raw) => raw.transferLeader(2n));
    network.settle();
    expect(network.leader).toBe(second);

    expect(leader.act((raw) => raw.campaign())).toMatchObject({ reason: "pendingConfChange" });
    leader.applyCommitted();
    leader.timeOut();
    expect(leader.role).toBe("candidate");
  });
});

describe("a leader that is no longer a voter", () => {
  test.each(["r1", "l1"])("steps down when %s is applied, and the rest elect another (U2, E14)", (text) => {
    const network = Network.ofSize(3);
    network.campaign(1);
    network.node(1).proposeConfChange(changeV1(text));
    network.settle();
    expect(network.node(1).role).toBe("follower");
    expect(network.node(1).raft.promotable).toBe(false);
    // The others know that it is committed: the commit index is broadcast before it is applied.
    expect(membershipOf(network.node(2)).voters).toEqual([2n, 3n]);

    network.node(2).timeOut();
    network.settle();
    expect(network.leader).toBe(network.node(2));
  });

  test("keeps leading as a learner without stepDownOnRemoval, and does not count itself", () => {
    const network = Network.ofSize(3, { config: { stepDownOnRemoval: false } });
    const leader = network.node(1);
    network.campaign(1);
    leader.proposeConfChange(changeV1("l1"));
    network.settle();
    network.propose(1, "by both others");
    expect(leader.role).toBe("leader");
    expect(network.node(2).committedData()).toEqual(["by both others"]);

    network.isolate(3);
    network.propose(1, "by one of them");
    expect(leader.committedData()).toEqual(["by both others"]);
  });

  test("finishes what it has begun when it is removed and keeps leading, and takes nothing new (U2)", () => {
    const leader = new TestNode(1n, { voters: VOTERS, config: { stepDownOnRemoval: false } }).forceLeader();
    const acknowledge = (from: bigint, index: bigint): void => {
      const { term } = leader.raft;
      leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from, term, index }));
      leader.settle();
    };
    leader.proposeConfChange(changeV1("r1"));
    const removalIndex = leader.raft.log.lastIndex();
    leader.propose("begun");
    acknowledge(2n, removalIndex);
    expect(membershipOf(leader).voters).toEqual([2n, 3n]);

    acknowledge(2n, removalIndex + 1n);
    expect(leader.committedData()).toEqual([]);
    acknowledge(3n, removalIndex + 1n);
    expect(leader.committedData()).toEqual(["begun"]);
    expect(leader.propose("new")).toEqual({ accepted: false, reason: "notMember" });
  });
});
