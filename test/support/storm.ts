// A whole cluster of RawNodes under one seed: messages are delayed, lost, doubled and reordered, disks take their
// time, nodes crash and lose what was not on disk, membership, leadership and snapshots change all the while. After
// every event the invariants of each node hold, and those of the group: one leader a term, one history, no stale read.

import {
  ConfChangeTransition,
  ConfChangeType,
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
  RawNode,
  type Ready,
} from "../../src/core/index.js";
import { checkInvariants } from "../../src/core/raft/invariants.js";
import { bytes, text } from "./test-node.js";

/** A small, fast generator with a full 32-bit state: mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Something written by a node, in order: replaying a prefix gives the disk after a crash. */
type Write = (storage: MemoryStorage) => void;

interface DiskBatch {
  readonly number: number;
  readonly persistedMessages: readonly Message[];
  /** How many writes are durable when this batch is. */
  readonly writes: number;
}

class StormNode {
  readonly writes: Write[] = [];
  durableWrites = 0;
  inProgress: DiskBatch[] = [];
  toApply: Entry[] = [];
  /** Saved atomically with what is applied, as a state machine does. */
  applied = 1n;
  confState: ConfState;
  confIndex = 1n;
  storage: MemoryStorage;
  node: RawNode;
  readonly config: ConfigInput;
  readonly #createNode: NodeFactory;

  constructor(config: ConfigInput, birth: ConfState, createNode: NodeFactory) {
    this.config = config;
    this.#createNode = createNode;
    this.confState = birth;
    this.write((storage) => {
      if (birth.voters.length > 0)
        storage.applySnapshot({
          $typeName: "eraftpb.Snapshot",
          data: new Uint8Array(),
          metadata: { $typeName: "eraftpb.SnapshotMetadata", confState: birth, index: 1n, term: 1n },
        });
    });
    this.durableWrites = 1;
    if (birth.voters.length === 0) {
      this.applied = 0n;
      this.confIndex = 0n;
    }
    [this.storage, this.node] = this.boot();
  }

  write(write: Write): void {
    this.writes.push(write);
    if (this.storage !== undefined) write(this.storage);
  }

  /** The node as it is after a crash. What the state machine has applied was durable with it. */
  boot(): [MemoryStorage, RawNode] {
    this.writes.length = this.durableWrites;
    const storage = new MemoryStorage();
    for (const write of this.writes) write(storage);
    storage.setConfState(this.confState);
    storage.setApplied(this.applied);
    this.inProgress = [];
    this.toApply = [];
    return [storage, this.#createNode({ ...this.config, applied: this.applied }, storage)];
  }
}

type NodeFactory = (config: ConfigInput, storage: MemoryStorage) => RawNode;

export interface StormOptions {
  readonly seed: number;
  readonly events: number;
  /** A RawNode that does something beside: the storm goes the same way as without it. */
  readonly createNode?: NodeFactory;
}

export class Storm {
  readonly #random: () => number;
  readonly #nodes = new Map<NodeId, StormNode>();
  #wire: Message[] = [];
  #blocked = new Set<string>();
  readonly #leaders = new Map<bigint, NodeId>();
  /** The one history: what was committed at each index, wherever it was seen first. */
  readonly #history = new Map<bigint, string>();
  #highestCommitted = 1n;
  /** What each read must at least see. */
  readonly #reads = new Map<string, bigint>();
  #proposals = 0;
  #readCount = 0;
  readonly #seed: number;
  readonly #lossy: number;
  /** Counted, so that a storm in which nothing happened does not pass for one that was survived. */
  readonly seen = { elections: 0, commits: 0, reads: 0, crashes: 0, confChanges: 0, snapshots: 0 };

  constructor({ seed, createNode = (config, storage) => new RawNode(config, storage) }: StormOptions) {
    this.#seed = seed;
    this.#random = randomFrom(seed);
    this.#lossy = this.#random() * 0.2;
    const voters = [1n, 2n, 3n];
    const birth = newConfState({ voters });
    const shared: Partial<ConfigInput> = {
      preVote: this.#chance(0.7),
      checkQuorum: this.#chance(0.7),
      batchAppend: this.#chance(0.5),
      skipBcastCommit: this.#chance(0.3),
      maxInflightMsgs: 1 + this.#below(8),
      maxSizePerMsg: this.#chance(0.3) ? 0 : 256,
      maxInflightBytes: this.#chance(0.5) ? 512 : Number.POSITIVE_INFINITY,
      maxUncommittedSize: this.#chance(0.5) ? 512 : Number.POSITIVE_INFINITY,
      maxCommittedSizePerReady: this.#chance(0.5) ? 64 : Number.POSITIVE_INFINITY,
      stepDownOnRemoval: this.#chance(0.8),
    };
    for (const id of [1n, 2n, 3n, 4n, 5n]) {
      const config: ConfigInput = {
        ...shared,
        id,
        priority: this.#chance(0.2) ? BigInt(this.#below(3)) : 0n,
        randomInt: (min, max) => min + Math.floor(this.#random() * (max - min)),
      };
      this.#nodes.set(id, new StormNode(config, id <= 3n ? birth : newConfState(), createNode));
    }
  }

  /** What was committed, place by place: `index/term/type/data`. */
  history(): string[] {
    return [...this.#history].map(([index, content]) => `${index}/${content}`);
  }

  run(events: number): void {
    for (let event = 0; event < events; event += 1) {
      try {
        this.#event();
        this.#checkGroup();
      } catch (error) {
        throw new Error(`seed ${this.#seed}, event ${event}: ${String(error)}`, { cause: error });
      }
    }
  }

  /** Heals everything: then the group must elect, commit and agree. */
  heal(): void {
    this.#blocked.clear();
    for (let round = 0; round < 400; round += 1) {
      for (const node of this.#nodes.values()) this.#on(node, () => node.node.tick());
      for (let hop = 0; hop < 12; hop += 1) {
        for (const node of this.#nodes.values()) this.#work(node);
        for (const message of this.#wire.splice(0)) this.#deliver(message);
      }
      this.#checkGroup();
      if (round > 100 && this.#isInAgreement()) return;
      if (round % 40 === 39) this.#propose();
    }
    throw new Error(`seed ${this.#seed}: no agreement 400 ticks after healing: ${this.describe()}`);
  }

  #isInAgreement(): boolean {
    const leader = [...this.#nodes.values()].find(({ node }) => node.raft.role.kind === "leader");
    if (leader === undefined || leader.node.raft.log.committed < this.#highestCommitted) return false;
    return leader.node.raft.tracker.ids().every((id) => {
      const log = this.#nodes.get(id)?.node.raft.log;
      return (
        log?.applied === leader.node.raft.log.committed &&
        log.lastIndex() === leader.node.raft.log.lastIndex()
      );
    });
  }

  /** Where everybody stands, and what the leader knows of it. */
  describe(): string {
    return [...this.#nodes.values()]
      .flatMap(({ node }) => {
        const { role, term, log } = node.raft;
        const line = `${node.id} ${role.kind} t${term} c${log.committed} a${log.applied} [${log.firstIndex()}, ${log.lastIndex()}]`;
        const { progress, confState } = node.status();
        if (progress === undefined) return [line];
        const plain = (_: string, value: unknown): unknown =>
          typeof value === "bigint" ? Number(value) : value;
        return [
          line,
          JSON.stringify(confState, plain),
          ...progress.map((peer) => JSON.stringify(peer, plain)),
        ];
      })
      .join("\n");
  }

  #event(): void {
    const draw = this.#random();
    const node = this.#anyNode();
    if (draw < 0.3) this.#on(node, () => node.node.tick());
    else if (draw < 0.72) this.#deliverOne();
    else if (draw < 0.82) this.#work(node);
    else if (draw < 0.9) this.#propose();
    else if (draw < 0.93) this.#read(node);
    else if (draw < 0.945) this.#changeMembership();
    else if (draw < 0.955) this.#crash(node);
    else if (draw < 0.965) this.#partition();
    else if (draw < 0.975) this.#compact(node);
    else if (draw < 0.985) this.#on(node, () => node.node.transferLeader(this.#anyNode().node.id));
    else if (draw < 0.99) this.#on(node, () => node.node.reportUnreachable(this.#anyNode().node.id));
    else if (draw < 0.993) this.#on(node, () => node.node.requestSnapshot());
    else if (draw < 0.996) this.#on(node, () => node.node.forgetLeader());
    else this.#on(node, () => node.node.campaign());
    if (this.#chance(0.5)) this.#work(node);
  }

  #on(node: StormNode, input: () => unknown): void {
    input();
    checkInvariants(node.node.raft);
  }

  #deliverOne(): void {
    if (this.#wire.length === 0) return;
    // Mostly in order, sometimes not.
    const position = this.#chance(0.8) ? 0 : this.#below(this.#wire.length);
    const [message] = this.#wire.splice(position, 1);
    if (message === undefined) return;
    if (this.#chance(this.#lossy)) {
      if (message.msgType === MessageType.MsgSnapshot) this.#reportSnapshot(message, "failure");
      return;
    }
    if (this.#chance(0.05)) this.#wire.push(message);
    this.#deliver(message);
  }

  #deliver(message: Message): void {
    const target = this.#nodes.get(message.to);
    const blocked = this.#blocked.has(`${message.from}>${message.to}`) || target === undefined;
    if (message.msgType === MessageType.MsgSnapshot) {
      this.#reportSnapshot(message, blocked ? "failure" : "finish");
    }
    if (blocked) return;
    this.#on(target, () => target.node.step(message));
  }

  #reportSnapshot(message: Message, status: "finish" | "failure"): void {
    const sender = this.#nodes.get(message.from);
    if (sender !== undefined) this.#on(sender, () => sender.node.reportSnapshot(message.to, status));
  }

  /** Some of the work that waits: a Ready, a disk batch, some entries to apply. */
  #work(node: StormNode): void {
    if (node.node.hasReady()) this.#takeReady(node);
    if (node.inProgress.length > 0 && this.#chance(0.7)) {
      const done = node.inProgress.splice(0, 1 + this.#below(node.inProgress.length));
      const last = done.at(-1);
      if (last !== undefined) {
        node.durableWrites = last.writes;
        this.#on(node, () => node.node.onPersistReady(last.number));
        for (const batch of done) this.#wire.push(...batch.persistedMessages);
      }
    }
    while (node.toApply.length > 0 && this.#chance(0.8)) this.#applyOne(node);
  }

  #takeReady(node: StormNode): void {
    const ready = node.node.ready();
    this.#wire.push(...ready.messages);
    this.#store(node, ready);
    node.inProgress.push({
      number: ready.number,
      persistedMessages: ready.persistedMessages,
      writes: node.writes.length,
    });
    this.#on(node, () => node.node.advanceAppendAsync(ready));
    if (ready.snapshot !== undefined) this.#installSnapshot(node, ready);
    for (const { index, requestCtx } of ready.readStates) this.#checkRead(text(requestCtx), index);
    node.toApply.push(...ready.committedEntries);
    for (const entry of ready.committedEntries) this.#record(entry);
  }

  #store(node: StormNode, { snapshot, entries, hardState }: Ready): void {
    if (snapshot !== undefined) node.write((storage) => storage.applySnapshot(snapshot));
    if (entries.length > 0) node.write((storage) => storage.append(entries));
    if (hardState !== undefined) node.write((storage) => storage.setHardState(hardState));
  }

  /** Synchronously durable, which an embedder may always choose. */
  #installSnapshot(node: StormNode, { snapshot, number }: Ready): void {
    const metadata = snapshot?.metadata;
    if (metadata?.confState === undefined) return;
    this.seen.snapshots += 1;
    const batches = node.inProgress.splice(0);
    node.durableWrites = node.writes.length;
    this.#on(node, () => node.node.onPersistReady(number));
    for (const batch of batches) this.#wire.push(...batch.persistedMessages);
    node.toApply = [];
    node.applied = metadata.index;
    node.storage.setApplied(metadata.index);
    node.confState = metadata.confState;
    node.confIndex = metadata.index;
    this.#on(node, () => node.node.advanceApplyTo(metadata.index));
  }

  #applyOne(node: StormNode): void {
    const entry = node.toApply.shift();
    if (entry === undefined) return;
    if (entry.entryType !== EntryType.EntryNormal && entry.index > node.confIndex) {
      const change = decodeConfChange(entry.entryType, entry.data);
      this.#on(node, () => {
        node.confState = node.node.applyConfChange(change);
      });
      this.seen.confChanges += 1;
      node.confIndex = entry.index;
      const { confState } = node;
      node.storage.setConfState(confState);
    }
    node.applied = entry.index;
    node.storage.setApplied(entry.index);
    // The state machine is durable at once here, so the log must be too: nothing is applied that is not on disk.
    this.#on(node, () => node.node.advanceApplyTo(entry.index));
  }

  #record(entry: Entry): void {
    const content = `${entry.term}/${entry.entryType}/${text(entry.data)}`;
    const known = this.#history.get(entry.index);
    if (known !== undefined && known !== content) {
      throw new Error(`two entries were committed at ${entry.index}: ${known} and ${content}`);
    }
    this.#history.set(entry.index, content);
    if (entry.index > this.#highestCommitted) {
      this.#highestCommitted = entry.index;
      this.seen.commits += 1;
    }
  }

  #propose(): void {
    const node = this.#anyNode();
    this.#proposals += 1;
    const data = bytes(`p${this.#proposals}${"x".repeat(this.#below(60))}`);
    this.#on(node, () => node.node.propose(new Uint8Array(), data));
  }

  #read(node: StormNode): void {
    // Now and then a context that is in use or was used: it must not confirm the wrong read.
    this.#readCount += 1;
    const name = this.#chance(0.2) ? `r${this.#below(this.#readCount)}` : `r${this.#readCount}`;
    const least = this.#reads.get(name);
    // Of two reads under one name the answers cannot be told apart: each must satisfy the earlier one.
    if (least === undefined) this.#reads.set(name, this.#highestCommitted);
    this.#on(node, () => node.node.readIndex(bytes(name)));
  }

  #checkRead(name: string, index: bigint): void {
    const least = this.#reads.get(name);
    if (least !== undefined && index < least) {
      throw new Error(
        `read ${name} was answered with ${index}, but ${least} had been committed before it began`,
      );
    }
    this.seen.reads += 1;
  }

  #changeMembership(): void {
    const changes = Array.from({ length: 1 + this.#below(3) }, () => ({
      $typeName: "eraftpb.ConfChangeSingle" as const,
      type: [ConfChangeType.AddNode, ConfChangeType.AddLearnerNode, ConfChangeType.RemoveNode][
        this.#below(3)
      ] as ConfChangeType,
      nodeId: BigInt(1 + this.#below(5)),
    }));
    const leave = this.#chance(0.3);
    const change: ConfChangeV2 = {
      $typeName: "eraftpb.ConfChangeV2",
      transition: [ConfChangeTransition.Auto, ConfChangeTransition.Implicit, ConfChangeTransition.Explicit][
        this.#below(3)
      ] as ConfChangeTransition,
      changes: leave ? [] : changes,
      context: new Uint8Array(),
    };
    const leader = [...this.#nodes.values()].find(({ node }) => node.raft.role.kind === "leader");
    if (leader === undefined) return;
    // An embedder checks what it proposes against its own view: a change that cannot be applied stops every node.
    if (!leave && this.#wouldFail(leader, change)) return;
    this.#on(leader, () => leader.node.proposeConfChange(new Uint8Array(), change));
  }

  #wouldFail(leader: StormNode, change: ConfChangeV2): boolean {
    const probe = MemoryStorage.withConfState({});
    probe.setConfState(leader.node.status().confState);
    try {
      new RawNode({ ...leader.config, applied: 1n }, probe).applyConfChange(change);
      return false;
    } catch {
      return true;
    }
  }

  #crash(node: StormNode): void {
    this.seen.crashes += 1;
    [node.storage, node.node] = node.boot();
    checkInvariants(node.node.raft);
  }

  #partition(): void {
    if (this.#chance(0.5)) {
      this.#blocked.clear();
      return;
    }
    const [one, other] = [this.#anyNode().node.id, this.#anyNode().node.id];
    this.#blocked.add(`${one}>${other}`);
    if (this.#chance(0.7)) this.#blocked.add(`${other}>${one}`);
  }

  #compact(node: StormNode): void {
    const upTo = node.applied;
    if (upTo > node.storage.firstIndex()) node.write((storage) => storage.compact(upTo));
  }

  #checkGroup(): void {
    for (const { node } of this.#nodes.values()) {
      if (node.raft.role.kind !== "leader") continue;
      const other = this.#leaders.get(node.raft.term);
      if (other === undefined) {
        this.#leaders.set(node.raft.term, node.id);
        this.seen.elections += 1;
      } else if (other !== node.id) {
        throw new Error(`nodes ${other} and ${node.id} both lead term ${node.raft.term}`);
      }
    }
  }

  #anyNode(): StormNode {
    const node = this.#nodes.get(BigInt(1 + this.#below(this.#nodes.size)));
    if (node === undefined) throw new Error("a drawn node does not exist");
    return node;
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }
}
