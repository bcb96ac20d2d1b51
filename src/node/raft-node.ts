// A node of a Raft group, as an embedder uses it: propose commands, read linearizably, change the membership.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { LogIndex, NodeId } from "../core/types.js";
import { type ConfChangeV2, ConfChangeV2Schema, ConfStateSchema } from "../gen/eraftpb_pb.js";
import type { CallOptions } from "./calls.js";
import { NodeRemoved, RaftNodeError } from "./errors.js";
import type { EventStream, EventStreamOptions } from "./event-stream.js";
import type { NodeEvents } from "./events.js";
import { type InitialMember, initialize } from "./initialize.js";
import {
  type CompactedLog,
  type CompactLogOptions,
  compactLog,
  type OpenSnapshot,
  type OpenSnapshotOptions,
  openSnapshot,
  takeSnapshot,
} from "./maintenance.js";
import { confStateOf, isMember, isVoter, type Membership, wasRemoved } from "./membership.js";
import {
  checkMembershipChange,
  encodeMembershipChange,
  type MembershipChange,
  type MembershipOptions,
} from "./membership-change.js";
import { stepsTo, type TargetMember } from "./membership-target.js";
import type { NodeMetricsView } from "./metrics.js";
import { type RaftNodeOptions, SILENT } from "./options.js";
import type { Cancel, Snapshot } from "./ports.js";
import type { ProposeOptions, ProposeResult } from "./proposals.js";
import type { ReadIndexOptions } from "./reads.js";
import { recover } from "./recovery.js";
import { notLeader, proposalRefused } from "./refusals.js";
import { Runtime } from "./runtime.js";
import type { NodeStatus } from "./status.js";
import { drain, handOver, type StopOptions, stopInOrder } from "./stopping.js";
import { mostUpToDate } from "./transfer.js";

const MAX_NODE_ID = 2n ** 64n - 1n;

export class RaftNode implements AsyncDisposable {
  /** Resolves when `stop` has closed everything, whether or not all of it closed well. */
  readonly stopped: Promise<void>;
  /** Resolves if the node breaks: a disk write failed, the state machine threw, an invariant was violated. */
  readonly fatal: Promise<Error>;
  readonly #runtime: Runtime;
  #resolveStopped: () => void = () => {};
  #stopping: Promise<void> | undefined;

  private constructor(runtime: Runtime) {
    this.#runtime = runtime;
    this.fatal = runtime.fatal;
    this.stopped = new Promise((resolve) => {
      this.#resolveStopped = resolve;
    });
  }

  /**
   * Brings state machine and log together and starts the node, which owns both from now on, and the transport. When
   * this rejects, they are still open and the caller's.
   * @throws RaftNodeError `invalidArgument` naming the option.
   * @throws NodeRemoved when this node was removed from its group before it stopped.
   * @throws InvariantViolation when log, state and snapshots do not fit together.
   */
  static async start(options: RaftNodeOptions): Promise<RaftNode> {
    if (options.id <= 0n || options.id > MAX_NODE_ID) {
      throw new RaftNodeError("invalidArgument", `id must lie in [1, ${MAX_NODE_ID}], is ${options.id}`);
    }
    const { log, snapshots, stateMachine, logger = SILENT } = options;
    const membership = await recover({ log, snapshots, stateMachine, logger });
    if (wasRemoved(membership, options.id)) throw new NodeRemoved(options.id, membership.index);
    const runtime = new Runtime(options, membership);
    runtime.begin();
    return new RaftNode(runtime);
  }

  get id(): NodeId {
    return this.#runtime.options.id;
  }

  get clusterId(): string {
    return this.#runtime.options.clusterId;
  }

  get isLeader(): boolean {
    return this.#runtime.isLeader;
  }

  /** As this node sees it; it may be behind. */
  get leaderId(): NodeId | undefined {
    return this.#runtime.leaderId;
  }

  get leaderAddress(): string | undefined {
    const { leaderId } = this;
    return leaderId === undefined ? undefined : this.membership.addresses.get(leaderId);
  }

  /** Voter or learner of a cluster, as of what is applied here. */
  get isMember(): boolean {
    return isMember(this.membership, this.id);
  }

  /** As of what is applied here. */
  get membership(): Membership {
    return this.#runtime.peers.membership;
  }

  get metrics(): NodeMetricsView {
    return this.#runtime.metrics.view();
  }

  /**
   * Puts a command into the log and returns what the state machine made of it. Only on the leader.
   * `data` is 1 to `limits.maxProposalBytes` bytes, and must not be changed before the call has ended.
   * @throws RaftNodeError: `notLeader`, `proposalDropped`, `inboxFull`, `noSpace`, `tooLarge`, `invalidArgument`: not
   *   applied.
   *   `outcomeUnknown`, `deadlineExceeded`, `aborted`, `nodeStopped`: may or may not be applied, now or later.
   */
  propose(data: Uint8Array, options?: ProposeOptions): Promise<ProposeResult> {
    // Not async: that would cost two promises more for each.
    try {
      this.#runtime.requireRunning();
      return this.#runtime.proposals.submit(data, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Resolves when the state machine here contains every write that was acknowledged anywhere before this call; the
   * state may then be read directly. On any member. Returns the index that this took. (Thesis §6.4.) With
   * `maxStalenessMs` or `lease` it may resolve at once; see there. Asked again of the next leader if there is a new one
   * meanwhile.
   * @throws RaftNodeError: `noLeader` at the deadline, and at once on a leader that is deposed because it is cut off; `deadlineExceeded`, `inboxFull`, `aborted`, `nodeStopped`, `readDropped`.
   */
  async readIndex(options?: ReadIndexOptions): Promise<LogIndex> {
    this.#runtime.requireRunning();
    return this.#runtime.reads.submit(options);
  }

  /** Resolves with the leader's id as soon as this node knows one. @throws RaftNodeError `noLeader`. */
  async leaderKnown(options?: CallOptions): Promise<NodeId> {
    this.#runtime.requireRunning();
    return this.#runtime.leaderWaits.submit(options);
  }

  /**
   * Begins a group: this node, which waits with an empty log, becomes a voter of these members, as if it had been started
   * with them. When this resolves, the node will remember it. It is enough to ask one node: it wins the votes of the
   * others while they wait, and brings them in. Asking each of them with the same members, in any order and as often
   * as one likes, leads to the same group; with different members, it could lead to two. Not for a node of a living group
   * that has lost its disk: it forgot its votes.
   * @throws RaftNodeError `invalidArgument` for members that make no sense; `membershipRefused` when the node belongs to
   *   a group of other members already: nothing has changed. `deadlineExceeded` and `aborted`: it may or may not
   *   have begun; asking again tells. `nodeStopped`.
   */
  async initialize(members: readonly InitialMember[], options?: CallOptions): Promise<Membership> {
    this.#runtime.requireRunning();
    return initialize(this.#runtime, members, options);
  }

  /**
   * Changes who belongs to the group. One step is taken directly, several at once through joint consensus, which
   * raft leaves by itself; resolves when it has. Only on the leader. One that has just been elected first waits until
   * it has applied an entry of its own term: before that it cannot know whether another change is under way.
   * @throws RaftNodeError `membershipRefused`: nothing has changed, the message says why; `noLeader` and `readDropped`
   *   when a new leader was deposed meanwhile; else as `propose`.
   */
  async changeMembership(change: MembershipChange, options?: MembershipOptions): Promise<Membership> {
    this.#judgeChange(change, options);
    const { clock } = this.#runtime;
    const begunMs = clock.nowMs();
    if (!this.#runtime.hasAppliedInTerm()) await this.readIndex(options);
    const membership = this.#judgeChange(change, options);
    const { confChanges } = this.#leading();
    const encoded = encodeMembershipChange(change, membership, this.#requestId());
    const waitedMs = clock.nowMs() - begunMs;
    const deadlineMs =
      options?.deadlineMs === undefined ? undefined : Math.max(1, options.deadlineMs - waitedMs);
    return confChanges.submit(encoded, true, { ...options, deadlineMs });
  }

  /** The membership that it was judged by. @throws RaftNodeError `membershipRefused`, `notLeader` */
  #judgeChange(change: MembershipChange, options: MembershipOptions | undefined): Membership {
    const { peers, limits } = this.#leading();
    const { membership } = peers;
    const { progress = [], lastIndex } = this.#runtime.coreStatus();
    checkMembershipChange(change, {
      membership,
      progress,
      lastIndex,
      isActive: (id) => peers.isActive(id),
      maxLagEntries: limits.maxPromoteLagEntries,
      force: options?.force === true,
    });
    return membership;
  }

  /**
   * Changes the membership to this one, in one change; resolves at once when it is this one already, so that repeating
   * the call is harmless. Members that are not named are removed. Only on the leader.
   * @throws RaftNodeError as `changeMembership`; `membershipRefused` without `force` also for new voters that were no
   *   learners before.
   */
  async changeMembershipTo(
    members: readonly TargetMember[],
    options?: MembershipOptions,
  ): Promise<Membership> {
    const { membership } = this.#leading().peers;
    const steps = stepsTo(members, membership, options?.force === true);
    return steps.length === 0 ? membership : this.changeMembership(steps, options);
  }

  /** Adds a node that receives the log and has no vote. */
  addLearner(id: NodeId, address: string, options?: MembershipOptions): Promise<Membership> {
    return this.changeMembership([{ type: "addLearner", id, address }], options);
  }

  /** Makes a learner that has caught up a voter; with `force` also one that lags. */
  promote(id: NodeId, options?: MembershipOptions): Promise<Membership> {
    return this.changeMembership([{ type: "promote", id }], options);
  }

  /** Removes a member; with `force` also if the remaining voters that answer now are no majority. */
  removeNode(id: NodeId, options?: MembershipOptions): Promise<Membership> {
    return this.changeMembership([{ type: "remove", id }], options);
  }

  /** Tells everybody that a member is reached elsewhere from now on. */
  updateAddress(id: NodeId, address: string, options?: MembershipOptions): Promise<Membership> {
    return this.changeMembership([{ type: "updateAddress", id, address }], options);
  }

  /**
   * Proposes an encoded ConfChangeV2 as it is, without the checks of `changeMembership`; its context is an encoded
   * MembershipContext. Returns the encoded ConfState that holds when it has been applied here. Only on the leader.
   * @throws RaftNodeError as `changeMembership`.
   */
  async proposeConfChange(encoded: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    const { confChanges } = this.#leading();
    let change: ConfChangeV2;
    try {
      change = fromBinary(ConfChangeV2Schema, encoded);
    } catch (error) {
      throw new RaftNodeError("invalidArgument", "the data is no encoded ConfChangeV2", { cause: error });
    }
    const membership = await confChanges.submit(change, false, options);
    return toBinary(ConfStateSchema, confStateOf(membership));
  }

  /**
   * Hands leadership to a voter; without a name, to the one that has most of the log. Resolves when it leads, as
   * this node sees it. Works on any node if `to` is named: followers pass the wish on.
   * @throws RaftNodeError `invalidArgument` when `to` is no voter, `proposalDropped` while another transfer is under
   *   way, `notLeader` without `to` on a follower, `deadlineExceeded`: it may still happen.
   */
  async transferLeadership(to?: NodeId, options?: CallOptions): Promise<NodeId> {
    this.#runtime.requireRunning();
    return this.#transfer(to, options);
  }

  /**
   * Asks the leader for a snapshot in place of the log; resolves when the wish is on its way. Only on a follower.
   * @throws RaftNodeError `proposalDropped` when it cannot be asked for now.
   */
  async requestSnapshot(): Promise<void> {
    this.#runtime.requireRunning();
    const outcome = this.#runtime.requestSnapshot();
    if (!outcome.accepted) throw proposalRefused(outcome.reason, this.leaderId);
  }

  /**
   * Makes a snapshot of the state machine here; it contains everything that was applied here before this call, and its
   * body is durable. On any node that has a state.
   * @throws RaftNodeError `deadlineExceeded` and `aborted`: it is made all the same; `readDropped` on a node that waits
   *   to be added to a cluster; `nodeStopped`. What the state machine or the disk throws.
   */
  async takeSnapshot(options?: CallOptions): Promise<Snapshot> {
    this.#runtime.requireRunning();
    return takeSnapshot(this.#runtime, options);
  }

  /**
   * Opens the newest snapshot here, or a new one; see the options. Whoever reads the body from one end to the other
   * learns whether it is intact. The reader keeps the file on the disk until it is closed.
   * @throws as `takeSnapshot`.
   */
  async openSnapshot(options: OpenSnapshotOptions = {}): Promise<OpenSnapshot> {
    this.#runtime.requireRunning();
    return openSnapshot(this.#runtime, options);
  }

  /**
   * Cuts the log here, never beyond what could be brought back without it: what the state machine holds durably or, where
   * snapshots are always made, the newest of them. Peers that need what was cut are sent a snapshot.
   * @throws RaftNodeError `deadlineExceeded` and `aborted`: what was begun goes on; `nodeStopped`.
   */
  async compact(options: CompactLogOptions = {}): Promise<CompactedLog> {
    this.#runtime.requireRunning();
    return compactLog(this.#runtime, options);
  }

  /** What this node knows now. Never waits. */
  status(): NodeStatus {
    const runtime = this.#runtime;
    const { options, peers } = runtime;
    const core = runtime.coreStatus();
    const { id, clusterId, stateMachine, snapshots } = options;
    return {
      id,
      clusterId,
      state: runtime.state,
      role: runtime.role,
      term: core.hardState.term,
      vote: core.hardState.vote === 0n ? undefined : core.hardState.vote,
      leaderId: this.leaderId,
      leaderAddress: this.leaderAddress,
      firstIndex: core.firstIndex,
      lastIndex: core.lastIndex,
      persisted: core.persisted,
      commit: core.hardState.commit,
      applied: stateMachine.appliedIndex,
      snapshotIndex: snapshots.latest()?.metadata?.index ?? 0n,
      membership: peers.membership,
      member: isMember(peers.membership, id),
      promotable: core.promotable,
      transferringTo: core.leadTransferee,
      progress: core.progress ?? [],
      pendingProposals: runtime.proposals.count,
      pendingReads: runtime.reads.count,
      inboxMessages: runtime.inbox.size,
      readysInFlight: runtime.readysInFlight,
      space: runtime.space,
    };
  }

  /** `listener` runs inside the node's own turn: it must be quick, and what it throws is only logged. */
  on<K extends keyof NodeEvents>(event: K, listener: (event: NodeEvents[K]) => void): Cancel {
    return this.#runtime.events.on(event, listener);
  }

  /**
   * The events from now on, to be read at leisure: `for await (const { leaderId } of node.events("leader", { signal }))`.
   * When more than `capacity` wait, the oldest give way. Ends when the node has stopped or failed, or `signal` fires.
   * @throws RaftNodeError `invalidArgument` for a capacity out of range.
   */
  events<K extends keyof NodeEvents>(event: K, options: EventStreamOptions = {}): EventStream<NodeEvents[K]> {
    return this.#runtime.events.stream(event, options);
  }

  /**
   * What a leader does before it goes: hands leadership to the voter that has most of the log, and lets what was
   * proposed here before end. Does nothing on other nodes. Never rejects: what could not be done in time is logged,
   * and then the others hold an election. `deadlineMs` is for either part; default: one election timeout.
   */
  async handOver(options?: { readonly deadlineMs?: number | undefined }): Promise<void> {
    const runtime = this.#runtime;
    const deadlineMs = options?.deadlineMs ?? runtime.electionTimeoutMs;
    if (runtime.state !== "running") return;
    const done = await handOver(runtime, (to, call) => this.#transfer(to, call), deadlineMs);
    if (done) await drain(runtime, deadlineMs);
  }

  /**
   * Hands leadership over if this node has it, ends what is pending with `nodeStopped`, and closes transport, log and
   * state machine, in that order. Calling it again returns the same promise.
   * @throws AggregateError of what did not close in time; `stopped` resolves all the same.
   */
  stop(options?: StopOptions): Promise<void> {
    this.#stopping ??= stopInOrder(this.#runtime, (to, call) => this.#transfer(to, call), options).finally(
      () => {
        this.#runtime.events.end();
        this.#resolveStopped();
      },
    );
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #leading(): Runtime {
    this.#runtime.requireRunning();
    if (!this.isLeader) throw notLeader(this.leaderId);
    return this.#runtime;
  }

  async #transfer(to: NodeId | undefined, options: CallOptions | undefined): Promise<NodeId> {
    const { peers, transfers } = this.#runtime;
    if (to === undefined && !this.isLeader) throw notLeader(this.leaderId);
    const target =
      to ?? mostUpToDate(this.#runtime.coreStatus().progress ?? [], this.id, (id) => peers.isActive(id));
    if (target === undefined) {
      throw new RaftNodeError("invalidArgument", "there is no other voter that could lead");
    }
    if (!isVoter(peers.membership, target)) {
      throw new RaftNodeError("invalidArgument", `node ${target} is no voter and cannot lead`);
    }
    if (this.leaderId === target) return target;
    return transfers.submit(target, options);
  }

  /** 16 random bytes: no two requests have the same. */
  #requestId(): Uint8Array {
    return Uint8Array.from({ length: 16 }, () => this.#runtime.randomInt(0, 256));
  }
}
