// Everything that leaves a node. Only this file stamps sender and term, and chooses between the two lanes:
//
// - after persisting: what promises that something is on this node's disk. A vote (also the one that a candidate
//   gives itself before it asks others) and an acknowledgement of entries. Sent early, a crash would turn it into a
//   lie: the node could vote twice in a term, or an entry counted by the leader could be gone.
// - at once: all the rest. A leader's appends may overtake its own disk, because it counts itself only when its disk
//   has answered (thesis §10.2.1). A heartbeat answer promises nothing durable, so a slow disk does not make a
//   follower look dead, nor slow down reads. A leader's term and vote are durable before it leads, since its vote
//   for itself counts only then.

import { type Message, MessageType } from "../../gen/eraftpb_pb.js";
import { InvariantViolation, invariant } from "../errors.js";
import { NO_NODE, type NodeId, type Term } from "../types.js";
import type { RaftState } from "./state.js";

/** A MsgAppend that waits to be taken and may still be added to. */
export interface OpenAppend {
  readonly message: Message;
  /** The encoded size of its entries. */
  bytes: number;
}

export class Outbox {
  #now: Message[] = [];
  readonly #openAppends = new Map<NodeId, OpenAppend>();
  #persisted: Message[] = [];
  /** The term of a vote for itself that counts when the hard state holding it is durable. */
  #selfVote: Term | undefined;

  /** No message waits. A vote for itself comes with a hard state that says so. */
  get isEmpty(): boolean {
    return this.#now.length === 0 && this.#persisted.length === 0;
  }

  /** The last append to this peer that has not been taken yet: what `batchAppend` adds to. */
  openAppend(to: NodeId): OpenAppend | undefined {
    return this.#openAppends.get(to);
  }

  keepOpen(append: OpenAppend): void {
    this.#openAppends.set(append.message.to, append);
  }

  push(message: Message): void {
    (makesPromise(message.msgType) ? this.#persisted : this.#now).push(message);
  }

  takeNow(): Message[] {
    const taken = this.#now;
    this.#now = [];
    // From here on the message is the embedder's.
    if (this.#openAppends.size > 0) this.#openAppends.clear();
    return taken;
  }

  takePersisted(): Message[] {
    const taken = this.#persisted;
    this.#persisted = [];
    return taken;
  }

  voteForSelf(term: Term): void {
    this.#selfVote = term;
  }

  takeSelfVote(): Term | undefined {
    const term = this.#selfVote;
    this.#selfVote = undefined;
    return term;
  }
}

/** Whether a message may be sent only once this node's disk holds what it speaks of. */
function makesPromise(msgType: MessageType): boolean {
  return (
    msgType === MessageType.MsgRequestVote ||
    msgType === MessageType.MsgRequestVoteResponse ||
    msgType === MessageType.MsgAppendResponse
  );
}

/** Stamps a message and puts it into its lane. raft-rs: `RaftCore::send`. */
export function send(raft: RaftState, message: Message): void {
  // A forwarded request keeps the node that asked first: the answer goes there (R18).
  if (message.from === NO_NODE) message.from = raft.id;
  if (message.to === raft.id || message.to === NO_NODE) {
    throw new InvariantViolation(
      `a message of type ${MessageType[message.msgType]} is addressed to ${message.to}`,
    );
  }
  switch (message.msgType) {
    case MessageType.MsgRequestVote:
    case MessageType.MsgRequestVoteResponse:
    case MessageType.MsgRequestPreVote:
    case MessageType.MsgRequestPreVoteResponse:
      // Their term is a decision: a pre-vote asks for a term that this node has not entered.
      invariant(message.term !== 0n, () => `${MessageType[message.msgType]} needs a term`);
      break;
    case MessageType.MsgPropose:
    case MessageType.MsgReadIndex:
      // Requests belong to no term: whoever leads when they arrive answers them.
      message.term = 0n;
      break;
    default:
      message.term = raft.term;
  }
  raft.outbox.push(message);
}
