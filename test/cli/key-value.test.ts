// Ranges, transactions, watches and conditions as they are typed, against one real node; and the words of transactions.

import { describe, expect, onTestFinished, test } from "vitest";
import { parseCompare, parseStep } from "../../src/cli/kv/txn-words.js";
import { TestCluster } from "../placement/cluster.js";
import { type Ran, runInProcess } from "./recorded-output.js";

type Command = (...args: readonly string[]) => Promise<Ran>;

async function newStore(): Promise<Command> {
  const cluster = await TestCluster.start(onTestFinished, 1);
  const endpoints = ["-e", cluster.endpoints.join(","), "--deadline-ms", "20000"];
  const command: Command = (...args) => runInProcess(...args, ...endpoints);
  for (const [key, value] of [
    ["a", "1"],
    ["b/1", "x"],
    ["b/2", "y\nz"],
    ["c", "3"],
  ] as const) {
    expect((await command("put", key, value)).status).toBe(0);
  }
  return command;
}

test("range lists a prefix, an interval or everything, in order, and no more than was asked for", async () => {
  const command = await newStore();
  expect((await command("range")).lines).toEqual(["a\t1", "b/1\tx", 'b/2\t"y\\nz"', "c\t3"]);
  expect((await command("range", "b/", "--keys-only")).lines).toEqual(["b/1", "b/2"]);
  expect((await command("range", "--from", "b", "--to", "c")).lines).toHaveLength(2);
  expect((await command("range", "--limit", "3")).lines).toHaveLength(3);
  expect((await command("range", "x", "--from", "b")).status).toBe(2);
  const [line = ""] = (await command("range", "a", "--json")).lines;
  expect(JSON.parse(line)).toMatchObject({ key: "a", text: "1", value: "MQ==", version: "1" });
  const { modRevision }: { modRevision: string } = JSON.parse(line);
  await command("put", "a", "2");
  expect((await command("range", "a", "--revision", modRevision)).lines).toEqual(["a\t1"]);
});

test("put and delete keep to their conditions: status 6, and nothing is changed", async () => {
  const command = await newStore();
  expect(await command("put", "a", "9", "--if-absent")).toMatchObject({
    status: 6,
    notes: expect.stringMatching(/^a: not written: it was last written at revision \d+$/),
  });
  expect((await command("put", "new", "9", "--if-absent")).status).toBe(0);
  const { modRevision }: { modRevision: string } = JSON.parse(
    (await command("get", "a", "--json")).lines[0] ?? "",
  );
  expect((await command("put", "a", "9", "--if-mod-revision", modRevision)).status).toBe(0);
  expect((await command("put", "a", "10", "--if-mod-revision", modRevision, "--json")).status).toBe(6);
  expect((await command("delete", "a", "--if-mod-revision", modRevision)).status).toBe(6);
  expect((await command("get", "a")).lines).toEqual(["9"]);
});

test("txn does the one list or the other, at one revision", async () => {
  const command = await newStore();
  const held = await command(
    "txn",
    "--if",
    "a exists",
    "--if",
    "c value = 3",
    "--then",
    "put a 5",
    "--then",
    "get c",
    "--then",
    "delete nothing",
  );
  expect(held).toMatchObject({
    status: 0,
    lines: [
      expect.stringMatching(/^every condition held; revision \d+$/),
      "a: written",
      "c\t3",
      "nothing: no such key",
    ],
  });
  const failed = await command(
    "txn",
    "--if",
    "a missing",
    "--then",
    "put a 6",
    "--else",
    "range b/",
    "--json",
  );
  expect(failed.status).toBe(6);
  expect(JSON.parse(failed.lines[0] ?? "")).toMatchObject({
    succeeded: false,
    results: [{ kind: "range", entries: [{ key: "b/1" }, { key: "b/2" }], more: false }],
  });
  expect((await command("get", "a")).lines).toEqual(["5"]);
  expect((await command("txn", "--if", "a exists")).notes).toMatch(/--then, --else or both/);
  expect((await command("txn", "--then", "burn a")).notes).toMatch(/put KEY VALUE/);
});

test("watch prints what has changed since a revision, each once, and ends after as many as were asked for", async () => {
  const command = await newStore();
  await command("put", "b/1", "X");
  await command("delete", "b/2");
  const watched = await command("watch", "b/", "--from-revision", "1", "--previous", "--count", "4");
  expect(watched.status).toBe(0);
  expect(watched.lines.map((line) => line.replace(/^\d+/, "N"))).toEqual([
    "N\tset\tb/1\tx",
    'N\tset\tb/2\t"y\\nz"',
    "N\tset\tb/1\tX\tbefore: x",
    'N\tdelete\tb/2\tbefore: "y\\nz"',
  ]);
  const one = await command("watch", "--key", "c", "--from-revision", "1", "--count", "1", "--json");
  expect(JSON.parse(one.lines[0] ?? "")).toMatchObject({ kind: "set", key: "c", text: "3" });
});

describe("the words of a transaction", () => {
  test.each([
    ["k exists", { key: "k", exists: true }],
    ["k missing", { key: "k", exists: false }],
    ["k value != a b", { key: "k", relation: "notEqual", value: "a b" }],
    ["k value = ", { key: "k", relation: "equal", value: "" }],
    ["k mod = 7", { key: "k", relation: "equal", modRevision: 7n }],
    ["k version > 0", { key: "k", relation: "greater", version: 0n }],
    ["k created < 9", { key: "k", relation: "less", createRevision: 9n }],
  ])("%s", (text, compare) => {
    expect(parseCompare(text)).toEqual(compare);
  });

  test.each([
    ["put k a b", { kind: "set", key: "k", value: "a b" }],
    ["delete k", { kind: "delete", key: "k" }],
    ["get k", { kind: "get", key: "k" }],
    ["range k/", { kind: "range", keys: { prefix: "k/" } }],
  ])("%s", (text, step) => {
    expect(parseStep(text)).toEqual(step);
  });

  test.each(["", "k", "k is there", "k mod = x", "k value ~ x"])("%j is no condition", (text) => {
    expect(() => parseCompare(text)).toThrow(/KEY missing/);
  });

  test.each(["", "put k", "delete", "get a b"])("%j is no step", (text) => {
    expect(() => parseStep(text)).toThrow(/put KEY VALUE/);
  });
});
