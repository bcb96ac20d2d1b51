// How one node of a group behaves: raft-rs's Config, with etcd/raft's byte window, and with safe defaults.

import { ConfigInvalid } from "./errors.js";
import type { Trace } from "./trace.js";
import { type LogIndex, NO_LIMIT, NO_NODE, type NodeId } from "./types.js";

/** How a linearizable read is confirmed. `leaseBased` trusts clocks: see the field's documentation. */
export type ReadOnlyOption = "safe" | "leaseBased";

/**
 * All times are in ticks, all sizes in bytes of payload unless a field says otherwise.
 * Use {@link validateConfig} (the `RawNode` constructor does) before trusting one.
 */
export interface Config {
  /** This node's id inside the group; not 0. */
  readonly id: NodeId;
  /**
   * Ticks without a leader before an election may start; also the lease, the check-quorum period and the time
   * that a leadership transfer may take. Must be greater than `heartbeatTick`.
   */
  readonly electionTick: number;
  /** Ticks between two heartbeats of a leader; greater than 0. */
  readonly heartbeatTick: number;
  /** The last index that the state machine already holds; entries after it are handed out again. */
  readonly applied: LogIndex;
  /** Encoded entry bytes in one MsgAppend. At least one entry is always sent; 0 means exactly one. */
  readonly maxSizePerMsg: number;
  /** MsgAppends with entries that a replicating follower may leave unanswered; greater than 0. */
  readonly maxInflightMsgs: number;
  /** Entry bytes that a replicating follower may leave unanswered; at least `maxSizePerMsg`. From etcd/raft. */
  readonly maxInflightBytes: number;
  /** The leader steps down when it hears from no quorum for one election timeout; followers honour its lease. */
  readonly checkQuorum: boolean;
  /** Ask whether an election could be won before raising the term (thesis §9.6). */
  readonly preVote: boolean;
  /** Lower bound of the random election timeout, inclusive; 0 means `electionTick`. */
  readonly minElectionTick: number;
  /** Upper bound of the random election timeout, exclusive; 0 means 2 × `electionTick`. */
  readonly maxElectionTick: number;
  /**
   * `leaseBased` answers reads without a round trip, on the word of the lease: it requires `checkQuorum`, and a
   * clock that neither jumps nor stalls longer than the lease leaves room for.
   */
  readonly readOnlyOption: ReadOnlyOption;
  /** Do not send an empty MsgAppend only to tell followers of a new commit index. */
  readonly skipBcastCommit: boolean;
  /** Add new entries to a MsgAppend that still waits to be taken by `ready()`. */
  readonly batchAppend: boolean;
  /** A voter refuses a candidate of lower priority unless the candidate's log is longer. */
  readonly priority: bigint;
  /** Proposals are refused while this much entry data is uncommitted. An idle leader accepts any one. */
  readonly maxUncommittedSize: number;
  /** Entry bytes handed out as committed and not yet applied; paging starts beyond it. */
  readonly maxCommittedSizePerReady: number;
  /** Entries that a leader may apply ahead of its own disk. 0: nothing is applied that is not on this disk. */
  readonly maxApplyUnpersistedLogLimit: number;
  /** A follower refuses proposals instead of passing them to its leader. */
  readonly disableProposalForwarding: boolean;
  /** A leader that is removed or demoted becomes a follower at once. From etcd/raft. */
  readonly stepDownOnRemoval: boolean;
  /** ReadIndex requests kept waiting at most; more are refused. */
  readonly maxPendingReads: number;
  /**
   * A uniform random integer in `[min, max)`. The core's only source of chance: the same sequence of inputs and
   * draws gives the same behaviour, byte for byte.
   */
  readonly randomInt: (min: number, max: number) => number;
  /** Is told what the node decides. It must not call the node. */
  readonly trace: Trace | undefined;
}

const KIB = 1024;
const MIB = 1024 * KIB;

/** Every field but the two that have no sensible default. */
export const DEFAULT_CONFIG: Omit<Config, "id" | "randomInt"> = Object.freeze({
  electionTick: 10,
  heartbeatTick: 1,
  applied: 0n,
  maxSizePerMsg: MIB,
  maxInflightMsgs: 256,
  maxInflightBytes: 8 * MIB,
  checkQuorum: true,
  preVote: true,
  minElectionTick: 0,
  maxElectionTick: 0,
  readOnlyOption: "safe",
  skipBcastCommit: false,
  batchAppend: false,
  priority: 0n,
  maxUncommittedSize: 64 * MIB,
  maxCommittedSizePerReady: 16 * MIB,
  maxApplyUnpersistedLogLimit: 0,
  disableProposalForwarding: false,
  stepDownOnRemoval: true,
  maxPendingReads: 65_536,
  trace: undefined,
});

/** What must be given: an id and a source of chance. Everything else has a default. */
export type ConfigInput = Pick<Config, "id" | "randomInt"> & Partial<Config>;

/**
 * Completes and checks a configuration.
 * @throws ConfigInvalid naming the field, the value, and what is allowed.
 */
export function validateConfig(input: ConfigInput): Config {
  const config: Config = { ...DEFAULT_CONFIG, ...input };
  refuse(config.id <= NO_NODE, `id must be greater than 0, is ${config.id}`);
  requireTicks("heartbeatTick", config.heartbeatTick, 1);
  requireTicks("electionTick", config.electionTick, config.heartbeatTick + 1);
  const minTick = minElectionTick(config);
  const maxTick = maxElectionTick(config);
  requireTicks("minElectionTick", minTick, config.electionTick);
  requireTicks("maxElectionTick", maxTick, minTick + 1);
  requireTicks("maxInflightMsgs", config.maxInflightMsgs, 1);
  requireTicks("maxPendingReads", config.maxPendingReads, 1);
  requireLimit("maxSizePerMsg", config.maxSizePerMsg, 0);
  requireLimit("maxInflightBytes", config.maxInflightBytes, config.maxSizePerMsg);
  requireLimit("maxUncommittedSize", config.maxUncommittedSize, config.maxSizePerMsg);
  requireLimit("maxCommittedSizePerReady", config.maxCommittedSizePerReady, 0);
  requireLimit("maxApplyUnpersistedLogLimit", config.maxApplyUnpersistedLogLimit, 0);
  refuse(
    config.readOnlyOption === "leaseBased" && !config.checkQuorum,
    "readOnlyOption leaseBased requires checkQuorum: without it nobody honours the lease",
  );
  return config;
}

/** The lower bound in force. raft-rs: `Config::min_election_tick`. */
export function minElectionTick(config: Config): number {
  return config.minElectionTick === 0 ? config.electionTick : config.minElectionTick;
}

/** The upper bound in force, exclusive. raft-rs: `Config::max_election_tick`. */
export function maxElectionTick(config: Config): number {
  return config.maxElectionTick === 0 ? 2 * config.electionTick : config.maxElectionTick;
}

function requireTicks(field: string, value: number, least: number): void {
  refuse(
    !Number.isSafeInteger(value) || value < least,
    `${field} must be a whole number of at least ${least}, is ${value}`,
  );
}

function requireLimit(field: string, value: number, least: number): void {
  const isCount = Number.isSafeInteger(value) || value === NO_LIMIT;
  refuse(
    !isCount || value < least,
    `${field} must be a whole number of at least ${least}, or NO_LIMIT; is ${value}`,
  );
}

function refuse(condition: boolean, message: string): void {
  if (condition) throw new ConfigInvalid(message);
}
