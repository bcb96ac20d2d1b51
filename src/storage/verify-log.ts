// Checks everything in a log that a node would check when it opens it, and more, but does not stop at the first
// fault: for tools.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { LogIndex, Term } from "../core/types.js";
import { EntryType } from "../gen/eraftpb_pb.js";
import type { LogInspector, LogItem, LogProblem } from "./inspect-log.js";
import { ENTRIES_DATABASE, entryKeyName, FORMAT_VERSION, RECORD_KEYS } from "./keys.js";
import { type LmdbFileReport, verifyLmdbFile } from "./lmdb-verify.js";
import { contradictions } from "./record-consistency.js";
import { StorageFault } from "./storage-fault.js";

/** A run of entries of one term. */
export interface TermSpan {
  readonly term: Term;
  readonly from: LogIndex;
  readonly to: LogIndex;
}

export interface LogReport {
  /** Undefined when the structure of the file is damaged. */
  readonly pages: LmdbFileReport | undefined;
  /** At most {@link MAX_PROBLEMS} of `problemCount`. */
  readonly problems: readonly LogProblem[];
  readonly problemCount: number;
  /** Intact entries that belong to the log. */
  readonly entries: number;
  readonly committed: number;
  readonly uncommitted: number;
  /** Intact entries outside of the log that wait to be deleted. */
  readonly leftovers: number;
  readonly byType: { readonly normal: number; readonly empty: number; readonly membership: number };
  /** Of the records of entries in the log. */
  readonly recordBytes: { readonly total: number; readonly smallest: number; readonly largest: number };
  /** At most {@link MAX_TERM_SPANS}, the newest. */
  readonly terms: readonly TermSpan[];
}

export const MAX_PROBLEMS = 1_000;
export const MAX_TERM_SPANS = 1_000;
const ITEMS_PER_TURN = 4_096;

/**
 * Reads the whole log. Never throws over what it contains.
 * @param progress is told how many items were read, now and then.
 */
export async function verifyLog(
  inspector: LogInspector,
  progress: (items: number) => void = () => {},
): Promise<LogReport> {
  const scan = new LogScan(inspector);
  const pages = await scan.checkStructure();
  scan.checkRecords();
  let items = 0;
  for (const item of inspector.items()) {
    if (item.kind === "damage") scan.damaged(item);
    else scan.take(item.entry.index, item.entry.term, item);
    items += 1;
    if (items % ITEMS_PER_TURN === 0) {
      progress(items);
      await nextTurn();
    }
  }
  return scan.finish(pages);
}

type EntryItem = Extract<LogItem, { kind: "entry" }>;

class LogScan {
  readonly #inspector: LogInspector;
  readonly #problems: LogProblem[] = [];
  #problemCount = 0;
  #entries = 0;
  #committed = 0;
  #leftovers = 0;
  #byType = { normal: 0, empty: 0, membership: 0 };
  #bytes = { total: 0, smallest: 0, largest: 0 };
  #terms: { term: Term; from: LogIndex; to: LogIndex }[] = [];
  #last: { readonly index: LogIndex; readonly term: Term } | undefined;
  #damagedKeys = new Set<string>();

  constructor(inspector: LogInspector) {
    this.#inspector = inspector;
    this.#last = inspector.records.boundary;
    for (const problem of inspector.problems) this.#add(problem);
  }

  /** The pages, as strictly as a node checks them when it opens its log. */
  async checkStructure(): Promise<LmdbFileReport | undefined> {
    try {
      return await verifyLmdbFile(this.#inspector.path, () => {}, new Map([[ENTRIES_DATABASE, () => {}]]));
    } catch (error) {
      if (!(error instanceof StorageFault)) throw error;
      this.#add({ place: error.key ?? "the file", problem: error.problem });
      return undefined;
    }
  }

  checkRecords(): void {
    const { records } = this.#inspector;
    if (records.formatVersion !== undefined && records.formatVersion !== BigInt(FORMAT_VERSION)) {
      const problem = `the log has format version ${records.formatVersion}, this program reads version ${FORMAT_VERSION}`;
      this.#add({ place: RECORD_KEYS.format, problem });
    }
    for (const { key, problem } of contradictions(records)) this.#add({ place: key, problem });
    const { lastIndex, membership } = records;
    if (lastIndex !== undefined && membership !== undefined && membership.index > lastIndex) {
      const problem = `the membership is as of index ${membership.index}, but the log ends at ${lastIndex}`;
      this.#add({ place: RECORD_KEYS.confState, problem });
    }
  }

  damaged(problem: LogProblem): void {
    this.#damagedKeys.add(problem.place);
    this.#add({ place: problem.place, problem: problem.problem });
  }

  take(index: LogIndex, term: Term, item: EntryItem): void {
    if (item.standing === "leftover") {
      this.#leftovers += 1;
      return;
    }
    this.#checkOrder(index, term);
    this.#last = { index, term };
    this.#entries += 1;
    if (item.standing === "committed") this.#committed += 1;
    if (item.entry.entryType !== EntryType.EntryNormal) this.#byType.membership += 1;
    else if (item.entry.data.length === 0) this.#byType.empty += 1;
    else this.#byType.normal += 1;
    const { smallest, largest, total } = this.#bytes;
    this.#bytes = {
      total: total + item.recordBytes,
      smallest: this.#entries === 1 ? item.recordBytes : Math.min(smallest, item.recordBytes),
      largest: Math.max(largest, item.recordBytes),
    };
    const span = this.#terms.at(-1);
    if (span?.term === term) span.to = index;
    else this.#terms.push({ term, from: index, to: index });
    if (this.#terms.length > MAX_TERM_SPANS) this.#terms.shift();
  }

  finish(pages: LmdbFileReport | undefined): LogReport {
    const { lastIndex } = this.#inspector.records;
    if (lastIndex !== undefined && this.#last !== undefined) this.#checkGap(this.#last.index, lastIndex + 1n);
    return {
      pages,
      problems: this.#problems,
      problemCount: this.#problemCount,
      entries: this.#entries,
      committed: this.#committed,
      uncommitted: this.#entries - this.#committed,
      leftovers: this.#leftovers,
      byType: this.#byType,
      recordBytes: this.#bytes,
      terms: this.#terms,
    };
  }

  #checkOrder(index: LogIndex, term: Term): void {
    if (this.#last === undefined) return;
    this.#checkGap(this.#last.index, index);
    if (term < this.#last.term) {
      const problem = `its term ${term} is lower than the term ${this.#last.term} before it`;
      this.#add({ place: entryKeyName(index), problem });
    }
  }

  /** A gap whose only entry is named as damaged already is not named again. */
  #checkGap(before: LogIndex, after: LogIndex): void {
    const from = before + 1n;
    const to = after - 1n;
    if (from > to) return;
    if (from === to && this.#damagedKeys.has(entryKeyName(from))) return;
    const place = from === to ? entryKeyName(from) : `${entryKeyName(from)} to ${to}`;
    const problem = "missing or damaged although it belongs to the log";
    this.#add({ place, problem: from === to ? problem : `${to - from + 1n} entries are ${problem}` });
  }

  #add(problem: LogProblem): void {
    this.#problemCount += 1;
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push(problem);
  }
}
