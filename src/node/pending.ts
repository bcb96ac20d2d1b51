// Who waits for an entry of this node's log to be applied. An entry is recognised by its index and term: another
// term at that index means that another leader's entry took its place, for good once it is applied.

import type { LogIndex, Term } from "../core/types.js";

export interface Place {
  readonly index: LogIndex;
  readonly term: Term;
}

export class Pending<W> {
  // More than one at an index only when this node led twice and its first entry was overwritten meanwhile.
  readonly #byIndex = new Map<LogIndex, { readonly term: Term; readonly waiter: W }[]>();

  get isEmpty(): boolean {
    return this.#byIndex.size === 0;
  }

  add(place: Place, waiter: W): void {
    const others = this.#byIndex.get(place.index);
    const waiting = { term: place.term, waiter };
    if (others === undefined) this.#byIndex.set(place.index, [waiting]);
    else others.push(waiting);
  }

  remove(place: Place, waiter: W): void {
    const left = this.#byIndex.get(place.index)?.filter((waiting) => waiting.waiter !== waiter) ?? [];
    if (left.length === 0) this.#byIndex.delete(place.index);
    else this.#byIndex.set(place.index, left);
  }

  /** Takes out everybody who waited at this index: who saw their own entry applied, and who lost to it. */
  take(place: Place): { readonly own: readonly W[]; readonly lost: readonly W[] } | undefined {
    const waiting = this.#byIndex.get(place.index);
    if (waiting === undefined) return undefined;
    this.#byIndex.delete(place.index);
    return {
      own: waiting.filter(({ term }) => term === place.term).map(({ waiter }) => waiter),
      lost: waiting.filter(({ term }) => term !== place.term).map(({ waiter }) => waiter),
    };
  }

  /** Takes out everybody up to and including `index`, whose entries went by inside a snapshot. */
  takeUpTo(index: LogIndex): readonly W[] {
    const taken: W[] = [];
    for (const [at, waiting] of [...this.#byIndex]) {
      if (at > index) continue;
      this.#byIndex.delete(at);
      for (const { waiter } of waiting) taken.push(waiter);
    }
    return taken;
  }
}
