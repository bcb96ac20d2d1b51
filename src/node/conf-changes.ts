// Membership changes on their way: proposed one by one, and answered when their entry is applied here. Raft lets
// one pass at a time; the place of another is taken by an empty entry, and that is how its proposer learns of it.

import { ConfChangeError } from "../core/errors.js";
import type { RawNode } from "../core/raw-node.js";
import type { NodeId } from "../core/types.js";
import type { ConfChangeV2, Entry } from "../gen/eraftpb_pb.js";
import type { ConfChangeOutcome } from "./applier.js";
import type { Call, CallOptions, Calls } from "./calls.js";
import { RaftNodeError } from "./errors.js";
import { isJoint, type Membership } from "./membership.js";
import type { NodeMetrics } from "./metrics.js";
import { Pending, type Place } from "./pending.js";
import { overwritten, proposalRefused } from "./refusals.js";

/** Changes that wait at most; one is carried out at a time anyway. */
const MAX_PENDING = 64;
const NO_CONTEXT = new Uint8Array(0);
const NOBODY: readonly never[] = Object.freeze([]);

export interface ConfChangesOptions {
  readonly calls: Calls;
  readonly metrics: NodeMetrics;
  readonly leaderId: () => NodeId | undefined;
  readonly wake: () => void;
}

interface PendingChange {
  readonly change: ConfChangeV2;
  readonly call: Call<Membership>;
  /** Answer only when the joint configuration that it begins has been left again. */
  readonly untilLeft: boolean;
  place: Place | undefined;
}

export class ConfChanges {
  #queue: PendingChange[] = [];
  readonly #appended = new Pending<PendingChange>();
  /** Applied; those of them that stay wait for the joint configuration to be left. */
  #joint: PendingChange[] = [];
  #count = 0;

  constructor(private readonly options: ConfChangesOptions) {}

  submit(
    change: ConfChangeV2,
    untilLeft: boolean,
    callOptions: CallOptions | undefined,
  ): Promise<Membership> {
    if (this.#count >= MAX_PENDING) {
      throw new RaftNodeError("inboxFull", `${this.#count} membership changes are waiting; retry later`);
    }
    const call: Call<Membership> = this.options.calls.open("membership", callOptions, {
      expired: () => new RaftNodeError("deadlineExceeded", `the deadline passed; ${fateOf(pending)}`),
      aborted: () => new RaftNodeError("aborted", `the signal fired; ${fateOf(pending)}`),
      ended: () => this.#ended(pending),
    });
    const pending: PendingChange = { change, call, untilLeft, place: undefined };
    this.#count += 1;
    this.#queue.push(pending);
    this.options.wake();
    return call.promise;
  }

  flush(node: RawNode): void {
    if (this.#queue.length === 0) return;
    const waiting = this.#queue.filter(({ call }) => !call.settled);
    this.#queue = [];
    for (const pending of waiting) this.#propose(node, pending);
  }

  /** An entry that changes no membership was applied: a change that waited at its place has lost it. */
  passed(entry: Entry): void {
    for (const { call } of this.#takeOwn(entry)) {
      this.options.metrics.count("membershipRefusals");
      call.reject(
        new RaftNodeError(
          "membershipRefused",
          "another change is pending, or this one does not fit a joint configuration; retry when it is done",
        ),
      );
    }
  }

  applied(entry: Entry, outcome: ConfChangeOutcome): void {
    const own = this.#takeOwn(entry);
    if (outcome.kind === "refused") {
      const { error } = outcome;
      this.options.metrics.count("membershipRefusals");
      for (const { call } of own) {
        call.reject(new RaftNodeError("membershipRefused", error.message, { cause: error }));
      }
      return;
    }
    this.#joint.push(...own);
    this.settle(outcome.membership);
  }

  /** Answers those whose change is in force for good. */
  settle(membership: Membership): void {
    const joint = isJoint(membership);
    for (const { call, untilLeft } of [...this.#joint]) {
      if (!joint || !untilLeft) call.resolve(membership);
    }
  }

  /** Entries up to `index` went by inside a snapshot. */
  passedBySnapshot(index: bigint): void {
    for (const { call } of this.#appended.takeUpTo(index)) {
      call.reject(
        new RaftNodeError(
          "outcomeUnknown",
          `this node was brought up by a snapshot at index ${index}; read the membership to see whether it changed`,
        ),
      );
    }
  }

  #propose(node: RawNode, pending: PendingChange): void {
    try {
      const outcome = node.proposeConfChange(NO_CONTEXT, pending.change);
      if (!outcome.accepted) {
        pending.call.reject(proposalRefused(outcome.reason, this.options.leaderId()));
      } else if (outcome.appended === undefined) {
        pending.call.reject(new RaftNodeError("outcomeUnknown", "the change was forwarded"));
      } else {
        pending.place = outcome.appended;
        this.#appended.add(pending.place, pending);
      }
    } catch (error) {
      if (!(error instanceof ConfChangeError)) throw error;
      pending.call.reject(new RaftNodeError("invalidArgument", error.message, { cause: error }));
    }
  }

  /** Who waited at this place for this very entry; those who were overwritten by it are told so. */
  #takeOwn(entry: Entry): readonly PendingChange[] {
    if (this.#appended.isEmpty) return NOBODY;
    const waiting = this.#appended.take(entry);
    for (const { call } of waiting?.lost ?? []) call.reject(overwritten());
    return waiting?.own ?? NOBODY;
  }

  #ended(pending: PendingChange): void {
    this.#count -= 1;
    if (pending.place !== undefined) this.#appended.remove(pending.place, pending);
    this.#joint = this.#joint.filter((other) => other !== pending);
  }
}

function fateOf(pending: PendingChange): string {
  return pending.place === undefined
    ? "the change was not proposed yet and will not be"
    : "the change is in the log and may or may not be carried out";
}
