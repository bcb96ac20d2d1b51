// Writes that take effect once: a command that stands in the log several times is applied the first time, whatever
// comes between, over restarts and snapshots; what is remembered is bounded, and what was forgotten is refused.

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { KvStoreStateSchema, SessionProblem } from "../../../src/gen/records_pb.js";
import {
  type TxnRequest,
  TxnRequestSchema,
  type WriteId,
  WriteIdSchema,
} from "../../../src/gen/service_pb.js";
import { decodeResult, encodeDelete, encodeSet, encodeTxn } from "../../../src/placement/kv/kv-command.js";
import { KvSessions, writeIdProblem } from "../../../src/placement/kv/kv-sessions.js";
import { KvStateMachine } from "../../../src/placement/kv/kv-state-machine.js";
import { propertyRuns } from "../../support/property.js";
import { inChunks, snapshotBytes, temporaryFolder, textOf } from "./support.js";

async function openMachine(dir = temporaryFolder(onTestFinished)) {
  const machine = await KvStateMachine.open({ dir, flushDelayMs: 3_600_000 });
  onTestFinished(() => machine.close().catch(() => undefined));
  return { dir, machine };
}

function writeId(
  client: number,
  sequence: bigint,
  rest: { readonly finishedBelow?: bigint; readonly knownRevision?: bigint } = {},
): WriteId {
  const clientId = Buffer.alloc(16, client);
  return create(WriteIdSchema, { clientId, sequence, finishedBelow: 1n, ...rest });
}

/** Applies commands one by one, as entries that follow what is applied. */
async function applyNext(machine: KvStateMachine, ...commands: Uint8Array[]) {
  const first = machine.appliedIndex + 1n;
  const entries = commands.map((data, at) => ({ index: first + BigInt(at), term: 1n, data }));
  const results = await machine.apply(entries, machine.appliedIndex + BigInt(entries.length));
  return results.map(decodeResult);
}

function set(key: string, value: string, id?: WriteId): Uint8Array {
  return encodeSet(key, Buffer.from(value), { writeId: id });
}

describe("a write that is in the log twice", () => {
  test("is applied once: the second gets the first result, and does not undo what came between", async () => {
    const { machine } = await openMachine();
    const id = writeId(1, 1n);
    const [first, between, second] = await applyNext(
      machine,
      set("k", "mine", id),
      set("k", "yours"),
      set("k", "mine", id),
    );
    expect(second).toEqual(first);
    expect([first?.revision, between?.revision, machine.revision]).toEqual([1n, 2n, 2n]);
    expect(textOf(machine, "k")).toBe("yours");
  });

  test("gets the first answer also where a second would have come to another: deletes, conditions, transactions", async () => {
    const { machine } = await openMachine();
    await applyNext(machine, set("a", "1"), set("b", "1"));
    const txn: TxnRequest = create(TxnRequestSchema, {
      compare: [{ key: "c", target: { case: "exists", value: false } }],
      success: [
        { operation: { case: "set", value: { key: "c", value: Buffer.from("1") } } },
        { operation: { case: "get", value: { key: "b" } } },
      ],
      writeId: writeId(1, 3n),
    });
    const commands = [
      encodeDelete("a", { writeId: writeId(1, 1n) }),
      encodeSet("d", Buffer.from("1"), { ifModRevision: 0n, writeId: writeId(1, 2n) }),
      encodeTxn(txn),
    ];
    const first = await applyNext(machine, ...commands);
    expect([first[0]?.existed, first[1]?.refused, first[2]?.txn?.succeeded]).toEqual([true, false, true]);
    const { revision } = machine;
    expect(await applyNext(machine, ...commands.toReversed())).toEqual(first.toReversed());
    expect(machine.revision).toBe(revision);
  });

  test("is still known after a restart, and on a node that was brought up by a snapshot", async () => {
    const { machine, dir } = await openMachine();
    const id = writeId(1, 7n);
    const [first] = await applyNext(machine, set("k", "1", id), set("k", "2"));
    await machine.close();
    const { machine: reopened } = await openMachine(dir);
    expect(await applyNext(reopened, set("k", "1", id))).toEqual([first]);

    const { machine: restored } = await openMachine();
    await restored.restore(reopened.appliedIndex, inChunks(await snapshotBytes(reopened), 100));
    expect(restored.sessionCount).toBe(1);
    expect(await applyNext(restored, set("k", "1", id))).toEqual([first]);
    expect(textOf(restored, "k")).toBe("2");
    await applyNext(reopened, set("k", "1", id));
    expect((await snapshotBytes(restored)).equals(await snapshotBytes(reopened))).toBe(true);
  });

  test("is refused when it comes after its client has moved on: its answer is not kept", async () => {
    const { machine } = await openMachine();
    const late = set("k", "late", writeId(1, 1n));
    const [, , again] = await applyNext(
      machine,
      late,
      set("k", "next", writeId(1, 2n, { finishedBelow: 2n })),
      late,
    );
    expect(again?.sessionProblem).toBe(SessionProblem.EXPIRED);
    expect(textOf(machine, "k")).toBe("next");
  });

  test("whose answer is too large to keep is known to have been applied", async () => {
    const { machine } = await openMachine();
    await applyNext(machine, set("large", "x".repeat(20_000)));
    const command = encodeTxn(
      create(TxnRequestSchema, {
        success: [
          { operation: { case: "set", value: { key: "k", value: Buffer.from("1") } } },
          { operation: { case: "get", value: { key: "large" } } },
        ],
        writeId: writeId(1, 1n),
      }),
    );
    const [first, second] = await applyNext(machine, command, command);
    expect(first?.txn?.results).toHaveLength(2);
    expect([second?.sessionProblem, second?.revision]).toEqual([SessionProblem.ANSWER_LOST, 2n]);
    expect(machine.get("k")?.version).toBe(1n);
  });

  test("under a number that makes no sense is rejected and changes nothing", async () => {
    const { machine } = await openMachine();
    const results = await applyNext(
      machine,
      set("k", "1", create(WriteIdSchema, { clientId: Buffer.alloc(3), sequence: 1n })),
      set("k", "1", writeId(1, 0n, { finishedBelow: 0n })),
      set("k", "1", writeId(1, 1n, { finishedBelow: 2n })),
    );
    expect(results.map(({ rejected }) => rejected)).toEqual([
      "client_id has 3 bytes: give 16 random ones, the same for all writes of a client",
      "sequence is missing: number the writes of a client from 1 on",
      "finished_below is above the sequence of this very write",
    ]);
    expect([machine.revision, machine.sessionCount]).toEqual([0n, 0]);
    expect(writeIdProblem(writeId(1, 1n))).toBeUndefined();
  });
});

describe("what is remembered", () => {
  const result = Buffer.from("result");

  test("is limited in clients: the one that was used longest ago is forgotten, and refused unless it knows newer", () => {
    const sessions = new KvSessions({ maxSessions: 2 });
    sessions.record(writeId(1, 1n), 1n, 10n, result);
    sessions.record(writeId(2, 1n), 2n, 11n, result);
    sessions.record(writeId(1, 2n), 3n, 12n, result);
    sessions.record(writeId(3, 1n), 4n, 13n, result);
    expect(sessions.count).toBe(2);
    expect(sessions.admit(writeId(1, 1n)).kind).toBe("known");
    expect(sessions.forgottenRevision).toBe(11n);
    expect(sessions.admit(writeId(2, 1n)).kind).toBe("expired");
    // It has seen revision 11 before its first attempt, so what was forgotten cannot be that attempt.
    expect(sessions.admit(writeId(2, 2n, { knownRevision: 11n })).kind).toBe("new");
    expect(sessions.admit(writeId(9, 1n, { knownRevision: 10n })).kind).toBe("expired");
  });

  test("is limited in bytes and in results of one client", () => {
    const sessions = new KvSessions({ maxBytes: 5_000, maxResults: 3 });
    for (let client = 1; client <= 20; client += 1) {
      sessions.record(writeId(client, 1n), BigInt(client), 1n, Buffer.alloc(500));
      expect(sessions.bytes).toBeLessThanOrEqual(5_000);
    }
    for (let sequence = 2n; sequence <= 9n; sequence += 1n) {
      sessions.record(writeId(20, sequence), 20n + sequence, 1n, result);
    }
    const kinds = [5n, 6n, 7n, 8n, 9n, 10n].map((sequence) => sessions.admit(writeId(20, sequence)).kind);
    expect(kinds).toEqual(["expired", "expired", "known", "known", "known", "new"]);
  });

  test("is counted the same after it was loaded from disk: every node must forget at the same entry", () => {
    const sessions = new KvSessions();
    for (let step = 1n; step <= 20n; step += 1n) {
      sessions.record(writeId(Number(step % 4n), step), step, step, Buffer.alloc(Number(step) * 10));
    }
    const loaded = new KvSessions();
    const bodies = sessions.takeDirty().map(({ body }) => body ?? new Uint8Array());
    loaded.load(create(KvStoreStateSchema, { forgottenRevision: 3n }), bodies);
    expect([loaded.count, loaded.bytes, loaded.forgottenRevision]).toEqual([4, sessions.bytes, 3n]);
  });

  test("is limited in time, which is counted in entries of the log", () => {
    const sessions = new KvSessions({ maxIdleEntries: 100 });
    sessions.record(writeId(1, 1n), 5n, 1n, result);
    sessions.expire(105n);
    expect(sessions.count).toBe(1);
    sessions.expire(106n);
    expect([sessions.count, sessions.bytes]).toEqual([0, 0]);
  });
});

test("however attempts are repeated and mixed, restarts included, each write takes effect once", async () => {
  const attempt = fc.record({
    client: fc.integer({ min: 1, max: 3 }),
    sequence: fc.integer({ min: 1, max: 6 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(attempt, fc.constant("restart" as const)), { maxLength: 40 }),
      async (steps) => {
        let { machine, dir } = await openMachine();
        const firsts = new Map<string, bigint>();
        for (const step of steps) {
          if (step === "restart") {
            await machine.close();
            ({ machine, dir } = await openMachine(dir));
            continue;
          }
          const { client, sequence } = step;
          const name = `${client}/${sequence}`;
          const [outcome] = await applyNext(machine, set("log", name, writeId(client, BigInt(sequence))));
          const revision = outcome?.revision ?? 0n;
          expect(revision).toBe(firsts.get(name) ?? machine.revision);
          firsts.set(name, revision);
        }
        expect(machine.revision).toBe(BigInt(firsts.size));
        await machine.close();
      },
    ),
    propertyRuns(25),
  );
});
