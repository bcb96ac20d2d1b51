// Who waits for an entry of this node's log to be applied. An entry is recognised by its index and term: another
// term at that index means that another leader's entry took its place, for good once it is applied.

import type { LogIndex, Term } from "../core/types.js";

export interface Place {
  readonly index: LogIndex;
  readonly term: Term;
}

interface Waiting<W> {
  readonly term: Term;
  readonly waiter: W;
}

/** Who waited at a place. */
export interface Taken<W> {
  /** They saw their own entry applied. */
  readonly own: readonly W[];
  /** They lost to it. */
  readonly lost: readonly W[];
}

const NOBODY: readonly never[] = Object.freeze([]);

export class Pending<W> {
  // More than one at an index only when this node led twice and its first entry was overwritten meanwhile.
  readonly #byIndex = new Map<LogIndex, Waiting<W>[]>();

  get isEmpty(): boolean {
    return this.#byIndex.size === 0;
  }

  add({ index, term }: Place, waiter: W): void {
    const others = this.#byIndex.get(index);
    if (others === undefined) this.#byIndex.set(index, [{ term, waiter }]);
    else others.push({ term, waiter });
  }

  /** Does nothing for one that was taken out. */
  remove({ index }: Place, waiter: W): void {
    const waiting = this.#byIndex.get(index);
    if (waiting === undefined) return;
    const left = waiting.filter((each) => each.waiter !== waiter);
    if (left.length === 0) this.#byIndex.delete(index);
    else this.#byIndex.set(index, left);
  }

  take({ index, term }: Place): Taken<W> | undefined {
    const waiting = this.#byIndex.get(index);
    if (waiting === undefined) return undefined;
    this.#byIndex.delete(index);
    const [first] = waiting;
    if (waiting.length === 1 && first?.term === term) return { own: [first.waiter], lost: NOBODY };
    return {
      own: waiting.filter((each) => each.term === term).map(({ waiter }) => waiter),
      lost: waiting.filter((each) => each.term !== term).map(({ waiter }) => waiter),
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
