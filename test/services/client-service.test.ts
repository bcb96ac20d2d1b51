// RaftClientService over the counter of the examples: three real nodes of an embedder, commands and queries as bytes,
// through any of them, at every level of reading.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError, type ConnectRouter, createClient } from "@connectrpc/connect";
import { expect, onTestFinished, test } from "vitest";
import { startCounter, toBytes } from "../../examples/counter.js";
import { ConnectDialer } from "../../src/embed/peer-dialer.js";
import { RaftClientService, ReadConsistency } from "../../src/gen/service_pb.js";
import { SILENT } from "../../src/node/options.js";
import { systemClock } from "../../src/node/system-clock.js";
import { clientRoutes } from "../../src/services/client-service.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { LeaderCalls } from "../../src/services/leader-calls.js";
import { listenHttp2 } from "../../src/transport/http2-server.js";
import { freePorts } from "../placement/cluster.js";

async function counters(count: number) {
  const dir = mkdtempSync(join(tmpdir(), "raft-node-counters-"));
  const ports = await freePorts(count);
  const members = ports.map((port, at) => ({ id: BigInt(at + 1), address: `127.0.0.1:${port}` }));
  const dialer = new ConnectDialer();
  const nodes = await Promise.all(
    ports.map((port, at) => startCounter(BigInt(at + 1), port, join(dir, `${at + 1}`), members)),
  );
  onTestFinished(async () => {
    await dialer.close();
    await Promise.allSettled(nodes.map((node) => node.close()));
    rmSync(dir, { recursive: true, force: true });
  });
  const clients = members.map(({ address }) => createClient(RaftClientService, dialer.dial(address)));
  return { nodes, clients };
}

function numberIn(bytes: Uint8Array): bigint {
  return Buffer.from(bytes).readBigInt64BE();
}

test("commands sent to any node count, and a linearizable query on any other shows them at once", async () => {
  const { nodes, clients } = await counters(3);
  let total = 0n;
  for (const [at, client] of clients.entries()) {
    total += BigInt(at + 1);
    const written = await client.write({ command: toBytes(BigInt(at + 1)) }, { timeoutMs: 15_000 });
    expect(numberIn(written.result)).toBe(total);
    for (const reader of clients) {
      const answer = await reader.read({});
      expect(numberIn(answer.result)).toBe(total);
      expect(answer.applied).toBeGreaterThanOrEqual(written.index);
    }
  }
  const levels = [
    { consistency: ReadConsistency.SERIALIZABLE },
    { consistency: ReadConsistency.SERIALIZABLE, maxStalenessMs: 60_000 },
    { consistency: ReadConsistency.LEADER_LEASE },
  ];
  for (const level of levels) {
    for (const reader of clients) expect(numberIn((await reader.read(level)).result)).toBe(6n);
  }
  const withoutRound = nodes.map(({ node }) => node.metrics.counters.readsWithoutRound);
  expect(withoutRound).toEqual([1, 1, 1]);
});

test("a command without bytes is refused, and so is a query that the state machine does not know", async () => {
  const { nodes, clients } = await counters(1);
  const [client] = clients;
  const [embedded] = nodes;
  if (client === undefined || embedded === undefined) throw new Error("no node");
  await embedded.node.leaderKnown({ deadlineMs: 15_000 });
  const empty = await client.write({}).catch((error: unknown) => error);
  expect(errorDetail(empty)?.reason).toBe("invalidArgument");

  const dialer = new ConnectDialer();
  const calls = new LeaderCalls({ node: embedded.node, dialer, clock: systemClock });
  const routes: (router: ConnectRouter) => void = clientRoutes({
    node: embedded.node,
    calls,
    stateMachine: { appliedIndex: 0n },
  });
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
  });
  const mute = createClient(RaftClientService, dialer.dial(`127.0.0.1:${listener.address.port}`));
  const refused = await mute.read({}).catch((error: unknown) => error);
  expect(ConnectError.from(refused).code).toBe(Code.Unimplemented);
  expect(errorDetail(refused)?.reason).toBe("unsupported");
});

test("the example is as short as it is said to be", async () => {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile(new URL("../../examples/counter.ts", import.meta.url), "utf8");
  expect(text.trimEnd().split("\n").length).toBeLessThan(60);
});
