// Keeps the log that a peer needs after the snapshot by which it is being brought up. A log that is cut meanwhile would
// make that snapshot useless before it has arrived, and under load every one that follows it (etcd pauses compaction for
// the same reason).

import type { ProgressStatus } from "../core/status.js";
import { type LogIndex, maxOf, minOf, type NodeId } from "../core/types.js";

export interface LogHoldOptions {
  /** Empty unless this node leads. */
  readonly progress: () => readonly ProgressStatus[];
  readonly isActive: (id: NodeId) => boolean;
  /** A peer that lacks no more than these is caught up: they stay in any case. */
  readonly keepEntries: number;
  /** However slow a peer is, no more than these are kept for it. */
  readonly maxHeldEntries: number;
}

export interface LogState {
  readonly firstIndex: LogIndex;
  readonly applied: LogIndex;
  /** Of the newest snapshot that is complete, and of the one that is being made. */
  readonly snapshotIndex: LogIndex;
  readonly pinnedIndex: LogIndex | undefined;
}

export class LogHold {
  /** Those that needed a snapshot and have not caught up since. */
  readonly #helped = new Set<NodeId>();

  constructor(private readonly options: LogHoldOptions) {}

  /** A snapshot is wanted for this peer. */
  begin(to: NodeId): void {
    this.#helped.add(to);
  }

  /** The log must not be cut beyond this; undefined: as far as concerns peers, it may. */
  limit(log: LogState): LogIndex | undefined {
    const peers = new Map(this.options.progress().map((peer) => [peer.id, peer]));
    for (const { id, state } of peers.values()) if (state === "Snapshot") this.#helped.add(id);
    let limit: LogIndex | undefined;
    for (const id of this.#helped) {
      const peer = peers.get(id);
      if (peer === undefined || !this.options.isActive(id) || this.#hasCaughtUp(peer, log)) {
        this.#helped.delete(id);
        continue;
      }
      const from = neededFrom(peer, log);
      if (from !== undefined) limit = minOf(limit ?? from, from);
    }
    return limit === undefined ? undefined : maxOf(limit, log.applied - BigInt(this.options.maxHeldEntries));
  }

  #hasCaughtUp({ state, matched }: ProgressStatus, { applied }: LogState): boolean {
    return state === "Replicate" && matched + BigInt(this.options.keepEntries) >= applied;
  }
}

/** Undefined: whatever is kept, this peer needs a snapshot that does not exist yet. */
function neededFrom(peer: ProgressStatus, log: LogState): LogIndex | undefined {
  const isInLog = (index: LogIndex): boolean => index + 1n >= log.firstIndex;
  if (peer.state === "Snapshot") return peer.pendingSnapshot;
  if (isInLog(peer.matched)) return peer.matched;
  return isInLog(log.snapshotIndex) ? log.snapshotIndex : log.pinnedIndex;
}
