// One machine: a disk that stays, and a process that comes and goes, with the production node in it.

import { create } from "@bufbuild/protobuf";
import { newConfState } from "../../src/core/messages.js";
import type { TraceEvent } from "../../src/core/trace.js";
import { type LogIndex, maxOf, minOf, type NodeId, type Term } from "../../src/core/types.js";
import { type ConfState, type Message, MessageType } from "../../src/gen/eraftpb_pb.js";
import { type MembershipRecord, MembershipRecordSchema } from "../../src/gen/records_pb.js";
import { NodeRemoved } from "../../src/node/errors.js";
import { completeLimits, type NodeLimits } from "../../src/node/options.js";
import type {
  Command,
  DurableLog,
  Logger,
  LogWrite,
  PeerTransport,
  StateMachine,
} from "../../src/node/ports.js";
import { RaftNode } from "../../src/node/raft-node.js";
import { KvStateMachine } from "../../src/placement/kv/kv-state-machine.js";
import { crc32 } from "../../src/storage/checksum.js";
import { LmdbStorage } from "../../src/storage/lmdb-storage.js";
import { StorageFault } from "../../src/storage/storage-fault.js";
import { ProcessClock } from "./clock.js";
import { Disk, mount } from "./disk/disk.js";
import { SimulatedSnapshots } from "./disk/snapshots.js";
import type { Wiring } from "./network/transport.js";
import type { Observation, Run } from "./observation.js";
import type { Random } from "./random.js";
import { Process, type Scheduler } from "./scheduler.js";
import type { Swarm } from "./swarm.js";
import type { Trace } from "./trace.js";

export interface HostWorld {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly trace: Trace;
  readonly wiring: Wiring;
  readonly swarm: Swarm;
  readonly hosts: () => readonly Host[];
  readonly observe: (observation: Observation) => void;
  readonly violated: (invariant: string, what: string) => void;
}

/** A process in which the node is up. */
export interface Up {
  readonly run: Run;
  readonly process: Process;
  readonly clock: ProcessClock;
  readonly node: RaftNode;
  readonly log: LmdbStorage;
  readonly machine: KvStateMachine;
}

/** `lost`: the disk is gone or must not be used any more. `retired`: no member, and switched off. */
export type HostState = "down" | "starting" | "up" | "lost" | "retired";

const TRACED = new Set<TraceEvent["type"]>([
  "becameFollower",
  "becamePreCandidate",
  "becameCandidate",
  "becameLeader",
  "quorumLost",
  "confChangeRefused",
  "snapshotRestored",
  "transferStarted",
  "secondLeader",
]);

/** Where the record of an entry has its term and its type. */
const RECORD_TERM_AT = 12;
const RECORD_TYPE_AT = 20;

export class Host {
  readonly disk: Disk;
  readonly limits: NodeLimits;
  readonly #dir: string;
  readonly #random: Random;
  readonly #priority: bigint;
  state: HostState = "down";
  /** A record on its disk is not what was written: it must refuse to start. */
  damaged = false;
  /** How fast the clock of its processes runs. */
  clockRate = 1;
  /** Uses of disk and network until the process ends in the middle of one. */
  usesLeft = Number.POSITIVE_INFINITY;
  #process: Process | undefined;
  #clock: ProcessClock | undefined;
  #up: Up | undefined;
  #runs = 0;
  #checkedCommit: LogIndex = 0n;
  /** As its core tells it. */
  #leadsTerm: Term | undefined;
  /** Whom its core takes for members; undefined: it has just been given a snapshot. */
  #confState: ConfState | undefined;
  /** The latest that it was seen in. */
  #term: Term = 0n;
  /** What it counts on each peer, as a leader of `#term`. */
  readonly #counted = new Map<NodeId, LogIndex>();

  constructor(
    readonly id: NodeId,
    private readonly world: HostWorld,
    private readonly bootstrap: MembershipRecord | undefined,
  ) {
    const { scheduler, random, trace, swarm } = world;
    this.#random = random.fork(`host ${id}`);
    this.disk = new Disk(`node-${id}`, scheduler, this.#random.fork("disk"), trace);
    this.disk.onUse = () => this.#use();
    this.disk.onTorn = () => {
      this.damaged = true;
      this.crash("in the middle of a batch");
    };
    this.#dir = mount(this.disk);
    this.limits = completeLimits(swarm.limits);
    this.#priority = swarm.priorities ? BigInt(this.#random.int(0, 3)) : 0n;
  }

  get up(): Up | undefined {
    return this.#up;
  }

  get process(): Process | undefined {
    return this.#process;
  }

  setClockRate(rate: number): void {
    this.clockRate = rate;
    this.#clock?.setRate(rate);
  }

  start(): void {
    if (this.state !== "down") return;
    const { scheduler, trace } = this.world;
    this.#runs += 1;
    const process = new Process(`node-${this.id}`, scheduler);
    this.#process = process;
    this.#leadsTerm = undefined;
    this.state = "starting";
    this.usesLeft = Number.POSITIVE_INFINITY;
    this.disk.attach(process);
    const clock = new ProcessClock(scheduler, process, this.#random.between(0, 10_000));
    clock.setRate(this.clockRate);
    this.#clock = clock;
    trace.add(`node-${this.id}`, `starts, run ${this.#runs}`);
    scheduler.soon(process, () => {
      this.#start({ id: this.id, number: this.#runs }, process, clock).catch((error: unknown) => {
        if (process.alive) this.#refusedToStart(error);
      });
    });
  }

  /** The process ends, now and without a word. */
  crash(why: string): void {
    if (this.#process?.alive !== true) return;
    this.world.trace.add(`node-${this.id}`, `dies: ${why}`);
    this.#process.end();
    this.#up = undefined;
    this.world.wiring.disconnect(this.id);
    this.disk.crash();
    if (this.state !== "lost" && this.state !== "retired") this.state = "down";
  }

  /** To be called after each event of its process. */
  inspect(): void {
    const up = this.#up;
    if (up === undefined || !up.process.alive) return;
    const { run, node, log } = up;
    const status = node.status();
    const { storage } = log;
    const firstIndex = storage.firstIndex();
    // Beyond what is persisted, the storage may still serve what is about to be replaced.
    const known = minOf(status.commit, minOf(status.persisted, storage.lastIndex()));
    if (this.#term !== status.term || status.role !== "leader") this.#counted.clear();
    this.#term = status.term;
    for (const { id, matched } of status.progress) this.#inspectCount(up, id, matched);
    const isKnown = known === status.commit && known >= firstIndex;
    this.world.observe({
      type: "status",
      run,
      status,
      commitTerm: isKnown ? storage.term(known) : undefined,
      limits: this.limits,
    });
    for (let index = maxOf(this.#checkedCommit + 1n, firstIndex); index <= known; index += 1n) {
      const term = storage.term(index);
      this.world.observe({ type: "committed", run, index, term, currentTerm: status.term });
      this.#checkedCommit = index;
    }
  }

  #inspectCount({ run, log }: Up, peer: NodeId, index: LogIndex): void {
    if (index <= (this.#counted.get(peer) ?? 0n)) return;
    this.#counted.set(peer, index);
    const host = this.world.hosts().find(({ id }) => id === peer);
    if (host === undefined || host.damaged || host.state === "lost" || host.#term > this.#term) return;
    const { storage } = log;
    const isKnown = index >= storage.firstIndex() && index <= storage.lastIndex();
    const isHeld = !isKnown || host.holds(index, storage.term(index));
    this.world.observe({ type: "counted", run, term: this.#term, peer, index, isHeld });
  }

  /** Its disk holds a membership change after this index. */
  hasConfChangeAfter(index: LogIndex): boolean {
    const { log } = this.disk;
    for (const [at, record] of log?.entries ?? [])
      if (at > index && record.length > RECORD_TYPE_AT + 4 && record.readInt32BE(RECORD_TYPE_AT) !== 0)
        return true;
    return false;
  }

  /** The entry is on its disk, or part of what a snapshot or compaction has left there. */
  holds(index: LogIndex, term: Term): boolean {
    const { log, snapshots } = this.disk;
    if ((snapshots.latest?.metadata?.index ?? 0n) >= index) return true;
    if (log === undefined) return false;
    const first = log.records.get("/raft/first_index")?.readBigUInt64BE(4) ?? 0n;
    const last = log.records.get("/raft/last_index")?.readBigUInt64BE(4) ?? 0n;
    if (index < first) return true;
    const record = log.entries.get(index);
    // A torn one may end anywhere.
    if (record === undefined || record.length < RECORD_TYPE_AT) return false;
    return index <= last && record.readBigUInt64BE(RECORD_TERM_AT) === term;
  }

  #use(): void {
    this.usesLeft -= 1;
    if (this.usesLeft === 0) this.crash("in mid call");
  }

  async #start(run: Run, process: Process, clock: ProcessClock): Promise<void> {
    const { swarm, observe, wiring } = this.world;
    const snapshots = new SimulatedSnapshots(this.disk);
    const logger = this.#logger();
    const log = await LmdbStorage.open({
      dir: this.#dir,
      clusterId: "simulation",
      nodeId: this.id,
      snapshots,
      bootstrap: this.bootstrap,
      clock,
      logger,
      watchdogMs: 5_000,
      freeBytes: async () => this.disk.health.freeBytes,
      compactFileBytes: Number.POSITIVE_INFINITY,
      cacheBytes: 256,
    });
    const { hardState, confState } = log.storage.initialState();
    this.#confState = confState;
    observe({ type: "started", run, hardState });
    const machine = await KvStateMachine.open({ dir: `${this.#dir}/kv`, flushDelayMs: 0 });
    const node = await RaftNode.start({
      id: this.id,
      clusterId: "simulation",
      log: this.#observedLog(run, log),
      snapshots,
      stateMachine: this.#observedMachine(run, machine),
      transport: (inbox) =>
        this.#observedTransport(
          run,
          wiring.connect({ inbox, process, snapshots, clock, logger, onUse: () => this.#use() }),
        ),
      clock,
      logger,
      randomInt: (min, max) => this.#random.int(min, max),
      tickIntervalMs: swarm.tickIntervalMs,
      leaseReads: swarm.leaseReads,
      limits: swarm.limits,
      compaction: swarm.compaction,
      raft: {
        electionTick: swarm.electionTick,
        ...swarm.raft,
        priority: this.#priority,
        trace: (event) => this.#traced(run, log, event),
      },
    });
    if (!process.alive) return;
    if (this.damaged) {
      this.world.violated("damaged data is refused", `node ${this.id} started on a damaged log`);
    }
    this.#up = { run, process, clock, node, log, machine };
    this.state = "up";
    this.#checkedCommit = 0n;
    observe({ type: "membership", run, membership: node.membership });
    node.on("membership", ({ membership }) => observe({ type: "membership", run, membership }));
    void node.fatal.then((error) => this.#failed(process, error));
  }

  #refusedToStart(error: unknown): void {
    const words = error instanceof Error ? error.message : String(error);
    if (error instanceof NodeRemoved) {
      this.crash(`stays away: ${words}`);
      this.state = "retired";
      return;
    }
    if (this.damaged || this.disk.hasFailed) {
      this.crash(`cannot start: ${words}`);
      if (this.damaged) this.state = "lost";
      return;
    }
    this.world.violated("a healthy node starts", `node ${this.id}: ${words}`);
  }

  #failed(process: Process, error: Error): void {
    if (!process.alive) return;
    const stalled = error instanceof StorageFault && error.code === "writeStalled";
    if (!this.disk.hasFailed && !stalled)
      this.world.violated("a healthy node works", `node ${this.id}: ${error.stack ?? error.message}`);
    this.crash(`failed: ${error.message}`);
  }

  #traced(run: Run, log: LmdbStorage, event: TraceEvent): void {
    const { trace, observe, scheduler } = this.world;
    if (TRACED.has(event.type)) {
      const detail = Object.entries(event).flatMap(([name, value]) =>
        name === "type" ? [] : [`${name}=${String(value)}`],
      );
      trace.add(`node-${this.id}`, `${event.type} ${detail.join(" ")}`);
    }
    if (event.type === "secondLeader") {
      this.world.violated(
        "election safety",
        `node ${this.id} met a second leader ${event.from} of term ${event.term}`,
      );
    }
    if (event.type === "becameFollower") this.#leadsTerm = undefined;
    if (event.type === "confChanged") this.#confState = event.confState;
    if (event.type === "snapshotRestored") this.#confState = undefined;
    if (event.type === "committed") this.#committedAsLeader(run, event.index);
    if (event.type !== "becameLeader") return;
    this.#leadsTerm = event.term;
    const confState = this.#confState;
    const process = this.#process;
    // Its log is only in the storage when the Ready has been taken.
    scheduler.soon(process, () => {
      const { storage } = log;
      observe({
        type: "becameLeader",
        run,
        term: event.term,
        termAt: (index) => storage.term(index),
        firstIndex: storage.firstIndex(),
        lastIndex: storage.lastIndex(),
        confState,
      });
    });
  }

  #committedAsLeader(run: Run, index: LogIndex): void {
    const term = this.#leadsTerm;
    const confState = this.#confState;
    if (term === undefined || confState === undefined) return;
    const holders = this.world.hosts().filter((host) => host.damaged || host.holds(index, term));
    this.world.observe({
      type: "leaderCommitted",
      run,
      term,
      index,
      confState,
      holders: new Set(holders.map(({ id }) => id)),
    });
  }

  #observedLog(run: Run, log: LmdbStorage): DurableLog {
    const { observe } = this.world;
    return {
      storage: log.storage,
      space: log.space,
      get membership() {
        return log.membership;
      },
      append: (write: LogWrite) => {
        const { storage } = log;
        const { entries, snapshot, hardState } = write;
        const lastIndexBefore = storage.lastIndex();
        if (snapshot !== undefined) this.#confState = snapshot.metadata?.confState;
        const written = log.append(write);
        const first = entries[0]?.index;
        const reachesBack = first !== undefined && first > storage.firstIndex() - 1n;
        observe({
          type: "appended",
          run,
          leadsTerm: this.#leadsTerm,
          entries,
          snapshotIndex: snapshot?.metadata?.index,
          hardState,
          previousTerm: reachesBack ? storage.term(first - 1n) : undefined,
          lastIndexBefore,
        });
        return written;
      },
      saveMembership: (record) => log.saveMembership(record),
      compact: (index) => {
        this.world.trace.add(`node-${this.id}`, `compacts up to ${index}`);
        return log.compact(index);
      },
      get onSnapshotWanted() {
        return log.onSnapshotWanted;
      },
      set onSnapshotWanted(wanted) {
        log.onSnapshotWanted = wanted;
      },
      close: () => log.close(),
    };
  }

  #observedMachine(run: Run, machine: KvStateMachine): StateMachine {
    const { observe } = this.world;
    const stateIs = (): void =>
      observe({ type: "stateIs", run, appliedIndex: machine.appliedIndex, digest: digestOf(machine) });
    return {
      get appliedIndex() {
        return machine.appliedIndex;
      },
      get durableIndex() {
        return machine.durableIndex;
      },
      apply: async (commands: readonly Command[], appliedIndex) => {
        for (const { index, term, data } of commands) observe({ type: "applied", run, index, term, data });
        const results = await machine.apply(commands, appliedIndex);
        stateIs();
        return results;
      },
      snapshot: () => machine.snapshot(),
      restore: async (appliedIndex, body) => {
        await machine.restore(appliedIndex, body);
        this.world.trace.add(`node-${this.id}`, `restored ${appliedIndex}`);
        stateIs();
      },
      close: () => machine.close(),
    };
  }

  #observedTransport(run: Run, transport: PeerTransport): PeerTransport {
    return {
      send: (messages) => {
        // Before: the process may end in the middle of it, with the vote under way.
        if (this.#process?.alive === true) for (const message of messages) this.#noteVote(run, message);
        transport.send(messages);
      },
      setMembers: (addresses) => transport.setMembers(addresses),
      close: () => transport.close(),
    };
  }

  #noteVote(run: Run, { msgType, term, to, reject }: Message): void {
    if (msgType === MessageType.MsgRequestVote) {
      this.world.observe({ type: "voted", run, term, candidate: this.id });
    } else if (msgType === MessageType.MsgRequestVoteResponse && !reject) {
      this.world.observe({ type: "voted", run, term, candidate: to });
    }
  }

  #logger(): Logger {
    const { trace } = this.world;
    const tell = (fields: object, message: string): void => {
      const error: unknown = Reflect.get(fields, "error");
      const words = error instanceof Error ? error.message : String(error);
      trace.add(`node-${this.id}`, `${message}${error === undefined ? "" : `: ${words}`}`);
    };
    return { debug: () => {}, info: () => {}, warn: tell, error: tell };
  }
}

function digestOf(machine: KvStateMachine): string {
  const span = { start: Buffer.alloc(0), end: undefined, includes: () => true };
  const { entries } = machine.range({ span, limit: 1_000, maxBytes: 1e6, keysOnly: false });
  let sum = crc32(Buffer.from(`${machine.revision} ${machine.sessionCount}`));
  for (const { key, value, modRevision } of entries) {
    sum = crc32(Buffer.from(`${key} ${modRevision}`), crc32(value, sum));
  }
  return sum.toString(16);
}

export function addressOf(id: NodeId): string {
  return `node-${id}:7000`;
}

export function bornWith(ids: readonly NodeId[]): MembershipRecord {
  return create(MembershipRecordSchema, {
    confState: newConfState({ voters: [...ids] }),
    index: 1n,
    addresses: ids.map((id) => ({ id, address: addressOf(id) })),
  });
}
