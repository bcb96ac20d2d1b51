// Who waits until this node knows a leader.

import type { NodeId } from "../core/types.js";
import type { Call, CallOptions, Calls } from "./calls.js";
import { RaftNodeError } from "./errors.js";

export class LeaderWaits {
  readonly #waiting = new Set<Call<NodeId>>();

  constructor(
    private readonly options: { readonly calls: Calls; readonly leaderId: () => NodeId | undefined },
  ) {}

  submit(callOptions: CallOptions | undefined): Promise<NodeId> {
    const leaderId = this.options.leaderId();
    if (leaderId !== undefined) return Promise.resolve(leaderId);
    const call: Call<NodeId> = this.options.calls.open("wait", callOptions, {
      expired: () => new RaftNodeError("noLeader", "no leader was known before the deadline"),
      aborted: () => new RaftNodeError("aborted", "the signal fired before a leader was known"),
      ended: () => this.#waiting.delete(call),
    });
    this.#waiting.add(call);
    return call.promise;
  }

  leaderChanged(): void {
    const leaderId = this.options.leaderId();
    if (leaderId !== undefined) for (const call of [...this.#waiting]) call.resolve(leaderId);
  }
}
