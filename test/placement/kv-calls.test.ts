// Range, transactions and conditional writes as clients meet them: three real nodes, real LMDB, real HTTP/2, asked
// through any of them.

import { expect, onTestFinished, test } from "vitest";
import { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import type { KeyedEntry } from "../../src/placement/client-kv.js";
import { TestCluster } from "./cluster.js";

function clientOf(endpoints: readonly string[]): PlacementClient {
  const client = new PlacementClient({ endpoints, deadlineMs: 15_000 });
  onTestFinished(() => client.close());
  return client;
}

async function failureOf(call: Promise<unknown>): Promise<PlacementError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof PlacementError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

function shown(entries: readonly KeyedEntry[]): string[] {
  return entries.map(({ key, value }) => `${key}=${Buffer.from(value).toString()}`);
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

test("a range sent to any node lists what was written through any other, in the order of bytes", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const clients = cluster.endpoints.map((endpoint) => clientOf([endpoint]));
  const keys = ["a", "a/1", "a/2", "a0", "b", "\u{1f600}", "\uffee"];
  for (const [at, key] of keys.entries()) await clients[at % 3]?.set(key, `${at}`);
  for (const client of clients) {
    const all = await client.range({ prefix: "" });
    // U+1F600 comes behind U+FFEE in UTF-8, and before it in UTF-16.
    expect(shown(all.entries)).toEqual(["a=0", "a/1=1", "a/2=2", "a0=3", "b=4", "\uffee=6", "\u{1f600}=5"]);
    expect(all.nextPageToken).toBeUndefined();
    expect(shown((await client.range({ prefix: "a/" })).entries)).toEqual(["a/1=1", "a/2=2"]);
    expect(shown((await client.range({ start: "a/2", end: "b" })).entries)).toEqual(["a/2=2", "a0=3"]);
    expect(shown((await client.range({ start: "b" }, { limit: 1, keysOnly: true })).entries)).toEqual(["b="]);
  }
});

test("pages are of one revision, whatever is written between them and whoever is asked for the next", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const clients = cluster.endpoints.map((endpoint) => clientOf([endpoint]));
  const writer = clientOf(cluster.endpoints);
  for (let number = 0; number < 30; number += 1) await writer.set(`k${number + 10}`, "old");
  const seen: string[] = [];
  let pageToken: Uint8Array | undefined;
  let revision: bigint | undefined;
  for (let page = 0; page === 0 || pageToken !== undefined; page += 1) {
    const client = clients[page % 3];
    const answer = await client?.range({ prefix: "k" }, { limit: 7, pageToken });
    revision ??= answer?.revision;
    expect(answer?.revision).toBe(revision);
    seen.push(...shown(answer?.entries ?? []));
    pageToken = answer?.nextPageToken;
    await writer.set("k39", "new");
    await writer.delete("k38");
    await writer.set("k37.5", "inserted");
  }
  expect(seen).toEqual(Array.from({ length: 30 }, (_, number) => `k${number + 10}=old`));
  const now = await collect(writer.entries({ prefix: "k3" }, { limit: 4 }));
  expect(shown(now).slice(-3)).toEqual(["k37=old", "k37.5=inserted", "k39=new"]);
});

test("of two transactions that compare the same revision, one succeeds and both say so", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const clients = cluster.endpoints.map((endpoint) => clientOf([endpoint]));
  const client = clientOf(cluster.endpoints);
  const { modRevision } = await client.set("seat", "free");
  const outcomes = await Promise.all(
    clients.map((booker, at) =>
      booker.txn({
        compare: [{ key: "seat", modRevision }],
        success: [
          { kind: "set", key: "seat", value: `taken by ${at}` },
          { kind: "set", key: `ticket/${at}`, value: "1" },
        ],
        failure: [{ kind: "get", key: "seat" }],
      }),
    ),
  );
  const winners = outcomes.filter(({ succeeded }) => succeeded);
  expect(winners).toHaveLength(1);
  expect(winners[0]?.revision).toBe(modRevision + 1n);
  const winner = outcomes.findIndex(({ succeeded }) => succeeded);
  for (const { succeeded, results } of outcomes) {
    const [first] = results;
    if (succeeded)
      expect(results).toEqual([
        { kind: "set", existed: true },
        { kind: "set", existed: false },
      ]);
    else if (first?.kind === "get")
      expect(Buffer.from(first.entry?.value ?? []).toString()).toBe(`taken by ${winner}`);
  }
  expect(shown((await client.range({ prefix: "ticket/" })).entries)).toEqual([`ticket/${winner}=1`]);
});

test("a conditional write is done or refused, and tells the revision to try again with", async () => {
  const cluster = await TestCluster.start(onTestFinished, 3);
  const client = clientOf(cluster.endpoints);
  const created = await client.set("lock", "mine", { ifModRevision: 0n });
  expect(created.refused).toBe(false);
  const second = await client.set("lock", "yours", { ifModRevision: 0n });
  expect(second).toEqual({ revision: created.revision, refused: true, modRevision: created.modRevision });
  expect(await client.delete("lock", { ifModRevision: 999n })).toMatchObject({
    deleted: false,
    refused: true,
  });
  expect(await client.delete("lock", { ifModRevision: created.modRevision })).toMatchObject({
    deleted: true,
  });
});

test("plain JSON over HTTP/1.1 does the same, with a stream of JSON for a watch", async () => {
  const cluster = await TestCluster.start(onTestFinished, 1, { overrides: { http: "127.0.0.1:0" } });
  await cluster.leader();
  const { httpAddress } = cluster.node(1n);
  const post = async (method: string, body: object) => {
    const url = `http://127.0.0.1:${httpAddress?.port}/raftnode.v1.KvService/${method}`;
    const headers = { "content-type": "application/json" };
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
    return response.json();
  };
  expect(await post("Set", { key: "a", value: "MQ==", ifAbsent: true })).toEqual({
    revision: "1",
    modRevision: "1",
  });
  expect(await post("Set", { key: "a", value: "Mg==", ifModRevision: "0" })).toMatchObject({ refused: true });
  const txn = {
    compare: [{ key: "a", value: "MQ==" }],
    success: [{ set: { key: "b", value: "Mg==" } }, { range: { range: { prefix: "" }, keysOnly: true } }],
  };
  expect(await post("Txn", txn)).toMatchObject({
    succeeded: true,
    revision: "2",
    results: [{ set: {} }, { range: { entries: [{ key: "a" }, { key: "b" }] } }],
  });
  const page = await post("Range", { range: { interval: { start: "b" } } });
  expect(page).toMatchObject({ entries: [{ key: "b", value: "Mg==", modRevision: "2" }], revision: "2" });

  const request = Buffer.from(JSON.stringify({ range: { prefix: "" }, fromRevision: "1" }));
  const envelope = Buffer.concat([Buffer.alloc(5), request]);
  envelope.writeUInt32BE(request.length, 1);
  const leave = new AbortController();
  const stream = await fetch(`http://127.0.0.1:${httpAddress?.port}/raftnode.v1.KvService/Watch`, {
    method: "POST",
    headers: { "content-type": "application/connect+json", "connect-protocol-version": "1" },
    body: envelope,
    signal: leave.signal,
  });
  let text = "";
  for await (const chunk of stream.body ?? []) {
    text += Buffer.from(chunk).toString("latin1");
    if (text.includes('"b"')) break;
  }
  leave.abort();
  expect(text).toMatch(/"kind":"KIND_SET","entry":\{"key":"a","value":"MQ==".*"key":"b"/s);
});

test("bad ranges and transactions are refused with what is wrong", async () => {
  const cluster = await TestCluster.start(onTestFinished, 1);
  const client = clientOf(cluster.endpoints);
  const failures = await Promise.all(
    [
      client.range({ start: "b", end: "a" }),
      client.range({ prefix: "x".repeat(1_025) }),
      client.range({ prefix: "" }, { limit: 10_001 }),
      client.range({ prefix: "" }, { pageToken: Buffer.from("nonsense") }),
      client.range({ prefix: "" }, { revision: 99n }),
      client.txn({ success: [{ kind: "set", key: "", value: "" }] }),
      client.txn({
        failure: [
          { kind: "set", key: "a", value: "" },
          { kind: "delete", key: "a" },
        ],
      }),
      client.txn({ compare: [{ key: "a", exists: true, relation: "less" }] }),
      client.txn({ compare: Array.from({ length: 129 }, () => ({ key: "a", exists: true })) }),
    ].map(failureOf),
  );
  expect(failures.map(({ reason, outcome, message }) => `${reason} ${outcome}: ${message}`)).toEqual([
    'invalidArgument notApplied: the interval from "b" to "a" is empty: its end must come behind its start',
    "invalidArgument notApplied: prefix has more than 1,024 bytes of UTF-8: no key is that long",
    "invalidArgument notApplied: limit is 10001, at most 10,000 is allowed",
    "invalidArgument notApplied: page_token is not one that a page of a range came with",
    "invalidArgument notApplied: revision 99 is in the future: the store's is 0",
    "invalidArgument notApplied: success[0]: key is empty: give 1 to 1,024 bytes of UTF-8",
    'invalidArgument notApplied: failure[1]: key "a" is written twice',
    "invalidArgument notApplied: compare[0]: exists can only be EQUAL or NOT_EQUAL",
    "invalidArgument notApplied: compare has 129 comparisons, at most 128 are allowed",
  ]);
});
