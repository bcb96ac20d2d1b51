// Ranges against a simple model: whatever was written, flushed or not, and however far back, a range gives what a sorted
// map gives; transactions against the same model, all or nothing.

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import {
  Compare_Relation,
  type KeyRange,
  KeyRangeSchema,
  TxnRequestSchema,
} from "../../../src/gen/service_pb.js";
import { decodeResult, encodeTxn } from "../../../src/placement/kv/kv-command.js";
import { keyRangeProblem, keySpan } from "../../../src/placement/kv/kv-key-range.js";
import { decodePageToken, encodePageToken, spanAfter } from "../../../src/placement/kv/kv-page-token.js";
import { type KvRangeQuery, KvStateMachine } from "../../../src/placement/kv/kv-state-machine.js";
import { propertyRuns } from "../../support/property.js";
import { applyAll, deleteCommand, setCommand, temporaryFolder } from "./support.js";

const KEYS = ["a", "a/", "a/1", "a/2", "a0", "b", "\u00ff", "\u07ff", "\uffee", "\u{1f600}"];
const ALL = { limit: 1_000, maxBytes: 1_000_000, keysOnly: false } as const;

async function openMachine() {
  const dir = temporaryFolder(onTestFinished);
  const machine = await KvStateMachine.open({ dir, flushDelayMs: 3_600_000 });
  onTestFinished(() => machine.close().catch(() => undefined));
  return machine;
}

const key = fc.constantFrom(...KEYS);
const range: fc.Arbitrary<KeyRange> = fc
  .oneof(
    key.map((value) => ({ case: "key" as const, value })),
    fc
      .constantFrom("", "a", "a/", "b", "\u{1f600}", "zz")
      .map((value) => ({ case: "prefix" as const, value })),
    fc
      .record({ start: fc.oneof(fc.constant(""), key), end: fc.oneof(fc.constant(""), key) })
      .map((value) => ({ case: "interval" as const, value })),
  )
  .map((chosen) => create(KeyRangeSchema, { range: chosen }))
  .filter((made) => keyRangeProblem(made) === undefined);

function isIn({ range: chosen }: KeyRange, candidate: string): boolean {
  const bytes = Buffer.from(candidate);
  switch (chosen.case) {
    case "key":
      return candidate === chosen.value;
    case "prefix":
      return bytes.subarray(0, Buffer.byteLength(chosen.value)).equals(Buffer.from(chosen.value));
    case "interval": {
      const { start, end } = chosen.value;
      const isBefore = end === "" || Buffer.compare(bytes, Buffer.from(end)) < 0;
      return Buffer.compare(bytes, Buffer.from(start)) >= 0 && isBefore;
    }
    case undefined:
      return false;
  }
}

function expected(model: ReadonlyMap<string, string>, chosen: KeyRange): string[] {
  return [...model]
    .filter(([candidate]) => isIn(chosen, candidate))
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([candidate, value]) => `${candidate}=${value}`);
}

function listed(
  machine: KvStateMachine,
  query: Partial<KvRangeQuery> & Pick<KvRangeQuery, "span">,
): string[] {
  const { entries } = machine.range({ ...ALL, ...query });
  return entries.map((entry) => `${entry.key}=${Buffer.from(entry.value).toString()}`);
}

test("a range gives what a sorted map gives, now and at every earlier revision, in whole or in pages", async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("set" as const), key }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("delete" as const), key }) },
    { weight: 2, arbitrary: fc.constantFrom({ do: "flush" } as const, { do: "beginFlush" } as const) },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.array(range, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 3 }),
      async (steps, ranges, limit) => {
        const machine = await openMachine();
        const model = new Map<string, string>();
        const past = [new Map(model)];
        let index = 0n;
        let flushing: Promise<void> = Promise.resolve();
        for (const taken of steps) {
          if (taken.do === "flush") await machine.flush();
          else if (taken.do === "beginFlush") flushing = machine.flush();
          else if (taken.do === "set") {
            index += 1n;
            await applyAll(machine, [setCommand(index, taken.key, `${index}`)]);
            model.set(taken.key, `${index}`);
          } else if (taken.do === "delete") {
            index += 1n;
            await applyAll(machine, [deleteCommand(index, taken.key)]);
            model.delete(taken.key);
          }
          past[Number(machine.revision)] = new Map(model);
        }
        for (const chosen of ranges) {
          const span = keySpan(chosen);
          for (const [revision, then] of past.entries()) {
            expect(listed(machine, { span, revision: BigInt(revision) })).toEqual(expected(then, chosen));
          }
          const pages: string[] = [];
          for (let rest = span, more = true; more; ) {
            const page = machine.range({ ...ALL, span: rest, limit });
            pages.push(...page.entries.map((entry) => `${entry.key}=${Buffer.from(entry.value).toString()}`));
            const last = page.entries.at(-1)?.key ?? "";
            const token = decodePageToken(encodePageToken({ revision: 1n, after: last || "-" }));
            rest = spanAfter(span, token.after);
            more = page.more;
          }
          expect(pages).toEqual(expected(model, chosen));
        }
        await flushing;
        await machine.close();
      },
    ),
    propertyRuns(60),
  );
}, 60_000);

test("a page is cut at its bytes too, but never before its first entry", async () => {
  const machine = await openMachine();
  await applyAll(machine, [
    setCommand(1n, "a", "x".repeat(100)),
    setCommand(2n, "b", "x"),
    setCommand(3n, "c", "x"),
  ]);
  const span = keySpan(create(KeyRangeSchema, { range: { case: "prefix", value: "" } }));
  const first = machine.range({ ...ALL, span, maxBytes: 50 });
  expect([first.entries.map((entry) => entry.key), first.more, first.bytes]).toEqual([["a"], true, 101]);
  const keys = machine.range({ ...ALL, span, maxBytes: 2, keysOnly: true });
  expect([keys.entries.map((entry) => entry.key), keys.more]).toEqual([["a", "b"], true]);
});

test("a comparison holds or not as the table of relations says, for keys that exist and for those that do not", async () => {
  const machine = await openMachine();
  await applyAll(machine, [setCommand(1n, "other", "x"), setCommand(2n, "k", "m"), setCommand(3n, "k", "m")]);
  const holds = async (name: string, relation: Compare_Relation, target: object) => {
    const txn = create(TxnRequestSchema, {
      compare: [{ key: name, relation, target: { ...{ case: "exists", value: true }, ...target } }],
    });
    const index = machine.appliedIndex + 1n;
    const [bytes = new Uint8Array()] = await machine.apply(
      [{ index, term: 1n, data: encodeTxn(txn) }],
      index,
    );
    return decodeResult(bytes).txn?.succeeded;
  };
  const { EQUAL, NOT_EQUAL, LESS, GREATER } = Compare_Relation;
  const table: [string, object, boolean[]][] = [
    // EQUAL, NOT_EQUAL, LESS, GREATER: what the key has stands on the left.
    ["k", { case: "version", value: 2n }, [true, false, false, false]],
    ["k", { case: "version", value: 3n }, [false, true, true, false]],
    ["k", { case: "createRevision", value: 1n }, [false, true, false, true]],
    ["k", { case: "modRevision", value: 3n }, [true, false, false, false]],
    ["k", { case: "value", value: Buffer.from("m") }, [true, false, false, false]],
    ["k", { case: "value", value: Buffer.from("n") }, [false, true, true, false]],
    ["none", { case: "version", value: 0n }, [true, false, false, false]],
    ["none", { case: "modRevision", value: 1n }, [false, true, true, false]],
    ["none", { case: "value", value: Buffer.from("") }, [false, false, false, false]],
  ];
  for (const [name, target, outcomes] of table) {
    for (const [at, relation] of [EQUAL, NOT_EQUAL, LESS, GREATER].entries()) {
      expect([name, target, relation, await holds(name, relation, target)]).toEqual([
        name,
        target,
        relation,
        outcomes[at],
      ]);
    }
  }
  for (const [name, value, relation, outcome] of [
    ["k", true, EQUAL, true],
    ["k", false, EQUAL, false],
    ["k", false, NOT_EQUAL, true],
    ["none", false, EQUAL, true],
    ["none", true, NOT_EQUAL, true],
  ] as const) {
    expect([name, value, await holds(name, relation, { case: "exists", value })]).toEqual([
      name,
      value,
      outcome,
    ]);
  }
  expect(machine.revision).toBe(3n);
});
