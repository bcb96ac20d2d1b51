// A RawNode with the embedder that scenario tests want: a memory storage that persists at once, a list of what was
// sent, applied and read, and the invariants checked after every input.

import {
  type ConfChange,
  type ConfChangeV2,
  type ConfigInput,
  type ConfState,
  decodeConfChange,
  type Entry,
  EntryType,
  MemoryStorage,
  type Message,
  MessageType,
  type NodeId,
  newConfState,
  newHardState,
  newMessage,
  newNormalEntry,
  newSnapshot,
  type RawNode,
  type ReadState,
  type StepOutcome,
  type TraceEvent,
} from "../../src/core/index.js";
import { checkInvariants } from "../../src/core/raft/invariants.js";
import type { RaftState } from "../../src/core/raft/state.js";
import { step } from "../../src/core/raft/step.js";
import type { Progress } from "../../src/core/tracker/progress.js";
import { CheckedNode } from "./checked-node.js";

/** What most of raft-rs's scenarios start from: no pre-vote, no check-quorum, 10 and 1 ticks, no size limits. */
export const PLAIN: Partial<ConfigInput> = {
  electionTick: 10,
  heartbeatTick: 1,
  preVote: false,
  checkQuorum: false,
  maxSizePerMsg: Number.POSITIVE_INFINITY,
  maxInflightMsgs: 256,
  maxInflightBytes: Number.POSITIVE_INFINITY,
  maxUncommittedSize: Number.POSITIVE_INFINITY,
  maxCommittedSizePerReady: Number.POSITIVE_INFINITY,
};

export interface TestNodeOptions {
  /** Voters of a group whose log starts at 1; ignored when `storage` is given. */
  readonly voters?: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  /** The terms of the entries that the log already holds, from index 1 on. */
  readonly logTerms?: readonly bigint[];
  readonly term?: bigint;
  readonly vote?: NodeId;
  readonly commit?: bigint;
  readonly storage?: MemoryStorage;
  readonly config?: Partial<ConfigInput>;
  /** Applies what is committed at once. On unless switched off; `applyCommitted` does it then. */
  readonly autoApply?: boolean;
}

export class TestNode {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly trace: TraceEvent[] = [];
  /** Everything handed out as committed, in order. */
  readonly committed: Entry[] = [];
  readonly readStates: ReadState[] = [];
  readonly confStates: ConfState[] = [];
  /** Sent and not yet taken by `takeMessages`. */
  #outgoing: Message[] = [];
  /** Handed out and not yet applied. */
  #unapplied: Entry[] = [];
  readonly #autoApply: boolean;

  constructor(id: NodeId, options: TestNodeOptions = {}) {
    this.storage = options.storage ?? storageOf(options);
    this.#autoApply = options.autoApply ?? true;
    const config: ConfigInput = {
      ...PLAIN,
      randomInt: (min) => min,
      trace: (event) => this.trace.push(event),
      ...options.config,
      id,
    };
    this.node = new CheckedNode(config, this.storage);
    checkInvariants(this.raft);
  }

  get id(): NodeId {
    return this.node.id;
  }

  /** The state inside, to be read by assertions. */
  get raft(): RaftState {
    return this.node.raft;
  }

  /** The role's name. */
  get role(): RaftState["role"]["kind"] {
    return this.raft.role.kind;
  }

  get leader(): NodeId {
    return this.node.status().softState.leaderId;
  }

  /** Takes a message in without persisting anything that follows from it. Local messages are allowed. */
  step(message: Message): StepOutcome {
    const outcome = step(this.raft, message);
    checkInvariants(this.raft);
    return outcome;
  }

  /** Runs any input on the node and checks the invariants. */
  act<T>(input: (node: RawNode) => T): T {
    const result = input(this.node);
    checkInvariants(this.raft);
    return result;
  }

  tick(times = 1): void {
    for (let count = 0; count < times; count += 1) this.act((node) => node.tick());
  }

  propose(data: string): StepOutcome {
    return this.act((node) => node.propose(new Uint8Array(), bytes(data)));
  }

  proposeConfChange(change: ConfChange | ConfChangeV2): StepOutcome {
    return this.act((node) => node.proposeConfChange(new Uint8Array(), change));
  }

  /** What this node knows of a member. @throws for a stranger. */
  progress(id: NodeId | number): Progress {
    const progress = this.raft.tracker.get(BigInt(id));
    if (progress === undefined) throw new Error(`node ${this.id} tracks no node ${id}`);
    return progress;
  }

  /** Ticks until the election timeout fires. */
  timeOut(): void {
    this.raft.electionElapsed = this.raft.randomizedElectionTimeout - 1;
    this.tick();
  }

  /**
   * Does all the work that is ready, as if the disk were instant: stores, persists, applies, until nothing is left.
   * What is to be sent waits for `takeMessages`.
   */
  settle(): void {
    while (this.node.hasReady()) {
      const ready = this.node.ready();
      this.#outgoing.push(...ready.messages);
      if (ready.snapshot !== undefined) this.storage.applySnapshot(ready.snapshot);
      this.storage.append(ready.entries);
      if (ready.hardState !== undefined) this.storage.setHardState(ready.hardState);
      this.readStates.push(...ready.readStates);
      this.#outgoing.push(...ready.persistedMessages);
      const light = this.node.advanceAppend(ready);
      if (light.commitIndex !== undefined) this.storage.commitTo(light.commitIndex);
      this.#outgoing.push(...light.messages);
      checkInvariants(this.raft);
      const entries = [...ready.committedEntries, ...light.committedEntries];
      this.committed.push(...entries);
      this.#unapplied.push(...entries);
      if (this.#autoApply) this.applyCommitted();
    }
  }

  /** Applies all that was handed out. */
  applyCommitted(): void {
    const entries = this.#unapplied;
    this.#unapplied = [];
    for (const entry of entries) {
      if (entry.entryType === EntryType.EntryNormal) continue;
      this.applyConfChange(entry);
    }
    this.act((node) => node.advanceApply());
  }

  applyConfChange(entry: Entry): ConfState {
    const change = decodeConfChange(entry.entryType, entry.data);
    const confState = this.act((node) => node.applyConfChange(change));
    this.storage.setConfState(confState);
    this.confStates.push(confState);
    return confState;
  }

  /** Settles, then takes all that is to be sent. */
  takeMessages(): Message[] {
    this.settle();
    return this.#outgoing.splice(0);
  }

  /** The data of committed normal entries that are not empty. */
  committedData(): string[] {
    return this.committed
      .filter((entry) => entry.entryType === EntryType.EntryNormal && entry.data.length > 0)
      .map((entry) => text(entry.data));
  }

  /** Every entry of the log as `index/term`, compacted ones left out. */
  logSummary(): string[] {
    const { log } = this.raft;
    const summary: string[] = [];
    for (let index = log.firstIndex(); index <= log.lastIndex(); index += 1n) {
      summary.push(`${index}/${log.term(index)}`);
    }
    return summary;
  }

  /** The same node after a crash: what was persisted is there, nothing else. */
  restart(config: Partial<ConfigInput> = {}): TestNode {
    return new TestNode(this.id, { storage: this.storage, config });
  }

  /** Makes it leader of its present term + 1 without anybody's vote; messages so far are thrown away. */
  forceLeader(): this {
    this.forceCandidate();
    const { raft } = this;
    for (const id of raft.tracker.conf.voters.ids()) {
      if (this.role !== "candidate") break;
      if (id === raft.id) continue;
      step(raft, newMessage(MessageType.MsgRequestVoteResponse, raft.id, { from: id, term: raft.term }));
    }
    checkInvariants(raft);
    if (this.role !== "leader") throw new Error(`node ${this.id} did not become leader but ${this.role}`);
    return this;
  }

  /** Makes it candidate of the next term; messages so far are thrown away. */
  forceCandidate(): this {
    const { raft } = this;
    const { preVote } = raft.settings;
    raft.settings.preVote = false;
    this.act((node) => node.campaign());
    raft.settings.preVote = preVote;
    this.takeMessages();
    return this;
  }
}

/** A storage whose log begins at index 1 (no birth snapshot), with the given history. */
function storageOf(options: TestNodeOptions): MemoryStorage {
  const storage = new MemoryStorage();
  const confState = newConfState({
    voters: [...(options.voters ?? [])],
    learners: [...(options.learners ?? [])],
  });
  storage.setConfState(confState);
  const terms = options.logTerms ?? [];
  storage.append(terms.map((term, position) => newNormalEntry(term, BigInt(position + 1))));
  const lastTerm = terms.at(-1) ?? 0n;
  storage.setHardState(newHardState(options.term ?? lastTerm, options.vote ?? 0n, options.commit ?? 0n));
  return storage;
}

/** A snapshot of voters 1, 2, … as most scenarios want it. */
export function snapshotOf(
  index: bigint,
  term: bigint,
  voters: readonly NodeId[],
  learners: readonly NodeId[] = [],
) {
  return newSnapshot(index, term, newConfState({ voters: [...voters], learners: [...learners] }));
}

export function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

export function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}
