// What every SnapshotStore must do for a RaftNode: a name stands for a whole body, transfers go on where they broke
// off, and what a reader holds stays. Checksums are the store's own: bodies go from one store to another.

import assert from "node:assert/strict";
import { create, fromBinary } from "@bufbuild/protobuf";
import { newConfState } from "../core/messages.js";
import { type Snapshot, SnapshotMetadataSchema } from "../gen/eraftpb_pb.js";
import {
  type MembershipRecord,
  MembershipRecordSchema,
  type SnapshotDescriptor,
  SnapshotDescriptorSchema,
} from "../gen/records_pb.js";
import type { SnapshotReader, SnapshotReceiver, SnapshotStore } from "../node/ports.js";
import type { ContractCase } from "./contract-case.js";

export interface SnapshotStoreUnderTest {
  readonly store: SnapshotStore;
  /** Lets go of the store and opens it again; absent for a store that forgets. */
  readonly reopen?: (() => Promise<SnapshotStoreUnderTest>) | undefined;
}

const BODY = Uint8Array.from({ length: 10_000 }, (_, at) => (at * 31) & 0xff);

/** `make` returns a blank store, another one with every call. */
export function snapshotStoreContract(make: () => Promise<SnapshotStoreUnderTest>): readonly ContractCase[] {
  const cases: ContractCase[] = [];
  const add = (name: string, run: (opened: SnapshotStoreUnderTest) => Promise<void>): void => {
    cases.push({ name, run: async () => run(await make()) });
  };
  /** What another node has made. */
  const sent = async (body = BODY, index = 9): Promise<Snapshot> => makeIn((await make()).store, index, body);

  add("a blank store has no snapshot", async ({ store }) => {
    assert.equal(store.latest(), undefined);
    await assert.rejects(store.openRead("1-1-none"));
  });

  add("what was made is the latest, says what it is, and is read back from any place", async ({ store }) => {
    const snapshot = await makeIn(store, 7, BODY);
    assert.deepEqual(store.latest(), snapshot);
    assert.deepEqual([snapshot.metadata?.index, snapshot.metadata?.term], [7n, 2n]);
    const { snapshotId, sizeBytes, membership } = descriptorOf(snapshot);
    assert.equal(sizeBytes, BigInt(BODY.length));
    assert.deepEqual(membership, membershipAt(7));
    const reader = await store.openRead(snapshotId);
    assert.equal(reader.sizeBytes, BODY.length);
    assert.deepEqual(Buffer.from(await reader.read(9_990, 100)), Buffer.from(BODY.subarray(9_990)));
    assert.equal((await reader.read(BODY.length, 100)).length, 0);
    await reader.close();
    assert.deepEqual(await readAll(store, snapshot), Buffer.from(BODY));
  });

  add("an empty body is a body", async ({ store }) => {
    const snapshot = await makeIn(store, 7, new Uint8Array(0));
    assert.deepEqual(await readAll(store, snapshot), Buffer.alloc(0));
  });

  add("one that could not be made leaves the one before", async ({ store }) => {
    const before = await makeIn(store, 7, BODY);
    const failure = new Error("the state machine failed");
    const broken = store.create(metadataAt(8), membershipAt(8), async (sink) => {
      await sink(BODY);
      throw failure;
    });
    await assert.rejects(broken, failure);
    assert.deepEqual(store.latest(), before);
    assert.deepEqual(await readAll(store, before), Buffer.from(BODY));
  });

  add("a newer one takes the place of an older one, which stays while it is read", async ({ store }) => {
    const older = await makeIn(store, 7, BODY);
    const reader = await store.openRead(descriptorOf(older).snapshotId);
    const begun = await reader.read(0, 10);
    const newer = await makeIn(store, 8, BODY.subarray(1));
    assert.deepEqual(store.latest(), newer);
    const rest = await reader.read(10, BODY.length);
    assert.deepEqual(Buffer.concat([begun, rest]), Buffer.from(BODY));
    await reader.close();
    await assert.rejects(store.openRead(descriptorOf(older).snapshotId));
    assert.deepEqual(await readAll(store, newer), Buffer.from(BODY.subarray(1)));
  });

  add("what was received is the latest when it is installed, and not before", async (opened) => {
    const { store } = opened;
    const own = await makeIn(store, 7, BODY.subarray(2));
    const snapshot = await sent();
    const receiver = await store.receive(descriptorOf(snapshot));
    assert.equal(receiver.receivedBytes, 0);
    for (let offset = 0; offset < BODY.length; offset += 4_000) {
      await receiver.write(offset, BODY.subarray(offset, offset + 4_000));
      assert.equal(receiver.receivedBytes, Math.min(offset + 4_000, BODY.length));
    }
    await receiver.finish();
    assert.deepEqual(store.latest(), own);
    await store.install(snapshot);
    assert.deepEqual(store.latest(), snapshot);
    assert.deepEqual(await readAll(store, snapshot), Buffer.from(BODY));
  });

  add(
    "a body that is here already has nothing missing, and is installed again for nothing",
    async ({ store }) => {
      const snapshot = await sent();
      await receiveIn(store, snapshot, BODY);
      const again = await store.receive(descriptorOf(snapshot));
      assert.equal(again.receivedBytes, BODY.length);
      await again.finish();
      await store.install(snapshot);
      const complete = await store.receive(descriptorOf(snapshot));
      assert.equal(complete.receivedBytes, BODY.length);
      await complete.finish();
      await store.install(snapshot);
      assert.deepEqual(await readAll(store, snapshot), Buffer.from(BODY));
    },
  );

  add("a transfer that broke off goes on where it was", async (opened) => {
    const snapshot = await sent();
    const first = await opened.store.receive(descriptorOf(snapshot));
    await first.write(0, BODY.subarray(0, 6_000));
    await first.suspend();
    const { store } = (await opened.reopen?.()) ?? opened;
    const second = await store.receive(descriptorOf(snapshot));
    assert.equal(second.receivedBytes, 6_000);
    await second.write(6_000, BODY.subarray(6_000));
    await second.finish();
    await store.install(snapshot);
    assert.deepEqual(await readAll(store, snapshot), Buffer.from(BODY));
  });

  add(
    "bytes that do not follow, and more than announced, are refused and change nothing",
    async ({ store }) => {
      const snapshot = await sent();
      const receiver = await store.receive(descriptorOf(snapshot));
      await receiver.write(0, BODY.subarray(0, 5_000));
      await refused(receiver, 4_999, BODY.subarray(4_999, 6_000));
      await refused(receiver, 5_001, BODY.subarray(5_001, 6_000));
      await refused(receiver, 5_000, BODY);
      assert.equal(receiver.receivedBytes, 5_000);
      await receiver.write(5_000, BODY.subarray(5_000));
      await receiver.finish();
    },
  );

  add("a body that is not whole, or not the one announced, is refused and forgotten", async ({ store }) => {
    const snapshot = await sent();
    const other = Uint8Array.from(BODY, (byte, at) => (at === 5_000 ? byte ^ 1 : byte));
    for (const body of [BODY.subarray(0, 9_999), other]) {
      const receiver = await store.receive(descriptorOf(snapshot));
      assert.equal(receiver.receivedBytes, 0);
      await receiver.write(0, body);
      await assert.rejects(receiver.finish());
      await assert.rejects(store.install(snapshot));
    }
    await receiveIn(store, snapshot, BODY);
    await store.install(snapshot);
    assert.deepEqual(await readAll(store, snapshot), Buffer.from(BODY));
  });

  add("what was never received cannot be installed", async ({ store }) => {
    const own = await makeIn(store, 7, BODY);
    await assert.rejects(store.install(await sent()));
    assert.deepEqual(store.latest(), own);
  });

  add("an older snapshot that is installed late does not become the latest", async ({ store }) => {
    const snapshot = await sent(BODY, 6);
    await receiveIn(store, snapshot, BODY);
    const own = await makeIn(store, 7, BODY.subarray(1));
    await store.install(snapshot);
    assert.deepEqual(store.latest(), own);
  });

  add("all of it is there after a restart", async (opened) => {
    if (opened.reopen === undefined) return;
    const snapshot = await sent();
    await makeIn(opened.store, 7, BODY.subarray(1));
    await receiveIn(opened.store, snapshot, BODY);
    const { store, reopen } = await opened.reopen();
    assert.equal(store.latest()?.metadata?.index, 7n);
    await store.install(snapshot);
    const again = (await reopen?.())?.store ?? store;
    assert.deepEqual(again.latest(), snapshot);
    assert.deepEqual(await readAll(again, snapshot), Buffer.from(BODY));
  });

  return cases;
}

function makeIn(store: SnapshotStore, index: number, body: Uint8Array): Promise<Snapshot> {
  return store.create(metadataAt(index), membershipAt(index), async (sink) => {
    for (let offset = 0; offset < body.length; offset += 3_000)
      await sink(body.subarray(offset, offset + 3_000));
  });
}

async function receiveIn(store: SnapshotStore, snapshot: Snapshot, body: Uint8Array): Promise<void> {
  const receiver = await store.receive(descriptorOf(snapshot));
  await receiver.write(receiver.receivedBytes, body.subarray(receiver.receivedBytes));
  await receiver.finish();
}

async function refused(receiver: SnapshotReceiver, offset: number, data: Uint8Array): Promise<void> {
  await assert.rejects(receiver.write(offset, data));
}

/** In pieces, as a transfer and a restore read it. */
async function readAll(store: SnapshotStore, snapshot: Snapshot): Promise<Buffer> {
  const reader: SnapshotReader = await store.openRead(descriptorOf(snapshot).snapshotId);
  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (;;) {
    const chunk = await reader.read(offset, 1_024);
    if (chunk.length === 0) break;
    assert.ok(chunk.length <= 1_024, "a reader gave more than it was asked for");
    chunks.push(chunk.slice());
    offset += chunk.length;
  }
  await reader.close();
  return Buffer.concat(chunks);
}

function metadataAt(index: number) {
  return create(SnapshotMetadataSchema, {
    index: BigInt(index),
    term: 2n,
    confState: newConfState({ voters: [1n, 2n] }),
  });
}

function membershipAt(index: number): MembershipRecord {
  return create(MembershipRecordSchema, {
    confState: newConfState({ voters: [1n, 2n] }),
    index: BigInt(index - 1),
    addresses: [1n, 2n].map((id) => ({ id, address: `node-${id}.example:7001` })),
  });
}

function descriptorOf(snapshot: Snapshot): SnapshotDescriptor {
  return fromBinary(SnapshotDescriptorSchema, snapshot.data);
}
