// The session manager against real sockets: how each state is entered and left, and that nothing which a session
// emits late, after its calls have gone, ends the process.

import { once } from "node:events";
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Http2Session, type Http2SessionLimits } from "../../src/transport/http2-session.js";
import { callUnary } from "../../src/transport/lean-client.js";
import { classifyFailure, TransportError } from "../../src/transport/transport-errors.js";
import { systemClock } from "./support/doubles.js";
import { rawServer, unusedPort, wireTo } from "./support/sockets.js";

// Waits that only a fault may end are far longer than any test, so that a busy machine changes nothing.
const LIMITS: Http2SessionLimits = {
  connectTimeoutMs: 20_000,
  pingIntervalMs: 20_000,
  pingTimeoutMs: 20_000,
  backoffMinMs: 40,
  backoffMaxMs: 160,
  streamWindowBytes: 1 << 20,
  sessionWindowBytes: 1 << 22,
  closeGraceMs: 200,
};
const IMPATIENT = { connectTimeoutMs: 100, pingIntervalMs: 60, pingTimeoutMs: 60 };

const cleanups: (() => Promise<void>)[] = [];
const uncaught: unknown[] = [];
const noteUncaught = (error: unknown): void => {
  uncaught.push(error);
};

beforeEach(() => {
  uncaught.length = 0;
  process.on("uncaughtException", noteUncaught);
  process.on("unhandledRejection", noteUncaught);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await new Promise((resolve) => setImmediate(resolve));
  process.off("uncaughtException", noteUncaught);
  process.off("unhandledRejection", noteUncaught);
  expect(uncaught).toEqual([]);
});

interface AnsweringServer {
  readonly port: number;
  readonly sessions: Set<ServerHttp2Session>;
  readonly server: Http2Server;
}

/** Answers every call with an empty 200, unless `answers` is turned off. */
async function answeringServer(options: { answers: boolean } = { answers: true }): Promise<AnsweringServer> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.on("close", () => sessions.delete(session));
  });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.resume();
    if (!options.answers) return;
    stream.respond({ ":status": 200 }, { endStream: true });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(async () => {
    for (const session of sessions) session.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return { port: (server.address() as AddressInfo).port, sessions, server };
}

function sessionTo(port: number, limits: Partial<Http2SessionLimits> = {}, random = () => 0): Http2Session {
  const session = new Http2Session({
    authority: `http://127.0.0.1:${port}`,
    clock: systemClock,
    random,
    limits: { ...LIMITS, ...limits },
  });
  cleanups.push(() => session.close());
  return session;
}

function call(session: Http2Session, deadlineMs = 1_000): Promise<Uint8Array> {
  return callUnary(session, systemClock, {
    path: "/any",
    headers: {},
    body: new Uint8Array(10),
    deadlineMs,
    maxResponseBytes: 1000,
  });
}

async function failureOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return classifyFailure(error);
  }
  return "none";
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

describe("a session", () => {
  it("dials when the first call comes, and is shared by all that follow", async () => {
    const server = await answeringServer();
    const session = sessionTo(server.port);
    expect(session.state).toBe("idle");
    await Promise.all([call(session), call(session), call(session)]);
    expect(session.state).toBe("ready");
    expect(server.sessions.size).toBe(1);
  });

  it("fails at once while it backs off, without dialling", async () => {
    const refusing = await rawServer((socket) => socket.destroy());
    cleanups.push(() => refusing.close());
    const session = sessionTo(refusing.port, { backoffMinMs: 60_000, backoffMaxMs: 60_000 });
    expect(await failureOf(call(session))).toBe("refused");
    expect(session.state).toBe("backingOff");
    expect(await failureOf(call(session))).toBe("refused");
    expect(refusing.accepted()).toBe(1);
  });

  it("waits twice as long after each failure in a row, up to the maximum, and by jitter up to twice that", async () => {
    const port = await unusedPort();
    for (const [random, expected] of [
      [0, [20, 40, 80, 80]],
      [0.999, [40, 80, 160, 160]],
    ] as const) {
      let nowMs = 0;
      const session = new Http2Session({
        authority: `http://127.0.0.1:${port}`,
        clock: { ...systemClock, nowMs: () => nowMs },
        random: () => random,
        limits: LIMITS,
      });
      for (const waitMs of expected) {
        const dialling = failureOf(call(session));
        expect(session.state).toBe("connecting");
        await dialling;
        nowMs += waitMs - 1;
        await failureOf(call(session));
        expect(session.state).toBe("backingOff");
        nowMs += 1;
      }
    }
  });

  it("gives a connect up that leads nowhere: TCP accepted, HTTP/2 never spoken", async () => {
    const frozen = await rawServer();
    cleanups.push(() => frozen.close());
    const session = sessionTo(frozen.port, { connectTimeoutMs: 50 });
    expect(await failureOf(call(session))).toBe("frozen");
    expect(session.state).toBe("backingOff");
  });

  it("says that a peer which is no HTTP/2 server is none", async () => {
    const other = await rawServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    cleanups.push(() => other.close());
    expect(await failureOf(call(sessionTo(other.port)))).toBe("refused");
  });

  it("notices by PING that a peer froze, and reaches it again when it thaws", async () => {
    const server = await answeringServer();
    const wire = await wireTo(server.port);
    cleanups.push(() => wire.close());
    const session = sessionTo(wire.port, IMPATIENT);
    await call(session);
    wire.freeze();
    expect(await failureOf(call(session, 5_000))).toBe("frozen");
    expect(session.state).toBe("backingOff");
    wire.thaw();
    for (;;) {
      if ((await failureOf(call(session))) === "none") break;
      await sleep(10);
    }
    expect(session.state).toBe("ready");
  });

  it("survives calls that are repeated at once while PINGs go unanswered", async () => {
    // The scenario in which connect-node's own session manager throws uncaught.
    const server = await answeringServer();
    const wire = await wireTo(server.port);
    cleanups.push(() => wire.close());
    const session = sessionTo(wire.port, { ...IMPATIENT, backoffMinMs: 1, backoffMaxMs: 1 });
    await call(session);
    wire.freeze();
    const failures: string[] = [];
    for (let attempt = 0; attempt < 30; attempt += 1) {
      failures.push(await failureOf(Promise.race([call(session, 200), call(session, 200)])));
    }
    expect(failures).not.toContain("none");
    wire.cut();
  });

  it("keeps the session when only one call runs out of time", async () => {
    const server = await answeringServer({ answers: false });
    const session = sessionTo(server.port);
    expect(await failureOf(call(session, 30))).toBe("deadline");
    expect(session.state).toBe("ready");
  });

  it("dials anew after GOAWAY, and lets open calls finish on the old session", async () => {
    const server = await answeringServer({ answers: false });
    const session = sessionTo(server.port);
    const arrived = once(server.server, "stream");
    const open = call(session);
    const [stream]: ServerHttp2Stream[] = await arrived;
    const [first] = server.sessions;
    first?.goaway();
    while (session.state === "ready") await sleep(1);
    const second = once(server.server, "stream");
    const next = call(session);
    const [secondStream]: ServerHttp2Stream[] = await second;
    expect(secondStream?.session).not.toBe(first);
    stream?.respond({ ":status": 200 }, { endStream: true });
    secondStream?.respond({ ":status": 200 }, { endStream: true });
    await Promise.all([open, next]);
  });

  it("fails calls that cross a GOAWAY as closing, so that one repetition is enough", async () => {
    const server = await answeringServer();
    const session = sessionTo(server.port, { backoffMinMs: 0.01, backoffMaxMs: 0.01 });
    await call(session);
    const failures = new Set<string>();
    for (let round = 0; round < 100; round += 1) {
      const pending = failureOf(call(session));
      for (const each of server.sessions) each.close();
      failures.add(await pending);
      expect(await failureOf(call(session))).toBe("none");
    }
    failures.delete("none");
    expect([...failures]).toEqual(["closing"]);
  });

  it("fails open calls at once when it is reset, and dials without waiting", async () => {
    const server = await answeringServer({ answers: false });
    const session = sessionTo(server.port);
    const pending = failureOf(call(session, 5_000));
    while (session.state !== "ready") await sleep(1);
    session.reset(new TransportError("killed", "the peer restarted"));
    expect(await pending).toBe("killed");
    expect(session.state).toBe("idle");
  });

  it("is closed for good, and closing cuts calls that do not end", async () => {
    const server = await answeringServer({ answers: false });
    const session = sessionTo(server.port, { closeGraceMs: 30 });
    const pending = failureOf(call(session, 5_000));
    while (session.state !== "ready") await sleep(1);
    await session.close();
    expect(await pending).toBe("stopped");
    expect(await failureOf(call(session))).toBe("stopped");
  });

  it("closes while it is connecting", async () => {
    const frozen = await rawServer();
    cleanups.push(() => frozen.close());
    const session = sessionTo(frozen.port, { connectTimeoutMs: 60_000 });
    const pending = failureOf(call(session, 60_000));
    await session.close();
    expect(await pending).toBe("stopped");
  });
});
