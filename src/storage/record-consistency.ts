// What the single records of a log must agree on: first ≤ commit ≤ last, and a log that begins where it was cut.

import type { LogIndex } from "../core/types.js";
import type { HardState } from "../gen/eraftpb_pb.js";
import type { LogPosition } from "./batch-plan.js";
import { RECORD_KEYS, type RecordKey } from "./keys.js";

/** Undefined: the record is damaged or missing, and nothing is held against it. */
export interface PositionRecords {
  readonly boundary: LogPosition | undefined;
  readonly firstIndex: LogIndex | undefined;
  readonly lastIndex: LogIndex | undefined;
  readonly hardState: HardState | undefined;
}

/** The records that contradict others, each with what is wrong with it. */
export function contradictions({
  boundary,
  firstIndex,
  lastIndex,
  hardState,
}: PositionRecords): { readonly key: RecordKey; readonly problem: string }[] {
  const found: { key: RecordKey; problem: string }[] = [];
  if (boundary === undefined) return found;
  const cut = `but the log is compacted up to ${boundary.index}`;
  if (firstIndex !== undefined && firstIndex !== boundary.index + 1n) {
    found.push({ key: RECORD_KEYS.firstIndex, problem: `the first index is ${firstIndex}, ${cut}` });
  }
  if (lastIndex === undefined) return found;
  if (lastIndex < boundary.index) {
    found.push({ key: RECORD_KEYS.lastIndex, problem: `the last index is ${lastIndex}, ${cut}` });
  }
  if (hardState !== undefined && (hardState.commit < boundary.index || hardState.commit > lastIndex)) {
    const log = `[${boundary.index + 1n}, ${lastIndex}]`;
    const problem = `the commit index ${hardState.commit} lies outside of the log ${log}`;
    found.push({ key: RECORD_KEYS.hardState, problem });
  }
  return found;
}
