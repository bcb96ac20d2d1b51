// What one unary call costs, with our lean path and with connect-node's own, on either side: calls a second, and CPU
// time for each call in the process that serves and in the one that asks.

import { spawn } from "node:child_process";
import { createServer } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { type ConnectRouter, createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import {
  PlacementCenterService,
  SendRaftMessageRequestSchema,
  SendRaftMessageResponseSchema,
} from "../src/gen/service_pb.js";
import { SILENT } from "../src/node/options.js";
import { systemClock } from "../src/node/system-clock.js";
import { listenHttp2 } from "../src/transport/http2-server.js";
import { Http2Session } from "../src/transport/http2-session.js";
import { callUnary } from "../src/transport/lean-client.js";
import { DEFAULT_TRANSPORT_LIMITS } from "../src/transport/limits.js";
import { SEND_RAFT_MESSAGE_PATH } from "../src/transport/peer-sender.js";
import type { Benchmark, Options, Report } from "./report.js";

const IN_FLIGHT = 64;
const MESSAGE_BYTES = 300;
const WARM_UP_MS = 1_000;
const SERVERS = ["lean", "connect-node"] as const;
const CLIENTS = ["lean", "connect-node", "connect-node-grpc"] as const;

type ServerKind = (typeof SERVERS)[number];
type ClientKind = (typeof CLIENTS)[number];

interface Caller {
  call(): Promise<unknown>;
  close(): Promise<void>;
}

export const transport: Benchmark = {
  title: `one unary call of ${MESSAGE_BYTES} bytes between two processes, ${IN_FLIGHT} at once`,
  options: { "call-seconds": { text: "how long each pair of client and server is measured", default: 3 } },
  async run(report, _note, options) {
    for (const server of SERVERS) {
      for (const client of CLIENTS) await measure(server, client, report, options);
    }
  },
};

async function measure(
  server: ServerKind,
  client: ClientKind,
  report: Report,
  options: Options,
): Promise<void> {
  const program = `const { runUnaryServer } = await import(${JSON.stringify(import.meta.url)}); await runUnaryServer(${JSON.stringify(server)});`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const ask = (): Promise<number> =>
    new Promise((resolve, reject) => {
      child.once("message", (message) => resolve(Number(message)));
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    });
  try {
    const port = await ask();
    const serverCpuUs = (): Promise<number> => {
      const answer = ask();
      child.send("cpu");
      return answer;
    };
    const caller = callerOf(client, port);
    await pump(caller, WARM_UP_MS);
    const serverBefore = await serverCpuUs();
    const before = process.cpuUsage();
    const startedMs = performance.now();
    const calls = await pump(caller, (options["call-seconds"] ?? 1) * 1_000);
    const seconds = (performance.now() - startedMs) / 1_000;
    const used = process.cpuUsage(before);
    const params = { server, client, inFlight: IN_FLIGHT, bytes: MESSAGE_BYTES };
    report("calls-per-second", calls / seconds, "1/s", params);
    report("server-cpu-us-per-call", ((await serverCpuUs()) - serverBefore) / calls, "us", params);
    report("client-cpu-us-per-call", (used.user + used.system) / calls, "us", params);
    await caller.close();
  } finally {
    child.kill("SIGKILL");
  }
}

/** @returns how many calls were answered. */
async function pump(caller: Caller, ms: number): Promise<number> {
  const endsAtMs = performance.now() + ms;
  let calls = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < endsAtMs) {
      await caller.call();
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return calls;
}

function callerOf(kind: ClientKind, port: number): Caller {
  const request = create(SendRaftMessageRequestSchema, { message: [new Uint8Array(MESSAGE_BYTES).fill(1)] });
  const session = new Http2Session({
    authority: `http://127.0.0.1:${port}`,
    clock: systemClock,
    random: Math.random,
    limits: DEFAULT_TRANSPORT_LIMITS,
  });
  const close = (): Promise<void> => session.close();
  if (kind === "lean") {
    const call = {
      path: SEND_RAFT_MESSAGE_PATH,
      headers: {},
      deadlineMs: 5_000,
      maxResponseBytes: 1_024,
    };
    return {
      call: () =>
        callUnary(session, systemClock, { ...call, body: toBinary(SendRaftMessageRequestSchema, request) }),
      close,
    };
  }
  const options = {
    baseUrl: session.authority,
    httpVersion: "2" as const,
    sessionManager: session,
    useBinaryFormat: true,
    acceptCompression: [],
  };
  const client = createClient(
    PlacementCenterService,
    kind === "connect-node" ? createConnectTransport(options) : createGrpcTransport(options),
  );
  return { call: () => client.sendRaftMessage(request, { timeoutMs: 5_000 }), close };
}

/** Answers with an empty message. Runs in a process of its own; tells its port, and its CPU time when asked. */
export async function runUnaryServer(kind: ServerKind): Promise<void> {
  const routes = (router: ConnectRouter): void => {
    router.service(PlacementCenterService, { sendRaftMessage: () => create(SendRaftMessageResponseSchema) });
  };
  process.on("disconnect", () => process.exit(0));
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.(user + system);
  });
  if (kind === "lean") {
    const listener = await listenHttp2({
      host: "127.0.0.1",
      port: 0,
      routes,
      logger: SILENT,
      shutdownGraceMs: 100,
    });
    process.send?.(listener.address.port);
    return;
  }
  const server = createServer(connectNodeAdapter({ routes }));
  server.listen({ host: "127.0.0.1", port: 0 }, () => {
    const address = server.address();
    if (address !== null && typeof address !== "string") process.send?.(address.port);
  });
}
