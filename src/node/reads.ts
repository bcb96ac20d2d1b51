// Linearizable reads. All reads that wait share one ReadIndex round; those that come while a round is under way
// share the next one, because only a round that began after a read did may answer it. A round's answer can be
// lost, with its leader or on the network: it is asked again under a new context, never under the same one, since
// a late answer to the first asking would vouch for reads that came after it.

import type { RawNode } from "../core/raw-node.js";
import type { ReadState } from "../core/ready.js";
import type { LogIndex, NodeId, Term } from "../core/types.js";
import type { Call, CallOptions, Calls } from "./calls.js";
import { RaftNodeError } from "./errors.js";
import type { NodeMetrics } from "./metrics.js";
import type { Clock } from "./ports.js";

/** What a read has to see. Default: everything that was acknowledged before it began. */
export interface ReadIndexOptions extends CallOptions {
  /** It is enough to see what was acknowledged this long ago, or longer. Milliseconds; 0: the default. */
  readonly maxStalenessMs?: number | undefined;
  /**
   * The leader may answer on the strength of its lease; see `RaftNodeOptions.leaseReads`. A follower holds none: there
   * such a read costs a round, as any other.
   */
  readonly lease?: boolean | undefined;
}

export interface ReadsOptions {
  readonly id: NodeId;
  readonly calls: Calls;
  readonly clock: Clock;
  readonly metrics: NodeMetrics;
  readonly maxPending: number;
  /** A round without an answer for this long is asked again. */
  readonly retryMs: number;
  /** How long after asking a round that was confirmed nobody else can lead; 0: reads by lease ask a round too. */
  readonly leaseMs: number;
  readonly leading: () => boolean;
  readonly term: () => Term;
  /** Draws what makes the contexts of this run of the node differ from those of the runs before it. */
  readonly randomInt: (min: number, max: number) => number;
  readonly leaderId: () => NodeId | undefined;
  readonly appliedIndex: () => LogIndex;
  /** What the core knows to be committed. */
  readonly committedIndex: () => LogIndex;
  readonly wake: () => void;
}

interface Read {
  readonly call: Call<LogIndex>;
  /** What the state machine must have applied; undefined until a leader has said so. */
  index: LogIndex | undefined;
}

/** The state here contains everything that was acknowledged before `askedMs`, once `index` is applied. */
interface Voucher {
  readonly askedMs: number;
  readonly index: LogIndex;
  /** While these are what they were, and this node leads, it is the voucher of a lease. */
  readonly term: Term;
  readonly epoch: number;
}

interface Round {
  readonly context: Uint8Array;
  readonly reads: readonly Read[];
  readonly askedMs: number;
  readonly term: Term;
  readonly epoch: number;
}

export class Reads {
  #gathering: Read[] = [];
  #round: Round | undefined;
  #confirmed: Read[] = [];
  #count = 0;
  #counter = 0;
  #incarnation: number;
  /** Nobody could be asked: not before this time or a new leader. */
  #notBeforeMs = 0;
  #promised: Voucher | undefined;
  #voucher: Voucher | undefined;
  /** Counts what ends every lease: changes of leader and of membership. */
  #epoch = 0;
  #forfeited = false;

  constructor(private readonly options: ReadsOptions) {
    this.#incarnation = options.randomInt(0, 2 ** 32);
  }

  get count(): number {
    return this.#count;
  }

  submit(callOptions: ReadIndexOptions | undefined): Promise<LogIndex> {
    const { calls, maxPending, wake } = this.options;
    const enough = callOptions === undefined ? undefined : this.#vouchedFor(callOptions);
    if (enough !== undefined) {
      this.options.metrics.count("readsWithoutRound");
      if (enough <= this.options.appliedIndex()) {
        this.options.metrics.count("readsServed");
        return Promise.resolve(this.options.appliedIndex());
      }
    }
    if (this.#count >= maxPending) {
      throw new RaftNodeError("inboxFull", `${this.#count} reads are waiting; slow down and retry`);
    }
    const call: Call<LogIndex> = calls.open("read", callOptions, {
      expired: () => this.#expired(read),
      aborted: () => new RaftNodeError("aborted", "the signal fired; the read was not served"),
      ended: () => {
        this.#count -= 1;
      },
    });
    const read: Read = { call, index: enough };
    this.#count += 1;
    if (enough !== undefined) {
      this.#confirmed.push(read);
      return call.promise;
    }
    this.#gathering.push(read);
    wake();
    return call.promise;
  }

  /** Asks what is to be asked: called in every turn of the node, hence also at every tick. */
  flush(node: RawNode): void {
    const nowMs = this.options.clock.nowMs();
    if (this.#round !== undefined && nowMs - this.#round.askedMs >= this.options.retryMs) {
      this.options.metrics.count("slowReadRounds");
      this.#abandonRound();
    }
    if (this.#round !== undefined || nowMs < this.#notBeforeMs) return;
    const reads = this.#gathering.filter(({ call }) => !call.settled);
    this.#gathering = [];
    if (reads.length === 0) return;
    const context = this.#newContext();
    const outcome = node.readIndex(context);
    if (!outcome.accepted) {
      this.#gathering = reads;
      this.#notBeforeMs = nowMs + this.options.retryMs;
      return;
    }
    this.options.metrics.count("readRounds");
    this.#round = { context, reads, askedMs: nowMs, term: this.options.term(), epoch: this.#epoch };
  }

  /** Another leader, or none: the round under way may have died with the old one. */
  leaderChanged(): void {
    this.#notBeforeMs = 0;
    this.#epoch += 1;
    this.#forfeited = false;
    this.#abandonRound();
  }

  /**
   * This node led and is followed no more, without a successor that it knows of: it is cut off. Waiting would be in vain
   * for as long as that lasts, so reads that no leader has confirmed end at once (decision 0014).
   */
  cutOff(): void {
    const waiting = [...(this.#round?.reads ?? []), ...this.#gathering];
    this.#round = undefined;
    this.#gathering = [];
    for (const { call } of waiting) {
      call.reject(
        new RaftNodeError(
          "noLeader",
          "this node lost its leadership before a majority confirmed the read: it may be cut off; ask another node",
        ),
      );
    }
  }

  confirmed(states: readonly ReadState[]): void {
    for (const { index, requestCtx } of states) {
      const round = this.#round;
      if (round === undefined || !sameBytes(round.context, requestCtx)) continue;
      this.#round = undefined;
      const { askedMs, term, epoch } = round;
      // The older one stays: it is the first to become true, so that under load one does from time to time.
      this.#promised ??= { askedMs, index, term, epoch };
      for (const read of round.reads) {
        read.index = index;
        this.#confirmed.push(read);
      }
      if (this.#gathering.length > 0) this.options.wake();
    }
    if (states.length > 0) this.applied();
  }

  /** A majority may be another one now. */
  membershipChanged(): void {
    this.#epoch += 1;
  }

  /** Another node may be made leader at once: no lease until this node is made leader anew. */
  forfeitLease(): void {
    this.#forfeited = true;
  }

  /** What has to be applied here for a read that began now, if that can be told without asking anybody. */
  #vouchedFor({ maxStalenessMs = 0, lease = false }: ReadIndexOptions): LogIndex | undefined {
    const voucher = this.#voucher;
    if (voucher === undefined) return undefined;
    const { clock, appliedIndex, committedIndex } = this.options;
    const ageMs = clock.nowMs() - voucher.askedMs;
    if (maxStalenessMs > 0 && ageMs <= maxStalenessMs) return appliedIndex();
    // Not only what is applied: a follower that applies faster may have acknowledged more, or shown it to a reader.
    return lease && this.#holdsLease(voucher, ageMs) ? committedIndex() : undefined;
  }

  /**
   * Nobody else can lead yet. Age is real time and not ticks: after the process stood still, ticks that nobody counted
   * are missing, and a lease in ticks would seem to last (decision 0010). A standstill after this look does no harm:
   * the read began before it, so that what was true at the look may be answered at any later time.
   */
  #holdsLease({ epoch, term }: Voucher, ageMs: number): boolean {
    const { leaseMs, leading } = this.options;
    return (
      leading() &&
      ageMs < leaseMs &&
      epoch === this.#epoch &&
      term === this.options.term() &&
      !this.#forfeited
    );
  }

  /** The state machine moved on. */
  applied(): void {
    const applied = this.options.appliedIndex();
    if (this.#promised !== undefined && this.#promised.index <= applied) {
      this.#voucher = this.#promised;
      this.#promised = undefined;
    }
    if (this.#confirmed.length === 0) return;
    const waiting: Read[] = [];
    for (const read of this.#confirmed) {
      if (read.call.settled) continue;
      if (read.index === undefined || read.index > applied) {
        waiting.push(read);
        continue;
      }
      this.options.metrics.count("readsServed");
      this.options.metrics.readDuration.record(this.options.clock.nowMs() - read.call.startedMs);
      read.call.resolve(read.index);
    }
    this.#confirmed = waiting;
  }

  #abandonRound(): void {
    if (this.#round === undefined) return;
    this.#gathering = [...this.#round.reads, ...this.#gathering];
    this.#round = undefined;
    this.options.wake();
  }

  #expired(read: Read): RaftNodeError {
    const { leaderId, appliedIndex } = this.options;
    const leader = leaderId();
    if (read.index !== undefined) {
      return new RaftNodeError(
        "deadlineExceeded",
        `the read was confirmed at index ${read.index}, but only ${appliedIndex()} is applied here`,
      );
    }
    if (leader === undefined) {
      return new RaftNodeError(
        "noLeader",
        "no leader was known before the deadline; retry when there is one",
      );
    }
    return new RaftNodeError(
      "noLeader",
      `leader ${leader} did not confirm the read before the deadline; it may be cut off from a majority`,
      { leaderHint: leader },
    );
  }

  /** 16 bytes that no read of any node ever had: the node, the run of the node, the round. */
  #newContext(): Uint8Array {
    const context = new Uint8Array(16);
    const view = new DataView(context.buffer);
    this.#counter += 1;
    if (this.#counter >= 2 ** 32) {
      this.#counter = 1;
      this.#incarnation = this.options.randomInt(0, 2 ** 32);
    }
    view.setBigUint64(0, this.options.id);
    view.setUint32(8, this.#incarnation);
    view.setUint32(12, this.#counter);
    return context;
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
