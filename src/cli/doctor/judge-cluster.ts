// Concludes from what the nodes of a cluster say what is wrong with it, and what to do.

import { maxOf } from "../../core/types.js";
import { type Member, Role } from "../../gen/service_pb.js";
import { type Answered, type Asked, hasAnswered } from "./ask-nodes.js";
import { type Finding, ok, problem, warning } from "./finding.js";

/** Raft needs no clocks; people who compare logs, and certificates, do. */
const MAX_SKEW_MS = 2_500;
/** A follower that lacks more is not merely a moment behind. */
const MAX_LAG_ENTRIES = 1_000n;
const MAX_PENDING_PROPOSALS = 1_000n;
const MANY_VOTERS = 7;
const CLUSTER = "cluster";

export function judgeCluster(asked: readonly Asked[]): Finding[] {
  const answers = firstOfEachNode(asked.filter(hasAnswered));
  if (answers.length === 0) {
    return asked.map(({ endpoint, ...rest }) =>
      problem("reachable", endpoint, "why" in rest ? rest.why : "no answer", START_ADVICE),
    );
  }
  const clusterIds = new Set(answers.map(({ metrics }) => metrics.clusterId));
  if (clusterIds.size > 1) {
    const each = answers
      .map(({ endpoint, metrics }) => `${endpoint} belongs to ${metrics.clusterId}`)
      .join(", ");
    return [
      problem("identity", CLUSTER, `the endpoints are of several clusters: ${each}`, "name the nodes of one"),
    ];
  }
  const members = newestMembers(answers);
  return [
    ok("identity", CLUSTER, `${[...clusterIds].join()}, ${members.length} members`),
    ...judgeReachability(asked, answers, members),
    ...judgeStrangers(answers, members),
    ...judgeQuorum(answers, members),
    ...judgeLeader(answers),
    ...judgeProgress(answers, members),
    ...judgeVersions(answers),
    ...judgeClocks(answers),
  ];
}

const START_ADVICE =
  "see whether the node runs and what its log says last; if it cannot come back, replace it (docs/operations.md)";

function firstOfEachNode(answers: readonly Answered[]): Answered[] {
  const byId = new Map<bigint, Answered>();
  for (const answer of answers) if (!byId.has(answer.metrics.id)) byId.set(answer.metrics.id, answer);
  return [...byId.values()];
}

function nodeName({ metrics }: Answered): string {
  return `node ${metrics.id}`;
}

function newestMembers(answers: readonly Answered[]): readonly Member[] {
  let newest = answers[0]?.metrics.membership;
  for (const { metrics } of answers) {
    if ((metrics.membership?.index ?? 0n) > (newest?.index ?? 0n)) newest = metrics.membership;
  }
  return newest?.members ?? [];
}

function judgeReachability(
  asked: readonly Asked[],
  answers: readonly Answered[],
  members: readonly Member[],
): Finding[] {
  const answered = new Set(answers.map(({ metrics }) => metrics.id));
  const silent = asked.filter((each) => !hasAnswered(each));
  const missing = members
    .filter(({ id }) => !answered.has(id))
    .map(({ id, address }) => {
      const why = silent.find(({ endpoint }) => endpoint === address);
      const says = why !== undefined && "why" in why ? why.why : `no answer at ${address}`;
      return problem("reachable", `node ${id}`, says, START_ADVICE);
    });
  const addresses = new Set(members.map(({ address }) => address));
  const others = silent
    .filter(({ endpoint }) => !addresses.has(endpoint))
    .map(({ endpoint }) =>
      warning("reachable", endpoint, "nobody answers, and no member has this address", "correct --endpoints"),
    );
  const all =
    missing.length === 0 ? [ok("reachable", CLUSTER, `all ${members.length} members answer`)] : missing;
  return [...all, ...others];
}

function judgeStrangers(answers: readonly Answered[], members: readonly Member[]): Finding[] {
  const ids = new Set(members.map(({ id }) => id));
  return answers
    .filter(({ metrics }) => !ids.has(metrics.id))
    .map((answer) =>
      warning(
        "members",
        nodeName(answer),
        `it runs at ${answer.endpoint} but is no member`,
        "if it was removed, stop it; if it is new, add it: placement-center member add",
      ),
    );
}

function judgeQuorum(answers: readonly Answered[], members: readonly Member[]): Finding[] {
  const voters = members.filter(({ learner }) => !learner);
  const answered = new Set(answers.map(({ metrics }) => metrics.id));
  const up = voters.filter(({ id }) => answered.has(id)).length;
  const needed = Math.floor(voters.length / 2) + 1;
  if (voters.length === 0) {
    const advice = "add it on a node of the cluster: placement-center member add ID HOST:PORT";
    return [problem("quorum", CLUSTER, "these nodes belong to no cluster yet", advice)];
  }
  const says = `${up} of ${voters.length} voters answer, ${needed} are needed`;
  if (up < needed) {
    const advice =
      "start the others; if they are lost for good, docs/operations.md, Lost quorum: nothing can be written until then";
    return [problem("quorum", CLUSTER, says, advice)];
  }
  const findings: Finding[] = [];
  const spare = up - needed;
  findings.push(
    spare > 0
      ? ok("quorum", CLUSTER, `${says}; ${spare} more may fail`)
      : warning(
          "quorum",
          CLUSTER,
          `${says}: the next failure stops all writes`,
          up < voters.length
            ? "bring the others back, or replace them"
            : "add members: three voters survive one failure",
        ),
  );
  if (voters.length > 1 && voters.length % 2 === 0) {
    const survives = voters.length - needed;
    const says = `${voters.length} voters survive as many failures as ${voters.length - 1} would: ${survives}`;
    findings.push(warning("members", CLUSTER, says, "add or remove one voter"));
  }
  if (voters.length > MANY_VOTERS) {
    const says = `every write waits for ${needed} of ${voters.length} voters`;
    findings.push(
      warning("members", CLUSTER, says, "five or seven voters are enough; let the others be learners"),
    );
  }
  return findings;
}

function judgeLeader(answers: readonly Answered[]): Finding[] {
  const terms = answers.map(({ metrics }) => metrics.term);
  const newest = terms.reduce((a, b) => maxOf(a, b), 0n);
  const leaders = answers.filter(({ metrics }) => metrics.role === Role.LEADER && metrics.term === newest);
  const [leader] = leaders;
  if (leaders.length > 1) {
    const says = `${leaders.map(nodeName).join(" and ")} both lead term ${newest}`;
    return [
      problem(
        "leader",
        CLUSTER,
        says,
        "stop all nodes at once and keep their folders: this must never happen",
      ),
    ];
  }
  if (leader !== undefined) {
    const apart = answers.filter(({ metrics }) => metrics.leaderId !== leader.metrics.id);
    return [
      ok("leader", CLUSTER, `${nodeName(leader)} leads term ${newest}`),
      ...apart.map((answer) =>
        warning(
          "leader",
          nodeName(answer),
          answer.metrics.leaderId === 0n
            ? "it knows of no leader"
            : `it takes node ${answer.metrics.leaderId} for the leader of term ${answer.metrics.term}`,
          "look again in a moment; if it stays so, it cannot be reached by the leader: check the network between them",
        ),
      ),
    ];
  }
  const known = answers.find(({ metrics }) => metrics.leaderId !== 0n);
  if (known !== undefined) {
    const says = `node ${known.metrics.leaderId} is said to lead, but was not reached from here`;
    return [
      warning(
        "leader",
        CLUSTER,
        says,
        "name its address in --endpoints, or run this where it can be reached",
      ),
    ];
  }
  const says = `there is no leader; the highest term is ${newest}`;
  return [
    problem(
      "leader",
      CLUSTER,
      says,
      "an election is under way, or a majority is away: see quorum, and look again",
    ),
  ];
}

function judgeProgress(answers: readonly Answered[], members: readonly Member[]): Finding[] {
  const leader = answers.find(({ metrics }) => metrics.role === Role.LEADER)?.metrics;
  const commit = answers.reduce((most, { metrics }) => maxOf(most, metrics.commit), 0n);
  const findings: Finding[] = [];
  for (const answer of answers) {
    const { id, applied, pendingProposals } = answer.metrics;
    const lag = commit - applied;
    const learner = members.find((member) => member.id === id)?.learner === true;
    const name = `${learner ? "learner" : "node"} ${id}`;
    if (lag > MAX_LAG_ENTRIES) {
      const says = `it has applied ${applied} of ${commit} entries`;
      const advice =
        "look again: if the gap grows, its disk or its network is too slow for the writes that arrive";
      findings.push(warning("lag", name, says, advice));
    } else if (learner) {
      findings.push(
        warning(
          "lag",
          name,
          `it has caught up (${lag} entries behind) and has no vote`,
          `promote it: placement-center member promote ${id}`,
        ),
      );
    }
    if (pendingProposals > MAX_PENDING_PROPOSALS) {
      const says = `${pendingProposals} writes wait for their answer`;
      findings.push(
        warning("load", name, says, "the disks of a majority are slower than the writes that arrive"),
      );
    }
  }
  for (const peer of leader?.peers ?? []) {
    if (!peer.recentActive) {
      const advice = "see whether it runs, and whether the leader can reach its address";
      findings.push(problem("peer", `node ${peer.id}`, "the leader has not heard from it lately", advice));
    } else if (peer.state === "Snapshot") {
      const says = `it is being brought up by a snapshot at index ${peer.pendingSnapshot}`;
      findings.push(
        warning("peer", `node ${peer.id}`, says, "wait until it has it, before other nodes are stopped"),
      );
    }
  }
  if (findings.length === 0)
    findings.push(ok("lag", CLUSTER, `every node has applied what is committed, ${commit}`));
  const joint = answers.some(({ metrics }) => metrics.membership?.joint === true);
  if (joint) {
    const advice =
      "it ends by itself; if not, look for voters of the old or the new membership that are away";
    findings.push(warning("members", CLUSTER, "a change of members is under way", advice));
  }
  return findings;
}

function judgeVersions(answers: readonly Answered[]): Finding[] {
  const versions = new Set(answers.map(({ metrics }) => metrics.version));
  if (versions.size === 1) return [ok("version", CLUSTER, `every node runs version ${[...versions].join()}`)];
  const each = answers.map((answer) => `${nodeName(answer)} runs ${answer.metrics.version}`).join(", ");
  return [
    warning(
      "version",
      CLUSTER,
      each,
      "finish the upgrade: one node at a time (docs/operations.md, Rolling restart)",
    ),
  ];
}

function judgeClocks(answers: readonly Answered[]): Finding[] {
  const known = answers.flatMap(({ metrics, clockAheadMs }) =>
    clockAheadMs === undefined ? [] : [{ id: metrics.id, clockAheadMs }],
  );
  const [first] = known;
  if (first === undefined) return [];
  const slowest = known.reduce((a, b) => (a.clockAheadMs < b.clockAheadMs ? a : b), first);
  const fastest = known.reduce((a, b) => (a.clockAheadMs > b.clockAheadMs ? a : b), first);
  const skewMs = fastest.clockAheadMs - slowest.clockAheadMs;
  if (skewMs <= MAX_SKEW_MS)
    return [ok("clock", CLUSTER, "the nodes' clocks agree, to within about a second")];
  const says = `the clock of node ${fastest.id} is about ${Math.round(skewMs / 1_000)} s ahead of that of node ${slowest.id}`;
  return [
    warning(
      "clock",
      CLUSTER,
      says,
      "let both follow the same time server: elections do not need it, certificates and whoever reads logs do",
    ),
  ];
}
