// What probes, load balancers and Prometheus see of real nodes: grpc.health.v1 over HTTP/2 in both protocols, and the
// pages of the HTTP/1.1 listener, read with plain HTTP.

import { once } from "node:events";
import { connect } from "node:http2";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../../src/embed/peer-dialer.js";
import { Health, HealthCheckResponse_ServingStatus } from "../../src/gen/grpc/health/v1/health_pb.js";
import type { NodeStatus } from "../../src/node/status.js";
import { formatAddress } from "../../src/services/address.js";
import { PrometheusText } from "../../src/services/prometheus-text.js";
import { Readiness } from "../../src/services/readiness.js";
import { TestCluster } from "../placement/cluster.js";

const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;

async function clusterWithHttp() {
  const cluster = await TestCluster.start(onTestFinished, 3, { overrides: { http: "127.0.0.1:0" } });
  await cluster.leader();
  const page = async (id: bigint, path: string, init?: RequestInit) => {
    const { httpAddress } = cluster.node(id);
    if (httpAddress === undefined) throw new Error("no HTTP listener");
    const response = await fetch(`http://${formatAddress(httpAddress)}${path}`, init);
    return {
      status: response.status,
      type: response.headers.get("content-type"),
      body: await response.text(),
    };
  };
  return { cluster, page };
}

test("the pages are there on the HTTP/2 listener too, and what is no page is no service either", async () => {
  const cluster = await TestCluster.start(onTestFinished, 1);
  await cluster.leader();
  const session = connect(`http://${cluster.address(1n)}`);
  onTestFinished(() => session.destroy());
  const ask = async (method: string, path: string, contentType?: string) => {
    const stream = session.request({
      ":method": method,
      ":path": path,
      ...(contentType === undefined ? {} : { "content-type": contentType }),
    });
    stream.end();
    const [headers] = await once(stream, "response");
    let body = "";
    for await (const chunk of stream) body += chunk;
    return { status: headers[":status"], body };
  };
  expect(await ask("GET", "/readyz")).toEqual({ status: 200, body: "ok\n" });
  expect(await ask("GET", "/livez")).toEqual({ status: 200, body: "ok\n" });
  expect(JSON.parse((await ask("GET", "/status")).body)).toMatchObject({ id: "1", role: "leader" });
  expect(await ask("POST", "/readyz")).toMatchObject({ status: 405 });
  expect(await ask("GET", "/elsewhere")).toMatchObject({ status: 404 });
  expect(await ask("POST", "/raftnode.v1.Nothing/AtAll", "application/grpc+proto")).toMatchObject({
    status: 404,
  });
});

describe("a node that serves", () => {
  test("is live and ready, shows its status and its metrics, and the services beside them", async () => {
    const { cluster, page } = await clusterWithHttp();
    const leader = await cluster.leader();
    for (const { node } of cluster.nodes) {
      expect(await page(node.id, "/livez")).toMatchObject({ status: 200, body: "ok\n" });
      expect(await page(node.id, "/readyz")).toMatchObject({ status: 200, body: "ok\n" });
      const verbose = await page(node.id, "/readyz?verbose");
      expect(verbose.body).toMatch(
        /^\[\+\] running: .*\n\[\+\] leader: node \d leads\n(\[\+\] .*\n){3}ready\n$/,
      );
    }
    const status = await page(leader, "/status");
    expect(status).toMatchObject({ status: 200, type: "application/json" });
    expect(JSON.parse(status.body)).toMatchObject({
      id: `${leader}`,
      clusterId: "test",
      role: "leader",
      leaderId: `${leader}`,
      readiness: { ready: true },
      membership: { members: [{ id: "1" }, { id: "2" }, { id: "3" }] },
    });
    const kv = await page(leader, "/raftnode.v1.KvService/Set", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key: "k", value: "dg==" }),
    });
    expect(JSON.parse(kv.body)).toMatchObject({ revision: "1" });
    expect(await page(leader, "/elsewhere")).toMatchObject({ status: 404 });
    expect(await page(leader, "/livez", { method: "POST" })).toMatchObject({ status: 405 });
    expect(await page(leader, "/livez", { method: "HEAD" })).toMatchObject({ status: 200, body: "" });

    const { type, body } = await page(leader, "/metrics");
    expect(type).toBe("text/plain; version=0.0.4; charset=utf-8");
    const values = samples(body);
    expect(values.get("raftnode_server_is_leader")).toBe(1);
    expect(values.get("raftnode_mvcc_keys_total")).toBe(1);
    expect(values.get("raftnode_network_active_peers")).toBe(2);
    expect(values.get("raftnode_server_proposal_duration_seconds_count")).toBe(1);
    expect(values.get('raftnode_disk_wal_fsync_duration_seconds_bucket{le="+Inf"}')).toBeGreaterThan(0);
    expect(values.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
  });

  test("answers the health protocol in gRPC and Connect, for each of its services, and tells when it changes", async () => {
    const { cluster, page } = await clusterWithHttp();
    const leader = await cluster.leader();
    const survivor = (await cluster.follower()).node.id;
    const dialer = new ConnectDialer();
    onTestFinished(() => dialer.close());
    const connect = createClient(Health, dialer.dial(cluster.address(survivor)));
    const grpc = createClient(
      Health,
      createGrpcTransport({ baseUrl: `http://${cluster.address(survivor)}` }),
    );
    for (const client of [connect, grpc]) {
      for (const service of ["", "raftnode.v1.KvService", "raftnode.v1.RaftAdminService"]) {
        expect((await client.check({ service })).status).toBe(SERVING);
      }
      const unknown = await client.check({ service: "nobody.Knows" }).catch((error: unknown) => error);
      expect(ConnectError.from(unknown).code).toBe(Code.NotFound);
    }
    const seen: HealthCheckResponse_ServingStatus[] = [];
    const ended = (async () => {
      for await (const { status } of grpc.watch({ service: "" })) seen.push(status);
    })().catch(() => undefined);
    const [unknown] = await firstOf(connect.watch({ service: "nobody.Knows" }));
    expect(unknown?.status).toBe(SERVICE_UNKNOWN);
    await expect.poll(() => seen).toEqual([SERVING]);
    for (const id of [leader, 6n - leader - survivor]) await cluster.stopNode(id);
    await expect.poll(() => seen, { timeout: 15_000 }).toEqual([SERVING, NOT_SERVING]);
    const ready = await page(survivor, "/readyz");
    expect(ready.status).toBe(503);
    expect(ready.body).toContain("[-] leader: no leader is known\n");
    expect((await page(survivor, "/livez")).status).toBe(200);
    // The stream that was left in the middle above does not hold up the end for longer than the grace.
    await cluster.stopNode(survivor);
    await ended;
  });
});

test("every reason for not being ready is found, and named", async () => {
  const base = { state: "running", leaderId: 1n, commit: 10n, applied: 10n, space: "ok" } as const;
  const cases: readonly (readonly [Partial<NodeStatus>, string | undefined, string])[] = [
    [{}, undefined, ""],
    [{ state: "stopping" }, undefined, "running: the node is stopping"],
    [{ leaderId: undefined }, undefined, "leader: no leader is known"],
    [{ commit: 5_011n }, undefined, "applied: 5001 committed entries are not applied, 5000 may be"],
    [{ space: "exhausted" }, undefined, "space: room in the log: exhausted"],
    [{}, "no space left", "disk: no space left"],
  ];
  const cluster = await TestCluster.start(onTestFinished, 1);
  const status = cluster.node(1n).node.status();
  for (const [change, diskError, expected] of cases) {
    const probeDisk = async () => {
      if (diskError !== undefined) throw new Error(diskError);
    };
    const node = { status: (): NodeStatus => ({ ...status, ...base, ...change }) };
    const { ready, checks } = await new Readiness({ node, probeDisk }).check();
    const failed = checks.filter(({ ok }) => !ok).map(({ name, detail }) => `${name}: ${detail}`);
    expect([ready, failed.join()]).toEqual([expected === "", expected]);
  }
});

test("metrics are written in the text format: cumulative buckets in seconds, escaped labels, one head per name", () => {
  const text = new PrometheusText("x_");
  text.counter("a_total", "Help with \\ and\nlines.", 1n, { who: 'a "quoted" \\ name\n' });
  text.histogram("d_seconds", "Durations.", {
    boundsMs: [0.1, 1],
    counts: [2, 1, 3],
    count: 6,
    sumMs: 1_500,
  });
  text.counter("a_total", "Help.", 2, { who: "b" });
  text.raw("up", "gauge", "Plain.", 1);
  expect(text.toString()).toBe(
    [
      "# HELP x_a_total Help with \\\\ and\\nlines.",
      "# TYPE x_a_total counter",
      'x_a_total{who="a \\"quoted\\" \\\\ name\\n"} 1',
      'x_a_total{who="b"} 2',
      "# HELP x_d_seconds Durations.",
      "# TYPE x_d_seconds histogram",
      'x_d_seconds_bucket{le="0.0001"} 2',
      'x_d_seconds_bucket{le="0.001"} 3',
      'x_d_seconds_bucket{le="+Inf"} 6',
      "x_d_seconds_sum 1.5",
      "x_d_seconds_count 6",
      "# HELP up Plain.",
      "# TYPE up gauge",
      "up 1",
      "",
    ].join("\n"),
  );
});

async function firstOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  for await (const item of items) return [item];
  return [];
}

/** Every sample of a scrape; throws on a line that is neither a sample nor a comment. */
function samples(body: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of body.trimEnd().split("\n")) {
    if (/^# (HELP|TYPE) [a-z_]+ ./.test(line)) continue;
    const [, name = "", value = ""] = /^([a-z_]+(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
    if (name === "" || values.has(name)) throw new Error(`malformed or repeated: ${line}`);
    values.set(name, Number(value));
  }
  return values;
}
