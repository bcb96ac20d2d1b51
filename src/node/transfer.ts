// Handing leadership over, as a caller sees it: the core is asked, and asked again if it gave up, until the target
// leads or the deadline has passed.

import type { RawNode } from "../core/raw-node.js";
import type { ProgressStatus } from "../core/status.js";
import type { NodeId } from "../core/types.js";
import type { Call, CallOptions, Calls } from "./calls.js";
import { RaftNodeError } from "./errors.js";
import type { Clock } from "./ports.js";

export interface TransfersOptions {
  readonly calls: Calls;
  readonly clock: Clock;
  /** The core gives a transfer up after an election timeout; then it is asked again. */
  readonly retryMs: number;
  readonly leaderId: () => NodeId | undefined;
  readonly wake: () => void;
}

interface Transfer {
  readonly to: NodeId;
  readonly waiting: Set<Call<NodeId>>;
  askedMs: number;
}

export class Transfers {
  #current: Transfer | undefined;

  constructor(private readonly options: TransfersOptions) {}

  get underWay(): boolean {
    return this.#current !== undefined;
  }

  /** @throws RaftNodeError `proposalDropped` while leadership is being handed to another node. */
  submit(to: NodeId, callOptions: CallOptions | undefined): Promise<NodeId> {
    if (this.#current !== undefined && this.#current.to !== to) {
      throw new RaftNodeError("proposalDropped", `leadership is being handed to node ${this.#current.to}`, {
        reason: "transferInProgress",
      });
    }
    const call: Call<NodeId> = this.options.calls.open("transfer", callOptions, {
      expired: () =>
        new RaftNodeError("deadlineExceeded", `node ${to} did not take over before the deadline`),
      aborted: () => new RaftNodeError("aborted", "the signal fired; the transfer may still happen"),
      ended: () => {
        transfer.waiting.delete(call);
        if (transfer.waiting.size === 0 && this.#current === transfer) this.#current = undefined;
      },
    });
    const transfer = this.#current ?? { to, waiting: new Set(), askedMs: Number.NEGATIVE_INFINITY };
    transfer.waiting.add(call);
    this.#current = transfer;
    this.options.wake();
    this.leaderChanged();
    return call.promise;
  }

  /** Asks the core if it is time: called in every turn of the node. */
  flush(node: RawNode): void {
    const transfer = this.#current;
    if (transfer === undefined) return;
    const nowMs = this.options.clock.nowMs();
    if (nowMs - transfer.askedMs < this.options.retryMs) return;
    transfer.askedMs = nowMs;
    node.transferLeader(transfer.to);
  }

  leaderChanged(): void {
    const transfer = this.#current;
    if (transfer === undefined || this.options.leaderId() !== transfer.to) return;
    for (const call of [...transfer.waiting]) call.resolve(transfer.to);
  }
}

/** Whom a leader hands over to if nobody was named: the other voter that has most of the log, active ones first. */
export function mostUpToDate(
  progress: readonly ProgressStatus[],
  leader: NodeId,
  isActive: (id: NodeId) => boolean,
): NodeId | undefined {
  const better = (a: ProgressStatus, b: ProgressStatus) => {
    if (isActive(a.id) !== isActive(b.id)) return isActive(a.id);
    return a.matched > b.matched;
  };
  let best: ProgressStatus | undefined;
  for (const peer of progress) {
    if (peer.learner || peer.id === leader) continue;
    if (best === undefined || better(peer, best)) best = peer;
  }
  return best?.id;
}
