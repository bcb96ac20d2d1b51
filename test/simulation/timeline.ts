// Beginnings and ends of calls in the order of time: a doubly linked list from which calls are taken out, and into which
// they are put back in the opposite order.

import type { HistoryCall } from "./linearizability.js";

export class Timeline {
  readonly #previous: Int32Array;
  readonly #next: Int32Array;
  readonly #size: number;

  /** `calls` in the order in which they began: call n begins at node n and ends at node n + `calls.length`. */
  constructor(calls: readonly HistoryCall[]) {
    this.#size = calls.length;
    const head = 2 * calls.length;
    // What is not in the list is linked to itself.
    this.#previous = Int32Array.from({ length: head + 1 }, (_, node) => node);
    this.#next = Int32Array.from(this.#previous);
    const nodes = calls
      .flatMap(({ begun, ended }, at) => [
        { node: at, time: begun },
        ...(ended === undefined ? [] : [{ node: at + calls.length, time: ended }]),
      ])
      .sort((a, b) => a.time - b.time);
    let last = head;
    for (const { node } of nodes) {
      this.#link(last, node);
      last = node;
    }
    this.#link(last, head);
  }

  /** The calls that have begun before any other that is not placed has ended. */
  mayComeNext(): number[] {
    const result: number[] = [];
    const head = 2 * this.#size;
    for (let node = this.#next[head] ?? head; node < this.#size; node = this.#next[node] ?? head) {
      result.push(node);
    }
    return result;
  }

  takeOut(call: number): void {
    for (const node of [call, call + this.#size]) {
      this.#link(this.#previous[node] ?? node, this.#next[node] ?? node);
    }
  }

  putBack(call: number): void {
    for (const node of [call + this.#size, call]) {
      const previous = this.#previous[node] ?? node;
      const next = this.#next[node] ?? node;
      this.#next[previous] = node;
      this.#previous[next] = node;
    }
  }

  #link(from: number, to: number): void {
    this.#next[from] = to;
    this.#previous[to] = from;
  }
}
