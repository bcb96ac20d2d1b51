// What a node counts. Counters only grow; a histogram counts how many values fell at or below each bound.

/** Bounds in milliseconds, doubling as etcd's fsync histogram does, so that its dashboards fit. */
const DURATION_BOUNDS_MS: readonly number[] = Array.from({ length: 14 }, (_, power) => 2 ** power);

export interface HistogramView {
  readonly boundsMs: readonly number[];
  /** One more than bounds: the last counts what lies above all of them. Not cumulative. */
  readonly counts: readonly number[];
  readonly count: number;
  readonly sumMs: number;
  readonly maxMs: number;
}

export class Histogram {
  readonly #counts: number[] = new Array<number>(DURATION_BOUNDS_MS.length + 1).fill(0);
  #count = 0;
  #sumMs = 0;
  #maxMs = 0;

  record(durationMs: number): void {
    const found = DURATION_BOUNDS_MS.findIndex((bound) => durationMs <= bound);
    const slot = found < 0 ? DURATION_BOUNDS_MS.length : found;
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1;
    this.#count += 1;
    this.#sumMs += durationMs;
    this.#maxMs = Math.max(this.#maxMs, durationMs);
  }

  view(): HistogramView {
    return {
      boundsMs: DURATION_BOUNDS_MS,
      counts: [...this.#counts],
      count: this.#count,
      sumMs: this.#sumMs,
      maxMs: this.#maxMs,
    };
  }
}

const COUNTERS = {
  /** Proposals that were answered with the state machine's result. */
  proposalsApplied: 0,
  /** Proposals that were taken in and ended in an error, whatever was known of their outcome. */
  proposalsFailed: 0,
  /** Calls of `proposeBatch`: proposalsApplied / proposalBatches is how many shared one. */
  proposalBatches: 0,
  messagesReceived: 0,
  messagesSent: 0,
  /** Received and refused by the core: stale responses, strangers, local types. */
  messagesDropped: 0,
  inboxRejections: 0,
  readys: 0,
  /** Writes handed to the log. */
  appends: 0,
  slowAppends: 0,
  applyCalls: 0,
  entriesApplied: 0,
  slowApplies: 0,
  readsServed: 0,
  /** Of those served: without a round, by a lease or because some staleness was allowed. */
  readsWithoutRound: 0,
  /** Reads that were taken in and ended in an error. */
  readsFailed: 0,
  /** ReadIndex rounds asked for; readsServed / readRounds is how many reads shared one. */
  readRounds: 0,
  /** Rounds without an answer for an election timeout: asked again. */
  slowReadRounds: 0,
  membershipChanges: 0,
  membershipRefusals: 0,
  leaderChanges: 0,
  ticks: 0,
  /** Ticks that were due and not counted because too many came at once. */
  skippedTicks: 0,
  stalls: 0,
  snapshotsCreated: 0,
  snapshotsInstalled: 0,
  compactions: 0,
};

export type CounterName = keyof typeof COUNTERS;

/** A copy of everything that a node counted since it started. */
export interface NodeMetricsView {
  readonly counters: Readonly<Record<CounterName, number>>;
  /** From handing a write to the log until it is durable. */
  readonly appendDuration: HistogramView;
  /** One call of the state machine's `apply`. */
  readonly applyDuration: HistogramView;
  /** From `propose` to the answer, for those that were applied. */
  readonly proposalDuration: HistogramView;
  /** From `readIndex` to the answer, for those that were served. */
  readonly readDuration: HistogramView;
}

export class NodeMetrics {
  readonly counters: Record<CounterName, number> = { ...COUNTERS };
  readonly appendDuration = new Histogram();
  readonly applyDuration = new Histogram();
  readonly proposalDuration = new Histogram();
  readonly readDuration = new Histogram();

  count(name: CounterName, by = 1): void {
    this.counters[name] += by;
  }

  view(): NodeMetricsView {
    return {
      counters: { ...this.counters },
      appendDuration: this.appendDuration.view(),
      applyDuration: this.applyDuration.view(),
      proposalDuration: this.proposalDuration.view(),
      readDuration: this.readDuration.view(),
    };
  }
}
