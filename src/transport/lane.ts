// A bounded queue of messages to one peer with exactly one envelope in flight: what arrives meanwhile goes into
// the next one. One call at a time keeps the order, and the slower the peer, the larger the envelopes.

import PQueue from "p-queue";
import type { Message } from "../gen/eraftpb_pb.js";

export interface LaneOptions {
  readonly maxQueuedBytes: number;
  readonly maxQueuedMessages: number;
  readonly maxEnvelopeBytes: number;
  readonly maxEnvelopeMessages: number;
  /** Delivers one envelope, whose messages take so many bytes at most. Must not reject. */
  readonly deliver: (messages: readonly Message[], bytes: number) => Promise<void>;
}

interface Queued {
  readonly message: Message;
  readonly bytes: number;
}

export class Lane {
  readonly #options: LaneOptions;
  readonly #calls = new PQueue({ concurrency: 1 });
  #waiting: Queued[] = [];
  #waitingBytes = 0;
  #scheduled = false;
  #inFlight = 0;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  get queuedMessages(): number {
    return this.#waiting.length;
  }

  get queuedBytes(): number {
    return this.#waitingBytes;
  }

  /** Messages in the envelope that is under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Takes a message of so many bytes in. False: it does not fit, and was not taken. */
  push(message: Message, bytes: number): boolean {
    const { maxQueuedMessages, maxQueuedBytes } = this.#options;
    const isFull =
      this.#waiting.length >= maxQueuedMessages ||
      (this.#waiting.length > 0 && this.#waitingBytes + bytes > maxQueuedBytes);
    if (isFull) return false;
    this.#waiting.push({ message, bytes });
    this.#waitingBytes += bytes;
    return true;
  }

  /** Removes waiting messages, oldest first, at most `limit` of them. Answers with how many. */
  remove(matches: (message: Message) => boolean, limit: number = Number.POSITIVE_INFINITY): number {
    let removed = 0;
    this.#waiting = this.#waiting.filter((queued) => {
      if (removed >= limit || !matches(queued.message)) return true;
      removed += 1;
      this.#waitingBytes -= queued.bytes;
      return false;
    });
    return removed;
  }

  count(matches: (message: Message) => boolean): number {
    let count = 0;
    for (const queued of this.#waiting) if (matches(queued.message)) count += 1;
    return count;
  }

  /** Sends what waits. Called once after a batch of `push`, so that the batch shares an envelope. */
  flush(): void {
    if (this.#scheduled || this.#waiting.length === 0) return;
    this.#scheduled = true;
    void this.#calls.add(async () => {
      this.#scheduled = false;
      const { envelope, bytes } = this.#takeEnvelope();
      if (envelope.length === 0) return;
      this.#inFlight = envelope.length;
      await this.#options.deliver(envelope, bytes);
      this.#inFlight = 0;
      this.flush();
    });
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    return this.#calls.onIdle();
  }

  #takeEnvelope(): { readonly envelope: readonly Message[]; readonly bytes: number } {
    const { maxEnvelopeBytes, maxEnvelopeMessages } = this.#options;
    const envelope: Message[] = [];
    let bytes = 0;
    for (const queued of this.#waiting) {
      if (envelope.length >= maxEnvelopeMessages) break;
      if (envelope.length > 0 && bytes + queued.bytes > maxEnvelopeBytes) break;
      bytes += queued.bytes;
      envelope.push(queued.message);
    }
    this.#waiting.splice(0, envelope.length);
    this.#waitingBytes -= bytes;
    return { envelope, bytes };
  }
}
