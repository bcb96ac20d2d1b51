// Writes that came by the lean path go to the node without an AbortSignal, and end all the same when nobody waits for
// them any more. Real HTTP/2 between client and handler; the node is an open call that nothing answers.

import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, onTestFinished, test } from "vitest";
import { KvService } from "../../src/gen/service_pb.js";
import { type CallOptions, Calls } from "../../src/node/calls.js";
import { RaftNodeError } from "../../src/node/errors.js";
import { systemClock } from "../../src/node/system-clock.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { LeaderCalls } from "../../src/services/leader-calls.js";
import { listenHttp2 } from "../../src/transport/http2-server.js";
import { RecordingLogger } from "../transport/support/doubles.js";

interface Begun {
  readonly options: CallOptions;
  /** Resolves with the code that the node's call ended with. */
  readonly end: Promise<string>;
}

async function setUp() {
  const open = new Calls(systemClock, 5_000, { count: () => {} });
  const hooks = {
    expired: () => new RaftNodeError("deadlineExceeded", "the deadline passed"),
    aborted: () => new RaftNodeError("aborted", "the caller gave up"),
  };
  const calls = new LeaderCalls({
    node: {
      id: 1n,
      isLeader: true,
      leaderId: 1n,
      leaderAddress: undefined,
      readIndex: async () => 1n,
      on: () => () => {},
    },
    dialer: {
      dial: () => {
        throw new Error("nothing is forwarded here");
      },
      neverSent: () => false,
    },
    clock: systemClock,
  });
  let announce: (begun: Begun) => void = () => {};
  const begun = new Promise<Begun>((resolve) => {
    announce = resolve;
  });
  const server = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    logger: new RecordingLogger(),
    shutdownGraceMs: 0,
    routes: (router) =>
      router.service(KvService, {
        set: (_request, context) =>
          calls.write(context, {
            lean: true,
            here: async (options) => {
              const { promise } = open.open<Record<string, never>>("proposal", options, hooks);
              announce({ options, end: promise.then(() => "answered", codeOf) });
              return await promise;
            },
            there: async () => ({}),
          }),
      }),
  });
  onTestFinished(() => server.close());
  const baseUrl = `http://127.0.0.1:${server.address.port}`;
  const client = createClient(KvService, createConnectTransport({ baseUrl, httpVersion: "2" }));
  return { server, client, begun };
}

function codeOf(error: unknown): string {
  return error instanceof RaftNodeError ? error.code : String(error);
}

test("a write of the lean path has no signal, and ends when its client goes away", async () => {
  const { client, begun } = await setUp();
  const gone = new AbortController();
  const answer = client.set({ key: "a" }, { signal: gone.signal }).catch(() => "gone");
  const { options, end } = await begun;
  expect(options.signal).toBeUndefined();
  gone.abort();
  expect(await end).toBe("aborted");
  expect(await answer).toBe("gone");
});

test("it ends when the node stops, and is told so where its client still listens", async () => {
  const { server, client, begun } = await setUp();
  const answer = client
    .set({ key: "a" })
    .catch((error: unknown) => errorDetail(error)?.reason ?? "broken off");
  const { end } = await begun;
  await server.close();
  expect(await end).toBe("aborted");
  expect(["outcomeUnknown", "nodeStopped", "broken off"]).toContain(await answer);
});

test("it ends at its client's deadline", async () => {
  const { client, begun } = await setUp();
  const answer = client.set({ key: "a" }, { timeoutMs: 100 }).catch(() => "too late");
  const { end } = await begun;
  // Whoever is first: the node's own clock, or the client that hangs up.
  expect(["deadlineExceeded", "aborted"]).toContain(await end);
  expect(await answer).toBe("too late");
});
