// The window of appends that a replicating peer has not answered yet, bounded by messages and by bytes.
// Nothing frees a slot but an acknowledgement or a reset: freeing one per heartbeat floods a stuck peer.

import { ConfigInvalid, invariant } from "../errors.js";
import type { LogIndex } from "../types.js";

const FIRST_BUFFER_SLOTS = 16;

/** raft-rs: `Inflights`; the byte limit is etcd/raft's `MaxInflightBytes`. */
export class Inflights {
  #capacity: number;
  readonly #maxBytes: number;
  /** A ring: slot `(start + n) % buffer length` holds the n-th oldest message. Grown by need, empty at first. */
  #lastIndexes: LogIndex[] = [];
  #sizes: number[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;

  /**
   * @param capacity messages; 0 keeps the window closed for good.
   * @param maxBytes bytes of entries, not to be passed by more than one message; `NO_LIMIT` (or 0): messages only.
   * @throws ConfigInvalid for a capacity that is no whole number.
   */
  constructor(capacity: number, maxBytes: number) {
    requireCapacity(capacity);
    this.#capacity = capacity;
    this.#maxBytes = maxBytes;
  }

  /** Unanswered messages. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of entries in the unanswered messages. */
  get bytes(): number {
    return this.#bytes;
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** Slots allocated at the moment, used or not. */
  get bufferCapacity(): number {
    return this.#lastIndexes.length;
  }

  full(): boolean {
    return this.#count >= this.#capacity || (this.#maxBytes > 0 && this.#bytes >= this.#maxBytes);
  }

  /**
   * Takes in a message that was just sent.
   * @param lastIndex the index of its last entry, larger than those added before.
   * @param bytes the size of its entries.
   * @throws InvariantViolation when the window is {@link full}.
   */
  add(lastIndex: LogIndex, bytes: number): void {
    invariant(
      !this.full(),
      () =>
        `an append up to ${lastIndex} was sent into a full window: ${this.#count} messages, ${this.#bytes} bytes`,
    );
    if (this.#count === this.#lastIndexes.length) {
      this.#resizeBuffer(Math.min(this.#capacity, Math.max(FIRST_BUFFER_SLOTS, 2 * this.#count)));
    }
    const slot = (this.#start + this.#count) % this.#lastIndexes.length;
    this.#lastIndexes[slot] = lastIndex;
    this.#sizes[slot] = bytes;
    this.#count++;
    this.#bytes += bytes;
  }

  /**
   * Takes in that the message added last was given more entries before it left.
   * @throws InvariantViolation when no message is under way.
   */
  growLast(lastIndex: LogIndex, bytes: number): void {
    invariant(this.#count > 0, () => `there is no append that entries up to ${lastIndex} were added to`);
    const slot = (this.#start + this.#count - 1) % this.#lastIndexes.length;
    this.#lastIndexes[slot] = lastIndex;
    this.#sizes[slot] = (this.#sizes[slot] ?? 0) + bytes;
    this.#bytes += bytes;
  }

  /** Frees every message whose last index is at most `index`. An older index, or an empty window, is no matter. */
  freeTo(index: LogIndex): void {
    const slots = this.#lastIndexes.length;
    while (this.#count > 0 && (this.#lastIndexes[this.#start] ?? index) <= index) {
      this.#bytes -= this.#sizes[this.#start] ?? 0;
      this.#start = (this.#start + 1) % slots;
      this.#count--;
    }
    if (this.#count === 0 && slots > this.#capacity) this.#resizeBuffer(this.#capacity);
  }

  /** Forgets every message, and gives the memory back. */
  reset(): void {
    this.#count = 0;
    this.#bytes = 0;
    this.#resizeBuffer(0);
  }

  /**
   * Changes how many messages may be unanswered. What is under way stays so: after shrinking, the window is full
   * until acknowledgements bring it below the new capacity, and the memory shrinks when it has drained.
   * @throws ConfigInvalid for anything but a whole number; the capacity is unchanged then.
   */
  setCapacity(capacity: number): void {
    requireCapacity(capacity);
    this.#capacity = capacity;
    if (this.#count === 0 && this.#lastIndexes.length > capacity) this.#resizeBuffer(capacity);
  }

  /** Gives the memory of an empty window back; for a group that has gone quiet. */
  maybeFreeBuffer(): void {
    if (this.#count === 0) this.#resizeBuffer(0);
  }

  /** Moves the messages to the front of a buffer of `slots`, which must hold them all. */
  #resizeBuffer(slots: number): void {
    const lastIndexes = new Array<LogIndex>(slots).fill(0n);
    const sizes = new Array<number>(slots).fill(0);
    for (let nth = 0; nth < this.#count; nth++) {
      const slot = (this.#start + nth) % this.#lastIndexes.length;
      lastIndexes[nth] = this.#lastIndexes[slot] ?? 0n;
      sizes[nth] = this.#sizes[slot] ?? 0;
    }
    this.#lastIndexes = lastIndexes;
    this.#sizes = sizes;
    this.#start = 0;
  }
}

function requireCapacity(capacity: number): void {
  if (!Number.isSafeInteger(capacity) || capacity < 0) {
    throw new ConfigInvalid(`the inflight capacity must be a whole number of at least 0, is ${capacity}`);
  }
}
