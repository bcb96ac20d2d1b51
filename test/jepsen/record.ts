// What the clients were told, put down as it comes: the only thing that is judged at the end.

import type { HistoryCall } from "../simulation/linearizability.js";

/** A write whose answer said that it took effect. */
export interface Acknowledged {
  readonly key: string;
  readonly value: string | undefined;
  /** Of the store: where the change belongs among all others. */
  readonly revision: bigint;
}

export interface SeenChange {
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
}

/** What one watcher was told. */
export interface WatchRecord {
  readonly name: string;
  readonly byRevision: Map<bigint, readonly SeenChange[]>;
  /** Everything up to here was delivered. */
  upTo: bigint;
  /** Behind these revisions the watcher was told that some are kept no more. */
  readonly gaps: { readonly after: bigint; readonly until: bigint }[];
}

export class Record {
  readonly calls = new Map<string, HistoryCall[]>();
  readonly acknowledged: Acknowledged[] = [];
  readonly watches: WatchRecord[] = [];
  /** Answers and errors, by kind of client. */
  readonly counts = new Map<string, number>();
  readonly problems: string[] = [];
  readonly latenciesMs: number[] = [];
  #points = 0;

  point(): number {
    this.#points += 1;
    return this.#points;
  }

  call(key: string, call: HistoryCall): void {
    const calls = this.calls.get(key);
    if (calls === undefined) this.calls.set(key, [call]);
    else calls.push(call);
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Something that must not be. */
  problem(what: string): void {
    this.problems.push(what);
  }
}
