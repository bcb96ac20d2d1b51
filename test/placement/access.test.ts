// Access control end to end: real nodes, and every way to reach them. Nobody gets around the tokens by choosing another
// protocol; nodes know each other by token or certificate; what a follower forwards is judged again by the leader.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { describe, expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../../src/embed/peer-dialer.js";
import { WatchedFile } from "../../src/embed/watched-file.js";
import { ConfChangeV2Schema } from "../../src/gen/eraftpb_pb.js";
import {
  ExistsRequestSchema,
  KvService,
  PlacementCenterService,
  RaftAdminService,
  RaftMetricsService,
} from "../../src/gen/service_pb.js";
import { PlacementClient } from "../../src/placement/client.js";
import type { PlacementConfig } from "../../src/placement/config.js";
import { startPlacementCenter } from "../../src/placement/server.js";
import { ACCESS_ROLES, type AccessRole } from "../../src/services/access-policy.js";
import { createToken, type TokenEntry, tokenLines } from "../../src/services/access-tokens.js";
import { ManualClock } from "../support/node-clock.js";
import { createAuthority } from "../transport/support/certificates.js";
import { RecordingLogger } from "../transport/support/doubles.js";
import { freePorts, TestCluster } from "./cluster.js";

type Role = AccessRole | "none" | "unknown";

const made = new Map(ACCESS_ROLES.map((role) => [role, createToken(`a-${role}`, [role])]));
const EVERY_ROLE: readonly Role[] = [...ACCESS_ROLES, "none", "unknown"];

function tokenOf(role: Role): string | undefined {
  if (role === "none") return undefined;
  return role === "unknown" ? createToken("x", ["admin"]).token : made.get(role)?.token;
}

function headersOf(role: Role): Record<string, string> {
  const token = tokenOf(role);
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "raft-node-access-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const textOf = (entries: Iterable<TokenEntry>): string =>
  [...entries].map((entry) => `${tokenLines(entry).join("\n")}\n`).join("\n");

/** The files of a node: all roles have a token, and `peer`'s is the node's own. */
function accessFiles(entries: Iterable<TokenEntry> = made.values()) {
  const dir = temporaryFolder();
  const [tokensFile, peerTokenFile] = [join(dir, "tokens.toml"), join(dir, "peer.token")];
  const write = (text: string) => writeFileSync(tokensFile, text);
  write(textOf(entries));
  writeFileSync(peerTokenFile, `${tokenOf("peer")}\n`, { mode: 0o600 });
  return { access: { tokensFile, peerTokenFile }, write };
}

async function startOne(overrides: Partial<PlacementConfig> = {}) {
  const files = accessFiles();
  const [port = 0] = await freePorts(1);
  const address = `127.0.0.1:${port}`;
  const center = await startPlacementCenter({
    id: 1n,
    clusterId: "access",
    dataDir: join(temporaryFolder(), "data"),
    listen: address,
    http: "127.0.0.1:0",
    members: new Map([[1n, address]]),
    tickIntervalMs: 20,
    access: files.access,
    ...overrides,
  });
  onTestFinished(() => center.stop());
  await center.node.leaderKnown({ deadlineMs: 15_000 });
  return { center, address, ...files, http: `http://127.0.0.1:${center.httpAddress?.port}` };
}

/** `ok`, or the name of the code. */
async function outcome(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    return Code[ConnectError.from(error).code];
  }
}

describe("a node with tokens", () => {
  const WAYS: readonly (readonly [string, (baseUrl: string, http: string) => Transport])[] = [
    ["Connect over HTTP/2", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" })],
    [
      "Connect over HTTP/2, as JSON",
      (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
    ],
    [
      "Connect over HTTP/2, compressed",
      (baseUrl) =>
        createConnectTransport({
          baseUrl,
          httpVersion: "2",
          compressMinBytes: 0,
          sendCompression: compressionGzip,
        }),
    ],
    ["Connect by GET", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", useHttpGet: true })],
    ["gRPC", (baseUrl) => createGrpcTransport({ baseUrl })],
    ["gRPC as JSON", (baseUrl) => createGrpcTransport({ baseUrl, useBinaryFormat: false })],
    ["gRPC-Web over HTTP/2", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" })],
    ["Connect over HTTP/1.1", (_, baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" })],
    [
      "Connect by GET over HTTP/1.1",
      (_, baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useHttpGet: true }),
    ],
    ["gRPC-Web over HTTP/1.1", (_, baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
  ];

  test("asks for one in every protocol, of unary calls and of streams", async () => {
    const { address, http } = await startOne();
    const seen: Record<string, Record<Role, string>> = {};
    for (const [name, open] of WAYS) {
      const transport = open(`http://${address}`, http);
      const kv = createClient(KvService, transport);
      const admin = createClient(RaftAdminService, transport);
      const attempts = EVERY_ROLE.map(async (role) => {
        const options = { headers: headersOf(role), timeoutMs: 10_000 };
        const watch = async () => {
          for await (const _ of kv.watch({ range: { range: { case: "prefix", value: "" } } }, options))
            return;
        };
        const results = [
          await outcome(kv.get({ key: "a" }, options)),
          await outcome(kv.set({ key: "a" }, options)),
          await outcome(watch()),
          await outcome(admin.transferLeader({ nodeId: 9n }, options)),
        ];
        return [role, results.join(" ")] as const;
      });
      seen[name] = Object.fromEntries(await Promise.all(attempts)) as Record<Role, string>;
    }
    const denied = Array(4).fill("PermissionDenied").join(" ");
    const unknown = Array(4).fill("Unauthenticated").join(" ");
    const expected = {
      client: "ok ok ok PermissionDenied",
      metrics: denied,
      // Node 9 does not exist: the call came through to whoever knows that.
      admin: "ok ok ok InvalidArgument",
      peer: denied,
      none: unknown,
      unknown,
    };
    expect(seen).toEqual(Object.fromEntries(WAYS.map(([name]) => [name, expected])));
  });

  test("asks for one on its pages, and leaves probes open", async () => {
    const { http } = await startOne();
    const status = async (path: string, role: Role, method = "GET") =>
      (await fetch(`${http}${path}`, { method, headers: headersOf(role) })).status;
    for (const path of ["/metrics", "/status", "/metrics?x=1", "/status?verbose"]) {
      for (const method of ["GET", "HEAD"]) {
        const answers = await Promise.all(EVERY_ROLE.map((role) => status(path, role, method)));
        expect(answers, `${method} ${path}`).toEqual([403, 200, 200, 403, 401, 401]);
      }
    }
    for (const path of ["/livez", "/readyz", "/readyz?verbose"]) {
      for (const role of EVERY_ROLE) expect(await status(path, role), path).toBe(200);
    }
    const scrape = await (await fetch(`${http}/metrics`, { headers: headersOf("metrics") })).text();
    expect(scrape).toContain('raftnode_access_refused_total{reason="unauthenticated",service="page"} 16');
    expect(scrape).toContain('raftnode_access_refused_total{reason="permissionDenied",service="page"} 16');
    expect(scrape).toMatch(/^raftnode_access_tokens 4$/m);
  });

  test("takes nothing from a peer that shows none: no message, no snapshot, no change of members", async () => {
    const { address } = await startOne();
    const peers = createClient(
      PlacementCenterService,
      createConnectTransport({ baseUrl: `http://${address}`, httpVersion: "2" }),
    );
    const seen = await Promise.all(
      EVERY_ROLE.map(async (role) => {
        const headers = { ...headersOf(role), "raft-cluster-id": "access", "raft-from": "2" };
        const change = toBinary(ConfChangeV2Schema, create(ConfChangeV2Schema));
        const noParts = (async function* () {})();
        return [
          role,
          await outcome(peers.sendRaftMessage({ message: [new Uint8Array([255])] }, { headers })),
          await outcome(peers.installSnapshot(noParts, { headers })),
          // Nothing in it: who gets so far hears that.
          await outcome(peers.sendRaftConfChange({ message: change }, { headers })),
        ].join(" ");
      }),
    );
    const came = seen.map((line) => line.replaceAll(/ (?!PermissionDenied|Unauthenticated)\w+/g, " judged"));
    expect(came).toEqual([
      "client PermissionDenied PermissionDenied PermissionDenied",
      "metrics PermissionDenied PermissionDenied PermissionDenied",
      "admin PermissionDenied PermissionDenied judged",
      expect.stringMatching(/^peer (?!Unauthenticated)/),
      "none Unauthenticated Unauthenticated Unauthenticated",
      "unknown Unauthenticated Unauthenticated Unauthenticated",
    ]);
  });

  test("ends a watch at once when its token is withdrawn, and keeps what it knew when the file breaks", async () => {
    const { center, address, http, write } = await startOne({ logger: new RecordingLogger() });
    const client = new PlacementClient({ endpoints: [address], token: tokenOf("client"), deadlineMs: 5_000 });
    onTestFinished(() => client.close());
    const watch = client.watch({ prefix: "" }, { progressIntervalMs: 600_000 });
    await watch.next();
    const ended = watch.next();
    write("[[token]\n");
    expect(await center.reloadAccess()).toBe(false);
    await client.set("still", "welcome");
    expect((await ended).value).toMatchObject({ changes: [{ kind: "set" }] });
    const last = watch.next();
    write(textOf([...made.values()].filter(({ name }) => name !== "a-client")));
    expect(await center.reloadAccess()).toBe(true);
    await expect(last).rejects.toMatchObject({ reason: "unauthenticated" });
    const scrape = async () => (await fetch(`${http}/metrics`, { headers: headersOf("metrics") })).text();
    await expect.poll(scrape, { timeout: 10_000 }).toMatch(/^raftnode_mvcc_watchers_total 0$/m);
    await expect(client.get("still")).rejects.toMatchObject({
      reason: "unauthenticated",
      outcome: "notApplied",
    });
  });

  test("is followed by a client whose token is asked for at every call", async () => {
    const { address } = await startOne();
    let token = tokenOf("unknown");
    const client = new PlacementClient({ endpoints: [address], token: () => token });
    onTestFinished(() => client.close());
    await expect(client.set("a", "b")).rejects.toMatchObject({ reason: "unauthenticated" });
    token = tokenOf("client");
    expect((await client.set("a", "b")).refused).toBe(false);
    await expect(client.transfer(1n)).rejects.toMatchObject({ reason: "permissionDenied" });
  });
});

describe("a cluster with tokens", () => {
  test("elects by peer tokens, and a leader judges what a follower forwards by the caller's own token", async () => {
    const files = [1, 2, 3].map(() => accessFiles());
    const cluster = await TestCluster.start(onTestFinished, 3, {
      perNode: (id) => ({ access: files[Number(id) - 1]?.access }),
    });
    const leader = await cluster.leader();
    const follower = await cluster.follower();
    const client = new PlacementClient({
      endpoints: [cluster.address(follower.node.id)],
      token: tokenOf("client"),
    });
    onTestFinished(() => client.close());
    await client.set("through", "a follower");
    // A follower whose file is too generous: the leader still says no.
    const generous = [...made.values()].map((entry) =>
      entry.name === "a-client" ? { ...entry, roles: ACCESS_ROLES } : entry,
    );
    files[Number(follower.node.id) - 1]?.write(textOf(generous));
    expect(await follower.reloadAccess()).toBe(true);
    await expect(client.remove(leader)).rejects.toMatchObject({
      reason: "permissionDenied",
      outcome: "notApplied",
    });
    expect((await client.members()).members).toHaveLength(3);
    // And a caller without any is not lent the follower's.
    const forged = createClient(KvService, new ConnectDialer().dial(cluster.address(leader)));
    expect(await outcome(forged.set({ key: "a" }, { headers: { "raft-forwarded": "2" } }))).toBe(
      "Unauthenticated",
    );
  });

  test("lets in a node whose token came later, without a restart", async () => {
    const withoutPeers = [...made.values()].filter(({ name }) => name !== "a-peer");
    const files = accessFiles(withoutPeers);
    const cluster = await TestCluster.start(onTestFinished, 2, { overrides: { access: files.access } });
    expect(cluster.nodes.map(({ node }) => node.leaderId)).toEqual([undefined, undefined]);
    files.write(textOf(made.values()));
    for (const node of cluster.nodes) await node.reloadAccess();
    expect(await cluster.leader()).toBeGreaterThan(0n);
  });

  test("knows nodes by their certificates where clients need none but a token", async () => {
    const authority = createAuthority("the cluster's authority");
    const dir = temporaryFolder();
    const { cert, key, ca } = authority.issue("node");
    const tls = {
      certFile: join(dir, "crt"),
      keyFile: join(dir, "key"),
      caFile: join(dir, "ca"),
      peerNames: ["node"],
      optionalClientCertificates: true,
    };
    writeFileSync(tls.certFile, cert);
    writeFileSync(tls.keyFile, key);
    writeFileSync(tls.caFile, ca);
    const { tokensFile } = accessFiles().access;
    const cluster = await TestCluster.start(onTestFinished, 2, {
      overrides: { tls, access: { tokensFile }, http: "127.0.0.1:0" },
    });
    const follower = await cluster.follower();
    const open = (options: { token?: string | undefined; tls: object }) => {
      const client = new PlacementClient({ endpoints: [cluster.address(follower.node.id)], ...options });
      onTestFinished(() => client.close());
      return client;
    };
    expect((await open({ token: tokenOf("client"), tls: { ca } }).set("a", "b")).refused).toBe(false);
    await expect(open({ tls: { ca } }).get("a")).rejects.toMatchObject({ reason: "unauthenticated" });
    const somebody = authority.issue("somebody");
    await expect(open({ tls: somebody }).get("a")).rejects.toMatchObject({ reason: "unauthenticated" });
    const stranger = { ...createAuthority("another").issue("node"), ca };
    await expect(open({ tls: stranger }).members()).rejects.toMatchObject({ reason: "unauthenticated" });
    // A node's certificate opens what nodes ask each other, not the store.
    expect((await open({ tls: authority.issue("node") }).members()).members).toHaveLength(2);
    await expect(open({ tls: authority.issue("node") }).get("a")).rejects.toMatchObject({
      reason: "permissionDenied",
    });
  });
});

describe("a certificate", () => {
  test("is not had by resuming a TLS session in which none was shown", async () => {
    const authority = createAuthority("the cluster's authority");
    const dir = temporaryFolder();
    const { cert, key, ca } = authority.issue("node");
    const tls = { certFile: join(dir, "crt"), keyFile: join(dir, "key"), caFile: join(dir, "ca") };
    writeFileSync(tls.certFile, cert);
    writeFileSync(tls.keyFile, key);
    writeFileSync(tls.caFile, ca);
    const { center } = await startOne({ tls, access: undefined });
    const port = center.httpAddress?.port ?? 0;
    /** Posts JSON over a connection of its own, and keeps the session that the server offers. */
    const post = (session: Buffer | undefined, identity: { cert?: string; key?: string } = {}) =>
      new Promise<{ status: string; reused: boolean; session: Buffer | undefined }>((resolve, reject) => {
        const socket = connect({ port, host: "127.0.0.1", ca, ...identity, ...(session && { session }) });
        let offered: Buffer | undefined;
        let answer = "";
        socket.on("session", (ticket) => {
          offered = ticket;
        });
        socket.on("data", (part) => {
          answer += part.toString();
        });
        socket.once("error", reject);
        socket.once("end", () =>
          resolve({ status: answer.slice(9, 12), reused: socket.isSessionReused(), session: offered }),
        );
        const head =
          "POST /raftnode.v1.RaftMetricsService/Leader HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        socket.write(`${head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{}`);
      });
    const first = await post(undefined);
    expect(first).toMatchObject({ status: "403", reused: false });
    expect(await post(first.session)).toMatchObject({ status: "403", reused: true });
    const shown = await post(undefined, authority.issue("somebody"));
    expect(shown.status).toBe("200");
    expect(await post(shown.session)).toMatchObject({ status: "200", reused: true });
  });
});

describe("without tokens", () => {
  test("callers on this machine need nothing, and a header does no harm", async () => {
    const { address, http } = await startOne({ access: undefined });
    const transport = createConnectTransport({ baseUrl: `http://${address}`, httpVersion: "2" });
    const { clusterId } = await createClient(RaftMetricsService, transport).members(
      {},
      { headers: headersOf("unknown") },
    );
    expect(clusterId).toBe("access");
    expect((await fetch(`${http}/metrics`)).status).toBe(200);
    const raw = await fetch(`${http}/raftnode.v1.KvService/Exists`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: toJsonString(ExistsRequestSchema, create(ExistsRequestSchema, { key: "a" })),
    });
    expect(raw.status).toBe(200);
  });
});

describe("without tokens, over HTTP/1.1", () => {
  test("a caller on this machine is trusted only under a name of this machine: pages and proxies have others", async () => {
    const { center } = await startOne({ access: undefined });
    const port = center.httpAddress?.port ?? 0;
    const status = (host: string, method: string, path: string) =>
      new Promise<number | undefined>((resolve, reject) => {
        const headers = { host, "content-type": "application/json" };
        const call = request({ host: "127.0.0.1", port, method, path, headers, agent: false }, (response) => {
          response.resume();
          resolve(response.statusCode);
        });
        call.once("error", reject);
        call.end(method === "POST" ? "{}" : "");
      });
    const ask = async (host: string) => [
      await status(host, "POST", "/raftnode.v1.RaftMetricsService/Metrics"),
      await status(host, "GET", "/metrics"),
      await status(host, "GET", "/livez"),
    ];
    for (const host of ["localhost", `LOCALHOST:${port}`, `127.0.0.1:${port}`, "[::1]:80", "127.1.2.3"]) {
      expect(await ask(host), host).toEqual([200, 200, 200]);
    }
    for (const host of [
      "shop.example",
      `shop.example:${port}`,
      "localhost.shop.example",
      "10.0.0.1",
      "a:b:c",
    ]) {
      expect(await ask(host), host).toEqual([expect.toBeOneOf([400, 401]), 401, 200]);
    }
  });
});

describe("a node does not start", () => {
  const start = (overrides: Partial<PlacementConfig>) =>
    startPlacementCenter({
      id: 1n,
      clusterId: "access",
      dataDir: join(temporaryFolder(), "data"),
      listen: "127.0.0.1:0",
      members: new Map([
        [1n, "127.0.0.1:7001"],
        [2n, "127.0.0.1:7002"],
      ]),
      ...overrides,
    });
  const certificate = () => {
    const dir = temporaryFolder();
    const { cert, key } = createAuthority("authority").issue("node");
    writeFileSync(join(dir, "crt"), cert);
    writeFileSync(join(dir, "key"), key);
    return { certFile: join(dir, "crt"), keyFile: join(dir, "key") };
  };

  test.each<[string, () => Partial<PlacementConfig>, RegExp]>([
    [
      "with tokens and nothing to show to other nodes",
      () => ({ access: { tokensFile: accessFiles().access.tokensFile } }),
      /nothing to show to other nodes.*--tls-ca.*--peer-token-file/,
    ],
    [
      "where others reach it and nothing tells who calls",
      () => ({ tls: certificate(), listen: "0.0.0.0:0" }),
      /^listen 0\.0\.0\.0:\d+ is reached from other machines, but nothing tells who calls: .*--tokens.*--anonymous/,
    ],
    [
      "without its file of tokens",
      () => ({ access: { tokensFile: "nowhere.toml" } }),
      /nowhere\.toml|nothing to show/,
    ],
    [
      "without the file of its own token",
      () => ({ access: { ...accessFiles().access, peerTokenFile: "nowhere.token" } }),
      /the file of the peer token cannot be read: .*nowhere\.token/,
    ],
    [
      "with certificates that are optional, and no authority",
      () => ({ tls: { ...certificate(), optionalClientCertificates: true } }),
      /--tls-ca/,
    ],
  ])("%s", async (_, overrides, message) => {
    await expect(start(overrides())).rejects.toThrow(message);
  });
});

test("a node warns of what makes its tokens worth less", async () => {
  const logger = new RecordingLogger();
  const files = accessFiles([...made.values()].filter(({ name }) => name !== "a-peer"));
  chmodSync(files.access.peerTokenFile, 0o644);
  await startOne({ logger, access: { ...files.access, anonymous: true } });
  const warnings = logger.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  expect(warnings).toEqual([
    expect.stringMatching(/everybody on this machine can read the peer token/),
    expect.stringMatching(/anonymous callers may do everything/),
    expect.stringMatching(/not among its own tokens with the role peer/),
  ]);
});

describe("a watched file", () => {
  test("is read again at its interval, told of when it changes, and let go when it is closed", async () => {
    const path = join(temporaryFolder(), "file");
    const clock = new ManualClock();
    const logger = new RecordingLogger();
    const seen: string[] = [];
    const parse = (text: string) => {
      if (text === "bad") throw new Error("it is bad");
      return text;
    };
    writeFileSync(path, "one");
    const file = await WatchedFile.open({
      path,
      what: "file",
      parse,
      onChange: (text) => seen.push(text),
      clock,
      logger,
      intervalMs: 100,
    });
    writeFileSync(path, "two");
    await clock.advance(100);
    await file.reload();
    writeFileSync(path, "bad");
    expect([await file.reload(), await file.reload()]).toEqual([false, false]);
    rmSync(path);
    expect(await file.reload()).toBe(false);
    writeFileSync(path, "two");
    expect(await file.reload()).toBe(false);
    writeFileSync(path, "three");
    expect(await file.reload()).toBe(true);
    expect({ seen, current: file.current, failures: file.failures }).toEqual({
      seen: ["two", "three"],
      current: "three",
      failures: 2,
    });
    expect(logger.lines.map(({ level }) => level)).toEqual(["info", "error", "error", "info"]);
    file.close();
    expect(clock.timerCount).toBe(0);
  });
});
