// The inside of a node: its parts and its turns. Everything from outside only queues up and wakes the node; in its
// next turn the node gives it all to the core at once, and the Ready loop deals with what comes out.

import { randomInt as cryptoRandomInt } from "node:crypto";
import { RawNode } from "../core/raw-node.js";
import type { Status } from "../core/status.js";
import {
  minOf,
  NO_NODE,
  type NodeId,
  type SoftState,
  type StateRole,
  type StepOutcome,
  type Term,
} from "../core/types.js";
import { type Entry, EntryType, type HardState } from "../gen/eraftpb_pb.js";
import { Applier, type ApplyObserver } from "./applier.js";
import { type CallKind, Calls } from "./calls.js";
import { ConfChanges } from "./conf-changes.js";
import { RaftNodeError } from "./errors.js";
import { EventHub } from "./events.js";
import { Inbox } from "./inbox.js";
import { LeaderWaits } from "./leader-waits.js";
import { isLearner, type Membership, wasRemoved } from "./membership.js";
import { MessageGate } from "./message-gate.js";
import { NodeMetrics } from "./metrics.js";
import {
  completeCompaction,
  completeLimits,
  completeTickInterval,
  leaseMs,
  maxTicksAtOnce,
  type NodeLimits,
  type RaftNodeOptions,
  raftConfig,
  SILENT,
} from "./options.js";
import { NodeInbox } from "./peer-inbox.js";
import { Peers } from "./peers.js";
import type { Cancel, Clock, Logger, PeerTransport, Snapshot, SpaceState } from "./ports.js";
import { Proposals } from "./proposals.js";
import { Reads } from "./reads.js";
import { ReadyLoop } from "./ready-loop.js";
import { nodeStopped } from "./refusals.js";
import { SlowWatch } from "./slow-watch.js";
import { installBody, isBirth, openBody, restoreFrom, Snapshotting } from "./snapshotting.js";
import type { NodeRole, NodeState } from "./status.js";
import { systemClock } from "./system-clock.js";
import { Ticker } from "./ticker.js";
import { Transfers } from "./transfer.js";

const REMOVED = "it was removed from its group and takes no part any more";

export class Runtime {
  readonly limits: NodeLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly randomInt: (min: number, max: number) => number;
  readonly electionTimeoutMs: number;
  readonly metrics = new NodeMetrics();
  readonly events: EventHub;
  readonly calls: Calls;
  readonly peers: Peers;
  readonly inbox: Inbox;
  readonly proposals: Proposals;
  readonly confChanges: ConfChanges;
  readonly reads: Reads;
  readonly transfers: Transfers;
  readonly leaderWaits: LeaderWaits;
  readonly snapshotting: Snapshotting;
  readonly fatal: Promise<Error>;
  state: NodeState = "running";

  readonly #node: RawNode;
  readonly #gate: MessageGate;
  readonly #transport: PeerTransport;
  readonly #appendWatch: SlowWatch;
  readonly #applyWatch: SlowWatch;
  readonly #applier: Applier;
  readonly #ticker: Ticker;
  readonly #loop: ReadyLoop;
  readonly #unwatchSpace: Cancel | undefined;
  #resolveFatal: (error: Error) => void = () => {};
  #closing: Promise<void> | undefined;
  #error: Error | undefined;
  #softState: SoftState;
  #term: Term;
  /** As it was told last. */
  #space: SpaceState = "ok";
  #scheduled = false;
  /** Nothing is taken in, sent or acknowledged any more. */
  #ended = false;

  constructor(
    readonly options: RaftNodeOptions,
    membership: Membership,
  ) {
    const { id, log, stateMachine } = options;
    this.limits = completeLimits(options.limits);
    this.clock = options.clock ?? systemClock;
    this.logger = options.logger ?? SILENT;
    this.randomInt = options.randomInt ?? cryptoRandomInt;
    const tickIntervalMs = completeTickInterval(options.tickIntervalMs);
    // A crash may lose the newest commit index, which is written lazily: then the state is ahead of it, and what
    // lies between is handed out again.
    const applied = minOf(stateMachine.appliedIndex, log.storage.initialState().hardState.commit);
    const config = raftConfig(options, applied, this.randomInt);
    this.electionTimeoutMs = config.electionTick * tickIntervalMs;
    this.#node = new RawNode(config, log.storage);
    const { softState, hardState } = this.#node.status();
    this.#softState = softState;
    this.#term = hardState.term;
    this.fatal = new Promise((resolve) => {
      this.#resolveFatal = resolve;
    });
    this.events = new EventHub(this.logger);
    this.calls = new Calls(this.clock, this.limits.defaultDeadlineMs, this.metrics);
    this.inbox = new Inbox({
      capacityMessages: this.limits.inboxCapacityMessages,
      capacityBytes: this.limits.inboxCapacityBytes,
    });
    this.peers = new Peers({
      id,
      clock: this.clock,
      membership,
      activeMs: this.electionTimeoutMs,
      farewellMs: this.electionTimeoutMs,
    });
    const shared = {
      calls: this.calls,
      clock: this.clock,
      metrics: this.metrics,
      leaderId: () => this.leaderId,
      wake: () => this.wake(),
    };
    this.proposals = new Proposals({
      ...shared,
      maxPending: this.limits.maxPendingProposals,
      maxPendingBytes: this.limits.maxPendingProposalBytes,
      maxProposalBytes: this.limits.maxProposalBytes,
      batchBytes: this.limits.proposalBatchBytes,
      leading: () => this.isLeader,
      space: () => this.space,
      term: () => this.#term,
    });
    this.leaderWaits = new LeaderWaits(shared);
    this.confChanges = new ConfChanges(shared);
    this.reads = new Reads({
      ...shared,
      id,
      maxPending: this.limits.maxPendingReads,
      retryMs: this.electionTimeoutMs,
      randomInt: this.randomInt,
      appliedIndex: () => stateMachine.appliedIndex,
      committedIndex: () => this.#node.raft.log.committed,
      leaseMs: leaseMs(config, tickIntervalMs, options.leaseReads),
      leading: () => this.isLeader,
      term: () => this.#term,
    });
    // At its first start a node cannot have helped anybody to a lease.
    const mayHaveGrantedLease = options.leaseReads === true && hardState.term > 1n;
    this.#gate = new MessageGate({
      clock: this.clock,
      logger: this.logger,
      metrics: this.metrics,
      peers: this.peers,
      reads: this.reads,
      space: () => this.space,
      votesFromMs: mayHaveGrantedLease ? this.clock.nowMs() + this.electionTimeoutMs : 0,
    });
    // A little later than the core gives up.
    this.transfers = new Transfers({ ...shared, retryMs: this.electionTimeoutMs + 2 * tickIntervalMs });
    this.#appendWatch = new SlowWatch({
      clock: this.clock,
      slowMs: this.limits.slowAppendMs,
      count: () => this.metrics.count("slowAppends"),
      tell: (durationMs, state) =>
        this.logger.warn({ durationMs }, `the disk is slow: a write of the log ${state}`),
    });
    this.#applyWatch = new SlowWatch({
      clock: this.clock,
      slowMs: this.limits.slowApplyMs,
      count: () => this.metrics.count("slowApplies"),
      tell: (durationMs, state) =>
        this.logger.warn({ durationMs }, `the state machine is slow: a call ${state}`),
    });
    this.#applier = this.#makeApplier();
    this.snapshotting = this.#makeSnapshotting();
    this.#ticker = new Ticker({
      clock: this.clock,
      tickIntervalMs,
      maxTicksAtOnce: maxTicksAtOnce(config),
      wake: () => this.wake(),
      stalled: (stalledMs, skippedTicks) => this.#stalled(stalledMs, skippedTicks),
    });
    log.onSnapshotWanted = (index, to) => this.snapshotting.want(index, to);
    this.#unwatchSpace = log.space?.watch((state) => this.#spaceLookedAt(state));
    this.#transport = options.transport(
      new NodeInbox({
        id,
        inbox: this.inbox,
        peers: this.peers,
        metrics: this.metrics,
        open: () => !this.#ended,
        wake: () => this.wake(),
      }),
    );
    this.#loop = this.#makeLoop();
  }

  begin(): void {
    this.peers.connect(this.#transport);
    this.#ticker.start();
    this.wake();
  }

  get isLeader(): boolean {
    return this.#softState.raftState === "leader";
  }

  get leaderId(): NodeId | undefined {
    const { leaderId } = this.#softState;
    return leaderId === NO_NODE ? undefined : leaderId;
  }

  get term(): Term {
    return this.#term;
  }

  get role(): NodeRole {
    return this.#roleOf(this.#softState.raftState);
  }

  get space(): SpaceState {
    return this.options.log.space?.state ?? "ok";
  }

  get readysInFlight(): number {
    return this.#loop.inFlight;
  }

  coreStatus(): Status {
    return this.#node.status();
  }

  /** Of a leader: it knows of every membership change that was begun before it led. */
  hasAppliedInTerm(): boolean {
    const { applied, hardState } = this.#node.status();
    return this.options.log.storage.term(applied) === hardState.term;
  }

  /** @throws RaftNodeError `nodeStopped`, unless the node takes calls. */
  requireRunning(): void {
    switch (this.state) {
      case "running":
        if (wasRemoved(this.peers.membership, this.options.id)) {
          throw nodeStopped(`${REMOVED}; nothing was done; go to another node`);
        }
        return;
      case "failed":
        throw nodeStopped(`it failed before: ${this.#error?.message ?? "unknown"}; nothing was done`);
      case "stopping":
      case "stopped":
        throw nodeStopped("nothing was done; go to another node");
    }
  }

  requestSnapshot(): StepOutcome {
    const outcome = this.#node.requestSnapshot();
    this.wake();
    return outcome;
  }

  /** Takes over what begins a group, unless this node has heard of one. Returns whether it did. */
  beBorn(birth: Snapshot): boolean {
    const { hardState, lastIndex } = this.#node.status();
    if (hardState.term > 0n || lastIndex > 0n || !this.#node.restore(birth)) return false;
    this.wake();
    return true;
  }

  /** The node takes its next turn when the events that wait now have been handled. */
  wake(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    this.clock.soon(() => this.#turn());
  }

  /** Something is broken. Nothing is acknowledged after this; the node only waits to be stopped. */
  fail(cause: unknown): void {
    if (this.#ended) return;
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.state = "failed";
    this.#error = error;
    this.logger.error({ error }, "the node stops working: it cannot go on without risking acknowledged data");
    void this.#end((kind) =>
      kind === "read"
        ? new RaftNodeError("readDropped", `the node failed: ${error.message}`, { cause: error })
        : new RaftNodeError("outcomeUnknown", `the node failed: ${error.message}`, { cause: error }),
    );
    void this.closeTransport().catch((failure: unknown) => {
      this.logger.warn({ error: failure }, "the transport did not close after the node failed");
    });
    this.events.emit("fatal", { error });
    this.events.end();
    this.#resolveFatal(error);
  }

  /** Ends what is pending and resolves when the disk and the state machine are left alone. */
  async shutDown(): Promise<void> {
    await this.#end(() => nodeStopped("what was proposed before may or may not be applied"));
  }

  closeTransport(): Promise<void> {
    this.#closing ??= this.#transport.close();
    return this.#closing;
  }

  async #end(errorOf: (kind: CallKind) => RaftNodeError): Promise<void> {
    this.#ended = true;
    this.#ticker.stop();
    this.#unwatchSpace?.();
    this.#loop.halt();
    this.peers.close();
    const halted = this.#applier.halt();
    const snapshotsHalted = this.snapshotting.halt();
    this.calls.failAll(errorOf);
    await halted;
    await snapshotsHalted;
  }

  #makeApplier(): Applier {
    const { log, stateMachine, snapshots } = this.options;
    return new Applier({
      node: this.#node,
      log,
      stateMachine,
      membership: () => this.peers.membership,
      openBody: (snapshot) => openBody(snapshot, snapshots),
      restore: (snapshot, body) => restoreFrom(snapshot, body, stateMachine),
      observer: this.#applyObserver(),
      clock: this.clock,
      metrics: this.metrics,
      maxBatchEntries: this.limits.maxApplyBatchEntries,
      applyWatch: this.#applyWatch,
      fail: (error) => this.fail(error),
    });
  }

  #makeSnapshotting(): Snapshotting {
    const { log, stateMachine, snapshots, compaction } = this.options;
    return new Snapshotting({
      log,
      snapshots,
      stateMachine,
      applier: this.#applier,
      membership: () => this.peers.membership,
      progress: () => (this.isLeader ? (this.coreStatus().progress ?? []) : []),
      isActive: (id) => this.peers.isActive(id),
      compaction: completeCompaction(compaction),
      clock: this.clock,
      logger: this.logger,
      metrics: this.metrics,
      created: ({ metadata }) =>
        this.events.emit("snapshot", {
          kind: "created",
          index: metadata?.index ?? 0n,
          term: metadata?.term ?? 0n,
        }),
      fail: (error) => this.fail(error),
    });
  }

  #makeLoop(): ReadyLoop {
    const { log, snapshots } = this.options;
    return new ReadyLoop({
      node: this.#node,
      log,
      transport: this.#transport,
      installBody: (snapshot) => installBody(snapshot, snapshots),
      applier: this.#applier,
      reads: this.reads,
      clock: this.clock,
      metrics: this.metrics,
      maxInFlight: this.limits.maxReadysInFlight,
      appendWatch: this.#appendWatch,
      stateChanged: (soft, hard) => this.#stateChanged(soft, hard),
      wake: () => this.wake(),
      fail: (error) => this.fail(error),
    });
  }

  #turn(): void {
    this.#scheduled = false;
    if (this.#ended) return;
    // At least once a tick.
    this.#appendWatch.look();
    this.#applyWatch.look();
    try {
      this.#loop.turn(() => {
        if (this.#loop.hasRoom) this.#feedCore();
      });
    } catch (error) {
      this.fail(error);
    }
  }

  /** Messages before ticks: a heartbeat that waits here must count before the time that passed meanwhile does. */
  #feedCore(): void {
    for (const message of this.inbox.takeMessages()) {
      const accepted = this.#gate.lets(message) && this.#node.step(message).accepted;
      if (!accepted) this.metrics.count("messagesDropped");
    }
    for (const report of this.inbox.takeReports()) {
      if (report.kind === "unreachable") this.#node.reportUnreachable(report.id);
      else this.#node.reportSnapshot(report.id, report.delivered ? "finish" : "failure");
    }
    for (let due = this.#ticker.take(); due > 0; due -= 1) {
      this.metrics.count("ticks");
      this.#node.tick();
    }
    this.proposals.flush(this.#node);
    this.confChanges.flush(this.#node);
    this.reads.flush(this.#node);
    this.transfers.flush(this.#node);
    if (this.transfers.underWay) this.reads.forfeitLease();
  }

  #applyObserver(): ApplyObserver {
    return {
      entryApplied: (entry: Entry, result) => {
        this.proposals.applied(entry, result);
        if (entry.entryType === EntryType.EntryNormal) this.confChanges.passed(entry);
      },
      membershipApplied: (membership) => this.#adopt(membership),
      confChangeApplied: (entry, outcome) => {
        if (outcome.kind === "refused") {
          this.logger.warn({ index: entry.index, error: outcome.error }, "a membership change did not fit");
        }
        this.confChanges.applied(entry, outcome);
        this.#leaveIfRemoved();
      },
      snapshotApplied: (snapshot, membership) => {
        const { metadata } = snapshot;
        const index = metadata?.index ?? 0n;
        if (isBirth(snapshot)) {
          this.#adopt(membership);
          return;
        }
        this.metrics.count("snapshotsInstalled");
        this.logger.info({ index }, "the state was replaced by a snapshot of the leader's");
        this.proposals.passedBySnapshot(index);
        this.confChanges.passedBySnapshot(index);
        this.#adopt(membership);
        this.confChanges.settle(membership);
        this.#leaveIfRemoved();
        this.events.emit("snapshot", { kind: "installed", index, term: metadata?.term ?? 0n });
      },
      progressed: (index) => {
        this.reads.applied();
        this.snapshotting.progressed(index);
        this.#loop.run();
      },
    };
  }

  /** Whatever waits here would wait in vain: no leader tells this node anything any more. */
  #leaveIfRemoved(): void {
    if (!wasRemoved(this.peers.membership, this.options.id)) return;
    this.calls.failAll((kind) =>
      nodeStopped(
        kind === "proposal" || kind === "membership"
          ? `${REMOVED}; what was proposed before may or may not be applied; go to another node`
          : `${REMOVED}; go to another node`,
      ),
    );
  }

  #adopt(membership: Membership): void {
    const roleBefore = this.role;
    const removed = this.peers.adopt(membership);
    this.reads.membershipChanged();
    this.metrics.count("membershipChanges");
    const told = { index: membership.index, voters: membership.voters.map(String) };
    if (removed) this.logger.warn(told, "this node was removed from its group: it only waits to be stopped");
    else this.logger.info(told, "the membership has changed");
    this.events.emit("membership", { membership, removed });
    if (this.role !== roleBefore) this.events.emit("role", { role: this.role, term: this.#term });
  }

  #stateChanged(softState: SoftState | undefined, hardState: HardState | undefined): void {
    const isNewTerm = hardState !== undefined && hardState.term !== this.#term;
    if (hardState !== undefined) this.#term = hardState.term;
    if (softState === undefined) return;
    const before = this.#softState;
    this.#softState = softState;
    const term = this.#term;
    // In a new term somebody else is about to lead, and reads go on there.
    if (before.raftState === "leader" && softState.raftState !== "leader" && !isNewTerm) this.reads.cutOff();
    if (softState.leaderId !== before.leaderId) {
      const { leaderId } = this;
      this.metrics.count("leaderChanges");
      this.logger.info({ leaderId: leaderId?.toString(), term: term.toString() }, "the leader changed");
      this.reads.leaderChanged();
      this.transfers.leaderChanged();
      this.leaderWaits.leaderChanged();
      this.events.emit("leader", { leaderId, term });
      this.wake();
    }
    if (softState.raftState !== before.raftState) this.events.emit("role", { role: this.role, term });
  }

  #roleOf(raftState: StateRole): NodeRole {
    const learner = raftState === "follower" && isLearner(this.peers.membership, this.options.id);
    return learner ? "learner" : raftState;
  }

  #spaceLookedAt(state: SpaceState): void {
    this.snapshotting.spaceLookedAt(state);
    if (state === this.#space) return;
    this.#space = state;
    if (state === "ok") this.logger.info({}, "there is room for the log again: commands are taken");
    else this.logger.error({ state }, "the log is running out of space: new commands are refused");
    this.events.emit("space", { state });
  }

  #stalled(stalledMs: number, skippedTicks: number): void {
    this.metrics.count("stalls");
    this.metrics.count("skippedTicks", skippedTicks);
    // A short one is nothing to tell an operator about.
    if (skippedTicks > 0) this.logger.warn({ stalledMs, skippedTicks }, "the event loop stood still");
    this.events.emit("stall", { stalledMs, skippedTicks });
  }
}
