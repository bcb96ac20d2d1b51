// Handing leadership to a chosen voter (thesis §3.10): to one that is up to date, one that is behind, one that never
// answers, and those that cannot lead at all.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { changeV1 } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { TestNode } from "../../support/test-node.js";

function ledByOne(...args: Parameters<typeof Network.ofSize>): Network {
  const network = Network.ofSize(...args);
  network.campaign(1);
  return network;
}

function transfer(network: Network, to: number, askedOf = 1): void {
  network.node(askedOf).act((raw) => raw.transferLeader(BigInt(to)));
  network.settle();
}

/** Who leads as far as node 1 knows, and to whom it is handing over. */
function seenByOne(network: Network): { role: string; leader: bigint; target: bigint | undefined } {
  const { role, leader, node } = network.node(1);
  return { role, leader, target: node.status().leadTransferee };
}

const STILL_LEADS = { role: "leader", leader: 1n, target: undefined };
const LED_BY = (leader: bigint) => ({ role: "follower", leader, target: undefined });

describe("a transfer", () => {
  test.each([
    { what: "asked of the leader", first: 1, second: 2 },
    { what: "asked of a follower, which passes it on", first: 2, second: 1 },
  ])("to a voter that is up to date happens at once, there and back ($what)", ({ first, second }) => {
    const network = ledByOne(3);
    transfer(network, 2, first);
    expect(seenByOne(network)).toEqual(LED_BY(2n));
    network.propose(1, "between");
    transfer(network, 1, second);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
    expect(network.node(3).committedData()).toEqual(["between"]);
  });

  test("needs no pre-vote and no lapse of the leader's lease", () => {
    const network = ledByOne(3, { config: { checkQuorum: true, preVote: true } });
    expect(network.leader?.id).toBe(1n);
    network.delivered.length = 0;
    transfer(network, 2);
    expect(seenByOne(network)).toEqual(LED_BY(2n));
    expect(network.delivered.map(({ msgType }) => msgType)).not.toContain(MessageType.MsgRequestPreVote);
    transfer(network, 1, 2);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });

  test("to a voter that is behind sends it what it lacks first", () => {
    const network = ledByOne(3);
    network.isolate(3);
    network.propose(1, "missed");
    network.recover();
    expect(network.node(1).progress(3).matched).toBe(1n);
    transfer(network, 3);
    expect(seenByOne(network)).toEqual(LED_BY(3n));
    expect(network.node(3).committedData()).toEqual(["missed"]);
  });

  test("to a voter that needs a snapshot waits for it", () => {
    const network = ledByOne(3);
    network.isolate(3);
    network.propose(1, "missed");
    const leader = network.node(1);
    leader.storage.compact(leader.raft.log.applied);
    network.recover();
    transfer(network, 3);
    network.tick();
    expect(seenByOne(network)).toEqual(LED_BY(3n));
    expect(network.node(3).raft.log.firstIndex()).toBeGreaterThan(1n);
  });

  test("refuses proposals until it has ended", () => {
    const network = ledByOne(3);
    network.isolate(3);
    transfer(network, 3);
    const leader = network.node(1);
    const lastIndex = leader.raft.log.lastIndex();
    expect(leader.propose("no")).toEqual({ accepted: false, reason: "transferInProgress" });
    expect(leader.raft.log.lastIndex()).toBe(lastIndex);
    network.tick(10);
    expect(leader.propose("yes")).toMatchObject({ accepted: true });
  });

  test("ends with the leadership", () => {
    const network = ledByOne(3);
    network.isolate(3);
    transfer(network, 3);
    network.campaign(2);
    expect(seenByOne(network)).toEqual(LED_BY(2n));
  });

  test.each(["r3", "l3"])("ends when %s takes the target's vote away", (text) => {
    const network = ledByOne(3);
    network.ignore(MessageType.MsgTimeoutNow);
    transfer(network, 3);
    expect(seenByOne(network)).toMatchObject({ target: 3n });
    network.node(1).act((raw) => raw.applyConfChange(changeV1(text)));
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });
});

describe("nothing happens when leadership is handed", () => {
  test("to the leader itself", () => {
    const network = ledByOne(3);
    transfer(network, 1);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });

  test("to a stranger", () => {
    const network = ledByOne(3);
    transfer(network, 4);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });

  test("to a learner", () => {
    const network = Network.of([1n, 2n].map((id) => new TestNode(id, { voters: [1n], learners: [2n] })));
    network.campaign(1);
    transfer(network, 2);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });

  test.each([1, 2])("to nobody, asked of node %i", (askedOf) => {
    const network = ledByOne(3);
    transfer(network, 0, askedOf);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
    expect(network.node(2).role).toBe("follower");
  });

  test("by a node that knows no leader", () => {
    const node = new TestNode(1n, { voters: [1n, 2n] });
    expect(node.act((raw) => raw.transferLeader(2n))).toEqual({ accepted: false, reason: "noLeader" });
    node.forceCandidate();
    expect(node.act((raw) => raw.transferLeader(2n))).toEqual({ accepted: false, reason: "noLeader" });
  });
});

describe("a target that does not answer", () => {
  function waitingForThree(): Network {
    const network = ledByOne(3);
    network.isolate(3);
    transfer(network, 3);
    return network;
  }

  test("is given up after one election timeout", () => {
    const network = waitingForThree();
    network.node(1).tick(9);
    expect(seenByOne(network)).toMatchObject({ target: 3n });
    network.node(1).tick();
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });

  test("gets no more time by being asked for again", () => {
    const network = waitingForThree();
    network.node(1).tick(9);
    transfer(network, 3);
    network.node(1).tick();
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });

  test("makes way for another, with a deadline of its own", () => {
    const network = waitingForThree();
    network.node(1).tick(9);
    network.isolate(2);
    transfer(network, 2);
    network.node(1).tick();
    expect(seenByOne(network)).toMatchObject({ target: 2n });
    network.recover();
    network.node(1).tick(9);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
  });

  test("makes way for another that does", () => {
    const network = waitingForThree();
    transfer(network, 2);
    expect(seenByOne(network)).toEqual(LED_BY(2n));
  });

  test("is called off by handing leadership to the leader itself", () => {
    const network = waitingForThree();
    transfer(network, 1);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
    expect(network.node(1).propose("goes on")).toMatchObject({ accepted: true });
  });

  test("may still win later, so that lease reads are over for this leadership", () => {
    const config = { checkQuorum: true, readOnlyOption: "leaseBased" } as const;
    const network = ledByOne(3, { config });
    network.tick(2);
    network.ignore(MessageType.MsgTimeoutNow);
    transfer(network, 3);
    network.tick(10);
    expect(seenByOne(network)).toEqual(STILL_LEADS);
    const leader = network.node(1);
    leader.act((raw) => raw.readIndex(new Uint8Array([1])));
    leader.settle();
    expect(leader.readStates).toEqual([]);
    network.settle();
    expect(leader.readStates).toHaveLength(1);
  });
});

describe("MsgTimeoutNow", () => {
  test("does nothing at a node that has been removed, even if others vote for it", () => {
    const node = new TestNode(1n, { voters: [2n, 3n, 4n], term: 1n });
    node.step(newMessage(MessageType.MsgTimeoutNow, 1n, { from: 2n, term: 1n }));
    for (const from of [2n, 3n]) {
      node.step(newMessage(MessageType.MsgRequestVoteResponse, 1n, { from, term: 1n }));
    }
    expect(node.role).toBe("follower");
    expect(node.raft.term).toBe(1n);
  });

  test.each(["candidate", "leader"])("is ignored by a %s", (role) => {
    const node = new TestNode(1n, { voters: [1n, 2n, 3n] });
    if (role === "leader") node.forceLeader();
    else node.forceCandidate();
    const { term } = node.raft;
    node.step(newMessage(MessageType.MsgTimeoutNow, 1n, { from: 2n, term }));
    expect(node.role).toBe(role);
    expect(node.raft.term).toBe(term);
  });
});
