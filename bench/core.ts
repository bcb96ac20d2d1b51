// What the consensus core costs by itself: proposals through three nodes, heartbeat rounds, a long log; with
// etcd/raft's own benchmark beside it where Go is installed.

import { MemoryStorage, newNormalEntry, RawNode } from "../src/core/index.js";
import { CoreCluster } from "./core-cluster.js";
import { benchmarkEtcdRaft } from "./etcd-raft.js";
import { type Benchmark, median, type Report } from "./report.js";

const DATA = new Uint8Array(8);
const NO_CONTEXT = new Uint8Array(0);
const RUNS = 5;

export const core: Benchmark = {
  title: "the consensus core: three nodes in one process, memory storage, 8-byte proposals",
  async run(report, note) {
    const perProposalUs = new Map<number, number>();
    for (const depth of [1, 64, 1_024]) perProposalUs.set(depth, proposals(report, depth));
    for (const peers of [3, 5, 7, 101]) heartbeats(report, peers);
    longLog(report);
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
  const runs = Array.from({ length: RUNS }, () => {
    const startedAt = performance.now();
    propose(cluster, depth, count);
    return ((performance.now() - startedAt) * 1_000) / count;
  });
  const us = median(runs);
  report("proposals-per-second", 1e6 / us, "1/s", { depth });
  report("us-per-proposal", us, "us", { depth });
  report("bytes-per-proposal", allocatedBytes(() => propose(cluster, depth, 20_480)) / 20_480, "B", {
    depth,
  });
  return us;
}

function propose(cluster: CoreCluster, depth: number, count: number): void {
  for (let done = 0; done < count; done += depth) {
    for (let nth = 0; nth < depth; nth += 1) cluster.nodes[0]?.propose(NO_CONTEXT, DATA);
    cluster.settle();
    if (done % 65_536 < depth) cluster.compact();
  }
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
  const runs = Array.from({ length: RUNS }, () => {
    const startedAt = performance.now();
    for (let round = 0; round < rounds; round += 1) {
      cluster.nodes[0]?.tick();
      cluster.settle();
    }
    return ((performance.now() - startedAt) * 1_000) / rounds;
  });
  report("us-per-heartbeat-round", median(runs), "us", { peers });
}

/** What depends on the length of the log, at a thousand entries and at a million: it must not. */
function longLog(report: Report): void {
  for (const entries of [1_000, 1_000_000]) {
    const storage = MemoryStorage.withConfState({ voters: [1n] });
    // A new term every thousand entries, so that conflict searches have something to find.
    const terms = (position: number): bigint => 1n + BigInt(Math.floor(position / 1_000));
    const all = Array.from({ length: entries }, (_, position) =>
      newNormalEntry(terms(position), BigInt(position + 2)),
    );
    storage.append(all);
    const commit = BigInt(entries + 1);
    storage.setHardState({ $typeName: "eraftpb.HardState", term: terms(entries), vote: 0n, commit });
    const config = { id: 1n, randomInt: (min: number) => min, applied: commit };
    const node = new RawNode(config, storage);
    report(
      "campaign-us",
      timeUs(200, () => new RawNode(config, storage).campaign()),
      "us",
      { entries },
    );
    const { log } = node.raft;
    const middle = commit / 2n;
    report(
      "term-look-up-us",
      timeUs(100_000, () => log.term(middle)),
      "us",
      { entries },
    );
    report(
      "conflict-search-us",
      timeUs(5_000, () => log.findConflictByTerm(commit, 1n)),
      "us",
      { entries },
    );
  }
}

function timeUs(times: number, work: () => unknown): number {
  const runs = Array.from({ length: RUNS }, () => {
    const startedAt = performance.now();
    for (let nth = 0; nth < times; nth += 1) work();
    return ((performance.now() - startedAt) * 1_000) / times;
  });
  return median(runs);
}
