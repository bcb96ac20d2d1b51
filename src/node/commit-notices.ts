// Appends that carry no entry, only a newer commit index, wait for one turn of the node. Under load the answer to one
// batch brings the next batch in at once, and its append says the same and more: then the notice is not sent, nor
// stored, nor answered, which is half of all messages of a busy group. Leaving one out is what losing one would be.

import type { NodeId } from "../core/types.js";
import { type Message, MessageType } from "../gen/eraftpb_pb.js";

export class CommitNotices {
  /** By receiver; the newest is all that matters. */
  #held = new Map<NodeId, Message>();
  #due = new Map<NodeId, Message>();

  /** What is to be sent now; the rest waits. `held` is told when anything does. */
  sift(messages: readonly Message[], held: () => void): readonly Message[] {
    const now: Message[] = [];
    for (const message of messages) {
      if (isNotice(message)) {
        // One that is due is not put off again: else a stream of them would hold the last one up for ever.
        const waiting = this.#due.has(message.to) ? this.#due : this.#held;
        waiting.set(message.to, message);
        continue;
      }
      if (message.msgType === MessageType.MsgAppend) this.#supersede(message);
      now.push(message);
    }
    if (this.#held.size > 0) held();
    return now;
  }

  /** What waits from before this turn is due at its end. */
  beginTurn(): void {
    if (this.#held.size === 0) return;
    const again = this.#due;
    this.#due = this.#held;
    this.#held = again;
  }

  /** What no other append has made superfluous in this turn. */
  endTurn(): readonly Message[] {
    if (this.#due.size === 0) return [];
    const due = [...this.#due.values()];
    this.#due.clear();
    return due;
  }

  /** An append that stands at the same place of the log or behind it says all that the notice does. */
  #supersede({ to, term, index, commit }: Message): void {
    for (const waiting of [this.#held, this.#due]) {
      const notice = waiting.get(to);
      if (notice === undefined) continue;
      if (term >= notice.term && index >= notice.index && commit >= notice.commit) waiting.delete(to);
    }
  }
}

function isNotice({ msgType, entries }: Message): boolean {
  return msgType === MessageType.MsgAppend && entries.length === 0;
}
