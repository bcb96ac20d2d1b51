// What a leader knows about one peer's log, and whether it may send it more: probing, replicating, or waiting for
// a snapshot.

import { assertNever, InvariantViolation } from "../errors.js";
import { type LogIndex, maxOf, minOf, NO_INDEX, type ProgressStateName } from "../types.js";
import { Inflights } from "./inflights.js";

/**
 * `matched < nextIdx` holds from the first acknowledgement, rejection or change of state on; a new progress takes
 * the `nextIdx` that it is given. raft-rs: `Progress`.
 */
export class Progress {
  /** The peer's log is known to equal the leader's up to here. */
  matched: LogIndex = NO_INDEX;
  /** The first entry of the next append. Entries between `matched` and this are under way. */
  nextIdx: LogIndex;
  /**
   * - `Probe`: one append at a time, to find out where the logs agree.
   * - `Replicate`: a window of appends; `nextIdx` moves when they are sent.
   * - `Snapshot`: no appends until the snapshot has arrived or failed.
   */
  state: ProgressStateName = "Probe";
  /** Probe: an append is out. Replicate: the window was full after the last append. Cleared when the peer speaks. */
  paused = false;
  /** In state Snapshot, the index of the snapshot sent; {@link NO_INDEX} once it has failed. */
  pendingSnapshot: LogIndex = NO_INDEX;
  /** The index that a snapshot must have that the peer has asked for. */
  pendingRequestSnapshot: LogIndex = NO_INDEX;
  /** The peer has spoken since check-quorum looked last. */
  recentActive = false;
  isLearner = false;
  /** For group commit; 0 means not assigned. */
  commitGroupId = 0n;
  /** The highest commit index that the peer has reported. */
  committedIndex: LogIndex = NO_INDEX;
  inflights: Inflights;

  /** @param maxInflightMsgs, maxInflightBytes the limits of {@link Inflights}. */
  constructor(nextIdx: LogIndex, maxInflightMsgs: number, maxInflightBytes: number) {
    this.nextIdx = nextIdx;
    this.inflights = new Inflights(maxInflightMsgs, maxInflightBytes);
  }

  /**
   * Forgets what was learnt about the peer's log, for a new term. The reported commit index and the commit group
   * stay: neither depends on who leads.
   */
  reset(nextIdx: LogIndex, maxInflightMsgs: number, maxInflightBytes: number): void {
    this.matched = NO_INDEX;
    this.nextIdx = nextIdx;
    this.state = "Probe";
    this.paused = false;
    this.pendingSnapshot = NO_INDEX;
    this.pendingRequestSnapshot = NO_INDEX;
    this.recentActive = false;
    this.inflights = new Inflights(maxInflightMsgs, maxInflightBytes);
  }

  /** Probes behind what is known: after a snapshot that was not reported as failed, behind that snapshot. */
  becomeProbe(): void {
    this.#enter("Probe", maxOf(this.matched, this.pendingSnapshot) + 1n);
  }

  becomeReplicate(): void {
    this.#enter("Replicate", this.matched + 1n);
  }

  /** @param index the last index that the snapshot being sent covers. */
  becomeSnapshot(index: LogIndex): void {
    this.#enter("Snapshot", maxOf(this.matched, index) + 1n);
    this.pendingSnapshot = index;
  }

  #enter(state: ProgressStateName, nextIdx: LogIndex): void {
    this.state = state;
    this.nextIdx = nextIdx;
    this.paused = false;
    this.pendingSnapshot = NO_INDEX;
    this.inflights.reset();
  }

  /** The snapshot did not arrive: {@link becomeProbe} will not trust it. */
  snapshotFailure(): void {
    this.pendingSnapshot = NO_INDEX;
  }

  /** The peer's log reaches as far as the snapshot that was sent to it. */
  isSnapshotCaughtUp(): boolean {
    return this.state === "Snapshot" && this.matched >= this.pendingSnapshot;
  }

  /**
   * Takes in that the peer's log matches up to `index`.
   * @returns false for an acknowledgement that says nothing new; nothing but `nextIdx` may have moved then.
   */
  maybeUpdate(index: LogIndex): boolean {
    this.nextIdx = maxOf(this.nextIdx, index + 1n);
    if (index <= this.matched) return false;
    this.matched = index;
    this.resume();
    return true;
  }

  /** Takes in the peer's commit index; late messages never lower it. */
  updateCommitted(index: LogIndex): void {
    this.committedIndex = maxOf(this.committedIndex, index);
  }

  /** Reckons with entries up to `lastIndex` arriving. */
  optimisticUpdate(lastIndex: LogIndex): void {
    this.nextIdx = lastIndex + 1n;
  }

  /**
   * Takes in that the peer has refused the append behind `rejected`.
   * @param matchHint where the logs may agree.
   * @param requestSnapshot the snapshot index that the peer asks for instead; {@link NO_INDEX} if it asks for none.
   * @returns false for a refusal of something older than what is known or asked now: nothing has changed then.
   *   raft-rs: `maybe_decr_to`.
   */
  maybeDecrTo(rejected: LogIndex, matchHint: LogIndex, requestSnapshot: LogIndex): boolean {
    const asksForSnapshot = requestSnapshot !== NO_INDEX;
    switch (this.state) {
      case "Replicate":
        if (rejected < this.matched) return false;
        if (asksForSnapshot) {
          this.pendingRequestSnapshot = requestSnapshot;
          return true;
        }
        if (rejected === this.matched) return false;
        this.nextIdx = this.matched + 1n;
        return true;
      case "Probe":
      case "Snapshot":
        if (asksForSnapshot) {
          if (this.pendingRequestSnapshot === NO_INDEX) this.pendingRequestSnapshot = requestSnapshot;
          this.resume();
          return true;
        }
        // While a snapshot is on its way no append is out that could be refused.
        if (this.state === "Snapshot" || this.nextIdx - 1n !== rejected) return false;
        // Without the floor a late refusal would have matched entries sent again.
        this.nextIdx = maxOf(minOf(rejected, matchHint + 1n), this.matched + 1n);
        this.resume();
        return true;
      default:
        return assertNever(this.state);
    }
  }

  /** Nothing may be sent before the peer has spoken. */
  isPaused(): boolean {
    // An operator's wish for silence.
    if (this.inflights.capacity === 0) return true;
    switch (this.state) {
      case "Probe":
        return this.paused;
      case "Replicate":
        // A full window lets one message without entries through, in case the appends were lost.
        return this.paused && this.inflights.full();
      case "Snapshot":
        return true;
      default:
        return assertNever(this.state);
    }
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  /**
   * Takes in that an append was sent with `count` entries from `nextIdx` on, of `bytes` together. One without
   * entries tells a probing peer nothing that it would have to answer for, and does not pause it.
   * etcd/raft: `SentEntries`; raft-rs: `update_state`.
   * @throws InvariantViolation in state Snapshot, and when the window has no room for the entries.
   */
  sentEntries(count: number, bytes: number): void {
    switch (this.state) {
      case "Probe":
        if (count > 0) this.pause();
        return;
      case "Replicate":
        if (count > 0) {
          const lastIndex = this.nextIdx + BigInt(count) - 1n;
          this.inflights.add(lastIndex, bytes);
          this.optimisticUpdate(lastIndex);
        }
        this.paused = this.inflights.full();
        return;
      case "Snapshot":
        throw new InvariantViolation("an append was sent to a peer that waits for a snapshot");
      default:
        assertNever(this.state);
    }
  }

  /**
   * Takes in that `count` entries of `bytes` together were added to the append that was sent last and has not left
   * yet. It stays one message of the window.
   */
  addedToLastAppend(count: number, bytes: number): void {
    if (count === 0) return;
    // Only Replicate has a window with something in it.
    if (this.inflights.count === 0) {
      this.sentEntries(count, bytes);
      return;
    }
    const lastIndex = this.nextIdx + BigInt(count) - 1n;
    this.inflights.growLast(lastIndex, bytes);
    this.optimisticUpdate(lastIndex);
    this.paused = this.inflights.full();
  }
}
