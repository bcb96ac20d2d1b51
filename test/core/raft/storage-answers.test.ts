// What a leader does with each answer of its storage: entries that are gone make it send a snapshot, those that have
// to be fetched make it wait, a snapshot that is not there is asked for later, and whatever else stops the node.

import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  type GetEntriesContext,
  InvariantViolation,
  type MemoryStorage,
  type Message,
  MessageType,
  newConfState,
  newSnapshot,
  StorageError,
} from "../../../src/core/index.js";
import { SnapshotSchema } from "../../../src/gen/eraftpb_pb.js";
import { changeV1 } from "../../support/conf-changes.js";
import { ack, heartbeatResponse, ofType, rejection } from "../../support/peer-messages.js";
import { TestNode } from "../../support/test-node.js";

/** Node 1 leads in term 2, behind five entries of term 1; node 2 has refused its first append, and holds nothing. */
function leaderOfEmptyPeer(): TestNode {
  const config = { maxSizePerMsg: 0 };
  const leader = new TestNode(1n, {
    voters: [1n, 2n, 3n],
    logTerms: [1n, 1n, 1n, 1n, 1n],
    commit: 5n,
    config,
  });
  leader.settle();
  leader.forceLeader();
  leader.takeMessages();
  return leader;
}

const EMPTY_PEER = (leader: TestNode): Message => rejection(leader, 2, 5n, 0n);

function receive(leader: TestNode, message: Message): Message[] {
  leader.step(message);
  return leader.takeMessages();
}

/** Whenever entries are read for a peer, this happens. */
function onRead(storage: MemoryStorage, answer: (context: GetEntriesContext) => void): void {
  const read = storage.entries.bind(storage);
  storage.entries = (low, high, maxBytes, context) => {
    if (context.purpose === "sendAppend") answer(context);
    return read(low, high, maxBytes, context);
  };
}

describe("entries", () => {
  test("that were compacted a moment ago are made up for by a snapshot", () => {
    const leader = leaderOfEmptyPeer();
    onRead(leader.storage, () => {
      throw new StorageError("compacted");
    });
    expect(ofType(receive(leader, EMPTY_PEER(leader)), MessageType.MsgSnapshot)).toMatchObject([{ to: 2n }]);
    expect(leader.progress(2).state).toBe("Snapshot");
  });

  test.each([
    new StorageError("unavailable"),
    new StorageError("snapshotOutOfDate"),
    new RangeError("a bug"),
  ])("that the storage fails to read for another reason stop the node: $message", (failure) => {
    const leader = leaderOfEmptyPeer();
    onRead(leader.storage, () => {
      throw failure;
    });
    expect(() => leader.step(EMPTY_PEER(leader))).toThrow(failure);
  });

  test("are read for one message, except after an acknowledgement, which may free a whole window", () => {
    const leader = leaderOfEmptyPeer();
    const aggressively: boolean[] = [];
    onRead(leader.storage, (context) => {
      if (context.purpose === "sendAppend") aggressively.push(context.aggressively);
    });
    expect(receive(leader, EMPTY_PEER(leader))).toHaveLength(1);
    receive(leader, heartbeatResponse(leader, 2));
    leader.act((raw) => raw.applyConfChange(changeV1("l4")));
    expect(aggressively).toEqual([false, false, false]);
    aggressively.length = 0;
    receive(leader, ack(leader, 2, 1n));
    expect(aggressively).toContain(true);
  });

  test("that were fetched for one message are sent as one", () => {
    const leader = leaderOfEmptyPeer();
    leader.storage.triggerLogUnavailable(true);
    expect(receive(leader, EMPTY_PEER(leader))).toEqual([]);
    leader.storage.triggerLogUnavailable(false);
    const context = leader.storage.takeGetEntriesContext();
    if (context === undefined) throw new Error("the leader did not ask the storage");
    // Replicating by now, so that nothing but the context keeps the leader from sending more.
    leader.progress(2).becomeReplicate();
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages().map(({ index, entries }) => [index, entries.length])).toEqual([[0n, 1]]);
  });

  test("that were fetched for a peer silent since, and are compacted by now, are neither sent nor tried for ever", () => {
    const leader = leaderOfEmptyPeer();
    receive(leader, EMPTY_PEER(leader));
    leader.storage.triggerLogUnavailable(true);
    receive(leader, ack(leader, 2, 1n));
    leader.storage.triggerLogUnavailable(false);
    leader.storage.compact(4n);
    leader.progress(2).recentActive = false;
    const context = { canAsync: true, purpose: "sendAppend", to: 2n, term: 2n, aggressively: true } as const;
    leader.act((raw) => raw.onEntriesFetched(context));
    expect(leader.takeMessages()).toEqual([]);
  });
});

describe("a snapshot", () => {
  test.each([new StorageError("compacted"), new StorageError("unavailable"), new RangeError("a bug")])(
    "that the storage fails to make stops the node: $message",
    (failure) => {
      const leader = leaderOfEmptyPeer();
      leader.storage.compact(4n);
      leader.storage.snapshot = () => {
        throw failure;
      };
      expect(() => leader.step(EMPTY_PEER(leader))).toThrow(failure);
    },
  );

  test.each([
    { what: "of nothing", empty: newSnapshot(0n, 0n, newConfState()) },
    { what: "without metadata", empty: create(SnapshotSchema) },
  ])("$what is a mistake of the storage: sent, it would make a peer lose its log", ({ empty }) => {
    const leader = leaderOfEmptyPeer();
    leader.storage.compact(4n);
    leader.storage.snapshot = () => empty;
    expect(() => leader.step(EMPTY_PEER(leader))).toThrow(InvariantViolation);
    expect(leader.progress(2).state).toBe("Probe");
  });
});
