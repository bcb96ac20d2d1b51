// What a node is started with, the limits it keeps, and their defaults.

import { type Config, type ConfigInput, DEFAULT_CONFIG, validateConfig } from "../core/config.js";
import { ConfigInvalid } from "../core/errors.js";
import type { NodeId } from "../core/types.js";
import { RaftNodeError } from "./errors.js";
import type {
  Clock,
  DurableLog,
  Logger,
  PeerInbox,
  PeerTransport,
  SnapshotStore,
  StateMachine,
} from "./ports.js";
import type { CompactionOptions } from "./snapshotting.js";

/** Nothing in a node grows beyond these. */
export interface NodeLimits {
  /** Messages from peers that may wait for the node's next turn. */
  readonly inboxCapacityMessages: number;
  readonly inboxCapacityBytes: number;
  /** Proposals that may be queued or waiting for their result; more are refused with `inboxFull`. */
  readonly maxPendingProposals: number;
  readonly maxPendingProposalBytes: number;
  /** Of one command; larger ones are refused with `tooLarge`. */
  readonly maxProposalBytes: number;
  /** Reads that may wait; more are refused with `inboxFull`. */
  readonly maxPendingReads: number;
  /** Command bytes that are proposed together. */
  readonly proposalBatchBytes: number;
  /** Entries handed to one call of the state machine. */
  readonly maxApplyBatchEntries: number;
  /** Readys that may be on their way to the disk at once. */
  readonly maxReadysInFlight: number;
  /** A learner that lacks more entries than this is not promoted without `force`. */
  readonly maxPromoteLagEntries: number;
  /** For calls that name no deadline. */
  readonly defaultDeadlineMs: number;
  /** What takes as long is logged, while it lasts and when it has ended, and counted once. */
  readonly slowAppendMs: number;
  readonly slowApplyMs: number;
}

const MIB = 1024 * 1024;

export const DEFAULT_LIMITS: NodeLimits = Object.freeze({
  inboxCapacityMessages: 8_192,
  inboxCapacityBytes: 64 * MIB,
  maxPendingProposals: 16_384,
  maxPendingProposalBytes: 64 * MIB,
  maxProposalBytes: 1.5 * MIB,
  maxPendingReads: 16_384,
  proposalBatchBytes: MIB,
  maxApplyBatchEntries: 1_024,
  maxReadysInFlight: 128,
  maxPromoteLagEntries: 1_000,
  defaultDeadlineMs: 5_000,
  slowAppendMs: 500,
  slowApplyMs: 200,
});

export const DEFAULT_COMPACTION: CompactionOptions = Object.freeze({
  afterEntries: 10_000,
  keepEntries: 5_000,
  snapshots: "onDemand",
});

/** What of the core's configuration is the runtime's business; see `raftConfig`. */
type OwnConfig =
  | "id"
  | "applied"
  | "randomInt"
  | "disableProposalForwarding"
  | "readOnlyOption"
  | "maxApplyUnpersistedLogLimit";

/** What may be chosen. */
export type RaftOptions = Partial<Omit<Config, OwnConfig>>;

export interface RaftNodeOptions {
  /** In [1, 2^64 - 1]; never another node's, never one that a lost node had. */
  readonly id: NodeId;
  readonly clusterId: string;
  readonly log: DurableLog;
  readonly snapshots: SnapshotStore;
  readonly stateMachine: StateMachine;
  /** Called once; what it returns is closed by the node. */
  readonly transport: (inbox: PeerInbox) => PeerTransport;
  /** Default: real time. */
  readonly clock?: Clock | undefined;
  /** Default: silent. */
  readonly logger?: Logger | undefined;
  /** A uniform random integer in `[min, max)`. Default: `crypto.randomInt`. */
  readonly randomInt?: ((min: number, max: number) => number) | undefined;
  /**
   * Default 100. The election timeout is `raft.electionTick` of these, 10 by default; an election begins at random
   * after one to one and a half of it without a leader, unless `raft.maxElectionTick` says otherwise.
   */
  readonly tickIntervalMs?: number | undefined;
  readonly raft?: RaftOptions | undefined;
  /**
   * Lets the leader answer reads that ask for it (`readIndex({ lease: true })`) without asking a majority again, for
   * about half an election timeout after a majority has followed it. On all nodes or none: a node of such a group
   * withholds its vote for one election timeout after a restart, because it may have helped to grant a lease before.
   * Safe as long as no clock runs more than a tenth faster than another. Needs `raft.checkQuorum`. Default false: such
   * reads are answered as all others. On followers they always are: only the leader holds a lease.
   */
  readonly leaseReads?: boolean | undefined;
  readonly limits?: Partial<NodeLimits> | undefined;
  readonly compaction?: Partial<CompactionOptions> | undefined;
}

export const DEFAULT_TICK_INTERVAL_MS = 100;
const LEAST_RANDOM_TICKS = 3;

export const SILENT: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};

/** @throws RaftNodeError `invalidArgument` naming the limit. */
export function completeLimits(input: Partial<NodeLimits> | undefined): NodeLimits {
  const limits: NodeLimits = { ...DEFAULT_LIMITS, ...input };
  for (const [name, value] of Object.entries(limits)) {
    if (!(value > 0)) throw invalid(`limits.${name} must be greater than 0, is ${value}`);
  }
  return limits;
}

/** @throws RaftNodeError `invalidArgument` naming the option. */
export function completeCompaction(input: Partial<CompactionOptions> | undefined): CompactionOptions {
  const compaction: CompactionOptions = { ...DEFAULT_COMPACTION, ...input };
  const { afterEntries, keepEntries, snapshots, maxHeldEntries = 0 } = compaction;
  if (snapshots !== "onDemand" && snapshots !== "always") {
    throw invalid(`compaction.snapshots must be "onDemand" or "always", is ${JSON.stringify(snapshots)}`);
  }
  if (!Number.isSafeInteger(maxHeldEntries) || maxHeldEntries < 0) {
    throw invalid(`compaction.maxHeldEntries must be a whole number of at least 0, is ${maxHeldEntries}`);
  }
  if (!Number.isSafeInteger(keepEntries) || keepEntries < 0) {
    throw invalid(`compaction.keepEntries must be a whole number of at least 0, is ${keepEntries}`);
  }
  if (!Number.isSafeInteger(afterEntries) || afterEntries <= keepEntries) {
    throw invalid(
      `compaction.afterEntries must be a whole number greater than keepEntries, is ${afterEntries}`,
    );
  }
  return compaction;
}

/**
 * The core's configuration under this runtime. Commands are not forwarded: their result has to come back to whoever
 * proposed. Leases are the runtime's business, which has a clock: to the core, a process that stood still would seem to
 * hold a lease that is over (decision 0010). Nothing is
 * applied ahead of this node's disk: after a crash the state would contain what the log does not.
 * @throws RaftNodeError `invalidArgument` naming the field.
 */
export function raftConfig(
  options: Pick<RaftNodeOptions, "id" | "raft">,
  applied: bigint,
  randomInt: Config["randomInt"],
): Config {
  const input: ConfigInput = {
    ...options.raft,
    maxElectionTick: options.raft?.maxElectionTick ?? defaultMaxElectionTick(options.raft),
    id: options.id,
    randomInt,
    applied,
    disableProposalForwarding: true,
    readOnlyOption: "safe",
    maxApplyUnpersistedLogLimit: 0,
  };
  try {
    return validateConfig(input);
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error;
    throw new RaftNodeError("invalidArgument", `raft: ${error.message}`, { cause: error });
  }
}

/**
 * Where random election timeouts end: half an election timeout after they begin, and not one, as in raft-rs. What is
 * random has to be long beside the few milliseconds in which a candidate is elected, no longer: it is time without a
 * leader (thesis §9.3).
 */
function defaultMaxElectionTick(raft: RaftOptions = {}): number {
  const { electionTick, minElectionTick } = { ...DEFAULT_CONFIG, ...raft };
  return Math.max(electionTick, minElectionTick) + Math.max(Math.ceil(electionTick / 2), LEAST_RANDOM_TICKS);
}

/**
 * How long a lease lasts from the moment at which its round was asked, in real time (decision 0010). A follower refuses
 * its vote for `electionTick` ticks after it has taken in the leader's heartbeat. Of these, `maxTicksAtOnce` may have
 * been due already, and as many again may become due at once after it stood still; half a tick goes to the rounding of
 * timers, and half a tick, a tenth of the usual lease, to clocks that do not run at the same rate.
 */
export function leaseMs(config: Config, tickIntervalMs: number, leaseReads: boolean | undefined): number {
  if (leaseReads !== true || !config.checkQuorum) return 0;
  return Math.max(config.electionTick - 2 * maxTicksAtOnce(config) - 1, 0) * tickIntervalMs;
}

/** So few that no stall alone makes up an election timeout. */
export function maxTicksAtOnce({ electionTick }: Config): number {
  return Math.max(Math.floor(electionTick / 4), 1);
}

/** @throws RaftNodeError `invalidArgument`. */
export function completeTickInterval(input: number | undefined): number {
  const tickIntervalMs = input ?? DEFAULT_TICK_INTERVAL_MS;
  if (!(tickIntervalMs > 0)) throw invalid(`tickIntervalMs must be greater than 0, is ${tickIntervalMs}`);
  return tickIntervalMs;
}

function invalid(message: string): RaftNodeError {
  return new RaftNodeError("invalidArgument", message);
}
