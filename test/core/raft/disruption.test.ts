// Nodes that come back with a higher term, and leaders that nobody hears: what check-quorum, the lease and pre-vote
// do about them. Three nodes in memory whose clocks are ticked one by one.

import { describe, expect, test } from "vitest";
import { MessageType, newMessage } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { heartbeatResponse } from "../../support/peer-messages.js";
import { TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];
const ELECTION_TICK = 10;

/** Timeouts are drawn longer than a lease, so that a lease can run out before anybody campaigns. */
const PATIENT = { checkQuorum: true, randomInt: (_min: number, max: number) => max - 1 };

const rolesOf = (network: Network): string[] => network.nodes.map((node) => node.role);
const termsOf = (network: Network): bigint[] => network.nodes.map((node) => node.raft.term);

describe("a leader under check-quorum", () => {
  const leaderOfThree = () => new TestNode(1n, { voters: VOTERS, config: PATIENT }).forceLeader();

  test("stays while one of two followers answers", () => {
    const leader = leaderOfThree();
    for (let tick = 0; tick <= 2 * ELECTION_TICK; tick += 1) {
      leader.step(heartbeatResponse(leader, 2));
      leader.tick();
    }
    expect(leader.role).toBe("leader");
  });

  test("steps down when nobody has answered for an election timeout, and applies no more ahead of its disk (R8)", () => {
    const leader = leaderOfThree();
    leader.act((raw) => raw.setMaxApplyUnpersistedLogLimit(7));
    expect(leader.raft.log.maxApplyUnpersistedLogLimit).toBe(7);
    leader.tick(ELECTION_TICK - 1);
    expect(leader.role).toBe("leader");
    leader.tick();
    expect(leader.role).toBe("follower");
    expect(leader.leader).toBe(0n);
    expect(leader.raft.term).toBe(1n);
    expect(leader.raft.log.maxApplyUnpersistedLogLimit).toBe(0);
  });

  test("is not superseded within its lease, and is after it", () => {
    const network = Network.ofSize(3, { config: PATIENT });
    network.campaign(1);
    network.campaign(3);
    // Node 2 has heard from the leader just now and does not even answer.
    expect(rolesOf(network)).toEqual(["leader", "follower", "candidate"]);

    network.node(2).tick(ELECTION_TICK);
    network.campaign(3);
    expect(network.node(3).role).toBe("leader");
    expect(termsOf(network)).toEqual([3n, 3n, 3n]);
  });

  test("needs no lease to have run out when there was no leader yet; when all have timed out another one wins", () => {
    const network = Network.ofSize(3, { config: PATIENT });
    network.campaign(1);
    expect(rolesOf(network)).toEqual(["leader", "follower", "follower"]);
    network.node(1).tick(ELECTION_TICK);
    network.node(2).tick(ELECTION_TICK);
    network.node(1).takeMessages();
    network.campaign(3);
    expect(rolesOf(network)).toEqual(["follower", "follower", "leader"]);
  });
});

describe("a candidate whose term has run ahead", () => {
  test("is stuck behind the lease, until the leader's own heartbeat is answered with its higher term", () => {
    const network = Network.ofSize(3, { config: PATIENT });
    network.campaign(1);
    network.isolate(1);
    for (const ahead of [1n, 2n]) {
      network.campaign(3);
      expect(network.node(2).role).toBe("follower");
      expect(network.node(3).role).toBe("candidate");
      expect(network.node(3).raft.term).toBe(network.node(2).raft.term + ahead);
    }

    network.recover();
    network.send(newMessage(MessageType.MsgHeartbeat, 3n, { from: 1n, term: network.node(1).raft.term }));
    expect(network.node(1).role).toBe("follower");
    expect(network.node(1).raft.term).toBe(network.node(3).raft.term);

    network.campaign(3);
    expect(network.node(3).role).toBe("leader");
  });

  /** A group in term 2 that node 1 leads. */
  function ledByOne(preVote: boolean): Network {
    const network = Network.ofSize(3, { term: 1n, config: { ...PATIENT, preVote } });
    network.campaign(1);
    expect(termsOf(network)).toEqual([2n, 2n, 2n]);
    return network;
  }

  test("without pre-vote deposes a healthy leader when a heartbeat comes a tick too late", () => {
    const network = ledByOne(false);
    const late = network.node(3);
    late.tick(late.raft.randomizedElectionTimeout);
    expect(late.role).toBe("candidate");
    expect(termsOf(network)).toEqual([2n, 2n, 3n]);

    // The votes it asks for are not on their way yet: its answer to the heartbeat is.
    network.filter(({ msgType }) => msgType !== MessageType.MsgRequestVote);
    network.send(newMessage(MessageType.MsgHeartbeat, 3n, { from: 1n, term: 2n }));
    expect(rolesOf(network)).toEqual(["follower", "follower", "candidate"]);
    expect(termsOf(network)).toEqual([3n, 2n, 3n]);
  });

  test("with pre-vote has not run ahead, and a late heartbeat disturbs nobody", () => {
    const network = ledByOne(true);
    network.isolate(3);
    for (const data of ["a", "b", "c"]) network.propose(1, data);
    network.recover();
    network.campaign(3);
    expect(rolesOf(network)).toEqual(["leader", "follower", "preCandidate"]);
    expect(termsOf(network)).toEqual([2n, 2n, 2n]);

    network.send(newMessage(MessageType.MsgHeartbeat, 3n, { from: 1n, term: 2n }));
    expect(rolesOf(network)).toEqual(["leader", "follower", "follower"]);
    expect(network.node(3).committedData()).toEqual(["a", "b", "c"]);
  });
});

test("a node that is no voter of its own membership never campaigns, and follows", () => {
  const network = Network.of([
    new TestNode(1n, { voters: [1n, 2n], config: PATIENT }),
    new TestNode(2n, { voters: [1n], config: PATIENT }),
  ]);
  const stranger = network.node(2);
  expect(stranger.node.status().promotable).toBe(false);
  stranger.tick(3 * ELECTION_TICK);
  expect(stranger.role).toBe("follower");
  network.campaign(1);
  expect(network.node(1).role).toBe("leader");
  expect(stranger.role).toBe("follower");
  expect(stranger.leader).toBe(1n);
});
