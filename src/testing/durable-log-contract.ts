// What every DurableLog must do for a RaftNode: all that the core asks of a storage, through the log's own writes, and
// what the runtime relies on when it sends acknowledgements.

import assert from "node:assert/strict";
import { create, equals } from "@bufbuild/protobuf";
import { newConfState, newHardState, newNormalEntry, newSnapshot } from "../core/messages.js";
import { MembershipRecordSchema } from "../gen/records_pb.js";
import type { DurableLog, Entry, LogWrite } from "../node/ports.js";
import type { ContractCase } from "./contract-case.js";
import { type StorageUnderTest, storageContract } from "./storage-contract.js";

export interface DurableLogUnderTest {
  readonly log: DurableLog;
  /** Closes the log and opens it again; absent for a log that forgets. */
  readonly reopen?: (() => Promise<DurableLogUnderTest>) | undefined;
}

/** `make` returns a blank log that holds no membership yet: first index 1, last index 0. */
export function durableLogContract(make: () => Promise<DurableLogUnderTest>): readonly ContractCase[] {
  const cases: ContractCase[] = [...storageContract(async () => asStorage(await make()))];
  const add = (name: string, run: (opened: DurableLogUnderTest) => Promise<void>): void => {
    cases.push({ name, run: async () => run(await make()) });
  };

  add("what was appended is served at once, and in order, before the disk has it", async ({ log }) => {
    const writes = [1, 2, 3, 4].map((index) => log.append(writeOf([entry(index, 1)])));
    assert.equal(log.storage.lastIndex(), 4n);
    assert.equal(log.storage.term(4n), 1n);
    await Promise.all(writes);
  });

  add("writes resolve in the order in which they were handed over", async ({ log }) => {
    const resolved: number[] = [];
    const writes = Array.from({ length: 20 }, (_, at) =>
      log.append(writeOf([entry(at + 1, 1)])).then(() => {
        resolved.push(at);
      }),
    );
    await Promise.all(writes);
    assert.deepEqual(
      resolved,
      Array.from({ length: 20 }, (_, at) => at),
    );
  });

  add("one write is one: hard state, snapshot and entries come back together", async (opened) => {
    const confState = newConfState({ voters: [1n, 2n, 3n] });
    await opened.log.append({
      snapshot: newSnapshot(7n, 2n, confState),
      entries: [entry(8, 3), entry(9, 3)],
      hardState: newHardState(3n, 2n, 7n),
      mustSync: true,
    });
    const check = ({ log: { storage } }: DurableLogUnderTest): void => {
      const { hardState, confState: members } = storage.initialState();
      assert.deepEqual([hardState.term, hardState.vote, hardState.commit], [3n, 2n, 7n]);
      assert.deepEqual(members, confState);
      assert.deepEqual([storage.firstIndex(), storage.lastIndex()], [8n, 9n]);
      assert.equal(storage.term(7n), 2n);
    };
    check(opened);
    if (opened.reopen !== undefined) check(await opened.reopen());
  });

  add("a write that need not be synced is there with the next one that is", async (opened) => {
    const { log } = opened;
    const lazy = log.append({ ...writeOf([]), hardState: newHardState(4n, 0n, 0n), mustSync: false });
    await log.append(writeOf([entry(1, 4)]));
    await lazy;
    const { log: again } = (await opened.reopen?.()) ?? opened;
    assert.equal(again.storage.initialState().hardState.term, 4n);
    assert.equal(again.storage.lastIndex(), 1n);
  });

  add("the membership that was saved last is found again, with its index and addresses", async (opened) => {
    const record = create(MembershipRecordSchema, {
      confState: newConfState({ voters: [1n, 2n], learners: [3n] }),
      index: 5n,
      addresses: [1n, 2n, 3n].map((id) => ({ id, address: `node-${id}.example:7001` })),
    });
    await opened.log.append(writeOf([1, 2, 3, 4, 5].map((index) => entry(index, 1))));
    await opened.log.saveMembership(record);
    assert.ok(equals(MembershipRecordSchema, opened.log.membership, record));
    const { log } = (await opened.reopen?.()) ?? opened;
    assert.ok(equals(MembershipRecordSchema, log.membership, record));
    assert.deepEqual(log.storage.initialState().confState, record.confState);
  });

  add("closing waits for what was appended", async (opened) => {
    if (opened.reopen === undefined) return;
    const written = opened.log.append(writeOf([entry(1, 1), entry(2, 1)]));
    const again = await opened.reopen();
    await written;
    assert.equal(again.log.storage.lastIndex(), 2n);
  });

  return cases;
}

function asStorage({ log, reopen }: DurableLogUnderTest): StorageUnderTest {
  return {
    storage: log.storage,
    append: (entries) => log.append(writeOf(entries)),
    commitTo: (index) => log.append({ ...writeOf([]), hardState: newHardState(1n, 0n, index) }),
    compact: (index) => log.compact(index),
    applySnapshot: (index, term, confState) =>
      log.append({ ...writeOf([]), snapshot: newSnapshot(index, term, confState) }),
    ...(reopen === undefined ? {} : { reopen: async () => asStorage(await reopen()) }),
  };
}

function writeOf(entries: readonly Entry[]): LogWrite {
  return { snapshot: undefined, entries, hardState: undefined, mustSync: true };
}

function entry(index: number, term: number): Entry {
  return newNormalEntry(BigInt(term), BigInt(index), new Uint8Array(10).fill(index));
}
