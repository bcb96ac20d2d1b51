// The door through which the transport reaches a node: what it brings waits for the node's next turn.

import type { NodeId } from "../core/types.js";
import type { Inbox } from "./inbox.js";
import type { NodeMetrics } from "./metrics.js";
import type { Peers } from "./peers.js";
import type { Message, PeerInbox } from "./ports.js";
import { nodeStopped } from "./refusals.js";

export interface NodeInboxOptions {
  readonly id: NodeId;
  readonly inbox: Inbox;
  readonly peers: Pick<Peers, "admits">;
  readonly metrics: NodeMetrics;
  /** False once the node has ended. */
  readonly open: () => boolean;
  readonly wake: () => void;
}

export class NodeInbox implements PeerInbox {
  readonly id: NodeId;

  constructor(private readonly options: NodeInboxOptions) {
    this.id = options.id;
  }

  admits(from: NodeId): boolean {
    return this.options.open() && this.options.peers.admits(from);
  }

  step(messages: readonly Message[]): void {
    const { open, inbox, metrics, wake } = this.options;
    if (!open()) throw nodeStopped("it takes no messages");
    try {
      inbox.offer(messages);
    } catch (error) {
      metrics.count("inboxRejections");
      throw error;
    }
    wake();
  }

  reportUnreachable(id: NodeId): void {
    this.options.inbox.report({ kind: "unreachable", id });
    this.options.wake();
  }

  reportSnapshot(id: NodeId, delivered: boolean): void {
    this.options.inbox.report({ kind: "snapshot", id, delivered });
    this.options.wake();
  }
}
