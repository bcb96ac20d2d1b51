// What a message has to pass before the core steps it: the core knows no descriptors, no disk that fills up, and no time.

import { type Message, MessageType } from "../gen/eraftpb_pb.js";
import type { NodeMetrics } from "./metrics.js";
import type { Peers } from "./peers.js";
import type { Clock, Logger, SpaceState } from "./ports.js";
import type { Reads } from "./reads.js";
import { isComplete } from "./snapshotting.js";

export interface MessageGateOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: NodeMetrics;
  readonly peers: Pick<Peers, "heardFrom">;
  readonly reads: Pick<Reads, "forfeitLease">;
  readonly space: () => SpaceState;
  /** Before this time no vote is given: before it was restarted this node may have granted a lease. */
  readonly votesFromMs: number;
}

export class MessageGate {
  constructor(private readonly options: MessageGateOptions) {}

  /** Whether the core may have it. What is turned away counts as lost on its way: Raft repeats what matters. */
  lets(message: Message): boolean {
    const { metrics, peers, reads, logger } = this.options;
    metrics.count("messagesReceived");
    const { msgType, from } = message;
    // Requests that are passed on name the node that asked, not the one that sent them.
    if (message.term !== 0n && msgType !== MessageType.MsgTransferLeader) peers.heardFrom(from);
    if (message.snapshot !== undefined && !isComplete(message.snapshot)) {
      logger.warn({ from: from.toString() }, "a snapshot came without its descriptor; it is ignored");
      return false;
    }
    if (msgType === MessageType.MsgTransferLeader) reads.forfeitLease();
    return !this.#withholdsVote(message) && this.#hasRoomFor(message);
  }

  #withholdsVote({ msgType }: Message): boolean {
    const asksForVote = msgType === MessageType.MsgRequestVote || msgType === MessageType.MsgRequestPreVote;
    return asksForVote && this.options.clock.nowMs() < this.options.votesFromMs;
  }

  /** The leader sends entries again until they fit: better than a write that fails, which would end the node. */
  #hasRoomFor({ msgType, entries }: Message): boolean {
    const bringsEntries = msgType === MessageType.MsgAppend && entries.length > 0;
    return !bringsEntries || this.options.space() !== "exhausted";
  }
}
