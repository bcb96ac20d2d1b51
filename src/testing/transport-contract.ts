// What every PeerTransport must do between two nodes, as cases that any test runner can run: one list for the
// project's own transports and for those of embedders.

import assert from "node:assert/strict";
import { create, equals, toBinary } from "@bufbuild/protobuf";
import { newConfState, newMessage, newNormalEntry } from "../core/messages.js";
import type { NodeId } from "../core/types.js";
import {
  type Message,
  MessageSchema,
  MessageType,
  SnapshotMetadataSchema,
  SnapshotSchema,
} from "../gen/eraftpb_pb.js";
import { MembershipRecordSchema, SnapshotDescriptorSchema } from "../gen/records_pb.js";
import type { PeerInbox, PeerTransport, SnapshotStore } from "../node/ports.js";
import type { ContractCase } from "./contract-case.js";
import { MemorySnapshots } from "./memory-snapshots.js";
import { RecordingInbox } from "./recording-inbox.js";

/** One node's end of the network, both directions. */
export interface TransportEndpoint {
  readonly transport: PeerTransport;
  /** Where the other node reaches it: what `setMembers` is given. */
  readonly address: string;
  /** Ends both directions, as when the process stops. Called once; `transport.close` may have been called before. */
  stop(): Promise<void>;
}

interface Station extends TransportEndpoint {
  readonly inbox: RecordingInbox;
  readonly snapshots: MemorySnapshots;
}

/**
 * @param start opens one node's end of a network: what arrives for `inbox.id` goes to `inbox`, bodies of snapshots are
 *   read from and written to `snapshots`. Called for nodes 1 and 2 in each case, and for a node again after it stopped.
 *   Connection attempts should be repeated within 100 ms or so, or the cases take long.
 */
export function transportContract(
  start: (inbox: PeerInbox, snapshots: SnapshotStore) => Promise<TransportEndpoint>,
): readonly ContractCase[] {
  const cases: ContractCase[] = [];
  const add = (name: string, run: (network: Network) => Promise<void>): void => {
    cases.push({
      name,
      run: async () => {
        const network = new Network(start);
        try {
          await run(network);
        } finally {
          await network.stop();
        }
      },
    });
  };

  add("messages arrive as they were sent, field for field", async (network) => {
    const [one, two] = await network.pair();
    const sent = everyKind();
    one.transport.send(sent);
    await two.inbox.until(({ stepped }) => stepped.length === sent.length);
    for (const message of sent) {
      assert.ok(
        two.inbox.stepped.some((arrived) => equals(MessageSchema, arrived, message)),
        `no ${MessageType[message.msgType]} as it was sent`,
      );
    }
    assert.deepEqual(one.inbox.unreachable, []);
  });

  add("appends arrive once each, in the order in which they were sent", async (network) => {
    const [one, two] = await network.pair();
    for (let index = 1; index <= 300; index += 1) {
      one.transport.send([append(index, index % 7 === 0 ? 50_000 : 10)]);
      if (index % 50 === 0) await turn();
    }
    await two.inbox.until(({ stepped }) => stepped.length >= 300);
    const indexes = two.inbox.stepped.map(({ index }) => Number(index));
    assert.deepEqual(
      indexes,
      Array.from({ length: 300 }, (_, at) => at + 1),
    );
  });

  add("both directions work at once", async (network) => {
    const [one, two] = await network.pair();
    for (let index = 1; index <= 20; index += 1) {
      one.transport.send([append(index)]);
      two.transport.send([answer(index)]);
    }
    await two.inbox.until(({ stepped }) => stepped.length === 20);
    await one.inbox.until(({ stepped }) => stepped.length === 20);
  });

  add("send never throws and never calls back before it has returned", async (network) => {
    const [one] = await network.pair();
    one.transport.send([{ ...append(1), to: 9n }]);
    assert.deepEqual(one.inbox.unreachable, []);
    await one.inbox.until(({ unreachable }) => unreachable.includes(9n));
  });

  add("a node that was never there is reported unreachable", async (network) => {
    const [one, two] = await network.pair();
    await two.stop();
    network.forget(two);
    one.transport.send([append(1)]);
    await one.inbox.until(({ unreachable }) => unreachable.includes(2n));
  });

  add("a node that refuses a message is reported, and hears the next one", async (network) => {
    const [one, two] = await network.pair();
    two.inbox.refusal = new Error("no room");
    one.transport.send([append(1)]);
    await one.inbox.until(({ unreachable }) => unreachable.includes(2n));
    assert.deepEqual(two.inbox.stepped, []);
    two.inbox.refusal = undefined;
    one.transport.send([append(2)]);
    await two.inbox.until(({ stepped }) => stepped.length > 0);
    assert.deepEqual(
      two.inbox.stepped.map(({ index }) => index),
      [2n],
    );
  });

  add(
    "a node that is not admitted is not heard, and is told that it did not get through",
    async (network) => {
      const [one, two] = await network.pair();
      two.inbox.admitted = (from) => from !== 1n;
      one.transport.send([append(1)]);
      await one.inbox.until(({ unreachable }) => unreachable.includes(2n));
      assert.deepEqual(two.inbox.stepped, []);
    },
  );

  add("a node that restarts is reached again", async (network) => {
    const [one, two] = await network.pair();
    one.transport.send([append(1)]);
    await two.inbox.until(({ stepped }) => stepped.length === 1);
    await two.stop();
    network.forget(two);
    const again = await network.start(2n);
    network.introduce(one, again);
    for (let index = 2; again.inbox.stepped.length === 0; index += 1) {
      one.transport.send([append(index)]);
      await Promise.race([again.inbox.until(({ stepped }) => stepped.length > 0), pause()]);
    }
  });

  add(
    "whoever has spoken to a node is answered, although its membership does not name it",
    async (network) => {
      const one = await network.start(1n);
      const two = await network.start(2n);
      one.transport.setMembers(new Map([[2n, two.address]]));
      one.transport.send([append(1)]);
      await two.inbox.until(({ stepped }) => stepped.length === 1);
      two.transport.send([answer(1)]);
      await one.inbox.until(({ stepped }) => stepped.length === 1);
    },
  );

  add("who left the membership is not reached any more", async (network) => {
    const [one, two] = await network.pair();
    one.transport.setMembers(new Map([[1n, one.address]]));
    one.transport.send([append(1)]);
    await one.inbox.until(({ unreachable }) => unreachable.includes(2n));
    assert.deepEqual(two.inbox.stepped, []);
  });

  add(
    "a snapshot's message arrives when its body is there, and is reported delivered once",
    async (network) => {
      const [one, two] = await network.pair();
      const body = Uint8Array.from({ length: 700_000 }, (_, at) => (at * 31) & 0xff);
      one.snapshots.bodies.set("s-1", body);
      let early = false;
      two.snapshots.beforeWrite = () => {
        early ||= two.inbox.stepped.length > 0;
      };
      one.transport.send([snapshot("s-1", body.length)]);
      await one.inbox.until(({ snapshotReports }) => snapshotReports.length > 0);
      assert.deepEqual(one.inbox.snapshotReports, [{ id: 2n, delivered: true }]);
      assert.ok(!early, "the message came before the body was complete");
      assert.equal(Buffer.compare(two.snapshots.bodies.get("s-1") ?? new Uint8Array(0), body), 0);
      assert.deepEqual(two.snapshots.finished, ["s-1"]);
      assert.deepEqual(
        two.inbox.stepped.map(({ msgType }) => msgType),
        [MessageType.MsgSnapshot],
      );
    },
  );

  add("a snapshot that cannot be sent is reported as not delivered", async (network) => {
    const [one, two] = await network.pair();
    one.transport.send([snapshot("gone", 1_000)]);
    await one.inbox.until(({ snapshotReports }) => snapshotReports.length > 0);
    assert.deepEqual(one.inbox.snapshotReports, [{ id: 2n, delivered: false }]);
    assert.deepEqual(two.inbox.stepped, []);
  });

  add(
    "a snapshot that breaks off is reported, and goes on from what arrived when it is sent again",
    async (network) => {
      const [one, two] = await network.pair();
      const body = new Uint8Array(500_000).fill(3);
      one.snapshots.bodies.set("s-1", body);
      two.snapshots.partial.set("s-1", body.subarray(0, 100_000));
      two.snapshots.beforeWrite = () => Promise.reject(new Error("the disk said no"));
      one.transport.send([snapshot("s-1", body.length)]);
      await one.inbox.until(({ snapshotReports }) => snapshotReports.length === 1);
      two.snapshots.beforeWrite = () => {};
      one.transport.send([snapshot("s-1", body.length)]);
      await one.inbox.until(({ snapshotReports }) => snapshotReports.length === 2);
      assert.deepEqual(
        one.inbox.snapshotReports.map(({ delivered }) => delivered),
        [false, true],
      );
      assert.equal(two.snapshots.writes[0]?.offset, 100_000);
      assert.equal(Buffer.compare(two.snapshots.bodies.get("s-1") ?? new Uint8Array(0), body), 0);
    },
  );

  add("a closed transport sends nothing, throws nothing, and may be closed again", async (network) => {
    const [one, two] = await network.pair();
    await one.transport.close();
    one.transport.send([append(1)]);
    one.transport.setMembers(new Map([[2n, two.address]]));
    await one.transport.close();
    await turn();
    assert.deepEqual(two.inbox.stepped, []);
  });

  return cases;
}

class Network {
  readonly #stations = new Set<Station>();

  constructor(
    private readonly open: (inbox: PeerInbox, snapshots: SnapshotStore) => Promise<TransportEndpoint>,
  ) {}

  async pair(): Promise<[Station, Station]> {
    const one = await this.start(1n);
    const two = await this.start(2n);
    this.introduce(one, two);
    return [one, two];
  }

  async start(id: NodeId): Promise<Station> {
    const inbox = new RecordingInbox(id);
    const snapshots = new MemorySnapshots();
    const endpoint = await this.open(inbox, snapshots);
    const station: Station = {
      inbox,
      snapshots,
      transport: endpoint.transport,
      address: endpoint.address,
      stop: () => endpoint.stop(),
    };
    this.#stations.add(station);
    return station;
  }

  introduce(...stations: readonly Station[]): void {
    const members = new Map(stations.map(({ inbox, address }) => [inbox.id, address]));
    for (const { transport } of stations) transport.setMembers(members);
  }

  /** It was stopped by the case itself. */
  forget(station: Station): void {
    this.#stations.delete(station);
  }

  async stop(): Promise<void> {
    await Promise.allSettled([...this.#stations].map((station) => station.stop()));
  }
}

function append(index: number, bytes = 10): Message {
  return newMessage(MessageType.MsgAppend, 2n, {
    from: 1n,
    term: 3n,
    logTerm: 2n,
    index: BigInt(index),
    commit: 1n,
    entries: [newNormalEntry(3n, BigInt(index) + 1n, new Uint8Array(bytes).fill(7))],
  });
}

function answer(index: number): Message {
  return newMessage(MessageType.MsgAppendResponse, 1n, { from: 2n, term: 3n, index: BigInt(index) });
}

/** One of each kind that travels between nodes outside of snapshot streams, with every field in use somewhere. */
function everyKind(): Message[] {
  const base = { from: 1n, term: 7n };
  return [
    append(41),
    newMessage(MessageType.MsgAppendResponse, 2n, {
      ...base,
      index: 3n,
      reject: true,
      rejectHint: 2n,
      logTerm: 1n,
      requestSnapshot: 9n,
    }),
    newMessage(MessageType.MsgHeartbeat, 2n, { ...base, commit: 2n ** 63n, context: Uint8Array.of(1, 2) }),
    newMessage(MessageType.MsgHeartbeatResponse, 2n, { ...base, context: Uint8Array.of(3) }),
    newMessage(MessageType.MsgRequestVote, 2n, {
      ...base,
      logTerm: 6n,
      index: 12n,
      commit: 5n,
      commitTerm: 4n,
    }),
    newMessage(MessageType.MsgRequestPreVote, 2n, { ...base, logTerm: 6n, index: 12n }),
    newMessage(MessageType.MsgRequestVoteResponse, 2n, { ...base, reject: true }),
    newMessage(MessageType.MsgRequestPreVoteResponse, 2n, { ...base }),
    newMessage(MessageType.MsgTimeoutNow, 2n, { ...base }),
  ];
}

function snapshot(snapshotId: string, sizeBytes: number): Message {
  const confState = newConfState({ voters: [1n, 2n] });
  const descriptor = create(SnapshotDescriptorSchema, {
    snapshotId,
    sizeBytes: BigInt(sizeBytes),
    membership: create(MembershipRecordSchema, { confState, index: 9n }),
  });
  return newMessage(MessageType.MsgSnapshot, 2n, {
    from: 1n,
    term: 3n,
    snapshot: create(SnapshotSchema, {
      data: toBinary(SnapshotDescriptorSchema, descriptor),
      metadata: create(SnapshotMetadataSchema, { index: 9n, term: 2n, confState }),
    }),
  });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A try that got lost is followed by another one. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
