// `placement-center doctor`: what is concluded from what nodes say, and what is found in real data folders: of a node
// that runs, of one that was stopped, and of damaged ones.

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Asked } from "../../src/cli/doctor/ask-nodes.js";
import type { Finding } from "../../src/cli/doctor/finding.js";
import { judgeCluster } from "../../src/cli/doctor/judge-cluster.js";
import { judgeMetrics } from "../../src/cli/doctor/judge-metrics.js";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { SnapshotMetadataSchema } from "../../src/gen/eraftpb_pb.js";
import { MembershipRecordSchema } from "../../src/gen/records_pb.js";
import { type MetricsResponse, MetricsResponseSchema, Role } from "../../src/gen/service_pb.js";
import { type PlacementCenter, startPlacementCenter } from "../../src/placement/server.js";
import { SnapshotFiles } from "../../src/storage/snapshot-files.js";
import { runInProcess } from "./recorded-output.js";

interface Facts extends Omit<Partial<MetricsResponse>, "$typeName" | "$unknown" | "membership" | "peers"> {
  readonly membership?: { readonly members: ReturnType<typeof members>; readonly index?: bigint };
  readonly peers?: readonly {
    readonly id: bigint;
    readonly state: string;
    readonly recentActive: boolean;
    readonly pendingSnapshot?: bigint;
  }[];
}

function members(voters: readonly bigint[], learners: readonly bigint[] = []) {
  return [...voters, ...learners].map((id) => ({ id, address: `h:${id}`, learner: learners.includes(id) }));
}

function answer(id: bigint, { membership, peers = [], ...facts }: Facts = {}, clockAheadMs = 0): Asked {
  const metrics = create(MetricsResponseSchema, {
    id,
    clusterId: "c",
    role: id === 1n ? Role.LEADER : Role.FOLLOWER,
    term: 5n,
    leaderId: 1n,
    commit: 5_000n,
    applied: 5_000n,
    membership: membership ?? { members: members([1n, 2n, 3n]), index: 1n },
    peers: [...peers],
    version: "1.0.0",
    ...facts,
  });
  return { endpoint: `h:${id}`, metrics, roundTripMs: 1, clockAheadMs };
}

function silent(id: bigint): Asked {
  return { endpoint: `h:${id}`, why: "connect ECONNREFUSED" };
}

const HEALTHY = [answer(1n), answer(2n), answer(3n)];

/** `problem quorum cluster: says` of everything that is not ok. */
function complaints(asked: readonly Asked[]): string[] {
  return judgeCluster(asked).flatMap(({ severity, check, subject, says, advice }) => {
    if (severity === "ok") return [];
    expect(advice, says).toBeTruthy();
    return [`${severity} ${check} ${subject}: ${says}`];
  });
}

describe("of a cluster", () => {
  test("nothing is said that is not so", () => {
    expect(complaints(HEALTHY)).toEqual([]);
    expect(judgeCluster(HEALTHY).map(({ check }) => check)).toEqual(
      expect.arrayContaining(["reachable", "quorum", "leader", "lag", "version", "clock"]),
    );
  });

  const five = { membership: { members: members([1n, 2n, 3n, 4n, 5n]), index: 9n } };
  const four = { membership: { members: members([1n, 2n, 3n, 4n]), index: 9n } };
  const learner = { membership: { members: members([1n, 2n, 3n], [4n]), index: 9n } };
  const peer = { id: 3n, matched: 1n, nextIndex: 2n, state: "Replicate", recentActive: true };
  test.each<[string, readonly Asked[], readonly RegExp[]]>([
    [
      "nobody answers",
      [silent(1n), silent(2n)],
      [/^problem reachable h:1: connect/, /^problem reachable h:2/],
    ],
    [
      "one of three is away",
      [answer(1n), answer(2n), silent(3n)],
      [
        /^problem reachable node 3: connect/,
        /^warning quorum .*2 of 3 voters answer, 2 are needed: the next failure/,
      ],
    ],
    [
      "a majority is away",
      [answer(1n, { role: Role.FOLLOWER, leaderId: 0n }), silent(2n), silent(3n)],
      [
        /reachable node 2/,
        /reachable node 3/,
        /^problem quorum .*1 of 3/,
        /^problem leader .*no leader; the highest term is 5/,
      ],
    ],
    [
      "a member is known that was not asked",
      [answer(1n, five), answer(2n, five), answer(3n, five), answer(4n, five)],
      [/^problem reachable node 5: no answer at h:5/],
    ],
    [
      "two nodes lead one term",
      [answer(1n), answer(2n, { role: Role.LEADER, leaderId: 2n }), answer(3n)],
      [/^problem leader cluster: node 1 and node 2 both lead term 5/],
    ],
    [
      "a node follows another leader",
      [answer(1n), answer(2n), answer(3n, { leaderId: 2n, term: 4n })],
      [/^warning leader node 3: it takes node 2 for the leader of term 4/],
    ],
    [
      "the leader is out of reach from here",
      [answer(2n, { leaderId: 1n }), answer(3n), silent(1n)],
      [/reachable node 1/, /quorum/, /^warning leader cluster: node 1 is said to lead/],
    ],
    [
      "a node lags",
      [answer(1n), answer(2n), answer(3n, { applied: 10n })],
      [/^warning lag node 3: it has applied 10 of 5000/],
    ],
    [
      "a learner has caught up",
      [
        answer(1n, learner),
        answer(2n, learner),
        answer(3n, learner),
        answer(4n, { ...learner, role: Role.LEARNER }),
      ],
      [/^warning lag learner 4: it has caught up/],
    ],
    [
      "a learner lags",
      [
        answer(1n, learner),
        answer(2n, learner),
        answer(3n, learner),
        answer(4n, { ...learner, applied: 1n }),
      ],
      [/^warning lag learner 4: it has applied 1 of 5000/],
    ],
    [
      "there are four voters",
      [1n, 2n, 3n, 4n].map((id) => answer(id, four)),
      [/^warning members .*4 voters survive as many failures as 3 would: 1/],
    ],
    [
      "the leader has lost sight of one",
      [answer(1n, { peers: [{ ...peer, recentActive: false }] }), answer(2n), answer(3n)],
      [/^problem peer node 3: the leader has not heard/],
    ],
    [
      "one is being brought up by a snapshot",
      [answer(1n, { peers: [{ ...peer, state: "Snapshot", pendingSnapshot: 77n }] }), answer(2n), answer(3n)],
      [/^warning peer node 3: .*snapshot at index 77/],
    ],
    [
      "writes pile up",
      [answer(1n, { pendingProposals: 5_000n }), answer(2n), answer(3n)],
      [/^warning load node 1: 5000 writes wait/],
    ],
    [
      "versions differ",
      [answer(1n), answer(2n), answer(3n, { version: "1.1.0" })],
      [/^warning version .*node 3 runs 1.1.0/],
    ],
    [
      "a clock is off",
      [answer(1n), answer(2n, {}, -3_000), answer(3n, {}, 60_000)],
      [/^warning clock .*node 3 is about 63 s ahead of that of node 2/],
    ],
    [
      "endpoints are of two clusters",
      [answer(1n), answer(2n, { clusterId: "d" })],
      [/^problem identity .*h:1 belongs to c, h:2 belongs to d/],
    ],
    [
      "a node runs that is no member",
      [...HEALTHY, answer(9n)],
      [/^warning members node 9: it runs at h:9 but is no member/],
    ],
    [
      "no member is known",
      [answer(1n, { membership: { members: [] }, role: Role.FOLLOWER, leaderId: 0n })],
      [/no member/, /^problem quorum .*belong to no cluster/, /leader/],
    ],
    [
      "there is only one voter",
      [answer(1n, { membership: { members: members([1n]), index: 1n } })],
      [/^warning quorum .*1 of 1 voters answer, 1 are needed: the next failure stops all writes/],
    ],
  ])("%s", (_, asked, expected) => {
    const found = complaints(asked);
    expect(found).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
  });
});

describe("of what a node counts", () => {
  function histogram(name: string, buckets: readonly (readonly [string, number])[]): string {
    const count = buckets.at(-1)?.[1] ?? 0;
    return [
      ...buckets.map(([le, value]) => `${name}_bucket{le="${le}"} ${value}`),
      `${name}_count ${count}`,
    ].join("\n");
  }
  const fsync = "raftnode_disk_wal_fsync_duration_seconds";
  const loop = "raftnode_process_event_loop_delay_seconds";

  test.each<[string, string, readonly string[]]>([
    ["nothing counted", "# HELP x y\n", []],
    [
      "fast",
      histogram(fsync, [
        ["0.001", 98],
        ["0.008", 100],
        ["+Inf", 100],
      ]),
      ["ok disk 99 of 100 writes to the log take at most 8 ms"],
    ],
    [
      "slow disk",
      histogram(fsync, [
        ["0.008", 90],
        ["0.016", 99],
        ["+Inf", 100],
      ]),
      ["warning disk 99 of 100 writes to the log take at most 16 ms"],
    ],
    [
      "beyond all bounds",
      histogram(loop, [
        ["0.008", 90],
        ["+Inf", 100],
      ]),
      ["warning event loop 99 of 100 delays of its event loop take more than any bound"],
    ],
    [
      "no room",
      "raftnode_server_out_of_space 1\n",
      ["problem space it refuses writes, because there is no room for them"],
    ],
    ["failed", "raftnode_server_running 0\n", ["problem node it has failed for good"]],
  ])("%s", (_, text, expected) => {
    expect(
      judgeMetrics("h:1", text).map(({ severity, check, says }) => `${severity} ${check} ${says}`),
    ).toEqual(expected);
  });
});

describe("of a data folder", () => {
  let folder = "";
  let address = "";
  let httpAddress = "";
  let center: PlacementCenter;

  beforeAll(async () => {
    const [port = 0, httpPort = 0] = await findFreePorts("127.0.0.1", 2);
    address = `127.0.0.1:${port}`;
    httpAddress = `127.0.0.1:${httpPort}`;
    folder = await mkdtemp(join(tmpdir(), "placement-center-doctor-"));
    center = await startNode();
    return async () => {
      await center.stop();
      await rm(folder, { recursive: true, force: true });
    };
  });

  function startNode(): Promise<PlacementCenter> {
    const compaction = { afterEntries: 10, keepEntries: 2 };
    const members = new Map([[1n, address]]);
    return startPlacementCenter({
      id: 1n,
      clusterId: "c",
      dataDir: folder,
      listen: address,
      http: httpAddress,
      members,
      compaction,
    });
  }

  async function examine(path = folder): Promise<{ status: number; findings: readonly Finding[] }> {
    const { status, lines } = await runInProcess("doctor", path, "--json");
    const { findings }: { findings: readonly Finding[] } = JSON.parse(lines[0] ?? "");
    return { status, findings };
  }

  function problemsOf(findings: readonly Finding[]): string[] {
    return findings.flatMap(({ severity, check, says }) =>
      severity === "problem" ? [`${check}: ${says}`] : [],
    );
  }

  test("of a node that runs: who runs it, and that its log is sound", async () => {
    for (let at = 0; at < 30; at += 1) await runInProcess("put", `k${at}`, "v", "-e", address);
    const { status, findings } = await examine();
    expect(problemsOf(findings)).toEqual([]);
    expect(status).toBe(0);
    expect(findings).toContainEqual(
      expect.objectContaining({ check: "lock", says: expect.stringContaining(`process ${process.pid}`) }),
    );
    expect(findings).toContainEqual(
      expect.objectContaining({ check: "identity", says: "node 1 of cluster c, format version 1" }),
    );
  });

  test("the same node, asked over the network: one voter is a warning, no problem", async () => {
    const { status, lines } = await runInProcess("doctor", "-e", address);
    expect(status, lines.join("\n")).toBe(0);
    expect(lines).toContainEqual(expect.stringMatching(/^ok +clock +cluster: the nodes' clocks agree/));
    expect(lines.at(-1)).toBe("healthy, 1 warnings");
    const counted = await runInProcess("doctor", "-e", address, "--metrics", httpAddress, "--json");
    expect(JSON.parse(counted.lines[0] ?? "").findings).toContainEqual(
      expect.objectContaining({
        check: "disk",
        subject: httpAddress,
        says: expect.stringMatching(/^99 of 100 writes/),
      }),
    );
    const dead = await runInProcess("doctor", "-e", "127.0.0.1:1");
    expect([dead.status, dead.lines.at(-1)]).toEqual([1, "not healthy: 1 problems, 0 warnings"]);
  });

  async function addSnapshot(): Promise<void> {
    const store = await SnapshotFiles.open(join(folder, "snapshots"));
    const metadata = create(SnapshotMetadataSchema, { index: 5n, term: 1n });
    await store.create(metadata, create(MembershipRecordSchema), (sink) => sink(Buffer.alloc(1_000, 7)));
  }

  test("of a stopped node: log, snapshots and state are read in full", async () => {
    await center.stop();
    onTestFinished(async () => {
      center = await startNode();
    });
    await addSnapshot();
    const { status, findings } = await examine();
    expect(problemsOf(findings)).toEqual([]);
    expect(status).toBe(0);
    const checks = findings.map(({ check }) => check);
    expect(checks).toEqual(expect.arrayContaining(["checksums", "snapshot", "state", "members", "disk"]));
    expect(findings).toContainEqual(
      expect.objectContaining({ check: "state", says: expect.stringMatching(/^30 keys as of index \d+/) }),
    );
  });

  test("damage is found wherever it is, each with its place", async () => {
    await center.stop();
    const snapshot = (await readdir(join(folder, "snapshots"))).find((name) => name.endsWith(".snap")) ?? "";
    const files = ["log/raft.mdb", "kv/state.mdb", `snapshots/${snapshot}`].map((name) => join(folder, name));
    const intact = await Promise.all(files.map((file) => readFile(file)));
    onTestFinished(async () => {
      for (const [at, file] of files.entries()) await writeFile(file, intact[at] ?? "");
      center = await startNode();
    });
    for (const [at, file] of files.entries()) {
      const bytes = Buffer.from(intact[at] ?? "");
      // The last copies in the file belong to the newest state.
      if (file.endsWith(".mdb")) bytes.fill(0xff, Math.floor(bytes.length / 2));
      else bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
      await writeFile(file, bytes);
    }
    const { status, findings } = await examine();
    expect(status).toBe(1);
    const places = new Set(problemsOf(findings).map((text) => text.split(":")[0]));
    expect(places).toEqual(new Set(["checksums", "snapshot", "state"]));
    for (const { severity, advice } of findings) if (severity === "problem") expect(advice).toBeTruthy();
  });

  test("a folder that is none, and one without a node, are problems that say so", async () => {
    const empty = await mkdtemp(join(tmpdir(), "placement-center-doctor-"));
    onTestFinished(() => rm(empty, { recursive: true, force: true }));
    expect(problemsOf((await examine(empty)).findings)).toEqual([expect.stringContaining("no log in it")]);
    expect(problemsOf((await examine(join(empty, "x"))).findings)).toEqual([
      expect.stringContaining("cannot be read"),
    ]);
  });
});
