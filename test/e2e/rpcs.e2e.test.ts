// Every RPC of proto/service.proto, and grpc.health.v1, is answered by a real process over HTTP/2. A table names all of
// them: an RPC that is added without a line here fails.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, onTestFinished, test } from "vitest";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { ConfChangeType, ConfChangeV2Schema } from "../../src/gen/eraftpb_pb.js";
import { Health, HealthCheckResponse_ServingStatus } from "../../src/gen/grpc/health/v1/health_pb.js";
import { MembershipContextSchema } from "../../src/gen/records_pb.js";
import {
  file_service,
  KvService,
  PlacementCenterService,
  RaftAdminService,
  RaftClientService,
  RaftMetricsService,
  Role,
} from "../../src/gen/service_pb.js";
import { RunningCommand, start, temporaryFolder } from "./support.js";

const CLUSTER = "rpcs";
const EMBEDDER = fileURLToPath(new URL("embedder.mjs", import.meta.url));
const DEADLINE_MS = 60_000;
const bytes = (text: string) => new TextEncoder().encode(text);

interface Real {
  readonly kv: ReturnType<typeof createClient<typeof KvService>>;
  readonly admin: ReturnType<typeof createClient<typeof RaftAdminService>>;
  readonly metrics: ReturnType<typeof createClient<typeof RaftMetricsService>>;
  readonly peers: ReturnType<typeof createClient<typeof PlacementCenterService>>;
  readonly health: ReturnType<typeof createClient<typeof Health>>;
  readonly transport: Transport;
  readonly addresses: readonly string[];
  /** Of a node by its number, over HTTP/1.1. */
  readonly scrape: (id: number) => Promise<string>;
}

/** In the order in which they are called: each finds what those before it have left. */
const CALLS: Readonly<Record<string, (real: Real) => Promise<void>>> = {
  "RaftAdminService.Initialize": async ({ admin, addresses }) => {
    const members = [{ id: 1n, address: addresses[0] ?? "" }];
    const { membership } = await admin.initialize({ members });
    expect(membership?.members).toMatchObject(members);
  },
  "KvService.Set": async ({ kv }) => {
    expect(await kv.set({ key: "k", value: bytes("v") })).toMatchObject({ revision: 1n, refused: false });
  },
  "KvService.Get": async ({ kv }) => {
    expect(await kv.get({ key: "k" })).toMatchObject({ found: true, modRevision: 1n });
  },
  "KvService.Exists": async ({ kv }) => {
    expect(await kv.exists({ key: "other" })).toMatchObject({ exists: false });
  },
  "KvService.Txn": async ({ kv }) => {
    const operation = { case: "set", value: { key: "t", value: bytes("t") } } as const;
    expect(await kv.txn({ success: [{ operation }] })).toMatchObject({ succeeded: true, revision: 2n });
  },
  "KvService.Range": async ({ kv }) => {
    const { entries } = await kv.range({ range: { range: { case: "prefix", value: "" } } });
    expect(entries.map(({ key }) => key)).toEqual(["k", "t"]);
  },
  "KvService.Delete": async ({ kv }) => {
    expect(await kv.delete({ key: "t" })).toMatchObject({ deleted: true, revision: 3n });
  },
  "KvService.Watch": async ({ kv }) => {
    const range = { range: { case: "key", value: "t" } } as const;
    for await (const { events } of kv.watch({ range, fromRevision: 1n })) {
      if (events.length === 0) continue;
      expect(events[0]?.entry?.key).toBe("t");
      return;
    }
  },
  "RaftMetricsService.Metrics": async ({ metrics }) => {
    expect(await metrics.metrics({})).toMatchObject({ id: 1n, clusterId: CLUSTER, role: Role.LEADER });
  },
  "RaftMetricsService.Leader": async ({ metrics, addresses }) => {
    expect(await metrics.leader({})).toMatchObject({ leaderId: 1n, leaderAddress: addresses[0] });
  },
  "RaftMetricsService.Members": async ({ metrics }) => {
    expect((await metrics.members({})).membership?.members).toHaveLength(1);
  },
  "RaftMetricsService.WatchMetrics": async ({ metrics }) => {
    for await (const { id } of metrics.watchMetrics({})) {
      expect(id).toBe(1n);
      return;
    }
  },
  "RaftAdminService.TakeSnapshot": async ({ admin }) => {
    expect((await admin.takeSnapshot({})).snapshot).toMatchObject({ clusterId: CLUSTER });
  },
  "RaftAdminService.DownloadSnapshot": async ({ admin }) => {
    let received = 0n;
    let announced: bigint | undefined;
    for await (const { part } of admin.downloadSnapshot({})) {
      if (part.case === "snapshot") announced = part.value.sizeBytes;
      if (part.case === "chunk") received += BigInt(part.value.data.length);
    }
    expect(received).toBe(announced);
  },
  "RaftAdminService.Compact": async ({ admin }) => {
    expect((await admin.compact({})).firstIndex).toBeGreaterThan(4n);
  },
  "RaftAdminService.AddLearner": async ({ admin, addresses }) => {
    const { membership } = await admin.addLearner({ nodeId: 2n, address: addresses[1] ?? "" });
    expect(membership?.members).toMatchObject([{ learner: false }, { id: 2n, learner: true }]);
  },
  "RaftAdminService.PromoteLearner": async ({ admin }) => {
    await untilAccepted(() => admin.promoteLearner({ nodeId: 2n }));
  },
  // What the new node has got: the log was cut, so the state came first, and then messages.
  "PlacementCenterService.InstallSnapshot": async ({ scrape }) => {
    expect(await scrape(2)).toMatch(/^\w+network_snapshot_received_bytes_total\{[^}]*\} [1-9]/m);
  },
  "PlacementCenterService.SendRaftMessage": async ({ scrape }) => {
    expect(await scrape(2)).toMatch(/^\w+network_peer_received_bytes_total\{[^}]*\} [1-9]/m);
  },
  "RaftAdminService.UpdateAddress": async ({ admin, addresses }) => {
    const { membership } = await admin.updateAddress({ nodeId: 2n, address: addresses[1] ?? "" });
    expect(membership?.members[1]?.address).toBe(addresses[1]);
  },
  "RaftAdminService.TransferLeader": async ({ admin }) => {
    expect(await admin.transferLeader({ nodeId: 2n })).toMatchObject({ leaderId: 2n });
    expect(await admin.transferLeader({ nodeId: 1n })).toMatchObject({ leaderId: 1n });
  },
  "RaftAdminService.ChangeMembership": async ({ admin }) => {
    const members = [{ id: 1n }, { id: 2n, learner: true }];
    const { membership } = await admin.changeMembership({ members });
    expect(membership?.members[1]).toMatchObject({ id: 2n, learner: true });
  },
  "RaftAdminService.RemoveNode": async ({ admin }) => {
    const { membership } = await admin.removeNode({ nodeId: 2n });
    expect(membership?.members).toHaveLength(1);
  },
  "PlacementCenterService.SendRaftConfChange": async ({ peers }) => {
    const change = create(ConfChangeV2Schema, {
      changes: [{ type: ConfChangeType.AddLearnerNode, nodeId: 3n }],
      context: toBinary(
        MembershipContextSchema,
        create(MembershipContextSchema, { addresses: [{ id: 3n, address: "127.0.0.1:1" }] }),
      ),
    });
    const message = toBinary(ConfChangeV2Schema, change);
    const { confState } = await peers.sendRaftConfChange(
      { message },
      { headers: { "raft-cluster-id": CLUSTER } },
    );
    expect(confState.length).toBeGreaterThan(0);
  },
  "Health.Check": async ({ health }) => {
    expect((await health.check({})).status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  },
  "Health.Watch": async ({ health }) => {
    for await (const { status } of health.watch({ service: KvService.typeName })) {
      expect(status).toBe(HealthCheckResponse_ServingStatus.SERVING);
      return;
    }
  },
};

/** The placement center has no commands of an embedder's own: a process of another embedder answers these. */
const OF_OTHER_EMBEDDERS = ["RaftClientService.Write", "RaftClientService.Read"];

test("the table names every RPC that there is", () => {
  const known = [...file_service.services, Health].flatMap((service) =>
    service.methods.map((method) => `${service.name}.${method.name}`),
  );
  const listed = [...Object.keys(CALLS), ...OF_OTHER_EMBEDDERS];
  // A health service of a later version may have more.
  expect(listed.toSorted()).toEqual(known.filter((name) => name !== "Health.List").toSorted());
});

test("every RPC is answered by a real process", async () => {
  const folder = temporaryFolder();
  const ports = await findFreePorts("127.0.0.1", 4);
  const addresses = ports.slice(0, 2).map((port) => `127.0.0.1:${port}`);
  for (const [at, address] of addresses.entries()) {
    const own = ["--id", String(at + 1), "--data", join(folder, `node-${at + 1}`), "--listen", address];
    const http = ["--http", `127.0.0.1:${ports[at + 2]}`];
    const node = start(["start", ...own, ...http, "--cluster-id", CLUSTER, "--join", "--tick-ms", "50"]);
    await node.says(/"msg":"listening"/);
  }
  const transport = createGrpcTransport({
    baseUrl: `http://${addresses[0]}`,
    defaultTimeoutMs: DEADLINE_MS,
  });
  const real: Real = {
    kv: createClient(KvService, transport),
    admin: createClient(RaftAdminService, transport),
    metrics: createClient(RaftMetricsService, transport),
    peers: createClient(PlacementCenterService, transport),
    health: createClient(Health, transport),
    transport,
    addresses,
    scrape: async (id) => (await fetch(`http://127.0.0.1:${ports[id + 1]}/metrics`)).text(),
  };
  for (const [name, call] of Object.entries(CALLS)) {
    await call(real).catch((error: unknown) => {
      throw new Error(`${name}: ${String(error)}`, { cause: error });
    });
  }
});

test("commands and queries of an embedder's own are answered by its process, also after it was killed", async () => {
  const [port = 0] = await findFreePorts("127.0.0.1", 1);
  const folder = temporaryFolder();
  const startEmbedder = async () => {
    const node = new RunningCommand(process.execPath, [EMBEDDER, String(port), folder]);
    onTestFinished(async () => {
      node.signal("SIGKILL");
      await node.finished;
    });
    await node.says(/listening/);
    return node;
  };
  const call = () =>
    createClient(
      RaftClientService,
      createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}`, defaultTimeoutMs: DEADLINE_MS }),
    );
  const first = await startEmbedder();
  const written = await call().write({ command: bytes("acknowledged") });
  expect(Buffer.from(written.result).toString()).toBe("12");
  first.signal("SIGKILL");
  await first.finished;
  await startEmbedder();
  const read = await call().read({ query: bytes("") });
  expect(Buffer.from(read.result).toString()).toBe("acknowledged");
  expect(read.applied).toBeGreaterThanOrEqual(written.index);
});

/** A learner is refused as long as it lags. */
async function untilAccepted(call: () => Promise<unknown>): Promise<void> {
  const untilMs = performance.now() + DEADLINE_MS;
  for (;;) {
    try {
      await call();
      return;
    } catch (error) {
      if (performance.now() >= untilMs || !String(error).includes("caught up")) throw error;
    }
  }
}
