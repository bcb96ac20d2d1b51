// How many payload bytes a leader has accepted and not yet handed out as committed (raft-rs: UncommittedState).

import type { Entry } from "../../gen/eraftpb_pb.js";
import { payloadSize } from "../messages.js";
import type { LogIndex } from "../types.js";

export class UncommittedBudget {
  #bytes = 0;
  readonly #limitBytes: number;
  /** Entries up to here were proposed under earlier leaders and never counted. */
  readonly #ignoreUpTo: LogIndex;

  constructor(limitBytes: number, lastIndexAtElection: LogIndex) {
    this.#limitBytes = limitBytes;
    this.#ignoreUpTo = lastIndexAtElection;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Books the entries unless that would exceed the limit. Empty ones are always let through (elections and
   * leaving a joint configuration must not fail), and so is anything when nothing is booked: one proposal
   * larger than the limit must not be refused for ever.
   */
  tryTake(entries: readonly Entry[]): boolean {
    let size = 0;
    for (const entry of entries) size += payloadSize(entry);
    if (size > 0 && this.#bytes > 0 && this.#bytes + size > this.#limitBytes) return false;
    this.#bytes += size;
    return true;
  }

  /** Gives back what committed entries had booked. */
  giveBack(entries: readonly Entry[]): void {
    let size = 0;
    for (const entry of entries) if (entry.index > this.#ignoreUpTo) size += payloadSize(entry);
    this.#bytes = Math.max(0, this.#bytes - size);
  }
}
