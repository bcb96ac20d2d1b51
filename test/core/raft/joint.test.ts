// Joint configurations (thesis §4.3): entered and left by the log, left by themselves when asked to, whoever leads
// by then. Every node applies what is committed at once unless a test says otherwise.

import { describe, expect, test } from "vitest";
import {
  ConfChangeTransition,
  type ConfChangeV2,
  type ConfigInput,
  EntryType,
  MessageType,
  newMessage,
} from "../../../src/core/index.js";
import { change, changeV1, leaveJoint } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

const { Auto, Explicit, Implicit } = ConfChangeTransition;
const VOTERS = [1n, 2n, 3n];

/** `1 2 && 1 3 | 4 > 3`: voters, outgoing voters, learners and those that learn when it is left. */
function membershipOf(node: TestNode): string {
  const { voters, votersOutgoing, learners, learnersNext } = node.node.status().confState;
  return [
    voters.join(" "),
    votersOutgoing.length > 0 ? ` && ${votersOutgoing.join(" ")}` : "",
    learners.length > 0 ? ` | ${learners.join(" ")}` : "",
    learnersNext.length > 0 ? ` > ${learnersNext.join(" ")}` : "",
  ].join("");
}

/** Every membership that the node has gone through, in order. */
function history(node: TestNode): string[] {
  return node.confStates.map(({ voters, votersOutgoing }) =>
    [voters.join(" "), ...(votersOutgoing.length > 0 ? [votersOutgoing.join(" ")] : [])].join(" && "),
  );
}

/** Node 1 of three leads; nodes 4 and 5 exist and are not members. */
function networkOf(config: Partial<ConfigInput> = {}, autoApply = true): Network {
  const network = Network.of(
    [1n, 2n, 3n, 4n, 5n].map((id) => new TestNode(id, { voters: VOTERS, logTerms: [1n], config, autoApply })),
  );
  network.campaign(1);
  return network;
}

function proposeChange(network: Network, confChange: ConfChangeV2): void {
  network.leader?.proposeConfChange(confChange);
  network.settle();
}

function leaveEntries(node: TestNode): number {
  return node.committed.filter(
    ({ entryType, data }) => entryType === EntryType.EntryConfChangeV2 && data.length === 0,
  ).length;
}

describe("a joint configuration", () => {
  test.each([
    {
      why: "more than one change",
      confChange: change("v4 v5"),
      expected: ["1 2 3 4 5 && 1 2 3", "1 2 3 4 5"],
    },
    {
      why: "one change, implicitly",
      confChange: change("v4", Implicit),
      expected: ["1 2 3 4 && 1 2 3", "1 2 3 4"],
    },
    { why: "one change, explicitly", confChange: change("v4", Explicit), expected: ["1 2 3 4 && 1 2 3"] },
    { why: "one change needs none", confChange: change("v4"), expected: ["1 2 3 4"] },
  ])("is entered for $why", ({ confChange, expected }) => {
    const network = networkOf();
    proposeChange(network, confChange);
    expect(history(network.node(1))).toEqual(expected);
    expect(history(network.node(3))).toEqual(expected);
  });

  test("is left by itself exactly once, and another change goes through after it", () => {
    const network = networkOf();
    proposeChange(network, change("v4 v5"));
    proposeChange(network, change("r2 r3"));
    expect(history(network.node(1))).toEqual([
      "1 2 3 4 5 && 1 2 3",
      "1 2 3 4 5",
      "1 4 5 && 1 2 3 4 5",
      "1 4 5",
    ]);
    expect(leaveEntries(network.node(1))).toBe(2);
    network.tick(5);
    expect(leaveEntries(network.node(1))).toBe(2);
  });

  test("that is explicit waits for somebody to leave it, and refuses everything else until then", () => {
    const network = networkOf();
    const leader = network.node(1);
    proposeChange(network, change("v4", Explicit));
    network.tick(20);
    expect(membershipOf(leader)).toBe("1 2 3 4 && 1 2 3");

    proposeChange(network, change("v5"));
    expect(membershipOf(leader)).toBe("1 2 3 4 && 1 2 3");
    proposeChange(network, leaveJoint());
    expect(membershipOf(leader)).toBe("1 2 3 4");
    proposeChange(network, leaveJoint());
    expect(membershipOf(leader)).toBe("1 2 3 4");
  });

  test("turns outgoing voters into learners only when it is left", () => {
    const network = networkOf();
    proposeChange(network, change("v4 l3", Explicit));
    expect(membershipOf(network.node(1))).toBe("1 2 4 && 1 2 3 > 3");
    expect(network.node(3).raft.promotable).toBe(true);
    proposeChange(network, leaveJoint());
    expect(membershipOf(network.node(1))).toBe("1 2 4 | 3");
    expect(network.node(3).raft.promotable).toBe(false);
  });

  test("commits only with a majority of both halves", () => {
    const network = networkOf();
    proposeChange(network, change("v4 v5 r2", Explicit));
    const leader = network.node(1);
    expect(membershipOf(leader)).toBe("1 3 4 5 && 1 2 3");
    network.cut(1, 2);
    network.cut(1, 3);
    network.propose(1, "of the new half only");
    expect(leader.committedData()).toEqual([]);
    network.recover();
    network.isolate(4);
    network.isolate(5);
    network.isolate(3);
    network.propose(1, "of the old half only");
    // The older one has by now been taken in by both halves.
    expect(leader.committedData()).toEqual(["of the new half only"]);
    network.recover();
    network.tick(2);
    expect(leader.committedData()).toEqual(["of the new half only", "of the old half only"]);
  });

  test("elects only with a majority of both halves", () => {
    const network = networkOf();
    proposeChange(network, change("v4 v5 r2 r3", Explicit));
    network.isolate(2);
    network.isolate(3);
    network.campaign(4);
    expect(network.node(4).role).toBe("candidate");
    network.recover();
    network.campaign(4);
    expect(network.node(4).role).toBe("leader");
  });
});

describe("leaving by itself", () => {
  test("is broadcast at once, without waiting for a proposal or a heartbeat (U3, E4)", () => {
    const leader = new TestNode(1n, { voters: [1n], learners: [2n] });
    leader.forceLeader();
    leader.settle();
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 1n }));
    leader.takeMessages();
    leader.proposeConfChange(change("l3", Implicit));
    const appends = leader
      .takeMessages()
      .filter(({ to, msgType }) => to === 2n && msgType === MessageType.MsgAppend);
    expect(appends.flatMap(({ entries }) => entries).map(({ index }) => index)).toEqual([2n, 3n]);
    expect(membershipOf(leader)).toBe("1 | 2 3");
  });

  test("is taken over by whoever leads when the change is applied (U3)", () => {
    const network = networkOf({}, false);
    const [leader, heir] = [network.node(1), network.node(2)];
    leader.applyCommitted();
    proposeChange(network, change("v4", Implicit));
    network.isolate(1);
    heir.applyCommitted();
    expect(membershipOf(heir)).toBe("1 2 3 4 && 1 2 3");
    heir.tick(5);
    expect(heir.takeMessages()).toEqual([]);

    network.campaign(2);
    expect(heir.role).toBe("leader");
    expect(leaveEntries(heir)).toBe(0);
    heir.applyCommitted();
    network.settle();
    heir.applyCommitted();
    expect(leaveEntries(heir)).toBe(1);
    expect(membershipOf(heir)).toBe("1 2 3 4");

    network.recover();
    network.tick(2);
    leader.applyCommitted();
    expect(membershipOf(leader)).toBe("1 2 3 4");
    network.tick(5);
    expect(leaveEntries(leader)).toBe(1);
  });

  test("is not proposed by a follower", () => {
    const network = networkOf();
    network.node(2).act((raw) => raw.applyConfChange(change("v4", Implicit)));
    network.node(2).act((raw) => raw.advanceApply());
    network.node(2).tick(5);
    expect(network.node(2).takeMessages()).toEqual([]);
  });

  test("that a transfer of leadership gets in the way of is made up for with a heartbeat", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n], autoApply: false }).forceLeader();
    const acknowledge = (): void => {
      const index = leader.raft.log.lastIndex();
      leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index }));
      leader.settle();
    };
    acknowledge();
    leader.applyCommitted();
    leader.proposeConfChange(change("l3", Implicit));
    acknowledge();
    leader.act((raw) => raw.transferLeader(2n));
    leader.applyCommitted();
    const lastIndex = leader.raft.log.lastIndex();
    expect(membershipOf(leader)).toBe("1 2 && 1 2 | 3");
    leader.tick(10);
    expect(leader.node.status().leadTransferee).toBeUndefined();
    leader.tick();
    expect(leader.raft.log.lastIndex()).toBe(lastIndex + 1n);
  });

  test("counts no bytes, so that the limit on uncommitted data cannot keep a group joint", () => {
    const leader = new TestNode(1n, {
      voters: [1n, 2n],
      autoApply: false,
      config: { maxUncommittedSize: 100, maxSizePerMsg: 100 },
    });
    leader.forceLeader();
    leader.settle();
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 1n }));
    leader.settle();
    leader.applyCommitted();
    leader.proposeConfChange(change("l3", Implicit));
    leader.settle();
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 2n }));
    leader.settle();
    leader.propose("x".repeat(1_000));
    expect(leader.propose("y")).toEqual({ accepted: false, reason: "uncommittedLimit" });
    leader.applyCommitted();
    expect(leader.raft.log.lastIndex()).toBe(4n);
  });
});

describe("replacing the leader", () => {
  test("in one joint change it steps down when the joint configuration is left, and a new voter can lead", () => {
    const network = networkOf();
    proposeChange(network, change("v4 r1"));
    expect(membershipOf(network.node(2))).toBe("2 3 4");
    expect(network.node(1).role).toBe("follower");
    network.campaign(4);
    expect(network.node(4).role).toBe("leader");
  });

  test("in a joint configuration it can hand over before it is left", () => {
    const network = networkOf();
    proposeChange(network, change("v4 r1", Explicit));
    network.tick(2);
    network.node(1).act((raw) => raw.transferLeader(4n));
    network.settle();
    expect(network.leader).toBe(network.node(4));
    proposeChange(network, leaveJoint());
    expect(network.nodes.slice(0, 4).map(membershipOf)).toEqual(["2 3 4", "2 3 4", "2 3 4", "2 3 4"]);
  });
});

describe("a proposed change", () => {
  /** A leader whose peer never answers, so that nothing is committed. */
  function lonelyLeader(): TestNode {
    const leader = new TestNode(1n, { voters: [1n, 2n] }).forceLeader();
    leader.settle();
    return leader;
  }

  function lastEntry(node: TestNode): { entryType: EntryType; empty: boolean } {
    const { log } = node.raft;
    const [entry] = log.slice(log.lastIndex(), log.lastIndex() + 1n, 0, {
      canAsync: false,
      purpose: "other",
    });
    return { entryType: entry?.entryType ?? EntryType.EntryNormal, empty: entry?.data.length === 0 };
  }

  test("becomes an empty entry while another is not applied", () => {
    const leader = lonelyLeader();
    expect(leader.proposeConfChange(change("v3"))).toMatchObject({ accepted: true, appended: { index: 2n } });
    expect(lastEntry(leader)).toEqual({ entryType: EntryType.EntryConfChangeV2, empty: false });
    expect(leader.proposeConfChange(change("v4"))).toMatchObject({ accepted: true, appended: { index: 3n } });
    expect(lastEntry(leader)).toEqual({ entryType: EntryType.EntryNormal, empty: true });
    expect(leader.trace).toContainEqual(expect.objectContaining({ type: "confChangeRefused", index: 3n }));
  });

  test("becomes an empty entry when there is nothing to leave", () => {
    const leader = new TestNode(1n, { voters: [1n] }).forceLeader();
    leader.settle();
    leader.proposeConfChange(leaveJoint());
    expect(lastEntry(leader)).toEqual({ entryType: EntryType.EntryNormal, empty: true });
    leader.proposeConfChange(change("", Auto));
    expect(lastEntry(leader)).toEqual({ entryType: EntryType.EntryNormal, empty: true });
  });

  test.each([Explicit, Implicit])(
    "leaves when it holds no changes, whatever transition it names (%s): propose and apply agree (2.34)",
    (transition) => {
      const network = networkOf();
      proposeChange(network, change("v4", Explicit));
      proposeChange(network, change("", transition));
      expect(membershipOf(network.node(1))).toBe("1 2 3 4");
    },
  );

  test("that is refused for its size does not block later ones (2.32)", () => {
    const leader = new TestNode(1n, {
      voters: [1n, 2n],
      config: { maxUncommittedSize: 10, maxSizePerMsg: 10 },
    });
    leader.forceLeader();
    leader.settle();
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 1n }));
    leader.settle();
    leader.propose("0123456789");
    expect(leader.proposeConfChange(change("v3"))).toEqual({ accepted: false, reason: "uncommittedLimit" });
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 2n }));
    leader.settle();
    leader.proposeConfChange(change("v3"));
    expect(lastEntry(leader)).toEqual({ entryType: EntryType.EntryConfChangeV2, empty: false });
  });

  test("is taken by a new leader only after everything it inherited is applied (2.10)", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n], logTerms: [1n] }).forceLeader();
    leader.proposeConfChange(changeV1("v3"));
    expect(lastEntry(leader)).toEqual({ entryType: EntryType.EntryNormal, empty: true });
  });

  test("that adds a voter twice is no obstacle to the next", () => {
    const network = networkOf();
    for (const text of ["v2", "v2", "v4"]) proposeChange(network, change(text));
    expect(history(network.node(3))).toEqual(["1 2 3", "1 2 3", "1 2 3 4"]);
  });
});
