// The lean path and connect-node's own adapter get the same requests, well-formed and not, and must give the same
// answers: status, headers, body, trailers. connect-node is right by definition.

import { once } from "node:events";
import { type ClientHttp2Session, connect, createServer, type IncomingHttpHeaders } from "node:http2";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ErrorDetailSchema,
  GetRequestSchema,
  KvService,
  RaftMetricsService,
} from "../../src/gen/service_pb.js";
import { type Http2Listener, listenHttp2 } from "../../src/transport/http2-server.js";
import { RecordingLogger } from "./support/doubles.js";

const MAX_BYTES = 2_000;
let lean: Http2Listener;
let sessions: { lean: ClientHttp2Session; stock: ClientHttp2Session };
const cleanups: (() => Promise<void>)[] = [];

function routes(router: ConnectRouter): void {
  router.service(
    KvService,
    {
      get: async (request, context) => {
        switch (request.key) {
          case "refused":
            throw new ConnectError("grüße: no", Code.FailedPrecondition, { "x-meta": "a" }, [
              { desc: ErrorDetailSchema, value: { reason: "notLeader", leaderId: 3n } },
            ]);
          case "unexpected":
            throw new Error("secret");
          case "headers":
            context.responseHeader.set("x-header", context.requestHeader.get("x-request") ?? "none");
            context.responseTrailer.set("x-trailer", `${context.protocolName} ${context.method.name}`);
            return { found: true };
          case "waits":
            await once(context.signal, "abort");
            throw context.signal.reason;
          case "large":
            return { value: new Uint8Array(MAX_BYTES + 1) };
          default:
            return { found: true, value: new TextEncoder().encode(request.key), version: 7n };
        }
      },
    },
    { readMaxBytes: MAX_BYTES, writeMaxBytes: MAX_BYTES },
  );
  router.service(
    RaftMetricsService,
    { leader: () => ({ leaderId: 1n }) },
    { interceptors: [(next) => next] },
  );
}

beforeAll(async () => {
  lean = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    routes,
    logger: new RecordingLogger(),
    shutdownGraceMs: 50,
  });
  const stock = createServer(connectNodeAdapter({ routes }));
  await new Promise<void>((resolve) => stock.listen(0, "127.0.0.1", () => resolve()));
  sessions = {
    lean: connect(`http://127.0.0.1:${lean.address.port}`),
    stock: connect(`http://127.0.0.1:${(stock.address() as AddressInfo).port}`),
  };
  cleanups.push(async () => {
    sessions.lean.destroy();
    sessions.stock.destroy();
    await lean.close();
    await new Promise<void>((resolve) => stock.close(() => resolve()));
  });
});

afterAll(async () => {
  for (const cleanup of cleanups) await cleanup();
});

interface Answer {
  readonly headers: Record<string, unknown>;
  readonly trailers: Record<string, unknown>;
  readonly body: string;
}

function plain(headers: IncomingHttpHeaders): Record<string, unknown> {
  const result: Record<string, unknown> = { ...headers };
  for (const name of ["date", "content-length", "accept-encoding", "grpc-accept-encoding"])
    delete result[name];
  return result;
}

function exchange(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body: Uint8Array,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": "/raftnode.v1.KvService/Get", ...headers });
    let answered: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on("response", (received) => {
      answered = received;
    });
    stream.on("trailers", (received) => {
      trailers = received;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () => {
      const text = Buffer.concat(chunks);
      const isJson = String(answered["content-type"]).includes("json");
      resolve({
        headers: plain(answered),
        trailers: plain(trailers),
        body: isJson && text.length > 0 ? JSON.stringify(JSON.parse(text.toString())) : text.toString("hex"),
      });
    });
    stream.end(body);
  });
}

function request(key: string): Uint8Array {
  return toBinary(GetRequestSchema, create(GetRequestSchema, { key }));
}

function frame(message: Uint8Array, flags = 0): Uint8Array {
  const prefix = Buffer.alloc(5);
  prefix[0] = flags;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const CONNECT = { "content-type": "application/proto", "connect-protocol-version": "1" };
const GRPC = { "content-type": "application/grpc+proto", te: "trailers" };
const JSON_TYPE = { "content-type": "application/json" };

interface Case {
  readonly title: string;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array;
}

const KEYS = ["a", "", "refused", "unexpected", "headers", "large"];
const CASES: readonly Case[] = [
  ...KEYS.map((key) => ({
    title: `Connect, ${key || "an empty message"}`,
    headers: CONNECT,
    body: request(key),
  })),
  ...KEYS.map((key) => ({
    title: `gRPC, ${key || "an empty message"}`,
    headers: GRPC,
    body: frame(request(key)),
  })),
  { title: "request headers", headers: { ...CONNECT, "x-request": "seen" }, body: request("headers") },
  {
    title: "gRPC request headers",
    headers: { ...GRPC, "x-request": "seen" },
    body: frame(request("headers")),
  },
  {
    title: "gRPC without +proto",
    headers: { ...GRPC, "content-type": "application/grpc" },
    body: frame(request("a")),
  },
  { title: "no protocol version", headers: { "content-type": "application/proto" }, body: request("a") },
  {
    title: "a wrong protocol version",
    headers: { ...CONNECT, "connect-protocol-version": "9" },
    body: request("a"),
  },
  { title: "JSON", headers: JSON_TYPE, body: Buffer.from('{"key":"a"}') },
  { title: "malformed JSON", headers: JSON_TYPE, body: Buffer.from('{"key":') },
  { title: "malformed protobuf", headers: CONNECT, body: new Uint8Array([0xff, 0xff]) },
  { title: "malformed protobuf over gRPC", headers: GRPC, body: frame(new Uint8Array([0xff, 0xff])) },
  { title: "a gRPC body without a message", headers: GRPC, body: new Uint8Array(0) },
  { title: "a truncated gRPC frame", headers: GRPC, body: frame(request("a")).subarray(0, 6) },
  {
    title: "two gRPC messages",
    headers: GRPC,
    body: Buffer.concat([frame(request("a")), frame(request("a"))]),
  },
  { title: "a compressed gRPC frame without an encoding", headers: GRPC, body: frame(request("a"), 1) },
  {
    title: "gzip over gRPC",
    headers: { ...GRPC, "grpc-encoding": "gzip" },
    body: frame(gzipSync(request("a")), 1),
  },
  { title: "gzip", headers: { ...CONNECT, "content-encoding": "gzip" }, body: gzipSync(request("a")) },
  { title: "an unknown compression", headers: { ...CONNECT, "content-encoding": "zip" }, body: request("a") },
  {
    title: "an unknown compression over gRPC",
    headers: { ...GRPC, "grpc-encoding": "zip" },
    body: frame(request("a")),
  },
  {
    title: "a deadline that is met",
    headers: { ...CONNECT, "connect-timeout-ms": "9000" },
    body: request("a"),
  },
  {
    title: "a deadline that is not",
    headers: { ...CONNECT, "connect-timeout-ms": "20" },
    body: request("waits"),
  },
  {
    title: "a gRPC deadline that is not",
    headers: { ...GRPC, "grpc-timeout": "20m" },
    body: frame(request("waits")),
  },
  {
    title: "a deadline that is no number",
    headers: { ...CONNECT, "connect-timeout-ms": "soon" },
    body: request("a"),
  },
  {
    title: "a gRPC deadline that is none",
    headers: { ...GRPC, "grpc-timeout": "1week" },
    body: frame(request("a")),
  },
  { title: "a message at the limit", headers: CONNECT, body: request("k".repeat(MAX_BYTES - 3)) },
  { title: "a message just beyond the limit", headers: CONNECT, body: request("k".repeat(MAX_BYTES - 2)) },
  {
    title: "a gRPC message just beyond the limit",
    headers: GRPC,
    body: frame(request("k".repeat(MAX_BYTES - 2))),
  },
  { title: "an unknown content type", headers: { "content-type": "text/plain" }, body: request("a") },
  { title: "no content type", headers: {}, body: request("a") },
  { title: "gRPC-web", headers: { "content-type": "application/grpc-web+proto" }, body: frame(request("a")) },
  { title: "PUT", headers: { ...CONNECT, ":method": "PUT" }, body: request("a") },
  {
    title: "a method that is not implemented",
    headers: { ...CONNECT, ":path": "/raftnode.v1.KvService/Set" },
    body: request("a"),
  },
  {
    title: "a service behind an interceptor",
    headers: { ...CONNECT, ":path": "/raftnode.v1.RaftMetricsService/Leader" },
    body: new Uint8Array(0),
  },
  {
    title: "a query on the path",
    headers: { ...CONNECT, ":path": "/raftnode.v1.KvService/Get?x=1" },
    body: request("a"),
  },
];

describe("the lean path", () => {
  it.each(CASES)("answers as connect-node does: $title", async ({ headers, body }) => {
    const [ours, theirs] = [
      await exchange(sessions.lean, headers, body),
      await exchange(sessions.stock, headers, body),
    ];
    expect(ours).toEqual(theirs);
    expect(Number(ours.headers[":status"])).toBeGreaterThan(0);
  });

  it("answers a body far beyond the limit without reading all of it, where connect-node leaves the call open", async () => {
    const huge = request("k".repeat(10_000_000));
    const connect = await exchange(sessions.lean, CONNECT, huge);
    expect(connect.headers[":status"]).toBe(429);
    expect(connect.body).toMatch(/resource_exhausted.*readMaxBytes/);
    const grpc = await exchange(sessions.lean, GRPC, frame(huge));
    expect(grpc.trailers).toMatchObject({ "grpc-status": "8" });
    const json = await exchange(sessions.lean, JSON_TYPE, Buffer.from(`{"key":"${"k".repeat(10_000_000)}"}`));
    expect(json.headers[":status"]).toBe(429);
  });

  it("is understood by connect-node's clients", async () => {
    const baseUrl = `http://127.0.0.1:${lean.address.port}`;
    for (const transport of [
      createConnectTransport({ baseUrl, httpVersion: "2" }),
      createGrpcTransport({ baseUrl }),
    ]) {
      const client = createClient(KvService, transport);
      expect((await client.get({ key: "a" })).version).toBe(7n);
      const error = ConnectError.from(
        await client.get({ key: "refused" }).catch((thrown: unknown) => thrown),
      );
      expect(error.code).toBe(Code.FailedPrecondition);
      expect(error.rawMessage).toBe("grüße: no");
      expect(error.findDetails(ErrorDetailSchema)[0]?.leaderId).toBe(3n);
      expect(error.metadata.get("x-meta")).toBe("a");
    }
  });

  it("aborts the signal of a handler whose client went away, and lives on", async () => {
    const stream = sessions.lean.request({
      ":method": "POST",
      ":path": "/raftnode.v1.KvService/Get",
      ...CONNECT,
    });
    stream.on("error", () => {});
    stream.end(request("waits"));
    setTimeout(() => stream.close(8), 20);
    await new Promise((resolve) => stream.once("close", resolve));
    const half = sessions.lean.request({
      ":method": "POST",
      ":path": "/raftnode.v1.KvService/Get",
      ...CONNECT,
    });
    half.on("error", () => {});
    half.write(request("a"));
    setTimeout(() => half.close(8), 20);
    await new Promise((resolve) => half.once("close", resolve));
    expect((await exchange(sessions.lean, CONNECT, request("a"))).headers[":status"]).toBe(200);
  });
});
