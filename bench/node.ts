// What one embedded node costs and gives: real processes with LMDB and real sockets on the loopback. Writes at several
// depths, the loss of a leader, a follower that is slow, and a snapshot to a new node while writes go on.

import type { Latencies, Memory, TakenOver } from "./node/calls.js";
import { BenchCluster, type BenchNode, sleep, until } from "./node/cluster.js";
import { quantile } from "./node/load.js";
import { yardsticks } from "./node/yardsticks.js";
import type { Benchmark, Options, Report } from "./report.js";

const BYTES = 256;
const ELECTION_TIMEOUT_MS = 1_000;
const WARM_UP_MS = 1_000;
const MIB = 1024 * 1024;
const STEADY_DEPTH = 64;

export const node: Benchmark = {
  title: "embedded nodes in processes of their own: LMDB, HTTP/2 on the loopback, proposals of 256 bytes",
  options: {
    seconds: { text: "how long each load is measured", default: 5 },
    kills: { text: "leaders that are killed", default: 30 },
    "snapshot-mib": { text: "size of the state that a new node is given", default: 1_024 },
  },
  lists: {
    nodes: { text: "sizes of the groups that are written to", default: [1, 3, 5] },
    "in-flight": { text: "how many proposals are under way at once", default: [1, 64, 256, 1_024] },
  },
  async run(report, note, options, lists) {
    note("what the machine can do");
    await yardsticks(report);
    for (const size of lists["nodes"] ?? []) {
      await writes(size, lists["in-flight"] ?? [], report, note, options);
    }
    await failover(report, note, options);
    await slowFollower(report, note, options);
    await snapshot(report, note, options);
  },
};

async function writes(
  size: number,
  depths: readonly number[],
  report: Report,
  note: (text: string) => void,
  options: Options,
): Promise<void> {
  await BenchCluster.with(size, {}, async (cluster) => {
    const leader = await cluster.leader();
    await measure(leader, STEADY_DEPTH, WARM_UP_MS);
    for (const inFlight of depths) {
      note(`writes: ${size} nodes, ${inFlight} in flight`);
      const params = { nodes: size, inFlight, bytes: BYTES };
      const nodes = [leader, ...cluster.others(leader)];
      const before = await Promise.all(nodes.map((one) => one.call("counts", {})));
      const load = await measure(leader, inFlight, seconds(options));
      const after = await Promise.all(nodes.map((one) => one.call("counts", {})));
      reportLatencies(report, "write", load, params);
      if (load.failures > 0) note(`${load.failures} proposals failed with ${JSON.stringify(params)}`);
      const [cpu, fsyncs, rpcs] = (["cpuSeconds", "fsyncs", "rpcs"] as const).map((name) =>
        after.map((counts, at) => counts[name] - (before[at]?.[name] ?? 0)),
      );
      const per1000 = (value: number | undefined): number => ((value ?? Number.NaN) * 1_000) / load.ops;
      report("leader-fsyncs-per-1000-ops", per1000(fsyncs?.[0]), "", params);
      report("leader-cpu-seconds-per-1000-ops", per1000(cpu?.[0]), "s", params);
      report("leader-cpu-share", (cpu?.[0] ?? Number.NaN) / load.seconds, "cores", params);
      if (size === 1) continue;
      report("follower-fsyncs-per-1000-ops", per1000(mean(fsyncs?.slice(1))), "", params);
      report("leader-rpcs-per-1000-ops", per1000(rpcs?.[0]), "", params);
      report("all-rpcs-per-1000-ops", per1000(sum(rpcs)), "", params);
      report("follower-cpu-seconds-per-1000-ops", per1000(mean(cpu?.slice(1))), "s", params);
      report("follower-cpu-share", mean(cpu?.slice(1)) / load.seconds, "cores", params);
    }
  });
}

/** From the SIGKILL of the leader until another node leads, and until it has applied a proposal. */
async function failover(report: Report, note: (text: string) => void, options: Options): Promise<void> {
  const kills = options["kills"] ?? 0;
  if (kills === 0) return note("no leader was killed");
  const { elected, applied } = await BenchCluster.with(3, { durableState: false }, async (cluster) => {
    const tookMs = { elected: new Float64Array(kills), applied: new Float64Array(kills) };
    for (let kill = 0; kill < kills; kill += 1) {
      if (kill % 10 === 0) note(`failover: ${kill} of ${kills} leaders killed`);
      const leader = await cluster.leader();
      const survivors = cluster.others(leader);
      await measure(leader, STEADY_DEPTH, 100);
      for (const survivor of survivors) await cluster.caughtUp(survivor, leader);
      const waiting = survivors.map((one) => one.call("proposeWhenLeading", {}));
      const startedMs = Date.now();
      const gone = leader.kill();
      const { ledAtMs, appliedAtMs } = await Promise.any(waiting.map(async (wait) => taken(await wait)));
      tookMs.elected[kill] = ledAtMs - startedMs;
      tookMs.applied[kill] = appliedAtMs - startedMs;
      await Promise.all(survivors.map((one) => one.call("giveUp", {})));
      await Promise.all([gone, ...waiting]);
      const again = await cluster.start(leader.id);
      await cluster.caughtUp(again, await cluster.leader());
    }
    return { elected: tookMs.elected.sort(), applied: tookMs.applied.sort() };
  });
  const params = { nodes: 3, kills, electionTimeoutMs: ELECTION_TIMEOUT_MS };
  report("failover-elected-p50", quantile(elected, 0.5), "ms", params);
  report("failover-elected-p99", quantile(elected, 0.99), "ms", params);
  report("failover-p50", quantile(applied, 0.5), "ms", params);
  report("failover-p99", quantile(applied, 0.99), "ms", params);
  report("failover-max", applied.at(-1) ?? Number.NaN, "ms", params);
  report("failover-p99-in-election-timeouts", quantile(applied, 0.99) / ELECTION_TIMEOUT_MS, "x", params);
}

function taken(answer: TakenOver | "gaveUp"): TakenOver {
  if (answer === "gaveUp") throw new Error("gave up");
  return answer;
}

/** A follower that runs for 10 of every 100 ms: what it costs the others, and the leader's memory. */
async function slowFollower(report: Report, note: (text: string) => void, options: Options): Promise<void> {
  note("a slow follower");
  await BenchCluster.with(3, {}, async (cluster) => {
    const leader = await cluster.leader();
    const [slow] = cluster.others(leader);
    if (slow === undefined) return;
    const params = { nodes: 3, inFlight: STEADY_DEPTH, bytes: BYTES };
    await measure(leader, STEADY_DEPTH, WARM_UP_MS);
    await leader.call("peakMemory", {});
    const undisturbed = await measure(leader, STEADY_DEPTH, seconds(options));
    const usual = await leader.call("peakMemory", {});
    const throttle = startThrottling(slow);
    const disturbed = await measure(leader, STEADY_DEPTH, seconds(options));
    throttle.stop();
    const startedMs = performance.now();
    await cluster.caughtUp(slow, leader);
    report("slow-follower-catch-up", performance.now() - startedMs, "ms", params);
    reportLatencies(report, "beside-no-slow-follower", undisturbed, params);
    reportLatencies(report, "beside-slow-follower", disturbed, params);
    reportGrowth(report, "slow-follower-leader", usual, await leader.call("peakMemory", {}), params);
  });
}

function startThrottling(slow: BenchNode): { stop(): void } {
  slow.signal("SIGSTOP");
  const timer = setInterval(() => {
    slow.signal("SIGCONT");
    setTimeout(() => {
      if (!stopped) slow.signal("SIGSTOP");
    }, 10);
  }, 100);
  let stopped = false;
  return {
    stop: () => {
      stopped = true;
      clearInterval(timer);
      slow.signal("SIGCONT");
    },
  };
}

/** A node without data joins while writes go on. */
async function snapshot(report: Report, note: (text: string) => void, options: Options): Promise<void> {
  const mib = options["snapshot-mib"] ?? 0;
  if (mib === 0) return note("no snapshot was sent");
  await BenchCluster.with(3, { stateBytes: mib * MIB }, async (cluster) => {
    const leader = await cluster.leader();
    const params = { nodes: 3, inFlight: STEADY_DEPTH, snapshotMib: mib };
    note("snapshot: filling and cutting the log");
    // The log is cut after 10,000 entries; only then does a new node need a snapshot.
    await leader.call("startLoad", { inFlight: 256, bytes: BYTES });
    await until("a log that was cut", async () => (await leader.call("position", {})).applied > 20_000);
    await leader.call("endLoad", {});
    const undisturbed = await measure(leader, STEADY_DEPTH, seconds(options));
    note(`snapshot: ${mib} MiB to a new learner`);
    const learner = await cluster.startSpare();
    const nodes = { leader, learner };
    const before = await peaks(nodes);
    await leader.call("startLoad", { inFlight: STEADY_DEPTH, bytes: BYTES });
    const startedMs = performance.now();
    await leader.call("addLearner", { id: learner.id, address: learner.address });
    await cluster.caughtUp(learner, leader);
    const tookMs = performance.now() - startedMs;
    const disturbed = await leader.call("endLoad", {});
    report("snapshot-seconds", tookMs / 1_000, "s", params);
    report("snapshot-mib-per-second", (mib * 1_000) / tookMs, "MiB/s", params);
    reportLatencies(report, "without-snapshot", undisturbed, params);
    reportLatencies(report, "during-snapshot", disturbed, params);
    report("snapshot-p99-times-undisturbed", disturbed.p99Ms / undisturbed.p99Ms, "x", params);
    const after = await peaks(nodes);
    reportGrowth(report, "snapshot-leader", before.leader, after.leader, params);
    reportGrowth(report, "snapshot-learner", before.learner, after.learner, params);
  });
}

async function peaks(nodes: { readonly leader: BenchNode; readonly learner: BenchNode }) {
  const [leader, learner] = await Promise.all([
    nodes.leader.call("peakMemory", {}),
    nodes.learner.call("peakMemory", {}),
  ]);
  return { leader, learner };
}

function reportGrowth(
  report: Report,
  name: string,
  before: Memory,
  after: Memory,
  params: Parameters<Report>[3],
): void {
  report(`${name}-rss-growth`, (after.rssBytes - before.rssBytes) / MIB, "MiB", params);
  report(`${name}-own-memory-growth`, (after.ownBytes - before.ownBytes) / MIB, "MiB", params);
}

async function measure(leader: BenchNode, inFlight: number, ms: number): Promise<Latencies> {
  await leader.call("startLoad", { inFlight, bytes: BYTES });
  await sleep(ms);
  return leader.call("endLoad", {});
}

function reportLatencies(report: Report, name: string, load: Latencies, params: Parameters<Report>[3]): void {
  report(`${name}-ops-per-second`, load.ops / load.seconds, "1/s", params);
  report(`${name}-p50`, load.p50Ms, "ms", params);
  report(`${name}-p99`, load.p99Ms, "ms", params);
  report(`${name}-max`, load.maxMs, "ms", params);
}

function seconds(options: Options): number {
  return (options["seconds"] ?? 1) * 1_000;
}

function sum(values: readonly number[] = []): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[] = []): number {
  return sum(values) / values.length;
}
