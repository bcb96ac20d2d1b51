// Both transports of this project keep the contract that the runtime relies on: the same cases over the network in
// memory that embedders test with, and over real HTTP/2 on the loopback.

import { describe, test } from "vitest";
import type { PeerInbox, SnapshotStore } from "../../src/node/ports.js";
import { MemoryNetwork } from "../../src/testing/memory-network.js";
import { type TransportEndpoint, transportContract } from "../../src/testing/transport-contract.js";
import { createConnectTransport } from "../../src/transport/connect-transport.js";
import { listenHttp2 } from "../../src/transport/http2-server.js";
import { raftRoutes } from "../../src/transport/raft-service.js";
import { RecordingLogger, systemClock } from "./support/doubles.js";

describe("the network in memory", () => {
  for (const { name, run } of transportContract(overMemory())) test(name, run);
});

describe("HTTP/2", () => {
  for (const { name, run } of transportContract(overHttp2)) test(name, run);
});

/** Nodes of all cases have the same ids: each begins with node 1, on a network of its own. */
function overMemory() {
  let network = new MemoryNetwork(systemClock);
  return async (inbox: PeerInbox, snapshots: SnapshotStore): Promise<TransportEndpoint> => {
    if (inbox.id === 1n) network = new MemoryNetwork(systemClock);
    const transport = network.connect(snapshots)(inbox);
    return { transport, address: `node-${inbox.id}`, stop: () => transport.close() };
  };
}

let starts = 0;

async function overHttp2(inbox: PeerInbox, snapshots: SnapshotStore): Promise<TransportEndpoint> {
  starts += 1;
  const common = {
    id: inbox.id,
    clusterId: "contract",
    incarnation: `start-${starts}`,
    inbox,
    snapshots,
    logger: new RecordingLogger(),
    clock: systemClock,
    limits: { backoffMinMs: 5, backoffMaxMs: 20, closeGraceMs: 100 },
  };
  let learn: (id: bigint, address: string) => void = () => {};
  const listener = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    routes: raftRoutes({ ...common, learnAddress: (id, address) => learn(id, address) }),
    logger: common.logger,
    limits: common.limits,
    shutdownGraceMs: 100,
  });
  const address = `127.0.0.1:${listener.address.port}`;
  const transport = createConnectTransport({ ...common, advertisedAddress: address });
  learn = (id, at) => transport.learnAddress(id, at);
  return {
    transport,
    address,
    stop: async () => {
      await transport.close();
      await listener.close();
    },
  };
}
