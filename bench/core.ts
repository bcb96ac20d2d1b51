// What the consensus core costs by itself: proposals through three nodes, heartbeat rounds, a long log; with
// etcd/raft's own benchmark beside it where Go is installed.

import { MemoryStorage, newHardState, newNormalEntry, RawNode } from "../src/core/index.js";
import { CoreCluster } from "./core-cluster.js";
import { benchmarkEtcdRaft } from "./etcd-raft.js";
import { type Benchmark, median, type Params, type Report } from "./report.js";

const DATA = new Uint8Array(8);
const NO_CONTEXT = new Uint8Array(0);
const RUNS = 5;

export const core: Benchmark = {
  title: "the consensus core: three nodes in one process, memory storage, 8-byte proposals",
  async run(report, note) {
    const perProposalUs = new Map<number, number>();
    for (const depth of [1, 64, 1_024]) perProposalUs.set(depth, proposals(report, depth));
    for (const peers of [3, 5, 7, 101]) heartbeats(report, peers);
    longLogs(report);
    const etcdUs = await benchmarkEtcdRaft(note);
    if (etcdUs === undefined) return;
    report("etcd-raft-us-per-proposal", etcdUs, "us", { benchmark: "BenchmarkProposal3Nodes" });
    for (const [depth, us] of perProposalUs) report("times-etcd-raft", etcdUs / us, "x", { depth });
  },
};

/** @returns microseconds for each proposal. */
function proposals(report: Report, depth: number): number {
  const count = depth === 1 ? 40_000 : 200_000;
  const cluster = new CoreCluster(3);
  cluster.elect();
  propose(cluster, depth, count);
  const us = median(
    Array.from({ length: RUNS }, () => timeUs(1, () => propose(cluster, depth, count)) / count),
  );
  report("proposals-per-second", 1e6 / us, "1/s", { depth });
  report("us-per-proposal", us, "us", { depth });
  report("bytes-per-proposal", allocatedBytes(() => propose(cluster, depth, 20_480)) / 20_480, "B", {
    depth,
  });
  return us;
}

/** `depth` at a time, each time until all of them are applied everywhere. */
function propose(cluster: CoreCluster, depth: number, count: number): void {
  const before = cluster.committed;
  let done = 0;
  for (; done < count; done += depth) {
    for (let nth = 0; nth < depth; nth += 1) cluster.first.propose(NO_CONTEXT, DATA);
    cluster.settle();
    if (done % 65_536 < depth) cluster.compact();
  }
  if (cluster.committed - before !== done) throw new Error("not every proposal was committed");
}

/** Heap and buffers allocated by `work`. The young generation is large enough (see scripts/bench.mjs) to hold it. */
function allocatedBytes(work: () => void): number {
  globalThis.gc?.();
  const before = process.memoryUsage();
  work();
  const after = process.memoryUsage();
  return after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
}

/** A round: the leader's tick, a heartbeat to every peer, every answer. */
function heartbeats(report: Report, peers: number): void {
  const rounds = Math.ceil(20_000 / peers);
  const cluster = new CoreCluster(peers);
  cluster.elect();
  const runs = Array.from({ length: RUNS }, () =>
    timeUs(rounds, () => {
      cluster.first.tick();
      cluster.settle();
    }),
  );
  report("us-per-heartbeat-round", median(runs), "us", { peers });
}

/** What might depend on the length of the log, at a thousand entries and at a million. */
function longLogs(report: Report): void {
  const logs = [1_000, 1_000_000].map(nodeWithLog);
  const costs: Cost[] = logs.flatMap(({ entries, config, storage, commit }) => {
    const { log } = new RawNode(config, storage).raft;
    const conflict = (entriesBack: number): Cost => {
      const term = log.term(commit - BigInt(entriesBack));
      const params = { entries, entriesBack };
      return {
        name: "conflict-search-us",
        params,
        times: 20_000,
        work: () => log.findConflictByTerm(commit, term),
      };
    };
    return [
      {
        name: "campaign-us",
        params: { entries },
        times: 5_000,
        work: () => new RawNode(config, storage).campaign(),
      },
      { name: "term-look-up-us", params: { entries }, times: 100_000, work: () => log.term(commit / 2n) },
      conflict(0),
      conflict(900),
      conflict(entries),
    ];
  });
  // All of them in turn, again and again, so that neither what is compiled by then nor the time of day favours one.
  const runs = costs.map((): number[] => []);
  for (let run = -1; run < RUNS; run += 1) {
    for (const [nth, { times, work }] of costs.entries()) {
      globalThis.gc?.();
      const us = timeUs(times, work);
      if (run >= 0) runs[nth]?.push(us);
    }
  }
  for (const [nth, { name, params }] of costs.entries()) report(name, median(runs[nth] ?? []), "us", params);
}

interface Cost {
  readonly name: string;
  readonly params: Params;
  readonly times: number;
  readonly work: () => unknown;
}

/** What a node of a group of its own starts with whose log has a new term every hundred entries. */
function nodeWithLog(entries: number) {
  const storage = MemoryStorage.withConfState({ voters: [1n] });
  const termOf = (position: number): bigint => 1n + BigInt(Math.floor(position / 100));
  storage.append(
    Array.from({ length: entries }, (_, position) => newNormalEntry(termOf(position), BigInt(position + 2))),
  );
  const commit = BigInt(entries + 1);
  storage.setHardState(newHardState(termOf(entries), 0n, commit));
  return { entries, storage, commit, config: { id: 1n, randomInt: (min: number) => min, applied: commit } };
}

function timeUs(times: number, work: () => unknown): number {
  const startedAt = performance.now();
  for (let nth = 0; nth < times; nth += 1) work();
  return ((performance.now() - startedAt) * 1_000) / times;
}
