// A closed loop against a running cluster: so many operations at once, the next one as soon as one is answered. What it
// keeps does not grow with the load.

import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { PlacementError } from "../../placement/client-error.js";
import { type OperationKind, type OperationTarget, runOperation } from "./operations.js";

export interface LoadOptions extends OperationTarget {
  /** Chooses the next operation. */
  readonly next: () => OperationKind;
  readonly inFlight: number;
  readonly durationMs: number;
  /** Ends the load early. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the load when so many operations were begun. Default: no limit. */
  readonly maxOperations?: number | undefined;
  readonly onAnswer?: ((answered: number) => void) | undefined;
}

/** Of one kind of operation; times in microseconds. */
export interface KindResult {
  readonly latencies: RecordableHistogram;
  readonly failures: ReadonlyMap<string, number>;
}

export interface LoadResult {
  readonly seconds: number;
  readonly kinds: ReadonlyMap<OperationKind, KindResult>;
}

const MAX_MICROSECONDS = 3_600_000_000;
const SIGNIFICANT_DIGITS = 3;
/** A node that refuses at once is not asked again without a pause. */
const PAUSE_AFTER_FAILURE_MS = 10;

export function newLatencies(): RecordableHistogram {
  return createHistogram({ lowest: 1, highest: MAX_MICROSECONDS, figures: SIGNIFICANT_DIGITS });
}

/** Runs until the time is up and every operation that was begun has ended. Failures are counted, not thrown. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const kinds = new Map<OperationKind, { latencies: RecordableHistogram; failures: Map<string, number> }>();
  const startedMs = performance.now();
  const endsAtMs = startedMs + options.durationMs;
  let begun = 0;
  let answered = 0;
  const goesOn = (): boolean =>
    performance.now() < endsAtMs &&
    options.signal?.aborted !== true &&
    begun < (options.maxOperations ?? Number.POSITIVE_INFINITY);
  const worker = async (): Promise<void> => {
    while (goesOn()) {
      begun += 1;
      const kind = options.next();
      let result = kinds.get(kind);
      if (result === undefined) {
        result = { latencies: newLatencies(), failures: new Map() };
        kinds.set(kind, result);
      }
      const beganMs = performance.now();
      try {
        await runOperation(kind, options);
        result.latencies.record(toMicroseconds(performance.now() - beganMs));
        answered += 1;
        options.onAnswer?.(answered);
      } catch (error) {
        const reason = error instanceof PlacementError ? error.reason : String(error);
        result.failures.set(reason, (result.failures.get(reason) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_FAILURE_MS));
      }
    }
  };
  await Promise.all(Array.from({ length: options.inFlight }, worker));
  return { seconds: (performance.now() - startedMs) / 1_000, kinds };
}

function toMicroseconds(ms: number): number {
  return Math.min(MAX_MICROSECONDS, Math.max(1, Math.round(ms * 1_000)));
}

/** In milliseconds; NaN of a histogram that nothing was recorded in. */
export function percentileMs(latencies: RecordableHistogram, percent: number): number {
  return latencies.count === 0 ? Number.NaN : latencies.percentile(percent) / 1_000;
}
