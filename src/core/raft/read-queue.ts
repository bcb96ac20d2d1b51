// The leader's linearizable reads that wait for a quorum to confirm its leadership (thesis §6.4).
//
// A round of heartbeats carries a token that the leader counts up itself; whoever echoes token t confirms every read
// registered up to t. The client's context is no token: if it were, a late answer to the first use of a context could
// confirm its second use, which is a stale read (etcd-io/etcd#20418).

import type { JointConfig } from "../quorum/joint.js";
import type { LogIndex, NodeId } from "../types.js";

/** Who asked, and with what: kept as it came, to be answered later. */
export interface ReadRequest {
  /** NO_NODE or the leader's own id for a read of this node. */
  readonly from: NodeId;
  readonly context: Uint8Array;
}

interface PendingRead {
  readonly token: bigint;
  readonly index: LogIndex;
  readonly request: ReadRequest;
}

export class ReadQueue {
  #lastToken = 0n;
  #pending: PendingRead[] = [];
  /** The highest token that each peer has echoed. */
  readonly #echoed = new Map<NodeId, bigint>();
  /** When the rounds that are not yet confirmed were sent, in leader ticks; only kept for the lease. */
  readonly #sentAtTick = new Map<bigint, number>();
  #leaseStartTick: number | undefined;
  /** Reads that came before the first commit of this term: their index is not known yet. */
  #early: ReadRequest[] = [];

  /** Reads waiting, early ones included. */
  get size(): number {
    return this.#pending.length + this.#early.length;
  }

  /** Registers a read at the commit index of now; the next round of heartbeats confirms it. */
  add(request: ReadRequest, index: LogIndex): void {
    this.#lastToken += 1n;
    this.#pending.push({ token: this.#lastToken, index, request });
  }

  addEarly(request: ReadRequest): void {
    this.#early.push(request);
  }

  takeEarly(): readonly ReadRequest[] {
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** What the next round of heartbeats should carry; undefined when nobody waits for one. */
  roundToken(): bigint | undefined {
    return this.#pending.length === 0 ? undefined : this.#lastToken;
  }

  /** Begins a round that renews the lease when it is confirmed. `keepRounds` bounds what is remembered. */
  beginLeaseRound(tick: number, keepRounds: number): bigint {
    this.#lastToken += 1n;
    this.#sentAtTick.set(this.#lastToken, tick);
    for (const token of this.#sentAtTick.keys()) {
      if (this.#sentAtTick.size <= keepRounds) break;
      this.#sentAtTick.delete(token);
    }
    return this.#lastToken;
  }

  /** When the newest round that a quorum has confirmed was sent. */
  get leaseStartTick(): number | undefined {
    return this.#leaseStartTick;
  }

  echo(from: NodeId, token: bigint): void {
    const before = this.#echoed.get(from) ?? 0n;
    // A token that was never given out is a peer's mistake and must not confirm reads to come.
    if (token > before && token <= this.#lastToken) this.#echoed.set(from, token);
  }

  /** Takes out the reads that a quorum of `voters` has confirmed, in the order they came. */
  takeConfirmed(self: NodeId, voters: JointConfig): readonly PendingRead[] {
    const { index: confirmed } = voters.committedIndex(false, (id) => ({
      index: id === self ? this.#lastToken : (this.#echoed.get(id) ?? 0n),
      groupId: 0n,
    }));
    for (const [token, tick] of this.#sentAtTick) {
      if (token > confirmed) break;
      this.#leaseStartTick = tick;
      this.#sentAtTick.delete(token);
    }
    const waiting = this.#pending.findIndex((read) => read.token > confirmed);
    const released = waiting === -1 ? this.#pending : this.#pending.slice(0, waiting);
    this.#pending = waiting === -1 ? [] : this.#pending.slice(waiting);
    return released;
  }
}

/** Tokens travel as 8 bytes, big-endian, in the context of heartbeats. */
export function encodeToken(token: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, token);
  return bytes;
}

/** Undefined for a context that is no token: such a heartbeat response confirms nothing. */
export function decodeToken(context: Uint8Array): bigint | undefined {
  if (context.length !== 8) return undefined;
  return new DataView(context.buffer, context.byteOffset, context.byteLength).getBigUint64(0);
}
