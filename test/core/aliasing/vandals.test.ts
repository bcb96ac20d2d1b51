// What an embedder does to the things it got, or to the things it gave, never reaches the core: a storm in which every
// array is emptied, every field overwritten and every byte turned goes exactly the way it goes without that.
// The bytes of log entries are the one exception, and a rule (`Ready`): the last tests show what it is about.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  type ConfChange,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  type InitialState,
  type LightReady,
  MemoryStorage,
  type Message,
  MessageType,
  newConfState,
  newHardState,
  newMessage,
  newNormalEntry,
  type Proposal,
  RawNode,
  type Ready,
  type Snapshot,
  type Status,
  type StepOutcome,
} from "../../../src/core/index.js";
import { MessageSchema } from "../../../src/gen/eraftpb_pb.js";
import { CheckedNode } from "../../support/checked-node.js";
import { changeV1 } from "../../support/conf-changes.js";
import { Network } from "../../support/network.js";
import { Storm } from "../../support/storm.js";
import { bytes, snapshotOf, TestNode, text } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** Destroys all of it that can be destroyed, except the bytes of frozen log entries. */
function vandalise(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  if (value instanceof Uint8Array) {
    for (const [position, byte] of value.entries()) value[position] = ~byte;
    return;
  }
  if (isFrozenEntry(value)) return;
  for (const inside of Object.values(value)) vandalise(inside);
  if (Object.isFrozen(value)) return;
  if (Array.isArray(value)) value.length = 0;
  for (const [name, inside] of Object.entries(value)) Reflect.set(value, name, nonsenseFor(inside));
}

function isFrozenEntry(value: object): boolean {
  return Object.isFrozen(value) && "$typeName" in value && value.$typeName === "eraftpb.Entry";
}

function nonsenseFor(value: unknown): unknown {
  switch (typeof value) {
    case "bigint":
      return value + 1_000n;
    case "number":
      return value + 1_000;
    case "boolean":
      return !value;
    case "string":
      return `not ${value}`;
    default:
      return undefined;
  }
}

/** Takes a copy before it destroys the original: the embedder behind it works with the copy. */
function rescued<T>(value: T): T {
  const copy = structuredClone(value);
  vandalise(value);
  return copy;
}

/** A RawNode among vandals: whatever goes out or has gone in is destroyed at once. */
class VandalisedNode extends RawNode {
  override ready(): Ready {
    return rescued(super.ready());
  }

  override advanceAppend(ready: Ready): LightReady {
    return rescued(super.advanceAppend(ready));
  }

  override advanceAppendAsync(ready: Ready): void {
    const bait = structuredClone(ready);
    super.advanceAppendAsync({ ...bait, entries: [], snapshot: undefined });
  }

  override status(): Status {
    return rescued(super.status());
  }

  override snap(): Snapshot | undefined {
    return rescued(super.snap());
  }

  override step(message: Message): StepOutcome {
    return this.#baited(message, (bait) => super.step(bait));
  }

  override proposeBatch(proposals: readonly Proposal[]): StepOutcome {
    return this.#baited(proposals, (bait) => super.proposeBatch(bait));
  }

  override proposeConfChange(context: Uint8Array, change: ConfChange | ConfChangeV2): StepOutcome {
    return this.#baited({ context, change }, (bait) => super.proposeConfChange(bait.context, bait.change));
  }

  override applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    return rescued(this.#baited(change, (bait) => super.applyConfChange(bait)));
  }

  override readIndex(context: Uint8Array): StepOutcome {
    return this.#baited(context, (bait) => super.readIndex(bait));
  }

  #baited<T, R>(value: T, input: (bait: T) => R): R {
    const bait = structuredClone(value);
    const result = input(bait);
    vandalise(bait);
    return result;
  }
}

describe("a storm among vandals", () => {
  test.each([1, 2, 3, 4, 5, 6])("E13: goes the way it goes without them (seed %i)", (seed) => {
    const events = 3_000;
    const quiet = new Storm({ seed, events });
    const vandalised = new Storm({
      seed,
      events,
      createNode: (config, storage) => new VandalisedNode(config, storage),
    });
    for (const storm of [quiet, vandalised]) {
      storm.run(events);
      storm.heal();
    }
    expect(vandalised.history()).toEqual(quiet.history());
    expect(vandalised.describe()).toBe(quiet.describe());
    expect(vandalised.seen).toEqual(quiet.seen);
    expect(quiet.seen.commits).toBeGreaterThan(5);
  });
});

describe("what went in", () => {
  test("as a window on a buffer of the network is the node's own: the buffer may be used again", () => {
    const buffer = toBinary(
      MessageSchema,
      newMessage(MessageType.MsgAppend, 2n, {
        from: 1n,
        term: 1n,
        entries: [newNormalEntry(1n, 1n, bytes("written once"), bytes("about"))],
      }),
    );
    const follower = new TestNode(2n, { voters: VOTERS });
    follower.act((raw) => raw.step(fromBinary(MessageSchema, buffer)));
    buffer.fill(0);
    const [entry] = follower.node.ready().entries;
    expect(entry && [text(entry.data), text(entry.context)]).toEqual(["written once", "about"]);
  });

  test("as a forwarded proposal or read is the node's own", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    const leader = network.node(1);
    const entry = newNormalEntry(0n, 0n, bytes("mine"));
    leader.act((raw) => raw.step(newMessage(MessageType.MsgPropose, 1n, { from: 2n, entries: [entry] })));
    leader.act((raw) => raw.step(newMessage(MessageType.MsgReadIndex, 1n, { entries: [entry] })));
    entry.data.fill(0);
    network.settle();
    expect(leader.committedData()).toEqual(["mine"]);
    expect(leader.readStates.map(({ requestCtx }) => text(requestCtx))).toEqual(["mine"]);
  });
});

describe("bytes that went in", () => {
  const alone = () => {
    const network = Network.ofSize(1);
    network.campaign(1);
    return { network, node: network.node(1) };
  };

  test("as a Buffer of Node are copied too, although its slice is a window", () => {
    const { network, node } = alone();
    const mine = Buffer.from("mine");
    const large = Buffer.alloc(10_000, "l");
    node.act((raw) => raw.proposeBatch([{ context: Buffer.from("about"), data: mine }]));
    node.act((raw) => raw.propose(bytes(""), large));
    mine.fill(0);
    large.fill(0);
    network.settle();
    expect(node.committedData()).toEqual(["mine", "l".repeat(10_000)]);
  });

  test("of any size come out as they went in, side by side", () => {
    const { network, node } = alone();
    const sizes = [1, 8_191, 4_096, 4_097, 100, 8_192, 4_000, 4_000, 300, 20_000, 1];
    const texts = sizes.map((size, at) => String.fromCharCode(97 + at).repeat(size));
    node.act((raw) =>
      raw.proposeBatch(texts.map((each, at) => ({ context: bytes(`${at}`), data: bytes(each) }))),
    );
    network.settle();
    expect(node.committedData()).toEqual(texts);
  });
});

describe("what the storage keeps for itself", () => {
  test("is not handed out: emptying what was committed leaves its entries", () => {
    const kept = [newNormalEntry(1n, 1n), newNormalEntry(1n, 2n)];
    const storage = new (class extends MemoryStorage {
      override entries(): readonly Entry[] {
        return kept;
      }
    })();
    storage.append(kept);
    storage.setConfState(newConfState({ voters: [1n] }));
    storage.setHardState(newHardState(1n, 1n, 2n));
    const node = new CheckedNode({ id: 1n, randomInt: (min) => min }, storage);
    vandalise(node.ready().committedEntries);
    expect(kept).toHaveLength(2);
  });

  test("is not handed out: a snapshot that is sent is a copy", () => {
    const cached = snapshotOf(5n, 1n, VOTERS);
    const storage = new (class extends MemoryStorage {
      override snapshot(): Snapshot {
        return cached;
      }
    })();
    storage.applySnapshot(cached);
    const leader = new TestNode(1n, { storage }).forceLeader();
    leader.progress(2).recentActive = true;
    leader.step(
      newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 2n, index: 5n, reject: true }),
    );
    const sent = leader.takeMessages().find(({ msgType }) => msgType === MessageType.MsgSnapshot);
    expect(sent?.snapshot?.metadata?.index).toBe(5n);
    vandalise(sent);
    expect(cached).toEqual(snapshotOf(5n, 1n, VOTERS));
  });

  test("may change under way: a hard state that it keeps up to date in place is handed out all the same", () => {
    const live = newHardState(0n, 0n, 0n);
    const storage = new (class extends MemoryStorage {
      override initialState(): InitialState {
        return { ...super.initialState(), hardState: live };
      }
    })();
    storage.setConfState(newConfState({ voters: [1n] }));
    const node = new CheckedNode({ id: 1n, randomInt: (min) => min, preVote: false }, storage);
    node.campaign();
    Object.assign(live, { term: 1n, vote: 1n });
    expect(node.ready().hardState).toMatchObject({ term: 1n, vote: 1n });
  });
});

describe("what went out", () => {
  test("as a soft state is a copy: overwriting it neither hides the next change nor invents one", () => {
    const node = new TestNode(1n, { voters: [1n] });
    node.node.campaign();
    const { softState } = node.node.ready();
    expect(softState).toEqual({ leaderId: 0n, raftState: "candidate" });
    vandalise(softState);
    expect(node.node.ready().softState).toBeUndefined();
  });

  test("to one peer is not what goes to another: each heartbeat has its own token", () => {
    const leader = new TestNode(1n, { voters: VOTERS }).forceLeader();
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 1n }));
    leader.takeMessages();
    leader.act((raw) => raw.readIndex(bytes("who?")));
    const [first, second] = leader.takeMessages();
    const before = second?.context.slice();
    vandalise(first);
    expect(second?.context).toEqual(before);
    expect(before).toHaveLength(8);
  });

  test("in one process is not what another node is told: the mark of a transfer survives", () => {
    const campaign = (): Message[] => {
      const target = new TestNode(2n, { voters: VOTERS, term: 1n });
      target.step(newMessage(MessageType.MsgTimeoutNow, 2n, { from: 1n, term: 1n }));
      return target.takeMessages();
    };
    vandalise(campaign());
    const request = campaign().find(({ to }) => to === 3n);
    expect(request && text(request.context)).toBe("CampaignTransfer");
  });

  test("as a trace event has a membership of its own", () => {
    const node = new TestNode(1n, { voters: VOTERS });
    vandalise(node.act((raw) => raw.applyConfChange(changeV1("r3"))));
    expect(node.trace.at(-1)).toMatchObject({ type: "confChanged", confState: { voters: [1n, 2n] } });
  });
});

describe("the bytes of a log entry are shared by the log and by all that is handed out, so that writing over them", () => {
  test("changes what the node's decisions rest on not at all", () => {
    const network = Network.ofSize(3);
    network.campaign(1);
    const leader = network.node(1);
    leader.propose("to be ruined");
    const ready = leader.node.ready();
    for (const { data } of ready.entries) data.fill(0);
    leader.storage.append(ready.entries);
    leader.act((raw) => raw.advanceAppend(ready));
    network.send(...ready.messages);
    expect(network.nodes.map((node) => node.logSummary())).toEqual(Array(3).fill(["1/1", "2/1"]));
    expect(network.nodes.map((node) => node.raft.log.committed)).toEqual([2n, 2n, 2n]);
  });

  test("changes what is sent and stored: the embedder has then proposed something else", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n] }).forceLeader();
    leader.step(newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 1n, index: 1n }));
    leader.takeMessages();
    leader.propose("to be ruined");
    const ready = leader.node.ready();
    for (const { data } of ready.entries) data.fill(0x2e);
    expect(ready.messages.flatMap(({ entries }) => entries.map(({ data }) => text(data)))).toEqual([
      "............",
    ]);
  });

  test("is out of the question for a proposal: nobody can write where the proposer's own bytes are", () => {
    const leader = new TestNode(1n, { voters: [1n, 2n] }).forceLeader();
    const data = bytes("my own");
    leader.act((raw) => raw.propose(new Uint8Array(), data));
    for (const entry of leader.node.ready().entries) entry.data.fill(0);
    expect(text(data)).toBe("my own");
  });
});
