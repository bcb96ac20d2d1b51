// The events of a node as an async iterable: for consumers that take one event after the other at their own pace,
// where a listener would have to be quick.

import { RaftNodeError } from "./errors.js";

export interface EventStreamOptions {
  /** Ends the iteration, without an error, when it fires. */
  readonly signal?: AbortSignal | undefined;
  /** Events that may wait to be taken, in [1, 65,536]. Default 64. */
  readonly capacity?: number | undefined;
}

const DEFAULT_CAPACITY = 64;
const MAX_CAPACITY = 65_536;
/** Calls of `next` that may wait for an event; a `for await` never has more than one. */
const MAX_WAITING = 64;

/**
 * Events from the moment at which the stream was made, in order. When more than `capacity` wait, the oldest give way,
 * because the newest says what holds now; `dropped` counts them. Ends when the node has stopped or failed, after what
 * waits was taken, or when its signal fires or its loop is left, and then at once.
 */
export interface EventStream<T> extends AsyncIterableIterator<T, undefined, undefined> {
  /** Events that gave way so far. */
  readonly dropped: number;
}

type Step<T> = IteratorResult<T, undefined>;

const END: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });

export class BufferedEvents<T> implements EventStream<T> {
  readonly #capacity: number;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.#finish();
  #buffer: T[] = [];
  #waiting: ((step: Step<T>) => void)[] = [];
  #dropped = 0;
  #ended = false;

  /**
   * `closed` is told once, when nothing more is wanted.
   * @throws RaftNodeError `invalidArgument` for a capacity out of range.
   */
  constructor(
    options: EventStreamOptions,
    private readonly closed: (stream: BufferedEvents<T>) => void,
  ) {
    const { capacity = DEFAULT_CAPACITY, signal } = options;
    if (!Number.isSafeInteger(capacity) || capacity < 1 || capacity > MAX_CAPACITY) {
      throw new RaftNodeError(
        "invalidArgument",
        `capacity must be a whole number in [1, ${MAX_CAPACITY}], is ${capacity}`,
      );
    }
    this.#capacity = capacity;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** Called by the node only. */
  push(event: T): void {
    if (this.#ended) return;
    const taker = this.#waiting.shift();
    if (taker !== undefined) {
      taker({ done: false, value: event });
      return;
    }
    this.#buffer.push(event);
    if (this.#buffer.length <= this.#capacity) return;
    this.#buffer.shift();
    this.#dropped += 1;
  }

  /** Nothing more will come; what waits can still be taken. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    for (const taker of this.#waiting.splice(0)) taker(END);
    this.closed(this);
  }

  /** @throws RaftNodeError `inboxFull` when too many calls wait. */
  async next(): Promise<Step<T>> {
    const event = this.#buffer.shift();
    if (event !== undefined) return { done: false, value: event };
    if (this.#ended || this.#signal?.aborted === true) {
      this.end();
      return END;
    }
    if (this.#waiting.length >= MAX_WAITING) {
      throw new RaftNodeError("inboxFull", `${MAX_WAITING} calls wait for the next event; await them first`);
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** What leaving a `for await` loop calls. */
  async return(): Promise<Step<T>> {
    this.#finish();
    return END;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #finish(): void {
    this.#buffer = [];
    this.end();
  }
}
