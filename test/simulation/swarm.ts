// Which faults a seed uses, and how the nodes are set up: every seed draws its own mixture, so that each fault meets
// every other one, and some meet none.

import type { NodeLimits, RaftOptions } from "../../src/node/options.js";
import type { CompactionOptions } from "../../src/node/snapshotting.js";
import type { DirectedFault } from "./directed-faults.js";
import type { Random } from "./random.js";

export const FAULTS = [
  "partition",
  "isolatedLeader",
  "oneWayCut",
  "loss",
  "doubling",
  "slowNetwork",
  "slowLink",
  "crash",
  "crashInMidCall",
  "freeze",
  "clockSkew",
  "clockStop",
  "slowDisk",
  "failingDisk",
  "hangingDisk",
  "fullDisk",
  "damagedDisk",
  "tornBatch",
  "lostDisk",
  "lostState",
  "oldState",
  "transfer",
  "membership",
  "requestSnapshot",
] as const;

export type Fault = (typeof FAULTS)[number] | DirectedFault;

/** A few faults, one soon after the other: what takes several in a row is met more often than in the great mixture. */
export interface Theme {
  readonly faults: readonly Fault[];
  /** Settings that it needs; the others are drawn. */
  readonly needs?: Partial<Omit<Swarm, "faults" | "raft">>;
  readonly raft?: RaftOptions;
}

const LONG_LOG: CompactionOptions = { afterEntries: 10_000, keepEntries: 5_000, snapshots: "onDemand" };
const SHORT_LOG: CompactionOptions = { afterEntries: 6, keepEntries: 0, snapshots: "onDemand" };

const THEMES: readonly Theme[] = [
  { faults: ["crash", "partition"] },
  { faults: ["crash", "crashInMidCall", "slowDisk", "loss"] },
  { faults: ["partition", "oneWayCut", "transfer"] },
  { faults: ["membership", "crash", "partition"] },
  { faults: ["membership", "transfer", "slowDisk", "loss"] },
  { faults: ["transfer", "freeze", "slowLink", "clockSkew"] },
  { faults: ["crash", "requestSnapshot", "slowNetwork"] },
  // Old leaders with long ends of their logs that nobody else has, found out entry by entry.
  {
    faults: ["isolatedLeader", "crash", "loss"],
    needs: { voters: 3, thinkMs: 40, compaction: LONG_LOG },
    raft: { maxSizePerMsg: 0, maxInflightMsgs: 2, checkQuorum: false, maxUncommittedSize: 1e8 },
  },
  {
    faults: ["isolatedLeader", "partition", "slowNetwork", "doubling"],
    needs: { voters: 5, thinkMs: 40, compaction: LONG_LOG },
    raft: { maxSizePerMsg: 256, maxInflightMsgs: 8, maxUncommittedSize: 1e8 },
  },
  // Deposed leaders that are asked to read.
  {
    faults: ["isolatedLeader", "freeze", "transfer", "crash"],
    needs: { voters: 3, thinkMs: 40, leaseReads: true, watchers: 2 },
    raft: { checkQuorum: true, heartbeatTick: 1 },
  },
  // Answers that come when another leads already.
  {
    faults: ["transfer", "slowLink", "slowNetwork"],
    needs: { voters: 3, thinkMs: 40, leaseReads: false, watchers: 2 },
    raft: { checkQuorum: false },
  },
  // Peers that need snapshots all the time.
  {
    faults: ["isolatedLeader", "crash", "crashInMidCall", "doubling", "requestSnapshot"],
    needs: { voters: 3, thinkMs: 40, compaction: SHORT_LOG },
  },
  // One change of membership upon another, by leaders that come and go.
  {
    faults: ["membership", "isolatedLeader", "partition"],
    needs: { thinkMs: 100 },
    raft: { maxSizePerMsg: 0 },
  },
];

const LONG_LEASES = {
  tickIntervalMs: 100,
  electionTick: 10,
  safetyMs: 40_000,
  leaseReads: true,
  watchers: 4,
};
const LEASES: RaftOptions = { checkQuorum: true, heartbeatTick: 1 };
const LATE_DISKS = { voters: 3, thinkMs: 40, compaction: SHORT_LOG };

/** What takes several faults at the right moment. Every seventh seed follows one of them. */
export const DIRECTED_THEMES: Readonly<Record<string, Theme>> = {
  "deposed leaders": {
    faults: ["isolatedLeader"],
    needs: { ...LONG_LEASES, voters: 3, thinkMs: 100, calmMs: 2_000 },
    raft: LEASES,
  },
  "unseen transfers": {
    faults: ["transferUnseen"],
    needs: { ...LONG_LEASES, voters: 3, thinkMs: 100, calmMs: 2_000 },
    raft: LEASES,
  },
  // Writes are few: whoever is lonely must not miss one, or it gets no votes.
  "lonely voters": {
    faults: ["lonelyVoter"],
    needs: {
      ...LONG_LEASES,
      tickIntervalMs: 150,
      electionTick: 7,
      voters: 3,
      thinkMs: 1_000,
      clients: 2,
      watchers: 2,
      calmMs: 2_500,
      safetyMs: 90_000,
    },
    raft: LEASES,
  },
  "parted in joint": {
    faults: ["partedInJoint"],
    needs: { voters: 3, thinkMs: 100, calmMs: 4_000, safetyMs: 40_000, leaseReads: false, electionTick: 5 },
    raft: { skipBcastCommit: true, preVote: false },
  },
  "two changes": {
    faults: ["twoChanges", "membership"],
    needs: { voters: 3, thinkMs: 100, calmMs: 2_000, leaseReads: false, electionTick: 5 },
    raft: { skipBcastCommit: true },
  },
  "late logs": { faults: ["lateLog"], needs: LATE_DISKS },
  "late states": { faults: ["lateState"], needs: LATE_DISKS },
};

export interface Swarm {
  readonly faults: ReadonlySet<Fault>;
  /** Between two faults, on average. */
  readonly calmMs: number;
  readonly voters: number;
  readonly safetyMs: number;
  readonly clients: number;
  /** Who only read, from whoever takes itself for the leader. */
  readonly watchers: number;
  readonly keys: number;
  readonly thinkMs: number;
  readonly sessions: boolean;
  /** Some calls are transactions over two keys. */
  readonly transactions: boolean;
  readonly tickIntervalMs: number;
  readonly electionTick: number;
  readonly leaseReads: boolean;
  readonly inEnvelopes: boolean;
  readonly raft: RaftOptions;
  readonly priorities: boolean;
  readonly compaction: CompactionOptions;
  readonly limits: Partial<NodeLimits>;
}

const DIRECTED_EVERY = 7;
/** A clock of the group that promises leases may run so much faster than another. */
export const MAX_LEASE_SKEW = 0.04;

/** With the name of a directed theme: as a seed that follows it. */
export function drawSwarm(random: Random, seed: number, directed?: string): Swarm {
  const density = random.pick([0.15, 0.4, 0.7, 1]);
  const drawn = random.chance(0.5) ? random.pick(THEMES) : undefined;
  const theme = directedTheme(random, seed, directed) ?? drawn;
  const faults = new Set(theme?.faults ?? FAULTS.filter(() => random.chance(density)));
  // A state that is lost is rebuilt only where snapshots are always made, and not while space is short.
  const losesState = faults.has("lostState") || faults.has("oldState");
  const keepsSnapshots = losesState || random.chance(0.4);
  if (losesState) faults.delete("fullDisk");
  const checkQuorum = theme?.raft?.checkQuorum ?? random.chance(0.8);
  const leaseReads = checkQuorum && (theme?.needs?.leaseReads ?? random.chance(0.4));
  // A clock that stops keeps its lease for ever: that is outside of what leases promise.
  if (leaseReads) faults.delete("clockStop");
  const maxSizePerMsg = theme?.raft?.maxSizePerMsg ?? random.pick([0, 256, 4_096, 65_536]);
  const afterEntries = random.pick([6, 20, 60, 10_000]);
  return {
    faults,
    calmMs: theme !== undefined ? random.pick([60, 150, 400]) : random.pick([150, 400, 1_200]),
    voters: random.pick([1, 2, 3, 3, 3, 4, 5]),
    safetyMs: random.pick([15_000, 25_000, 40_000]),
    clients: random.int(2, 6),
    keys: random.int(1, 6),
    thinkMs: random.pick([40, 100, 300]),
    sessions: random.chance(0.7),
    tickIntervalMs: random.pick([50, 100]),
    electionTick: random.pick([5, 6, 10]),
    inEnvelopes: random.chance(0.6),
    raft: {
      heartbeatTick: random.pick([1, 2]),
      checkQuorum,
      preVote: random.chance(0.75),
      skipBcastCommit: random.chance(0.3),
      batchAppend: random.chance(0.4),
      maxSizePerMsg,
      maxInflightMsgs: random.pick([1, 2, 8, 256]),
      maxInflightBytes: Math.max(random.pick([512, 65_536, 1e9]), maxSizePerMsg),
      maxUncommittedSize: Math.max(random.pick([2_048, 1e8]), maxSizePerMsg),
      maxCommittedSizePerReady: random.pick([0, 128, 65_536]),
      maxPendingReads: random.pick([2, 1_000]),
      ...theme?.raft,
    },
    priorities: random.chance(0.3),
    compaction: {
      afterEntries,
      keepEntries: random.pick([0, 2, Math.floor(afterEntries / 2)]),
      snapshots: keepsSnapshots ? "always" : "onDemand",
    },
    transactions: random.chance(0.5),
    watchers: random.pick([0, 0, 0, 2]),
    limits: {
      maxReadysInFlight: random.pick([1, 2, 5, 128]),
      maxApplyBatchEntries: random.pick([1, 3, 1_024]),
      inboxCapacityMessages: random.pick([4, 64, 8_192]),
      maxPendingProposals: random.pick([3, 100, 16_384]),
      maxPendingReads: random.pick([3, 16_384]),
      proposalBatchBytes: random.pick([1, 200, 1_048_576]),
    },
    ...theme?.needs,
    leaseReads,
  };
}

function directedTheme(random: Random, seed: number, name: string | undefined): Theme | undefined {
  if (name !== undefined) return DIRECTED_THEMES[name];
  return seed % DIRECTED_EVERY === 0 ? random.pick(Object.values(DIRECTED_THEMES)) : undefined;
}
