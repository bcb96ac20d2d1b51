// A follower asks its leader for a snapshot (raft-rs: request_snapshot): because its state machine is damaged, not its
// log. Nodes 1 to 3 hold five entries, all committed and applied; node 1 leads and node 2 asks.

import { describe, expect, test } from "vitest";
import { type Message, MessageType, newMessage, newNormalEntry } from "../../../src/core/index.js";
import { Network } from "../../support/network.js";
import { snapshotOf, type TestNode } from "../../support/test-node.js";

interface Group {
  readonly network: Network;
  readonly leader: TestNode;
  readonly asker: TestNode;
}

function groupOfThree(): Group {
  const network = Network.ofSize(3);
  network.campaign(1);
  for (const data of ["2", "3", "4", "5"]) network.propose(1, data);
  return { network, leader: network.node(1), asker: network.node(2) };
}

function ask(asker: TestNode): Message {
  expect(asker.act((raw) => raw.requestSnapshot())).toEqual({ accepted: true });
  const [request, ...more] = asker.takeMessages();
  if (request === undefined || more.length > 0) throw new Error("expected one request");
  return request;
}

function snapshotsTo(messages: readonly Message[], to: bigint): Message[] {
  return messages.filter((message) => message.to === to && message.msgType === MessageType.MsgSnapshot);
}

describe("a request for a snapshot", () => {
  test("names the follower's last entry, and is served with a snapshot that covers it", () => {
    const { leader, asker } = groupOfThree();
    const request = ask(asker);
    expect(request).toMatchObject({
      msgType: MessageType.MsgAppendResponse,
      reject: true,
      requestSnapshot: 5n,
      rejectHint: 5n,
      logTerm: 1n,
    });
    leader.step(request);
    expect(snapshotsTo(leader.takeMessages(), 2n)).toMatchObject([{ snapshot: { metadata: { index: 5n } } }]);
    expect(leader.progress(2).state).toBe("Snapshot");
  });

  test("stops replication to the follower until the snapshot has arrived", () => {
    const { network, leader, asker } = groupOfThree();
    leader.step(ask(asker));
    const snapshots = snapshotsTo(leader.takeMessages(), 2n);
    network.propose(1, "6");
    expect(leader.raft.log.committed).toBe(6n);
    expect(asker.raft.log.committed).toBe(5n);

    network.send(...snapshots);
    leader.act((raw) => raw.reportSnapshot(2n, "finish"));
    network.tick();
    network.propose(1, "7");
    expect(asker.raft.log.committed).toBe(7n);
    expect(asker.raft.log.firstIndex()).toBe(6n);
    expect(leader.progress(2).state).toBe("Replicate");
  });

  test("is repeated to every append and heartbeat until it is served", () => {
    const { asker } = groupOfThree();
    const request = ask(asker);
    asker.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 1n, term: 1n }));
    asker.step(newMessage(MessageType.MsgAppend, 2n, { from: 1n, term: 1n, index: 5n, logTerm: 1n }));
    expect(asker.takeMessages()).toEqual([request, request]);
  });

  test("waits in Probe while the leader has no snapshot, and is not stale when it is repeated", () => {
    const { leader, asker } = groupOfThree();
    const request = ask(asker);
    for (let attempt = 0; attempt < 2; attempt += 1) {
      leader.storage.triggerSnapshotUnavailable();
      leader.step(request);
      expect(leader.progress(2).state).toBe("Probe");
    }
    leader.step(request);
    expect(leader.progress(2).state).toBe("Snapshot");
  });

  test("older than what the leader knows is stale; the answer to the next heartbeat is not", () => {
    const { network, leader, asker } = groupOfThree();
    // The follower has entry 6 and has said so, but does not know that it is committed.
    network.filter(({ to, commit }) => to !== 2n || commit < 6n);
    network.propose(1, "6");
    network.recover();
    expect(leader.progress(2).matched).toBe(6n);
    expect(asker.raft.log.committed).toBe(5n);
    leader.step(ask(asker));
    expect(leader.progress(2).state).toBe("Replicate");

    leader.tick();
    const [heartbeat] = leader.takeMessages().filter(({ to }) => to === 2n);
    if (heartbeat === undefined) throw new Error("the leader sends no heartbeat");
    asker.step(heartbeat);
    for (const repeated of asker.takeMessages()) leader.step(repeated);
    expect(leader.progress(2).state).toBe("Snapshot");
  });

  test("is taken while the leader is probing", () => {
    const { leader, asker } = groupOfThree();
    leader.act((raw) => raw.reportUnreachable(2n));
    expect(leader.progress(2).state).toBe("Probe");
    leader.storage.triggerSnapshotUnavailable();
    leader.step(ask(asker));
    expect(leader.progress(2).pendingRequestSnapshot).toBe(5n);
  });

  test("is answered once, even if the follower acknowledges before the transport reports (U12)", () => {
    const { network, leader, asker } = groupOfThree();
    leader.step(ask(asker));
    network.delivered.length = 0;
    network.settle();
    network.tick();
    network.propose(1, "6");
    leader.act((raw) => raw.reportSnapshot(2n, "finish"));
    network.tick(3);
    expect(snapshotsTo(network.delivered, 2n)).toHaveLength(1);
    expect(asker.raft.log.committed).toBe(6n);
  });
});

describe("a request is refused", () => {
  const REFUSED = { accepted: false, reason: "requestSnapshotDropped" };

  test("while another is under way, whose answer will do", () => {
    const { asker } = groupOfThree();
    ask(asker);
    expect(asker.act((raw) => raw.requestSnapshot())).toEqual(REFUSED);
    expect(asker.takeMessages()).toEqual([]);
  });

  test("while a snapshot waits to be installed", () => {
    const { asker } = groupOfThree();
    const snapshot = snapshotOf(7n, 1n, [1n, 2n, 3n]);
    asker.step(newMessage(MessageType.MsgSnapshot, 2n, { from: 1n, term: 1n, snapshot }));
    expect(asker.raft.log.unstable.snapshot).toBeDefined();
    expect(asker.act((raw) => raw.requestSnapshot())).toEqual(REFUSED);
    asker.takeMessages();
    expect(asker.act((raw) => raw.requestSnapshot())).toEqual({ accepted: true });
  });
});

describe("a request that is not served", () => {
  test("is kept by a follower that hears from its leader again", () => {
    const { leader, asker } = groupOfThree();
    ask(asker);
    asker.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: leader.id, term: 1n }));
    expect(asker.raft.pendingRequestSnapshot).toBe(5n);
  });

  // Upstream keeps the request over a term that its log does not reach, and takes no appends meanwhile: a new leader
  // that needs this node to commit anything could never serve it.
  test("becomes a wish when the term changes, which the next leader grants", () => {
    const { network, asker } = groupOfThree();
    network.isolate(2);
    network.propose(1, "6");
    ask(asker);
    network.campaign(3);
    expect(network.leader?.id).toBe(3n);

    network.recover();
    network.tick();
    expect(asker.trace).toContainEqual(expect.objectContaining({ type: "snapshotRestored" }));
    expect(asker.raft.pendingRequestSnapshot).toBe(0n);
    network.node(3).act((raw) => raw.reportSnapshot(2n, "finish"));
    network.tick(2);
    expect(asker.raft.log.committed).toBe(network.node(3).raft.log.committed);
  });

  test.each(["candidate", "leader"])("is dropped by a %s, whose log needs no mending", (role) => {
    const { asker } = groupOfThree();
    ask(asker);
    if (role === "leader") asker.forceLeader();
    else asker.forceCandidate();
    asker.takeMessages();
    expect(asker.raft.pendingRequestSnapshot).toBe(0n);
    asker.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 3n, term: 9n }));
    expect(asker.takeMessages().map(({ msgType }) => msgType)).toEqual([MessageType.MsgHeartbeatResponse]);
  });

  /** Node 2 has asked leader 1 in term 1, and meets node 3 as the leader of term 5. */
  function wishing(): TestNode {
    const { asker } = groupOfThree();
    ask(asker);
    asker.step(newMessage(MessageType.MsgHeartbeat, 2n, { from: 3n, term: 5n }));
    asker.takeMessages();
    expect(asker.raft.pendingRequestSnapshot).toBe(0n);
    return asker;
  }

  /** The leader's entry of its own term, behind `index`, which lets the node ask it for a snapshot. */
  const appendBehind = (index: bigint, logTerm: bigint, term = 5n): Message =>
    newMessage(MessageType.MsgAppend, 2n, {
      from: 3n,
      term,
      index,
      logTerm,
      entries: [newNormalEntry(term, index + 1n)],
    });

  test("is no wish any more when the next leader sends a snapshot unasked", () => {
    const asker = wishing();
    const snapshot = snapshotOf(9n, 4n, [1n, 2n, 3n]);
    asker.step(newMessage(MessageType.MsgSnapshot, 2n, { from: 3n, term: 5n, snapshot }));
    asker.takeMessages();
    asker.step(appendBehind(9n, 4n));
    expect(asker.takeMessages()).toMatchObject([{ reject: false, index: 10n }]);
    expect(asker.raft.pendingRequestSnapshot).toBe(0n);
  });

  test("is no wish any more when the node has campaigned for itself, whose log needs no mending then", () => {
    const asker = wishing();
    asker.forceCandidate();
    asker.step(appendBehind(5n, 1n, asker.raft.term));
    expect(asker.takeMessages()).toMatchObject([{ reject: false, index: 6n }]);
    expect(asker.raft.pendingRequestSnapshot).toBe(0n);
  });

  test("is kept by a follower that forgets its leader: the term is the same, so the leader will be too", () => {
    const { asker } = groupOfThree();
    const request = ask(asker);
    asker.act((raw) => raw.forgetLeader());
    expect(asker.raft.pendingRequestSnapshot).toBe(5n);
    asker.step(newMessage(MessageType.MsgAppend, 2n, { from: 1n, term: 1n, index: 5n, logTerm: 1n }));
    expect(asker.takeMessages()).toEqual([request]);
  });

  test("is kept by a pre-candidate, who has given nothing up yet", () => {
    const { asker } = groupOfThree();
    ask(asker);
    asker.raft.settings.preVote = true;
    asker.act((raw) => raw.campaign());
    expect(asker.role).toBe("preCandidate");
    expect(asker.raft.pendingRequestSnapshot).toBe(5n);
  });
});
