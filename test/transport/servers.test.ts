// The two listeners: what malformed requests come to, taken addresses, and closing while calls are under way.

import { EventEmitter, once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer } from "node:net";
import { Code, ConnectError, type ConnectRouter, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterEach, describe, expect, it } from "vitest";
import { KvService } from "../../src/gen/service_pb.js";
import { listenHttp1 } from "../../src/transport/http1-server.js";
import { type Http2Listener, type Listener, listenHttp2 } from "../../src/transport/http2-server.js";
import { ListenError } from "../../src/transport/listen.js";
import { RecordingLogger } from "./support/doubles.js";

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

let holdGets: Promise<void> | undefined;
const arrivals = new EventEmitter();

function routes(router: ConnectRouter): void {
  router.service(KvService, {
    get: async (request, context) => {
      arrivals.emit(request.key);
      if (request.key === "throws") throw new Error("secret details");
      if (request.key === "until aborted") {
        await once(context.signal, "abort");
        throw context.signal.reason;
      }
      await holdGets;
      return { found: true, value: new TextEncoder().encode(request.key) };
    },
  });
}

async function http1(fallback?: Parameters<typeof listenHttp1>[0]["fallback"]): Promise<Listener> {
  const listener = await listenHttp1({
    host: "127.0.0.1",
    port: 0,
    routes,
    fallback,
    logger: new RecordingLogger(),
    shutdownGraceMs: 50,
  });
  cleanups.push(() => listener.close());
  return listener;
}

async function http2(shutdownGraceMs = 50): Promise<Http2Listener> {
  const listener = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    routes,
    logger: new RecordingLogger(),
    shutdownGraceMs,
  });
  cleanups.push(() => listener.close());
  return listener;
}

/** Writes text to a TCP connection and answers with all that comes back until it is closed. */
async function rawExchange(port: number, text: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(text);
  let answer = "";
  socket.on("data", (chunk) => {
    answer += chunk.toString("latin1");
  });
  setTimeout(() => socket.end(), 100);
  await once(socket, "close");
  return answer;
}

async function get(listener: Listener, httpVersion: "1.1" | "2", key = "a"): Promise<string> {
  const transport = createConnectTransport({
    baseUrl: `http://127.0.0.1:${listener.address.port}`,
    httpVersion,
  });
  const answer = await createClient(KvService, transport).get({ key });
  return new TextDecoder().decode(answer.value);
}

const PATH = "/raftnode.v1.KvService/Get";
const BODY = '{"key":"a"}';
const REST = `Content-Type: application/json\r\nContent-Length: ${BODY.length}\r\nConnection: close\r\n\r\n${BODY}`;

describe("the HTTP/1.1 listener", () => {
  it.each([
    { title: "an HTTP/1.0 request without Host", text: `POST ${PATH} HTTP/1.0\r\n${REST}` },
    { title: "an empty Host", text: `POST ${PATH} HTTP/1.1\r\nHost: \r\n${REST}` },
    { title: "a Host that is no host", text: `POST ${PATH} HTTP/1.1\r\nHost: a b:c:d\r\n${REST}` },
    {
      title: "a Host with a port that is no port",
      text: `POST ${PATH} HTTP/1.1\r\nHost: a:99999\r\n${REST}`,
    },
    { title: "a path that is no path", text: `POST ${PATH}?%zz HTTP/1.1\r\nHost: [::\r\n${REST}` },
    { title: "no HTTP at all", text: "hello\r\n\r\n" },
  ])("answers $title with 400 and lives on", async ({ text }) => {
    const listener = await http1();
    expect(await rawExchange(listener.address.port, text)).toMatch(/^HTTP\/1\.1 400 /);
    expect(await get(listener, "1.1")).toBe("a");
  });

  it("serves Connect JSON as curl sends it", async () => {
    const listener = await http1();
    const text = `POST ${PATH} HTTP/1.1\r\nHost: localhost\r\n${REST}`;
    expect(await rawExchange(listener.address.port, text)).toMatch(/^HTTP\/1\.1 200 [\s\S]*"found":\s*true/);
  });

  it("hands other paths to the fallback, and answers 404 without one", async () => {
    const text = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const withFallback = await http1((_request, response) => {
      response.writeHead(200);
      response.end("alive");
    });
    expect(await rawExchange(withFallback.address.port, text)).toMatch(/200 OK[\s\S]*alive/);
    expect(await rawExchange((await http1()).address.port, text)).toMatch(/^HTTP\/1\.1 404 /);
  });

  it("answers 400 when the fallback throws", async () => {
    const listener = await http1(() => {
      throw new Error("no");
    });
    const text = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    expect(await rawExchange(listener.address.port, text)).toMatch(/^HTTP\/1\.1 400 /);
  });

  it("closes in spite of a client that never finishes its request", async () => {
    const listener = await http1();
    const dawdling = httpRequest({
      host: "127.0.0.1",
      port: listener.address.port,
      path: PATH,
      method: "POST",
    });
    dawdling.on("error", () => {});
    dawdling.write("{");
    await once(dawdling, "socket");
    await listener.close();
  });
});

describe("the HTTP/2 listener", () => {
  it("lives on after garbage and after an HTTP/1.1 request", async () => {
    const listener = await http2();
    await rawExchange(listener.address.port, "hello, world\r\n\r\n");
    await rawExchange(listener.address.port, `POST ${PATH} HTTP/1.1\r\nHost: localhost\r\n${REST}`);
    await rawExchange(listener.address.port, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${"\xff".repeat(100)}`);
    expect(await get(listener, "2")).toBe("a");
  });

  it.each(["a b:c", "[::", "a:99999", ""])("lives on after the authority %j", async (authority) => {
    const listener = await http2();
    const session = connectHttp2(`http://127.0.0.1:${listener.address.port}`);
    session.on("error", () => {});
    const stream = session.request({ ":method": "POST", ":path": PATH, ":authority": authority });
    stream.on("error", () => {});
    stream.end(BODY);
    stream.resume();
    await new Promise((resolve) => stream.once("close", resolve));
    session.destroy();
    expect(await get(listener, "2")).toBe("a");
  });

  it("keeps the words of an unexpected error to itself", async () => {
    const listener = await http2();
    const error = await get(listener, "2", "throws").catch((thrown: unknown) => ConnectError.from(thrown));
    expect(error).toMatchObject({ code: Code.Internal, rawMessage: "internal error" });
  });

  it("ends calls that wait with Unavailable when it closes, and lets the others finish", async () => {
    const listener = await http2(5_000);
    let release: () => void = () => {};
    holdGets = new Promise((resolve) => {
      release = resolve;
    });
    const arrived = Promise.all([once(arrivals, "until aborted"), once(arrivals, "b")]);
    const waiting = get(listener, "2", "until aborted").catch(
      (thrown: unknown) => ConnectError.from(thrown).code,
    );
    const working = get(listener, "2", "b");
    await arrived;
    const closing = listener.close();
    expect(await waiting).toBe(Code.Unavailable);
    release();
    expect(await working).toBe("b");
    await closing;
    holdGets = undefined;
  });

  it("cuts what is left after the grace", async () => {
    const listener = await http2(30);
    holdGets = new Promise(() => {});
    const arrived = once(arrivals, "b");
    const stuck = get(listener, "2", "b").catch(() => "cut");
    await arrived;
    await listener.close();
    expect(await stuck).toBe("cut");
    holdGets = undefined;
  });

  it("refuses to reload certificates that it never had", async () => {
    const listener = await http2();
    expect(() => listener.reloadTls({})).toThrow(/without TLS/);
  });
});

describe("an address that cannot be had", () => {
  it.each(["HTTP/1.1", "HTTP/2"])("in use, over %s: the error says which and what to do", async (version) => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => new Promise<void>((resolve) => holder.close(() => resolve())));
    const address = holder.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    const options = { host: "127.0.0.1", port, routes, logger: new RecordingLogger(), shutdownGraceMs: 50 };
    const listening = version === "HTTP/2" ? listenHttp2(options) : listenHttp1(options);
    const error: unknown = await listening.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ListenError);
    expect(error).toMatchObject({ code: "addressInUse" });
    expect(String(error)).toMatch(new RegExp(`127\\.0\\.0\\.1:${port} is in use.*another port`));
  });

  it("of another machine, or a port that is none", async () => {
    const options = { routes, logger: new RecordingLogger(), shutdownGraceMs: 50 };
    await expect(listenHttp2({ ...options, host: "203.0.113.1", port: 0 })).rejects.toMatchObject({
      code: "addressNotAvailable",
    });
    await expect(listenHttp2({ ...options, host: "127.0.0.1", port: 70_000 })).rejects.toMatchObject({
      code: "failed",
    });
  });
});
