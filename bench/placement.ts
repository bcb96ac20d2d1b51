// What the placement center gives its clients: nodes as operators start them, one process each, and clients in threads of
// their own, over the loopback. One, three and five nodes; every kind of operation; and a store with a million keys.

import { spawnSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { newLatencies, percentileMs } from "../src/cli/load/load.js";
import { OPERATION_KINDS, type OperationKind } from "../src/cli/load/operations.js";
import { PlacementClient } from "../src/placement/client.js";
import { bareHttp2 } from "./node/yardsticks.js";
import { ClientThreads, type Order } from "./placement/client-worker.js";
import { projectRoot, type Server, type ServerOptions, withServers } from "./placement/nodes.js";
import { bareLmdbPuts } from "./placement/yardsticks.js";
import type { Benchmark, Options, Report } from "./report.js";

const BYTES = 256;
const DEPTHS = [1, 16, 64, 256, 1_024];
const YARDSTICK_DEPTHS = [1, 64, 1_024];
/** Of the loads; all of them exist before anything is measured. */
const KEYS = 10_000;
const WARM_UP_MS = 1_500;
const FILL_IN_FLIGHT = 16;
const FILL_PER_TXN = 128;
const MIB = 1024 * 1024;
const LEADER_LIMIT_MS = 60_000;

/** Writes that one, three and five nodes have to take in a second at least, and the p99 in ms they have to keep. */
const MISSION: Readonly<Record<number, { readonly writes: number; readonly p99Ms: number }>> = {
  1: { writes: 1_000, p99Ms: 10 },
  3: { writes: 500, p99Ms: 50 },
  5: { writes: 300, p99Ms: 100 },
};

export const placement: Benchmark = {
  title: `the placement center: nodes and clients in processes and threads of their own, values of ${BYTES} bytes`,
  options: {
    seconds: { text: "how long each load is measured", default: 2 },
    keys: { text: "in the large store; 0 leaves it out", default: 1_000_000 },
    clients: { text: "threads with a client each", default: 2 },
    profile: { text: "1: leave CPU profiles of the nodes in reports/profiles", default: 0 },
  },
  lists: { nodes: { text: "sizes of the clusters", default: [1, 3, 5] } },
  async run(report, note, options, lists) {
    requireBuild();
    const profileDir = options["profile"] === 1 ? join(projectRoot(), "reports", "profiles") : undefined;
    if (profileDir !== undefined) await mkdir(profileDir, { recursive: true });
    const durationMs = seconds(options) * 1_000;
    if (durationMs > 0) {
      await bareLmdbPuts(report, YARDSTICK_DEPTHS, BYTES, durationMs);
      await bareHttp2(report, YARDSTICK_DEPTHS);
      for (const size of lists["nodes"] ?? []) await operations(size, report, note, options, { profileDir });
    }
    await largeStore(report, note, options, { profileDir });
  },
};

/** The nodes run from dist/: what is measured must be what the sources say. */
function requireBuild(): void {
  const script = join(projectRoot(), "scripts", "ensure-built.mjs");
  const { status } = spawnSync(process.execPath, [script], { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error("dist/ could not be built");
}

async function operations(
  size: number,
  report: Report,
  note: (text: string) => void,
  options: Options,
  serverOptions: ServerOptions,
): Promise<void> {
  await withServers(size, serverOptions, async (servers) => {
    const leader = await leaderOf(servers);
    const endpoints = servers.map(({ endpoint }) => endpoint);
    // Clients find the leader by themselves; a read that any node may answer goes to all of them.
    const direct = new ClientThreads(options["clients"] ?? 1, [leader.endpoint], false);
    const spread = new ClientThreads(options["clients"] ?? 1, endpoints, true);
    try {
      await direct.run([fillOrder(0, KEYS)]);
      let best = { writes: 0, p99Ms: Number.NaN };
      for (const kind of OPERATION_KINDS) {
        const threads = kind === "get-serializable" ? spread : direct;
        await load(threads, kind, 64, WARM_UP_MS);
        for (const inFlight of DEPTHS) {
          note(`${size} nodes, ${kind}, ${inFlight} in flight`);
          const before = cpuOf(servers);
          const outcome = await load(threads, kind, inFlight, seconds(options) * 1_000);
          const cpu = cpuOf(servers).map((after, at) => after - (before[at] ?? Number.NaN));
          const params = { nodes: size, inFlight, bytes: BYTES };
          const perSecond = outcome.latencies.count / outcome.seconds;
          report(`${kind}-ops-per-second`, perSecond, "1/s", params);
          report(`${kind}-p50`, percentileMs(outcome.latencies, 50), "ms", params);
          const p99Ms = percentileMs(outcome.latencies, 99);
          report(`${kind}-p99`, p99Ms, "ms", params);
          const per1000 = (cpuSeconds: number) => (cpuSeconds * 1_000) / outcome.latencies.count;
          const atLeader = per1000(cpu[servers.indexOf(leader)] ?? Number.NaN);
          report(`${kind}-leader-cpu-seconds-per-1000-ops`, atLeader, "s", params);
          report(`${kind}-all-cpu-seconds-per-1000-ops`, per1000(sum(cpu)), "s", params);
          report(`${kind}-client-busy`, outcome.busy, "", params);
          if (outcome.failures.length > 0) note(`failed: ${JSON.stringify(outcome.failures)}`);
          const mission = MISSION[size];
          const isWithin = mission === undefined || p99Ms < mission.p99Ms;
          if (kind === "set" && isWithin && perSecond > best.writes) best = { writes: perSecond, p99Ms };
        }
      }
      const mission = MISSION[size];
      if (mission !== undefined) {
        const params = { nodes: size, bytes: BYTES, p99LimitMs: mission.p99Ms };
        report("set-within-p99-limit-ops-per-second", best.writes, "1/s", params);
        report("set-times-required", best.writes / mission.writes, "x", params);
        report("set-within-p99-limit-p99", best.p99Ms, "ms", params);
      }
    } finally {
      await Promise.all([direct.close(), spread.close()]);
    }
  });
}

/** One node with many keys: how fast they come in, what they take, and how long it takes to start with them. */
async function largeStore(
  report: Report,
  note: (text: string) => void,
  options: Options,
  serverOptions: ServerOptions,
): Promise<void> {
  const keys = options["keys"] ?? 0;
  if (keys === 0) return note("no large store was made");
  await withServers(1, serverOptions, async (servers) => {
    const server = await leaderOf(servers);
    const params = { nodes: 1, keys, bytes: BYTES };
    const empty = server.memory();
    report("empty-store-rss", empty.rssBytes / MIB, "MiB", params);
    const threads = new ClientThreads(options["clients"] ?? 1, [server.endpoint], false);
    try {
      note(`writing ${keys} keys, ${FILL_PER_TXN} in a transaction`);
      const beforeCpu = server.cpuSeconds();
      const startedMs = performance.now();
      const share = Math.ceil(keys / threads.count);
      const orders = Array.from({ length: threads.count }, (_, nth) =>
        fillOrder(nth * share, Math.min(keys, (nth + 1) * share)),
      );
      await threads.run(orders);
      const filledInMs = performance.now() - startedMs;
      report("fill-keys-per-second", (keys * 1_000) / filledInMs, "1/s", params);
      report(
        "fill-cpu-seconds-per-1000-keys",
        ((server.cpuSeconds() - beforeCpu) * 1_000) / keys,
        "s",
        params,
      );
      reportMemory(report, "filled-store", server, params);
      for (const kind of ["set", "get", "range"] as const) {
        await load(threads, kind, 64, WARM_UP_MS, keys);
        const outcome = await load(threads, kind, 64, seconds(options) * 1_000, keys);
        const loadParams = { ...params, inFlight: 64 };
        report(
          `large-store-${kind}-ops-per-second`,
          outcome.latencies.count / outcome.seconds,
          "1/s",
          loadParams,
        );
        report(`large-store-${kind}-p99`, percentileMs(outcome.latencies, 99), "ms", loadParams);
      }
      reportMemory(report, "used-store", server, params);
      report("large-store-disk", (await server.diskBytes()) / MIB, "MiB", params);
    } finally {
      await threads.close();
    }
    note("restarting the node");
    await timed(report, "large-store-stop", params, () => server.stop());
    await timed(report, "large-store-restart", params, async () => {
      await server.start();
      await leaderOf(servers);
    });
    report("large-store-restart-cpu-seconds", server.cpuSeconds(), "s", params);
    reportMemory(report, "restarted-store", server, params);
  });
}

function reportMemory(report: Report, name: string, server: Server, params: Parameters<Report>[3]): void {
  const { rssBytes, anonymousBytes } = server.memory();
  report(`${name}-rss`, rssBytes / MIB, "MiB", params);
  report(`${name}-rss-without-mapped-files`, anonymousBytes / MIB, "MiB", params);
}

async function timed(
  report: Report,
  name: string,
  params: Parameters<Report>[3],
  work: () => Promise<void>,
): Promise<void> {
  const startedMs = performance.now();
  await work();
  report(`${name}-seconds`, (performance.now() - startedMs) / 1_000, "s", params);
}

function fillOrder(first: number, end: number): Order {
  return { what: "fill", first, end, inFlight: FILL_IN_FLIGHT, perTxn: FILL_PER_TXN, valueBytes: BYTES };
}

async function load(
  threads: ClientThreads,
  kind: OperationKind,
  inFlight: number,
  durationMs: number,
  keys = KEYS,
) {
  const count = Math.min(threads.count, inFlight);
  const orders = Array.from({ length: count }, (_, nth): Order => {
    const share = Math.floor(inFlight / count) + (nth < inFlight % count ? 1 : 0);
    return { what: "load", kind, inFlight: share, durationMs, keys, valueBytes: BYTES };
  });
  const outcomes = await threads.run(orders);
  const latencies = newLatencies();
  for (const outcome of outcomes) latencies.add(outcome.latencies);
  return {
    latencies,
    seconds: Math.max(...outcomes.map((outcome) => outcome.seconds)),
    busy: Math.max(...outcomes.map((outcome) => outcome.busy)),
    failures: outcomes.flatMap((outcome) => outcome.failures),
  };
}

/** Resolves when one node leads and has answered a linearizable read. */
async function leaderOf(servers: readonly Server[]): Promise<Server> {
  const client = new PlacementClient({ endpoints: servers.map(({ endpoint }) => endpoint) });
  try {
    await client.get("-", { deadlineMs: LEADER_LIMIT_MS });
    const { id } = await client.leader({ deadlineMs: LEADER_LIMIT_MS });
    const leader = servers.find((server) => BigInt(server.id) === id);
    if (leader === undefined) throw new Error(`the leader ${id} is none of the nodes`);
    return leader;
  } finally {
    await client.close();
  }
}

function cpuOf(servers: readonly Server[]): number[] {
  return servers.map((server) => server.cpuSeconds());
}

function seconds(options: Options): number {
  return options["seconds"] ?? 0;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
