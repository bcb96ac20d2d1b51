// What the group as a whole has decided, as far as anybody was seen to know it: the one log that all must agree on.

import type { LogIndex, Term } from "../../src/core/types.js";

interface Decision {
  readonly term: Term;
  /** No later than in this term it was committed. */
  readonly knownInTerm: Term;
}

export class Ledger {
  readonly #committed = new Map<LogIndex, Decision>();
  #highest: LogIndex = 0n;

  /** Undefined when this is the first that is heard of `index`, or it agrees with what was heard before. */
  commit(index: LogIndex, term: Term, knownInTerm: Term): Term | undefined {
    const known = this.#committed.get(index);
    if (known !== undefined) return known.term === term ? undefined : known.term;
    this.#committed.set(index, { term, knownInTerm });
    if (index > this.#highest) this.#highest = index;
    return undefined;
  }

  at(index: LogIndex): Decision | undefined {
    return this.#committed.get(index);
  }

  get highest(): LogIndex {
    return this.#highest;
  }
}
