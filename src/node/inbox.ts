// What the network has for the node until the node's next turn. Bounded by count and by bytes: what does not fit
// is refused, and the sender repeats what matters.

import type { NodeId } from "../core/types.js";
import type { Message } from "../gen/eraftpb_pb.js";
import { RaftNodeError } from "./errors.js";

/** What an entry and a message weigh beside their payload; about what they take in memory. */
const ENTRY_OVERHEAD_BYTES = 48;
const MESSAGE_OVERHEAD_BYTES = 160;

export interface InboxOptions {
  readonly capacityMessages: number;
  readonly capacityBytes: number;
}

/** What the transport said about a delivery. */
export type DeliveryReport =
  | { readonly kind: "unreachable"; readonly id: NodeId }
  | { readonly kind: "snapshot"; readonly id: NodeId; readonly delivered: boolean };

export class Inbox {
  #messages: Message[] = [];
  #bytes = 0;
  /** By kind and peer, so that repeating a report takes no room. */
  #reports = new Map<string, DeliveryReport>();

  constructor(private readonly options: InboxOptions) {}

  get size(): number {
    return this.#messages.length;
  }

  /**
   * Takes messages in, all or none. An empty inbox takes any batch: otherwise one larger than the capacity could
   * never be delivered.
   * @throws RaftNodeError `inboxFull`.
   */
  offer(messages: readonly Message[]): void {
    const bytes = messages.reduce((sum, message) => sum + weightOf(message), 0);
    const fits =
      this.#messages.length + messages.length <= this.options.capacityMessages &&
      this.#bytes + bytes <= this.options.capacityBytes;
    if (!fits && this.#messages.length > 0) {
      throw new RaftNodeError(
        "inboxFull",
        `the inbox holds ${this.#messages.length} messages of ${this.#bytes} bytes; send again later`,
      );
    }
    for (const message of messages) this.#messages.push(message);
    this.#bytes += bytes;
  }

  report(report: DeliveryReport): void {
    this.#reports.set(`${report.kind} ${report.id}`, report);
  }

  takeMessages(): readonly Message[] {
    const taken = this.#messages;
    this.#messages = [];
    this.#bytes = 0;
    return taken;
  }

  takeReports(): readonly DeliveryReport[] {
    if (this.#reports.size === 0) return [];
    const taken = [...this.#reports.values()];
    this.#reports = new Map();
    return taken;
  }
}

function weightOf(message: Message): number {
  let bytes = MESSAGE_OVERHEAD_BYTES + message.context.length + (message.snapshot?.data.length ?? 0);
  for (const entry of message.entries)
    bytes += ENTRY_OVERHEAD_BYTES + entry.data.length + entry.context.length;
  return bytes;
}
