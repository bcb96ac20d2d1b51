// Clients that are not ours: connect-node over Connect and over gRPC, @grpc/grpc-js, curl where it is installed, and plain
// HTTP. Each does every call of the store, sees errors with their details, sets deadlines, watches, and shows tokens and
// certificates; real nodes, real TLS.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus } from "../../src/gen/grpc/health/v1/health_pb.js";
import {
  KvService,
  RaftAdminService,
  RaftMetricsService,
  WatchEvent_Kind,
} from "../../src/gen/service_pb.js";
import type { PlacementConfig } from "../../src/placement/config.js";
import { type PlacementCenter, startPlacementCenter } from "../../src/placement/server.js";
import { createToken, tokenLines } from "../../src/services/access-tokens.js";
import { createAuthority } from "../transport/support/certificates.js";
import { freePorts } from "./cluster.js";
import { connectClient, grpcClient } from "./foreign/connect-clients.js";
import { curlClient, HAS_CURL, httpClient } from "./foreign/curl-client.js";
import type { ForeignClient, Target } from "./foreign/foreign-client.js";
import { grpcJsClient } from "./foreign/grpc-js-client.js";

const CLIENTS: readonly (readonly [string, (target: Target) => ForeignClient])[] = [
  ["connect-node, Connect", connectClient],
  ["connect-node, gRPC", grpcClient],
  ["@grpc/grpc-js", grpcJsClient],
  ...(HAS_CURL ? [["curl", curlClient] as const] : []),
  ["plain HTTP", httpClient],
];

const authority = createAuthority("the cluster's authority");
const token = createToken("somebody", ["client"]);
const kv = KvService.method;

let folder = "";
const running: PlacementCenter[] = [];
/** In the clear with tokens; TLS with tokens; mutual TLS without; and one that never gets a leader. */
let plain: Target;
let tls: Target;
let mutual: Target;
let alone: Target;

async function startNode(name: string, overrides: Partial<PlacementConfig> = {}): Promise<Target> {
  const [port = 0, other = 0] = await freePorts(2);
  const address = `127.0.0.1:${port}`;
  const center = await startPlacementCenter({
    id: 1n,
    clusterId: name,
    dataDir: join(folder, name),
    listen: address,
    http: "127.0.0.1:0",
    members: new Map([
      [1n, address],
      ...(name === "alone" ? [[2n, `127.0.0.1:${other}`] satisfies [bigint, string]] : []),
    ]),
    tickIntervalMs: 20,
    ...overrides,
  });
  running.push(center);
  if (name !== "alone") await center.node.leaderKnown({ deadlineMs: 15_000 });
  return { address, http: `127.0.0.1:${center.httpAddress?.port}` };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "raft-node-foreign-"));
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const { cert, key, ca } = authority.issue("node");
  const files = { certFile: write("crt", cert), keyFile: write("key", key), caFile: write("ca", ca) };
  const access = { tokensFile: write("tokens.toml", tokenLines(token).join("\n")) };
  const somebody = authority.issue("somebody");
  [plain, tls, mutual, alone] = await Promise.all([
    startNode("plain", { access }),
    startNode("tls", { access, tls: { ...files, optionalClientCertificates: true } }).then((at) => ({
      ...at,
      tls: { ca },
    })),
    startNode("mutual", { tls: files }).then((at) => ({ ...at, tls: somebody })),
    startNode("alone"),
  ]);
});

afterAll(async () => {
  await Promise.all(running.map((center) => center.stop()));
  rmSync(folder, { recursive: true, force: true });
});

describe.each(CLIENTS)("%s", (name, create) => {
  const held = { token: token.token, deadlineMs: 20_000 };
  /** Of this client alone. */
  const key = (suffix: string) => `${name}/${suffix}`;

  function open(target: Target): ForeignClient {
    const client = create(target);
    onTestFinished(() => client.close());
    return client;
  }

  test("does every call of the store", async () => {
    const client = open(plain);
    const value = Buffer.from("hello");
    const set = await client.unary(kv.set, { key: key("a"), value }, held);
    expect(set.modRevision).toBe(set.revision);
    const again = { key: key("a"), condition: { case: "ifAbsent", value: true } } as const;
    expect(await client.unary(kv.set, again, held)).toMatchObject({
      refused: true,
      modRevision: set.revision,
    });
    const got = await client.unary(kv.get, { key: key("a") }, held);
    expect(got).toMatchObject({ found: true, version: 1n, modRevision: set.revision });
    expect(Buffer.from(got.value).toString()).toBe("hello");
    expect(await client.unary(kv.exists, { key: key("b") }, held)).toMatchObject({ exists: false });
    const txn = await client.unary(
      kv.txn,
      {
        compare: [{ key: key("a"), target: { case: "version", value: 1n } }],
        success: [
          { operation: { case: "set", value: { key: key("b"), value } } },
          { operation: { case: "get", value: { key: key("a") } } },
        ],
      },
      held,
    );
    expect(txn.succeeded).toBe(true);
    expect(txn.results.map(({ result }) => result.case)).toEqual(["set", "get"]);
    const page = { range: { range: { case: "prefix", value: key("") } }, limit: 1 } as const;
    const first = await client.unary(kv.range, page, held);
    const second = await client.unary(kv.range, { ...page, pageToken: first.nextPageToken }, held);
    expect([...first.entries, ...second.entries].map((entry) => entry.key)).toEqual([key("a"), key("b")]);
    expect(await client.unary(kv.delete, { key: key("a") }, held)).toMatchObject({ deleted: true });
    expect(await client.unary(kv.get, { key: key("a") }, held)).toMatchObject({ found: false });
    const { clusterId } = await client.unary(RaftMetricsService.method.members, {}, held);
    expect(clusterId).toBe("plain");
    const { status } = await client.unary(Health.method.check, {}, held);
    expect(status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  });

  test("sees errors with their details", async () => {
    const client = open(plain);
    await expect(client.unary(kv.set, { key: "" }, held)).rejects.toMatchObject({
      code: "InvalidArgument",
      reason: "invalidArgument",
      message: expect.stringMatching(/key/),
    });
    const large = client.unary(kv.set, { key: key("large"), value: new Uint8Array(1_100_000) }, held);
    await expect(large).rejects.toMatchObject({ code: "ResourceExhausted", reason: "tooLarge" });
    const watch = client.stream(kv.watch, { progressIntervalMs: 1 }, held)[Symbol.asyncIterator]();
    await expect(watch.next()).rejects.toMatchObject({ code: "InvalidArgument", reason: "invalidArgument" });
  });

  test("is answered within its deadline by a node that has no leader", async () => {
    const client = open(alone);
    const refused = client.unary(kv.get, { key: "a" }, { deadlineMs: 300 });
    // Whoever looks at the clock first: the node names the reason, a client of its own accord does not.
    await expect(refused).rejects.toMatchObject({
      code: expect.stringMatching(/^(Unavailable|DeadlineExceeded)$/),
    });
    const stale = client.unary(kv.get, { key: "a", consistency: 1 }, { deadlineMs: 20_000 });
    expect(await stale).toMatchObject({ found: false });
  });

  test("watches: the mark that the watch is in place, then changes in order", async () => {
    const client = open(plain);
    const range = { range: { case: "prefix", value: key("watched") } } as const;
    const watch = client.stream(kv.watch, { range }, { token: token.token })[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ events: [] });
    await client.unary(kv.set, { key: key("watched/1"), value: Buffer.from("one") }, held);
    await client.unary(kv.delete, { key: key("watched/1") }, held);
    const seen: string[] = [];
    while (seen.length < 2) {
      const { value } = await watch.next();
      for (const { kind, entry } of value?.events ?? []) seen.push(`${WatchEvent_Kind[kind]} ${entry?.key}`);
    }
    expect(seen).toEqual([`SET ${key("watched/1")}`, `DELETE ${key("watched/1")}`]);
    await watch.return?.();
  });

  test("shows a token in its metadata, and is told when that is missing or not enough", async () => {
    const client = open(plain);
    const missing = { code: "Unauthenticated", reason: "unauthenticated" };
    await expect(client.unary(kv.get, { key: "a" })).rejects.toMatchObject(missing);
    await expect(
      client.unary(kv.get, { key: "a" }, { token: "pct_of_another_cluster" }),
    ).rejects.toMatchObject(missing);
    const watch = client.stream(kv.watch, { range: { range: { case: "prefix", value: "" } } });
    await expect(watch[Symbol.asyncIterator]().next()).rejects.toMatchObject(missing);
    await expect(client.unary(RaftAdminService.method.transferLeader, {}, held)).rejects.toMatchObject({
      code: "PermissionDenied",
      reason: "permissionDenied",
    });
  });

  test("comes over TLS with a token, and over mutual TLS with a certificate", async () => {
    await open(tls).unary(kv.set, { key: key("tls"), value: Buffer.from("x") }, held);
    await expect(open(tls).unary(kv.get, { key: key("tls") })).rejects.toMatchObject({
      code: "Unauthenticated",
    });
    await open(mutual).unary(kv.set, { key: key("tls") }, { deadlineMs: 20_000 });
    const unknown = createAuthority("another").issue("somebody");
    const strangers: readonly Target["tls"][] = [{ ca: authority.certificate }, unknown];
    for (const stranger of strangers) {
      const refused = open({ ...mutual, tls: stranger }).unary(kv.get, { key: "a" }, { deadlineMs: 2_000 });
      await expect(refused).rejects.toThrow();
    }
  });
});
