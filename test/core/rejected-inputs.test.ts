// An input that a node does not take leaves it as it was, to the last byte: for every reason that a node has to drop,
// to ignore or to throw, its whole state is written down before and after (test/support/state-image.ts).

import { describe, expect, test } from "vitest";
import { encodeConfChange } from "../../src/core/confchange/conf-change.js";
import {
  type DropReason,
  EntryType,
  type IgnoreReason,
  MemoryStorage,
  type Message,
  MessageType,
  newConfState,
  newHardState,
  newMessage,
  newNormalEntry,
  type RawNode,
  type StepOutcome,
} from "../../src/core/index.js";
import { newEntry } from "../../src/core/messages.js";
import { changeV1 } from "../support/conf-changes.js";
import { entriesAt } from "../support/entries.js";
import { ack, fromPeer } from "../support/peer-messages.js";
import { imageOf, stateImage } from "../support/state-image.js";
import { bytes, snapshotOf, TestNode, type TestNodeOptions } from "../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

type Config = NonNullable<TestNodeOptions["config"]>;

/** Node 1, leading a group of three with work under way: a proposal, a read, time on its clocks, an empty outbox. */
function leader(config: Config = {}): TestNode {
  const node = new TestNode(1n, { voters: VOTERS, config }).forceLeader();
  node.takeMessages();
  node.step(ack(node, 2, 1n));
  node.propose("under way");
  node.act((raw) => raw.readIndex(bytes("under way")));
  node.tick(3);
  node.takeMessages();
  return node;
}

/** Node 1, following node 2 in term 2, with three entries of term 1; it has not heard of its leader for a while. */
function follower(config: Config = {}): TestNode {
  const node = new TestNode(1n, { voters: VOTERS, logTerms: [1n, 1n, 1n], commit: 2n, term: 2n, config });
  node.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 2n, commit: 2n }));
  node.tick(3);
  node.takeMessages();
  return node;
}

function leaderless(config: Config = {}): TestNode {
  return new TestNode(1n, { voters: VOTERS, term: 2n, config });
}

function candidate(config: Config = {}): TestNode {
  return new TestNode(1n, { voters: VOTERS, config }).forceCandidate();
}

function propose(data = "x"): (raw: RawNode) => StepOutcome {
  return (raw) => raw.propose(new Uint8Array(), bytes(data));
}

/** What the input comes to, when the node is the same before and after it. */
function unchanged<T>(node: TestNode, input: (raw: RawNode) => T): T {
  const before = stateImage(node.node);
  try {
    return node.act(input);
  } finally {
    expect(stateImage(node.node)).toBe(before);
  }
}

interface Rejection {
  readonly what: string;
  readonly node: () => TestNode;
  readonly input: (raw: RawNode) => StepOutcome;
}

describe("is dropped, and nothing has changed:", () => {
  const malformed = newMessage(MessageType.MsgPropose, 1n, {
    from: 2n,
    entries: [
      newNormalEntry(0n, 0n, bytes("first of two")),
      newEntry(EntryType.EntryConfChange, 0n, 0n, bytes("\u0007\u0007\u0007"), new Uint8Array()),
    ],
  });
  const cases: Record<DropReason, readonly Rejection[]> = {
    noLeader: [
      { what: "a proposal", node: leaderless, input: propose() },
      { what: "a proposal to a candidate", node: candidate, input: propose() },
      { what: "a read", node: leaderless, input: (raw) => raw.readIndex(bytes("r")) },
      { what: "a read at a candidate", node: candidate, input: (raw) => raw.readIndex(bytes("r")) },
      { what: "a transfer", node: leaderless, input: (raw) => raw.transferLeader(2n) },
      { what: "a transfer at a candidate", node: candidate, input: (raw) => raw.transferLeader(2n) },
      {
        what: "a change of membership",
        node: leaderless,
        input: (raw) => raw.proposeConfChange(new Uint8Array(), changeV1("v4")),
      },
    ],
    forwardingDisabled: [
      { what: "a proposal", node: () => follower({ disableProposalForwarding: true }), input: propose() },
    ],
    notMember: [
      {
        what: "a proposal to a removed leader",
        node: () => {
          const node = leader({ stepDownOnRemoval: false });
          node.act((raw) => raw.applyConfChange(changeV1("r1")));
          return node;
        },
        input: propose(),
      },
    ],
    transferInProgress: [
      {
        what: "a proposal",
        node: () => {
          const node = leader();
          node.act((raw) => raw.transferLeader(2n));
          return node;
        },
        input: propose(),
      },
    ],
    uncommittedLimit: [
      {
        what: "a proposal",
        node: () => leader({ maxSizePerMsg: 0, maxUncommittedSize: 10 }),
        input: propose("too much"),
      },
      {
        what: "a batch with a change of membership",
        node: () => leader({ maxSizePerMsg: 0, maxUncommittedSize: 10 }),
        input: (raw) => raw.proposeConfChange(new Uint8Array(), changeV1("v4")),
      },
    ],
    readLimit: [
      {
        what: "a read",
        node: () => leader({ maxPendingReads: 1 }),
        input: (raw) => raw.readIndex(bytes("one too many")),
      },
    ],
    malformedConfChange: [
      { what: "a batch with an entry that says nothing", node: leader, input: (raw) => raw.step(malformed) },
    ],
    localMessage: [
      MessageType.MsgHup,
      MessageType.MsgBeat,
      MessageType.MsgUnreachable,
      MessageType.MsgSnapStatus,
      MessageType.MsgCheckQuorum,
    ].map((msgType) => ({
      what: `${MessageType[msgType]} from a peer`,
      node: leader,
      input: (raw) => raw.step(newMessage(msgType, 1n, { from: 2n, term: 9n })),
    })),
    unknownPeer: [
      MessageType.MsgAppendResponse,
      MessageType.MsgHeartbeatResponse,
      MessageType.MsgRequestVoteResponse,
      MessageType.MsgRequestPreVoteResponse,
    ].map((msgType) => ({
      what: `${MessageType[msgType]} of a stranger with a higher term`,
      node: leader,
      input: (raw) => raw.step(newMessage(msgType, 1n, { from: 9n, term: 9n, index: 1n })),
    })),
    notPromotable: [
      {
        what: "a campaign of a learner",
        node: () => new TestNode(1n, { voters: [2n], learners: [1n], term: 1n }),
        input: (raw) => raw.campaign(),
      },
      {
        what: "a campaign of a stranger to the group",
        node: () => new TestNode(1n, { voters: [2n, 3n], term: 1n }),
        input: (raw) => raw.campaign(),
      },
      {
        what: "a campaign while a snapshot waits",
        node: () => {
          const node = follower();
          const snapshot = snapshotOf(9n, 2n, VOTERS);
          node.step(newMessage(MessageType.MsgSnapshot, 1n, { from: 2n, term: 2n, snapshot }));
          return node;
        },
        input: (raw) => raw.campaign(),
      },
      {
        what: "MsgTimeoutNow to a learner",
        node: () => new TestNode(1n, { voters: [2n], learners: [1n], term: 1n }),
        input: (raw) => raw.step(newMessage(MessageType.MsgTimeoutNow, 1n, { from: 2n, term: 1n })),
      },
    ],
    pendingConfChange: [
      { what: "a campaign", node: withUnappliedChange, input: (raw) => raw.campaign() },
      {
        what: "MsgTimeoutNow",
        node: withUnappliedChange,
        input: (raw) => raw.step(newMessage(MessageType.MsgTimeoutNow, 1n, { from: 2n, term: 1n })),
      },
    ],
    requestSnapshotDropped: [
      { what: "a wish of a leader", node: leader, input: (raw) => raw.requestSnapshot() },
      { what: "a wish without a leader", node: leaderless, input: (raw) => raw.requestSnapshot() },
      { what: "a wish behind the term", node: follower, input: (raw) => raw.requestSnapshot() },
    ],
  };

  for (const [reason, rejections] of Object.entries(cases)) {
    test.each(rejections)(`${reason}: $what`, ({ node, input }) => {
      expect(unchanged(node(), input)).toEqual({ accepted: false, reason });
    });
  }
});

/** Committed and not applied: node 3 is to be removed. */
function withUnappliedChange(): TestNode {
  const storage = new MemoryStorage();
  const { entryType, data } = encodeConfChange(changeV1("r3"));
  storage.append([newEntry(entryType, 1n, 1n, data, new Uint8Array())]);
  storage.setConfState(newConfState({ voters: VOTERS }));
  storage.setHardState(newHardState(1n, 0n, 1n));
  return new TestNode(1n, { storage, autoApply: false });
}

describe("is ignored, and nothing has changed:", () => {
  interface Ignored {
    readonly what: string;
    readonly node: () => TestNode;
    readonly message: (node: TestNode) => Message;
    /** Local messages do not come in through `step`. */
    readonly input?: (raw: RawNode) => unknown;
  }
  const from2 =
    (msgType: MessageType, fields?: Parameters<typeof newMessage>[2]) =>
    (node: TestNode): Message =>
      fromPeer(node, 2, msgType, fields);
  const context = { term: 9n, entries: entriesAt(0n, 0n) };
  const withTransfer = (): TestNode => {
    const node = leader();
    node.act((raw) => raw.transferLeader(3n));
    return node;
  };
  const cases: Record<IgnoreReason, readonly Ignored[]> = {
    staleTerm: [
      MessageType.MsgAppend,
      MessageType.MsgHeartbeat,
      MessageType.MsgSnapshot,
      MessageType.MsgRequestVote,
      MessageType.MsgRequestVoteResponse,
      MessageType.MsgAppendResponse,
      MessageType.MsgTimeoutNow,
    ].map((msgType) => ({
      what: `${MessageType[msgType]} of an earlier term`,
      node: follower,
      message: from2(msgType, {
        term: 1n,
        index: 3n,
        logTerm: 1n,
        entries: entriesAt(4n, 1n),
        snapshot: snapshotOf(9n, 1n, VOTERS),
      }),
    })),
    leaderLease: [MessageType.MsgRequestVote, MessageType.MsgRequestPreVote].map((msgType) => ({
      what: `${MessageType[msgType]} while the leader is heard of`,
      node: () => follower({ checkQuorum: true }),
      message: (node) =>
        fromPeer(node, 3, msgType, { term: 9n, index: 9n, logTerm: 8n, commit: 3n, commitTerm: 1n }),
    })),
    notForThisRole: [
      {
        what: "an answer to a vote, at a leader",
        node: leader,
        message: from2(MessageType.MsgRequestVoteResponse),
      },
      { what: "MsgTimeoutNow, at a leader", node: leader, message: from2(MessageType.MsgTimeoutNow) },
      {
        what: "the answer to a read, at a leader",
        node: leader,
        message: from2(MessageType.MsgReadIndexResp),
      },
      {
        what: "an acknowledgement, at a follower",
        node: follower,
        message: from2(MessageType.MsgAppendResponse),
      },
      { what: "MsgTimeoutNow, at a candidate", node: candidate, message: from2(MessageType.MsgTimeoutNow) },
      {
        what: "an acknowledgement, at a candidate",
        node: candidate,
        message: from2(MessageType.MsgAppendResponse),
      },
    ],
    unknownPeer: [
      {
        what: "a report about a stranger",
        node: leader,
        message: (node) => fromPeer(node, 9, MessageType.MsgUnreachable),
        input: (raw) => raw.reportUnreachable(9n),
      },
      {
        what: "the end of a snapshot to a stranger",
        node: leader,
        message: (node) => fromPeer(node, 9, MessageType.MsgSnapStatus),
        input: (raw) => raw.reportSnapshot(9n, "failure"),
      },
    ],
    otherPhase: [
      {
        what: "a pre-vote, at a candidate",
        node: candidate,
        message: from2(MessageType.MsgRequestPreVoteResponse),
      },
      {
        what: "a vote, at a pre-candidate",
        node: () => {
          const node = leaderless({ preVote: true });
          node.act((raw) => raw.campaign());
          node.takeMessages();
          return node;
        },
        message: from2(MessageType.MsgRequestVoteResponse),
      },
    ],
    alreadyThere: [
      {
        what: "a transfer to the target of the one under way",
        node: withTransfer,
        message: (node) => fromPeer(node, 3, MessageType.MsgTransferLeader),
        input: (raw) => raw.transferLeader(3n),
      },
      {
        what: "a transfer to the leader itself",
        node: leader,
        message: (node) => fromPeer(node, 1, MessageType.MsgTransferLeader),
        input: (raw) => raw.transferLeader(1n),
      },
    ],
    malformed: [
      {
        what: "an append without a term",
        node: follower,
        message: from2(MessageType.MsgAppend, { term: 0n }),
      },
      {
        what: "an append with a gap",
        node: follower,
        message: from2(MessageType.MsgAppend, { index: 3n, logTerm: 1n, entries: entriesAt(5n, 2n) }),
      },
      {
        what: "a read without a context",
        node: leader,
        message: from2(MessageType.MsgReadIndex, { term: 0n }),
      },
      { what: "the answer to no read", node: follower, message: from2(MessageType.MsgReadIndexResp) },
      {
        what: "a proposal in the name of a term",
        node: leader,
        message: from2(MessageType.MsgPropose, context),
      },
      {
        what: "a read in the name of a term",
        node: leader,
        message: from2(MessageType.MsgReadIndex, context),
      },
      { what: "a snapshot without metadata", node: follower, message: from2(MessageType.MsgSnapshot) },
      {
        what: "a message in the own name",
        node: follower,
        message: (node) => fromPeer(node, 1, MessageType.MsgHeartbeat),
      },
    ],
    notAVoter: [
      {
        what: "a transfer to a stranger",
        node: leader,
        message: (node) => fromPeer(node, 9, MessageType.MsgTransferLeader),
        input: (raw) => raw.transferLeader(9n),
      },
      {
        what: "a transfer to nobody, at a follower",
        node: follower,
        message: (node) => fromPeer(node, 0, MessageType.MsgTransferLeader),
        input: (raw) => raw.transferLeader(0n),
      },
    ],
  };

  for (const [reason, rejections] of Object.entries(cases)) {
    test.each(rejections)(`${reason}: $what`, ({ node: make, message, input }) => {
      const node = make();
      node.trace.length = 0;
      const ignored = message(node);
      unchanged(node, (raw) => (input === undefined ? raw.step(ignored) : input(raw)));
      const { msgType, from } = ignored;
      expect(node.trace).toEqual([{ type: "messageIgnored", msgType, from, reason }]);
    });
  }

  test.each([MessageType.MsgAppend, MessageType.MsgHeartbeat, MessageType.MsgSnapshot])(
    "a second leader of the same term, at the first (%i)",
    (msgType) => {
      const node = leader();
      const snapshot = snapshotOf(9n, 1n, VOTERS);
      unchanged(node, (raw) => raw.step(fromPeer(node, 2, msgType, { snapshot })));
      expect(node.trace.at(-1)).toMatchObject({ type: "secondLeader", from: 2n });
    },
  );

  test.each([
    { what: "ends behind the commit index", index: 1n, term: 1n, voters: VOTERS, because: "behindCommit" },
    { what: "is of a group without the node", index: 9n, term: 2n, voters: [2n, 3n], because: "notAMember" },
    { what: "names a voter twice", index: 9n, term: 2n, voters: [1n, 1n], because: "malformedMembership" },
    {
      what: "ends at the commit index, in the log",
      index: 2n,
      term: 1n,
      voters: VOTERS,
      because: "alreadyInLog",
    },
  ])("a snapshot that $what: log and membership stay, and the leader is told so", (snapshot) => {
    const node = follower();
    const before = imageOf([node.raft.log, node.raft.tracker]);
    const { index, term, voters, because } = snapshot;
    node.step(fromPeer(node, 2, MessageType.MsgSnapshot, { snapshot: snapshotOf(index, term, voters) }));
    expect(imageOf([node.raft.log, node.raft.tracker])).toBe(before);
    expect(node.trace.at(-1)).toMatchObject({ type: "snapshotIgnored", because });
    expect(node.takeMessages()).toMatchObject([{ msgType: MessageType.MsgAppendResponse, index: 2n }]);
  });
});
