// What becomes of each type of message in each role, of earlier, the same and later terms: one table, complete by type,
// asserted on the real core. Lease and pre-vote change a few of its fields; the last tests say which.

import { describe, expect, test } from "vitest";
import { type Message, MessageType, newMessage, newNormalEntry } from "../../../src/core/index.js";
import { ack } from "../../support/peer-messages.js";
import { stateImage } from "../../support/state-image.js";
import { bytes, snapshotOf, TestNode } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n, 5n, 6n];
const LEARNERS = [4n];

/** The columns of the table. A learner is a follower with a leader, and has no vote. */
const ROLES = ["follower", "leaderless", "preCandidate", "candidate", "leader", "learner"] as const;
type Role = (typeof ROLES)[number];

/**
 * - `handled`: it changes something, but neither role nor term.
 * - `answered`: its sender gets an answer, and role and term stay.
 * - `forwarded`: the leader gets it, in the name of who sent it first.
 * - `stepsDown`: the node follows in the message's term.
 * - `campaigns`: the node asks for votes.
 * - `ignored`, `dropped`: nothing has changed; the sender of what is dropped is told why.
 */
type Fate = "handled" | "answered" | "forwarded" | "stepsDown" | "campaigns" | "ignored" | "dropped";
/** In the order of {@link ROLES}. */
type Fates = readonly [Fate, Fate, Fate, Fate, Fate, Fate];

const TERMS = ["none", "lower", "equal", "higher"] as const;
type Terms = (typeof TERMS)[number];
type Fields = NonNullable<Parameters<typeof newMessage>[2]>;

/** A message that says something to a node of `term`; of no term if it is local or a request. */
type Row = { readonly fields?: (term: bigint) => Fields } & (
  | { readonly none: Fates }
  | { readonly lower: Fates; readonly equal: Fates; readonly higher: Fates }
);

function all(fate: Fate): Fates {
  return [fate, fate, fate, fate, fate, fate];
}

const context = { entries: [newNormalEntry(0n, 0n, bytes("who?"))] };

const TABLE: Record<MessageType, Row> = {
  [MessageType.MsgHup]: {
    none: ["campaigns", "campaigns", "campaigns", "campaigns", "ignored", "dropped"],
  },
  [MessageType.MsgBeat]: {
    none: ["ignored", "ignored", "ignored", "ignored", "handled", "ignored"],
  },
  [MessageType.MsgCheckQuorum]: {
    none: ["ignored", "ignored", "ignored", "ignored", "handled", "ignored"],
  },
  [MessageType.MsgUnreachable]: {
    none: ["ignored", "ignored", "ignored", "ignored", "handled", "ignored"],
  },
  [MessageType.MsgSnapStatus]: {
    fields: () => ({ from: 3n }),
    none: ["ignored", "ignored", "ignored", "ignored", "handled", "ignored"],
  },
  [MessageType.MsgPropose]: {
    fields: () => context,
    none: ["forwarded", "dropped", "dropped", "dropped", "handled", "forwarded"],
  },
  [MessageType.MsgReadIndex]: {
    fields: () => context,
    none: ["forwarded", "dropped", "dropped", "dropped", "handled", "forwarded"],
  },
  [MessageType.MsgReadIndexResp]: {
    fields: () => ({ ...context, index: 3n }),
    lower: all("ignored"),
    equal: ["handled", "handled", "ignored", "ignored", "ignored", "handled"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgAppend]: {
    fields: (term) => ({ index: 3n, logTerm: 5n, commit: 3n, entries: [newNormalEntry(term, 4n)] }),
    lower: all("answered"),
    equal: ["handled", "handled", "stepsDown", "stepsDown", "ignored", "handled"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgAppendResponse]: {
    fields: () => ({ from: 5n, index: 4n }),
    lower: all("ignored"),
    equal: ["ignored", "ignored", "ignored", "ignored", "handled", "ignored"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgSnapshot]: {
    fields: () => ({ snapshot: snapshotOf(9n, 5n, VOTERS, LEARNERS) }),
    lower: all("ignored"),
    equal: ["handled", "handled", "stepsDown", "stepsDown", "ignored", "handled"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgHeartbeat]: {
    fields: () => ({ commit: 3n }),
    lower: all("answered"),
    equal: ["handled", "handled", "stepsDown", "stepsDown", "ignored", "handled"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgHeartbeatResponse]: {
    fields: () => ({ from: 5n }),
    lower: all("ignored"),
    equal: ["ignored", "ignored", "ignored", "ignored", "handled", "ignored"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgRequestVote]: {
    fields: () => ({ index: 9n, logTerm: 5n }),
    lower: all("ignored"),
    equal: all("answered"),
    higher: all("stepsDown"),
  },
  [MessageType.MsgRequestVoteResponse]: {
    lower: all("ignored"),
    equal: ["ignored", "ignored", "ignored", "handled", "ignored", "ignored"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgRequestPreVote]: {
    fields: () => ({ index: 9n, logTerm: 5n }),
    lower: all("answered"),
    equal: all("answered"),
    higher: all("answered"),
  },
  // A grant; what a refusal does is below.
  [MessageType.MsgRequestPreVoteResponse]: {
    lower: all("ignored"),
    equal: ["ignored", "ignored", "handled", "ignored", "ignored", "ignored"],
    higher: ["ignored", "ignored", "handled", "ignored", "ignored", "ignored"],
  },
  [MessageType.MsgTransferLeader]: {
    lower: all("ignored"),
    equal: ["forwarded", "dropped", "dropped", "dropped", "handled", "forwarded"],
    higher: all("stepsDown"),
  },
  [MessageType.MsgTimeoutNow]: {
    lower: all("ignored"),
    equal: ["campaigns", "campaigns", "ignored", "ignored", "ignored", "dropped"],
    higher: ["campaigns", "campaigns", "campaigns", "campaigns", "campaigns", "stepsDown"],
  },
};

/** Node 1 (or learner 4) in the given role, in a group of five voters with three entries of term 5. */
function nodeAs(role: Role, config: { checkQuorum?: boolean } = {}): TestNode {
  const membership = { voters: VOTERS, learners: LEARNERS, logTerms: [5n, 5n, 5n], commit: 2n };
  const node = new TestNode(role === "learner" ? 4n : 1n, {
    ...membership,
    term: 5n,
    config: { preVote: true, ...config },
  });
  switch (role) {
    case "leaderless":
      break;
    case "follower":
    case "learner":
      node.step(newMessage(MessageType.MsgHeartbeat, node.id, { from: 2n, term: 5n }));
      break;
    case "preCandidate":
      node.act((raw) => raw.campaign());
      break;
    case "candidate":
      node.forceCandidate();
      break;
    case "leader":
      node.forceLeader();
      node.settle();
      node.step(ack(node, 2, 4n));
      // Three of five have spoken, and one waits for a snapshot.
      node.step(ack(node, 3, 3n));
      node.progress(3).becomeSnapshot(4n);
  }
  node.tick();
  node.takeMessages();
  expect(node.role).toBe(role === "leaderless" || role === "learner" ? "follower" : role);
  return node;
}

function messageFor(node: TestNode, msgType: MessageType, terms: Terms): Message {
  const term = { none: 0n, lower: node.raft.term - 1n, equal: node.raft.term, higher: node.raft.term + 1n }[
    terms
  ];
  return newMessage(msgType, node.id, { from: 2n, term, ...TABLE[msgType].fields?.(term) });
}

function expectFate(node: TestNode, message: Message, fate: Fate): void {
  const before = { image: stateImage(node.node), role: node.role, term: node.raft.term };
  const { accepted } = node.step(message);
  const changed = stateImage(node.node) !== before.image;
  const stays = node.role === before.role && node.raft.term === before.term;
  const sent = node.takeMessages();
  const fates: Record<Fate, () => void> = {
    handled: () =>
      expect({ accepted, changed, stays }).toEqual({ accepted: true, changed: true, stays: true }),
    ignored: () => expect({ accepted, changed }).toEqual({ accepted: true, changed: false }),
    dropped: () => expect({ accepted, changed }).toEqual({ accepted: false, changed: false }),
    answered: () => {
      expect({ accepted, stays }).toEqual({ accepted: true, stays: true });
      expect(sent).toMatchObject([{ to: message.from }]);
    },
    forwarded: () => {
      expect({ accepted, stays }).toEqual({ accepted: true, stays: true });
      expect(sent).toMatchObject([{ msgType: message.msgType, to: 2n, from: message.from }]);
    },
    stepsDown: () => {
      expect({ role: node.role, term: node.raft.term }).toEqual({ role: "follower", term: message.term });
      expect(stays).toBe(false);
    },
    campaigns: () => {
      expect(node.role).toMatch(/andidate$/);
      expect(sent.map(({ msgType }) => MessageType[msgType])).toContainEqual(
        expect.stringMatching(/^MsgRequest(Pre)?Vote$/),
      );
    },
  };
  fates[fate]();
}

function fatesFor(row: Row, terms: Terms): Fates | undefined {
  if ("none" in row) return terms === "none" ? row.none : undefined;
  return terms === "none" ? undefined : row[terms];
}

const cells = Object.values(MessageType)
  .filter((msgType) => typeof msgType === "number")
  .flatMap((msgType) =>
    TERMS.flatMap((terms) => {
      const fates = fatesFor(TABLE[msgType], terms);
      return fates === undefined ? [] : [{ msgType, name: MessageType[msgType], terms, fates }];
    }),
  );

describe.each(ROLES.map((role, column) => ({ role, column })))("a $role", ({ role, column }) => {
  test.each(cells)("meets $name, term: $terms", ({ msgType, terms, fates }) => {
    const fate = fates[column];
    if (fate === undefined) throw new Error("the table has a hole");
    const node = nodeAs(role);
    expectFate(node, messageFor(node, msgType, terms), fate);
  });

  test("steps down when a pre-vote is refused by somebody in a later term", () => {
    const node = nodeAs(role);
    const refusal = messageFor(node, MessageType.MsgRequestPreVoteResponse, "higher");
    refusal.reject = true;
    expectFate(node, refusal, "stepsDown");
  });

  test.each([MessageType.MsgAppend, MessageType.MsgHeartbeat])(
    "without pre-vote and check-quorum ignores what a deposed leader sends (%i)",
    (msgType) => {
      const node = nodeAs(role);
      node.raft.settings.preVote = false;
      expectFate(node, messageFor(node, msgType, "lower"), "ignored");
    },
  );

  test.each([MessageType.MsgRequestVote, MessageType.MsgRequestPreVote])(
    "under check-quorum ignores candidates of a later term as long as it knows a leader (%i)",
    (msgType) => {
      const node = nodeAs(role, { checkQuorum: true });
      const knowsLeader = ["follower", "leader", "learner"].includes(role);
      const request = messageFor(node, msgType, "higher");
      const otherwise = msgType === MessageType.MsgRequestVote ? "stepsDown" : "answered";
      expectFate(node, request, knowsLeader ? "ignored" : otherwise);
    },
  );
});

test("the table has a row for every type, and a field for every role", () => {
  expect(cells).toHaveLength(7 + 3 * 12);
  for (const { fates } of cells) expect(fates).toHaveLength(ROLES.length);
});
