// An embedder's own server: every service of the package mounted on a Connect router that is not ours, on Node's HTTP/2
// server, from what the package exports. A client of each protocol calls each of them.

import { once } from "node:events";
import { createServer } from "node:http2";
import { createClient } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { expect, onTestFinished, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus } from "../src/gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "../src/gen/grpc/reflection/v1/reflection_pb.js";
import {
  adminRoutes,
  ConnectDialer,
  clientRoutes,
  healthRoutes,
  LeaderCalls,
  leaderOnly,
  metricsRoutes,
  RaftAdminService,
  RaftClientService,
  RaftMetricsService,
  Readiness,
  reflectionRoutes,
  systemClock,
} from "../src/index.js";
import { PROTOCOLS, startGroup, transportTo } from "./services/nodes.js";

test.each(PROTOCOLS)("every service answers on a router of the embedder's own, over %s", async (protocol) => {
  const { leader, members } = await startGroup(1);
  const { node, stateMachine } = leader;
  const dialer = new ConnectDialer();
  onTestFinished(() => dialer.close());
  const calls = new LeaderCalls({ node, dialer, clock: systemClock });
  const readiness = new Readiness({ node, probeDisk: async () => {} });
  const machine = {
    get appliedIndex() {
      return stateMachine.appliedIndex;
    },
    query: () => Buffer.from(stateMachine.text),
  };
  const server = createServer(
    connectNodeAdapter({
      interceptors: [leaderOnly(node)],
      routes: (router) => {
        adminRoutes({ node, calls, dialer })(router);
        metricsRoutes({ node, calls, clock: systemClock, version: "1.2.3" })(router);
        clientRoutes({ node, calls, stateMachine: machine })(router);
        healthRoutes({ readiness, calls, clock: systemClock, services: () => [] })(router);
        reflectionRoutes({ calls, services: () => [RaftAdminService] })(router);
      },
    }),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  const transport = transportTo({ id: 0n, address: `127.0.0.1:${port}` }, protocol);

  const store = createClient(RaftClientService, transport);
  await store.write({ command: Buffer.from("word") });
  expect(Buffer.from((await store.read({})).result).toString()).toBe("word");
  const observed = createClient(RaftMetricsService, transport);
  expect(await observed.metrics({})).toMatchObject({ id: 1n, version: "1.2.3" });
  for await (const { id } of observed.watchMetrics({})) {
    expect(id).toBe(1n);
    break;
  }
  const admin = createClient(RaftAdminService, transport);
  expect((await admin.changeMembership({ members })).membership?.members).toMatchObject(members);
  expect((await admin.takeSnapshot({})).snapshot?.sizeBytes).toBe(4n);
  const health = createClient(Health, transport);
  expect((await health.check({})).status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  const reflection = createClient(ServerReflection, transport);
  const questions = async function* () {
    yield { messageRequest: { case: "listServices" as const, value: "" } };
  };
  for await (const { messageResponse } of reflection.serverReflectionInfo(questions())) {
    expect(messageResponse.case).toBe("listServicesResponse");
  }
});
