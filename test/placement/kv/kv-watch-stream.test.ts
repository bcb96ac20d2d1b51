// A client that takes no more of a watch, over real HTTP/2: the node holds little for it, and forgets it when it leaves.

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../../../src/embed/peer-dialer.js";
import { KvService } from "../../../src/gen/service_pb.js";
import { SILENT } from "../../../src/node/options.js";
import { systemClock } from "../../../src/node/system-clock.js";
import { kvRoutes } from "../../../src/placement/kv/kv-service.js";
import { KvStateMachine } from "../../../src/placement/kv/kv-state-machine.js";
import { errorDetail } from "../../../src/services/connect-errors.js";
import { LeaderCalls } from "../../../src/services/leader-calls.js";
import { listenHttp2 } from "../../../src/transport/http2-server.js";
import { applyAll, setCommand, temporaryFolder } from "./support.js";

/** A node that serves watches of its state, and that the test applies commands to. */
async function watchedMachine(maxWatches: number) {
  const machine = await KvStateMachine.open({ dir: temporaryFolder(onTestFinished) });
  const node = {
    id: 1n,
    isLeader: false,
    leaderId: 2n,
    leaderAddress: undefined,
    propose: () => Promise.reject(new Error("nothing is proposed here")),
    readIndex: async () => machine.appliedIndex,
    on: () => () => undefined,
  };
  const dialer = new ConnectDialer();
  const calls = new LeaderCalls({ node, dialer, clock: systemClock });
  const routes = kvRoutes({ node, calls, machine, maxWatches });
  const listener = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    routes,
    logger: SILENT,
    shutdownGraceMs: 100,
  });
  onTestFinished(async () => {
    await dialer.close();
    await listener.close();
    await machine.close();
  });
  const baseUrl = `http://127.0.0.1:${listener.address.port}`;
  return { machine, client: () => createClient(KvService, createGrpcTransport({ baseUrl })) };
}

const EVERYTHING = { range: { range: { case: "prefix", value: "" } } } as const;

test("a client that stops reading is not written to beyond its window, and its place is free when it has left", async () => {
  const { machine, client } = await watchedMachine(1);
  const leaving = new AbortController();
  const responses = client().watch(EVERYTHING, { signal: leaving.signal })[Symbol.asyncIterator]();
  await responses.next();
  for (let index = 1n; index <= 40n; index += 1n)
    await applyAll(machine, [setCommand(index, "k", "x".repeat(200_000))]);
  // The stream is full: its watch waits for the client, not for changes.
  await expect.poll(() => machine.history.listeners).toBe(0);
  const refused = await firstOf(client().watch(EVERYTHING)).catch((error: unknown) => error);
  expect(errorDetail(refused)?.reason).toBe("inboxFull");

  leaving.abort();
  await responses.next().catch(() => undefined);
  await expect
    .poll(() => firstOf(client().watch(EVERYTHING)).catch((error: unknown) => errorDetail(error)?.reason))
    .toMatchObject({ revision: 40n });
});

async function firstOf<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item;
  return undefined;
}
