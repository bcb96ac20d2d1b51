// Commands on their way: queued until the node's next turn, proposed together, and answered when their entry is
// applied here. A proposal whose leader lost its office keeps waiting: it may still be committed by the next one.

import type { RawNode } from "../core/raw-node.js";
import type { LogIndex, NodeId, Term } from "../core/types.js";
import type { Entry } from "../gen/eraftpb_pb.js";
import type { Call, CallHooks, CallOptions, Calls } from "./calls.js";
import { RaftNodeError } from "./errors.js";
import type { NodeMetrics } from "./metrics.js";
import { Pending, type Place } from "./pending.js";
import type { Clock, SpaceState } from "./ports.js";
import { noSpace, notLeader, overwritten, proposalRefused } from "./refusals.js";

const NO_CONTEXT = new Uint8Array(0);

/** Where the command stands in the log, and what the state machine returned for it. */
export interface ProposeResult {
  readonly index: LogIndex;
  readonly result: Uint8Array;
}

export interface ProposeOptions extends CallOptions {
  /** The command makes room, or is needed to: it is taken while space is short, as long as there is a reserve. */
  readonly essential?: boolean | undefined;
}

export interface ProposalsOptions {
  readonly calls: Calls;
  readonly clock: Clock;
  readonly metrics: NodeMetrics;
  readonly maxPending: number;
  readonly maxPendingBytes: number;
  readonly maxProposalBytes: number;
  readonly batchBytes: number;
  readonly leading: () => boolean;
  readonly space: () => SpaceState;
  readonly term: () => Term;
  readonly leaderId: () => NodeId | undefined;
  readonly wake: () => void;
}

/** One that has not ended: what the core is given, who waits for it, and what becomes of his call. */
class Proposal implements CallHooks {
  readonly context = NO_CONTEXT;
  readonly call: Call<ProposeResult>;
  /** Where it was appended; undefined while it is queued, and then it is certain not to be applied. */
  place: Place | undefined;

  constructor(
    readonly data: Uint8Array,
    private readonly proposals: Proposals,
    calls: Calls,
    callOptions: CallOptions | undefined,
  ) {
    this.call = calls.open("proposal", callOptions, this);
  }

  expired(): RaftNodeError {
    return this.proposals.expired(this);
  }

  aborted(): RaftNodeError {
    return new RaftNodeError("aborted", `the signal fired; ${fateOf(this)}`);
  }

  ended(): void {
    this.proposals.ended(this);
  }
}

export class Proposals {
  #queue: Proposal[] = [];
  readonly #appended = new Pending<Proposal>();
  #count = 0;
  #bytes = 0;

  constructor(private readonly options: ProposalsOptions) {}

  /** Queued or in the log, and not answered yet. */
  get count(): number {
    return this.#count;
  }

  submit(data: Uint8Array, callOptions: ProposeOptions | undefined): Promise<ProposeResult> {
    const { calls, maxPending, maxPendingBytes, wake } = this.options;
    this.#refuseUnfit(data);
    const space = this.options.space();
    if (space === "exhausted" || (space === "full" && callOptions?.essential !== true)) throw noSpace(space);
    if (this.#count >= maxPending || this.#bytes + data.length > maxPendingBytes) {
      throw new RaftNodeError("inboxFull", `${this.#count} proposals are waiting; slow down and retry`);
    }
    const proposal = new Proposal(data, this, calls, callOptions);
    this.#count += 1;
    this.#bytes += data.length;
    this.#queue.push(proposal);
    wake();
    return proposal.call.promise;
  }

  /** Hands everything queued to the core, in order, in as few batches as their limit allows. */
  flush(node: RawNode): void {
    if (this.#queue.length === 0) return;
    const waiting = this.#queue.filter(({ call }) => !call.settled);
    this.#queue = [];
    for (const batch of inBatches(waiting, this.options.batchBytes)) this.#propose(node, batch);
  }

  /** The entry was applied; `result` is undefined for an entry that carries no command. */
  applied(entry: Entry, result: Uint8Array | undefined): void {
    if (this.#appended.isEmpty) return;
    const waiting = this.#appended.take(entry);
    if (waiting === undefined) return;
    for (const { call } of waiting.lost) call.reject(overwritten());
    for (const { call } of waiting.own) {
      if (result === undefined) {
        call.reject(new RaftNodeError("outcomeUnknown", "the entry was replayed; its result is not known"));
        continue;
      }
      this.options.metrics.count("proposalsApplied");
      this.options.metrics.proposalDuration.record(this.options.clock.nowMs() - call.startedMs);
      call.resolve({ index: entry.index, result });
    }
  }

  /** Entries up to `index` went by inside a snapshot: whether these were among them cannot be told any more. */
  passedBySnapshot(index: LogIndex): void {
    for (const { call } of this.#appended.takeUpTo(index)) {
      call.reject(
        new RaftNodeError(
          "outcomeUnknown",
          `this node was brought up by a snapshot at index ${index}; the command may or may not be in it`,
        ),
      );
    }
  }

  #refuseUnfit(data: Uint8Array): void {
    const { maxProposalBytes, leading, leaderId } = this.options;
    if (data.length === 0) {
      throw new RaftNodeError(
        "invalidArgument",
        "a command must have at least one byte: empty entries are raft's own",
      );
    }
    if (data.length > maxProposalBytes) {
      throw new RaftNodeError(
        "tooLarge",
        `a command may have ${maxProposalBytes} bytes, this one has ${data.length}`,
      );
    }
    if (!leading()) throw notLeader(leaderId());
  }

  #propose(node: RawNode, batch: readonly Proposal[]): void {
    const outcome = node.proposeBatch(batch);
    this.options.metrics.count("proposalBatches");
    if (!outcome.accepted) {
      for (const { call } of batch) call.reject(proposalRefused(outcome.reason, this.options.leaderId()));
      return;
    }
    const last = outcome.appended;
    if (last === undefined) {
      // Only a forwarded batch has no place, and forwarding is off.
      for (const { call } of batch)
        call.reject(new RaftNodeError("outcomeUnknown", "the command was forwarded"));
      return;
    }
    const { term } = last;
    let index = last.index - BigInt(batch.length);
    for (const proposal of batch) {
      index += 1n;
      proposal.place = { index, term };
      this.#appended.add(proposal.place, proposal);
    }
  }

  /** Called by the proposal itself. */
  expired(proposal: Proposal): RaftNodeError {
    const { place } = proposal;
    if (place !== undefined && !(this.options.leading() && this.options.term() === place.term)) {
      return new RaftNodeError(
        "outcomeUnknown",
        "leadership was lost after the command was appended; it may or may not be applied",
      );
    }
    return new RaftNodeError("deadlineExceeded", `the deadline passed; ${fateOf(proposal)}`);
  }

  /** Called by the proposal itself. */
  ended(proposal: Proposal): void {
    this.#count -= 1;
    this.#bytes -= proposal.data.length;
    if (proposal.place !== undefined) this.#appended.remove(proposal.place, proposal);
  }
}

function fateOf(proposal: Proposal): string {
  return proposal.place === undefined
    ? "the command was not proposed yet and will not be"
    : "the command is in the log and may or may not be applied";
}

function* inBatches(proposals: readonly Proposal[], limitBytes: number): Generator<readonly Proposal[]> {
  let batch: Proposal[] = [];
  let bytes = 0;
  for (const proposal of proposals) {
    if (batch.length > 0 && bytes + proposal.data.length > limitBytes) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(proposal);
    bytes += proposal.data.length;
  }
  if (batch.length > 0) yield batch;
}
