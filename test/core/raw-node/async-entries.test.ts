// A storage that has to fetch entries says so; the leader goes on when it is told that they can be read, unless it has
// lost its leadership or its peer by then.

import { describe, expect, test } from "vitest";
import {
  type GetEntriesContext,
  InvariantViolation,
  MemoryStorage,
  MessageType,
  newMessage,
} from "../../../src/core/index.js";
import { changeV1 } from "../../support/conf-changes.js";
import { TestNode } from "../../support/test-node.js";
import { typesOf } from "./support.js";

interface Fetching {
  readonly leader: TestNode;
  readonly context: GetEntriesContext;
}

/** The leader has eleven entries, node 2 has taken the first two, and the storage is fetching the rest. */
function fetching(): Fetching {
  const storage = MemoryStorage.withConfState({ voters: [1n, 2n] });
  const leader = new TestNode(1n, { storage, config: { maxSizePerMsg: 2_048 } }).forceLeader();
  leader.takeMessages();
  const command = "x".repeat(1_000);
  for (let count = 0; count < 10; count += 1) leader.propose(command);
  leader.settle();
  storage.triggerLogUnavailable(true);
  leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 2n, index: 3n }));
  expect(typesOf(leader.takeMessages().filter(({ entries }) => entries.length > 0))).toEqual([]);
  storage.triggerLogUnavailable(false);
  const context = storage.takeGetEntriesContext();
  if (context === undefined) throw new Error("the leader did not ask the storage");
  return { leader, context };
}

describe("entries that have to be fetched", () => {
  test("are sent when they are there, as many messages as the limits ask for", () => {
    const { leader, context } = fetching();
    expect(context).toMatchObject({ canAsync: true, purpose: "sendAppend", to: 2n, term: 2n });
    leader.act((raw) => raw.onEntriesFetched(context));
    const messages = leader.takeMessages();
    expect(typesOf(messages)).toEqual(["MsgAppend", "MsgAppend", "MsgAppend", "MsgAppend", "MsgAppend"]);
    expect(messages.map(({ index, entries }) => `${index}+${entries.length}`)).toEqual([
      "3+2",
      "5+2",
      "7+2",
      "9+2",
      "11+1",
    ]);
  });

  test("do not hold up other peers, heartbeats, or committing", () => {
    const { leader } = fetching();
    leader.storage.triggerLogUnavailable(true);
    leader.tick();
    expect(typesOf(leader.takeMessages())).toContain("MsgHeartbeat");
    expect(leader.raft.log.committed).toBe(3n);
  });

  test("are not sent to a peer that has been removed meanwhile (R2)", () => {
    const { leader, context } = fetching();
    leader.act((raw) => raw.applyConfChange(changeV1("r2")));
    leader.takeMessages();
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages()).toEqual([]);
  });

  test("are not sent by a leader that has stepped down meanwhile (R3)", () => {
    const { leader, context } = fetching();
    leader.progress(2).recentActive = false;
    leader.step(newMessage(MessageType.MsgCheckQuorum, 1n));
    expect(leader.role).toBe("follower");
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages()).toEqual([]);
  });

  test("are not sent by the same node in a later leadership, which waits for a read of its own (R3)", () => {
    const { leader, context } = fetching();
    leader.step(newMessage(MessageType.MsgHeartbeat, 1n, { from: 2n, term: 3n }));
    leader.takeMessages();
    leader.forceLeader();
    leader.takeMessages();
    leader.storage.triggerLogUnavailable(true);
    const { term, log } = leader.raft;
    const refusal = { reject: true, index: log.lastIndex() - 1n, rejectHint: 3n, logTerm: 2n };
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term, ...refusal }));
    leader.storage.triggerLogUnavailable(false);

    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages()).toEqual([]);
    const own = leader.storage.takeGetEntriesContext();
    if (own === undefined) throw new Error("the leader did not ask the storage");
    leader.act((raw) => raw.onEntriesFetched(own));
    expect(typesOf(leader.takeMessages())).toEqual(["MsgAppend"]);
  });

  test("are asked for by whoever may wait only: any other context is the embedder's mistake", () => {
    const { leader } = fetching();
    expect(() => leader.node.onEntriesFetched({ canAsync: false, purpose: "ready" })).toThrow(
      InvariantViolation,
    );
  });
});
