// A set of node ids that never changes and is always walked in id order, so that it can be handed out and cached.

import { inIdOrder, type NodeId } from "../types.js";

export class NodeIdSet implements Iterable<NodeId> {
  /** Ascending, without duplicates, frozen. */
  readonly #ids: readonly NodeId[];

  constructor(ids: Iterable<NodeId> = []) {
    this.#ids = Object.freeze(inIdOrder(new Set(ids)));
  }

  get size(): number {
    return this.#ids.length;
  }

  /** In id order. The array is frozen. */
  ids(): readonly NodeId[] {
    return this.#ids;
  }

  has(id: NodeId): boolean {
    const ids = this.#ids;
    let low = 0;
    let high = ids.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const candidate = ids[middle];
      if (candidate === id) return true;
      if (candidate !== undefined && candidate < id) low = middle + 1;
      else high = middle;
    }
    return false;
  }

  [Symbol.iterator](): IterableIterator<NodeId> {
    return this.#ids[Symbol.iterator]();
  }
}
