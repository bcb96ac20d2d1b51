// The only door to the core. Inputs go in through `tick`, `step` and `propose*`; what has to be stored, sent and
// applied comes out of `ready()`; `advance*` and `onPersistReady` tell what has been done.
//
// A RawNode never waits, never does I/O, and knows no time but ticks.

import {
  type ConfChange,
  type ConfChangeV2,
  type ConfState,
  EntryType,
  type HardState,
  type Message,
  MessageType,
  type Snapshot,
} from "../gen/eraftpb_pb.js";
import { isLocalMessage, isResponse, isWellFormed } from "./admission.js";
import { ApplyQueue } from "./apply-queue.js";
import { encodeConfChange } from "./confchange/conf-change.js";
import { type Config, type ConfigInput, validateConfig } from "./config.js";
import { ConfigInvalid } from "./errors.js";
import type { GetEntriesContext, Storage } from "./log/storage.js";
import {
  copySnapshot,
  EntryBytes,
  NO_BYTES,
  newEntry,
  newMessage,
  ownBytes,
  ownMessage,
  snapshotPosition,
} from "./messages.js";
import { maybeCommit } from "./raft/commit.js";
import { countSelfVote, startElection } from "./raft/election.js";
import { applyConfChange } from "./raft/membership.js";
import { applied, createRaft, entriesFetched, entriesPersisted, snapshotPersisted } from "./raft/raft.js";
import { broadcastAppend, broadcastHeartbeat } from "./raft/replication.js";
import { becomeFollower } from "./raft/roles.js";
import { requestSnapshot, restore } from "./raft/snapshot-restore.js";
import { hardStateOf, leaderOf, type RaftState, softStateOf, tell } from "./raft/state.js";
import { step } from "./raft/step.js";
import { tick } from "./raft/tick.js";
import type { LightReady, Ready } from "./ready.js";
import { ReadyRecords } from "./ready-records.js";
import { type Status, statusOf } from "./status.js";
import {
  ACCEPTED,
  dropped,
  type LogIndex,
  NO_NODE,
  type NodeId,
  type SoftState,
  type StepOutcome,
} from "./types.js";

/** One proposal: `data` for the state machine, `context` to be found beside it. */
export interface Proposal {
  readonly context: Uint8Array;
  readonly data: Uint8Array;
}

export class RawNode {
  /** The state inside, for tests and debugging. Not to be written to. */
  readonly raft: RaftState;
  #previousSoftState: SoftState;
  #previousHardState: HardState;
  #lastNumber = 0;
  readonly #records = new ReadyRecords();
  readonly #applyQueue: ApplyQueue;

  /**
   * @throws ConfigInvalid for a configuration that must not run.
   * @throws InvariantViolation when the storage contradicts itself.
   */
  constructor(config: ConfigInput, storage: Storage) {
    const valid: Config = validateConfig(config);
    const initial = storage.initialState();
    this.raft = createRaft(valid, storage, initial);
    this.#previousSoftState = softStateOf(this.raft);
    this.#previousHardState = { ...initial.hardState };
    this.#applyQueue = new ApplyQueue(this.raft);
  }

  get id(): NodeId {
    return this.raft.id;
  }

  /** One tick of logical time. @returns whether there is probably something to do. */
  tick(): boolean {
    return tick(this.raft);
  }

  /** Starts an election now, with a pre-vote if that is configured. */
  campaign(): StepOutcome {
    return startElection(this.raft, false);
  }

  /** Proposes a command. The data is copied. Accepted is not committed: it may still be lost with the leader. */
  propose(context: Uint8Array, data: Uint8Array): StepOutcome {
    return this.proposeBatch([{ context, data }]);
  }

  /** Proposes commands that take neighbouring places in the log, all or none. `appended` names the last one's. */
  proposeBatch(proposals: readonly Proposal[]): StepOutcome {
    const message = newMessage(MessageType.MsgPropose, NO_NODE);
    const bytes = new EntryBytes(proposals);
    message.entries = proposals.map(({ context, data }) =>
      newEntry(EntryType.EntryNormal, 0n, 0n, bytes.own(data), bytes.own(context)),
    );
    return step(this.raft, message);
  }

  /**
   * Proposes a change of membership. Accepted does not mean that it stays one: while another is pending, or if it
   * does not fit, its place in the log is taken by an empty normal entry.
   * @throws ConfChangeError for a change that cannot be encoded.
   */
  proposeConfChange(context: Uint8Array, change: ConfChange | ConfChangeV2): StepOutcome {
    const { entryType, data } = encodeConfChange(change);
    const message = newMessage(MessageType.MsgPropose, NO_NODE);
    message.entries = [newEntry(entryType, 0n, 0n, data, ownBytes(context))];
    return step(this.raft, message);
  }

  /**
   * Puts a change into force. To be called when its entry is applied, before `advanceApplyTo` covers it; not to be
   * called if the embedder rejects it.
   * @throws ConfChangeError when the change does not fit; the membership is unchanged.
   */
  applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    return applyConfChange(this.raft, change);
  }

  /** Sends heartbeats now; does nothing unless this node leads. */
  ping(): void {
    const { role } = this.raft;
    if (role.kind === "leader") broadcastHeartbeat(this.raft, role);
  }

  /**
   * Takes in a message from a peer; the transport vouches for the sender. Ignored are messages without a sender or a
   * term, which inside means a local one (only MsgPropose and MsgReadIndex have none, and name whoever asked first),
   * appends whose entries do not follow on each other, and snapshots without metadata.
   */
  step(message: Message): StepOutcome {
    if (isLocalMessage(message.msgType)) return dropped("localMessage");
    if (isResponse(message.msgType) && this.raft.tracker.get(message.from) === undefined) {
      return dropped("unknownPeer");
    }
    if (!isWellFormed(this.raft.id, message)) {
      const { msgType, from } = message;
      tell(this.raft, { type: "messageIgnored", msgType, from, reason: "malformed" });
      return ACCEPTED;
    }
    return step(this.raft, ownMessage(message));
  }

  /**
   * Takes over a snapshot that no peer has sent: how a node whose log is empty begins a group while it runs. As a
   * snapshot of a leader's, it comes out of `ready()`. raft-rs: `Raft::restore`.
   * @returns whether it replaces the log; not one that is behind what is committed, or names other members only,
   *   and not on a leader or candidate of its term.
   */
  restore(snapshot: Snapshot): boolean {
    const { term } = snapshotPosition(snapshot);
    if (term > this.raft.term) becomeFollower(this.raft, term, NO_NODE);
    return restore(this.raft, snapshot);
  }

  /** Whether `ready()` would hold anything. */
  hasReady(): boolean {
    const { raft } = this;
    return (
      !raft.outbox.isEmpty ||
      raft.readStates.length > 0 ||
      raft.log.unstable.entries.length > 0 ||
      raft.log.unstable.snapshot !== undefined ||
      !sameSoftState(this.#previousSoftState, raft) ||
      !sameHardState(this.#previousHardState, raft) ||
      this.#applyQueue.canHandOut()
    );
  }

  /** Takes the pending work out. See `ready.ts` for what must be done with it, in which order. */
  ready(): Ready {
    const { raft } = this;
    const { unstable } = raft.log;
    this.#lastNumber += 1;
    const softState = sameSoftState(this.#previousSoftState, raft) ? undefined : softStateOf(raft);
    if (softState !== undefined) this.#previousSoftState = softState;
    const hardStateBefore = this.#previousHardState;
    const hardState = sameHardState(hardStateBefore, raft) ? undefined : hardStateOf(raft);
    if (hardState !== undefined) this.#previousHardState = hardState;
    const readStates = raft.readStates;
    raft.readStates = [];
    const snapshot = unstable.snapshot === undefined ? undefined : copySnapshot(unstable.snapshot);
    const entries = [...unstable.entries];
    const last = entries.at(-1);
    const snapshotIndex = snapshot === undefined ? undefined : snapshotPosition(snapshot).index;
    if (snapshotIndex !== undefined) this.#applyQueue.handOutSnapshot(snapshotIndex);
    const committedEntries = this.#applyQueue.handOut();
    this.#records.push({
      number: this.#lastNumber,
      firstIndex: entries[0]?.index,
      lastEntry: last === undefined ? undefined : { index: last.index, term: last.term },
      snapshotIndex,
      selfVote: raft.outbox.takeSelfVote(),
    });
    return {
      number: this.#lastNumber,
      softState: softState === undefined ? undefined : { ...softState },
      hardState: hardState === undefined ? undefined : { ...hardState },
      readStates,
      entries,
      snapshot,
      committedEntries,
      messages: raft.outbox.takeNow(),
      persistedMessages: raft.outbox.takePersisted(),
      mustSync:
        entries.length > 0 ||
        snapshot !== undefined ||
        (hardState !== undefined &&
          (hardState.term !== hardStateBefore.term || hardState.vote !== hardStateBefore.vote)),
    };
  }

  /**
   * Everything up to and including the Ready of this number is durable. This is when a node counts itself: its
   * acknowledgement of its own entries as a leader, its vote for itself as a candidate.
   */
  onPersistReady(number: number): void {
    const { lastEntry, snapshotIndex, selfVote } = this.#records.takeDurable(number);
    if (snapshotIndex !== undefined) snapshotPersisted(this.raft, snapshotIndex);
    if (lastEntry !== undefined) entriesPersisted(this.raft, lastEntry);
    if (selfVote !== undefined) countSelfVote(this.raft, selfVote);
  }

  /** Stored, durable, and applied as far as had been handed out before this call. */
  advance(ready: Ready): LightReady {
    const applyTo = this.#applyQueue.handedOut;
    const light = this.advanceAppend(ready);
    this.advanceApplyTo(applyTo);
    return light;
  }

  /** Stored and durable. Its committed entries are still being applied: `advanceApply*` tells when they are. */
  advanceAppend(ready: Ready): LightReady {
    this.advanceAppendAsync(ready);
    this.onPersistReady(ready.number);
    const committedEntries = this.#applyQueue.handOut();
    const commit = this.raft.log.committed;
    const commitMoved = commit > this.#previousHardState.commit;
    if (commitMoved) this.#previousHardState = { ...this.#previousHardState, commit };
    return {
      commitIndex: commitMoved ? commit : undefined,
      committedEntries,
      messages: this.raft.outbox.takeNow(),
    };
  }

  /** The storage serves this Ready's data from now on; `onPersistReady` tells when it is durable. */
  advanceAppendAsync(ready: Ready): void {
    const { unstable } = this.raft.log;
    // Not from its arrays: those are the embedder's, and may be empty by now.
    const record = this.#records.find(ready.number);
    if (record?.snapshotIndex !== undefined) unstable.stableSnapshot(record.snapshotIndex);
    if (record?.lastEntry !== undefined) unstable.stableTo(record.lastEntry.index, record.lastEntry.term);
  }

  /** Everything handed out so far is applied. */
  advanceApply(): void {
    this.advanceApplyTo(this.#applyQueue.handedOut);
  }

  /**
   * Everything up to `index` is applied.
   * @throws InvariantViolation when that goes back, or beyond what is committed.
   */
  advanceApplyTo(index: LogIndex): void {
    applied(this.raft, index);
    this.#applyQueue.applied(index);
  }

  /** Entries that the storage was fetching can be read now. */
  onEntriesFetched(context: GetEntriesContext): void {
    entriesFetched(this.raft, context);
  }

  /** The snapshot that waits to be taken by `ready()`. */
  snap(): Snapshot | undefined {
    const { snapshot } = this.raft.log.unstable;
    return snapshot === undefined ? undefined : copySnapshot(snapshot);
  }

  /** A copy of what this node knows. */
  status(): Status {
    return statusOf(this.raft);
  }

  /** A message to this peer could not be delivered. */
  reportUnreachable(id: NodeId): void {
    step(this.raft, localMessage(MessageType.MsgUnreachable, id));
  }

  /** How a MsgSnapshot to this peer fared. Must follow on each one, or the peer gets nothing until a new election. */
  reportSnapshot(id: NodeId, status: "finish" | "failure"): void {
    const message = localMessage(MessageType.MsgSnapStatus, id);
    message.reject = status === "failure";
    step(this.raft, message);
  }

  /** Asks the leader for a snapshot of at least all that this node's log holds. */
  requestSnapshot(): StepOutcome {
    return requestSnapshot(this.raft);
  }

  /** Asks that `to` become leader. The leader refuses proposals meanwhile, for at most one election timeout. */
  transferLeader(to: NodeId): StepOutcome {
    return step(this.raft, localMessage(MessageType.MsgTransferLeader, to));
  }

  /**
   * Asks from which index on a read is linearizable. The answer is a `ReadState` with the same context. None comes
   * if leadership or a message is lost on the way: ask again, with another context.
   */
  readIndex(context: Uint8Array): StepOutcome {
    const message = newMessage(MessageType.MsgReadIndex, NO_NODE);
    message.entries = [Object.freeze(newEntry(EntryType.EntryNormal, 0n, 0n, ownBytes(context), NO_BYTES))];
    return step(this.raft, message);
  }

  /**
   * A follower stops waiting for its leader, so that it may vote for another at once; it does not campaign. For
   * embedders that know of a leader's death before the timeout does. Ignored with lease reads, which rely on the
   * wait. etcd/raft: `ForgetLeader`.
   */
  forgetLeader(): void {
    const { raft } = this;
    if (raft.role.kind !== "follower" || raft.settings.readOnlyOption === "leaseBased") return;
    if (leaderOf(raft) !== NO_NODE) becomeFollower(raft, raft.term, NO_NODE);
  }

  setPriority(priority: bigint): void {
    this.raft.settings.priority = priority;
  }

  setBatchAppend(on: boolean): void {
    this.raft.settings.batchAppend = on;
  }

  skipBcastCommit(on: boolean): void {
    this.raft.settings.skipBcastCommit = on;
  }

  setCheckQuorum(on: boolean): void {
    this.raft.settings.checkQuorum = on;
  }

  setMaxCommittedSizePerReady(bytes: number): void {
    this.raft.settings.maxCommittedSizePerReady = bytes;
  }

  /** Takes effect at once on a leader, and on any node when it becomes one. */
  setMaxApplyUnpersistedLogLimit(entries: number): void {
    this.raft.settings.maxApplyUnpersistedLogLimit = entries;
    if (this.raft.role.kind === "leader") this.raft.log.maxApplyUnpersistedLogLimit = entries;
  }

  /** The window of one peer, in messages; 0 sends it nothing but heartbeats. */
  adjustMaxInflightMsgs(id: NodeId, maxInflightMsgs: number): void {
    this.raft.tracker.get(id)?.inflights.setCapacity(maxInflightMsgs);
  }

  /** Gives back the memory of windows that are empty, for a group that has gone quiet. raft-rs: the same name. */
  maybeFreeInflightBuffers(): void {
    for (const id of this.raft.tracker.ids()) this.raft.tracker.get(id)?.inflights.maybeFreeBuffer();
  }

  /** Commits only what is on at least two groups, see `assignCommitGroups`. raft-rs: `enable_group_commit`. */
  enableGroupCommit(on: boolean): void {
    this.raft.tracker.groupCommit = on;
    if (!on) this.#commitAgain();
  }

  /**
   * Says which group (a data centre, say) each peer belongs to; 0 is no group.
   * @throws ConfigInvalid for group 0, with nothing assigned: a peer leaves its group through `clearCommitGroup`.
   */
  assignCommitGroups(groups: readonly { readonly id: NodeId; readonly groupId: bigint }[]): void {
    for (const { id, groupId } of groups) {
      if (groupId <= 0n)
        throw new ConfigInvalid(`commit group ${groupId} of node ${id} must be greater than 0`);
    }
    for (const { id, groupId } of groups) {
      const progress = this.raft.tracker.get(id);
      if (progress !== undefined) progress.commitGroupId = groupId;
    }
    if (this.raft.tracker.groupCommit) this.#commitAgain();
  }

  clearCommitGroup(): void {
    for (const id of this.raft.tracker.ids()) {
      const progress = this.raft.tracker.get(id);
      if (progress !== undefined) progress.commitGroupId = 0n;
    }
  }

  /**
   * Whether everything committed is in two groups, so that the loss of one group loses nothing. Undefined where that
   * cannot be known: on a node that does not lead, or that has not yet applied an entry of its own term.
   * raft-rs: `check_group_commit_consistent`.
   */
  checkGroupCommitConsistent(): boolean | undefined {
    const { log, role, term, tracker } = this.raft;
    if (role.kind !== "leader" || log.maybeTerm(log.applied) !== term) return undefined;
    const { index, usedGroupCommit } = tracker.maximalCommittedIndex();
    return usedGroupCommit && index === log.committed;
  }

  #commitAgain(): void {
    const { raft } = this;
    if (raft.role.kind === "leader" && maybeCommit(raft, raft.role)) broadcastAppend(raft);
  }
}

function localMessage(msgType: MessageType, about: NodeId): Message {
  const message = newMessage(msgType, NO_NODE);
  message.from = about;
  return message;
}

function sameSoftState(previous: SoftState, raft: RaftState): boolean {
  return previous.raftState === raft.role.kind && previous.leaderId === leaderOf(raft);
}

function sameHardState(previous: HardState, raft: RaftState): boolean {
  return previous.commit === raft.log.committed && previous.term === raft.term && previous.vote === raft.vote;
}
