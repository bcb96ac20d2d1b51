// Whether what the clients were told can be: registers linearizable, every acknowledged change where it belongs, watches
// without a gap, a repetition or a contradiction, all members of one mind at the end.

import { checkRegister, describeCall } from "../simulation/linearizability.js";
import type { Record, SeenChange, WatchRecord } from "./record.js";

export interface FinalState {
  readonly member: string;
  readonly revision: bigint;
  readonly entries: ReadonlyMap<string, string>;
}

export interface Judgement {
  readonly problems: readonly string[];
  readonly keys: number;
  readonly calls: number;
  /** Keys whose history could not be searched to the end. */
  readonly undecided: number;
  readonly acknowledged: number;
  readonly watchedRevisions: number;
}

const SHOWN = 5;

export function judge(record: Record, finals: readonly FinalState[]): Judgement {
  let undecided = 0;
  let calls = 0;
  const problems = [...record.problems];
  for (const [key, history] of record.calls) {
    calls += history.length;
    const verdict = checkRegister(history);
    if (verdict.kind === "undecided") undecided += 1;
    if (verdict.kind === "violation") {
      const story = [...verdict.longest, ...verdict.stuck].map(describeCall).join("\n    ");
      problems.push(
        `the calls on ${key} are not linearizable; in order as far as it goes, then stuck:\n    ${story}`,
      );
    }
  }
  const truth = agreedChanges(record.watches, problems);
  for (const watch of record.watches) problems.push(...gapsIn(watch));
  problems.push(...lost(record, truth), ...repeated(truth), ...disagreements(finals, truth));
  return {
    problems,
    keys: record.calls.size,
    calls,
    undecided,
    acknowledged: record.acknowledged.length,
    watchedRevisions: truth.size,
  };
}

/** What all watchers together saw; a contradiction is a problem. */
function agreedChanges(
  watches: readonly WatchRecord[],
  problems: string[],
): ReadonlyMap<bigint, readonly SeenChange[]> {
  const truth = new Map<bigint, readonly SeenChange[]>();
  for (const { name, byRevision } of watches) {
    for (const [revision, changes] of byRevision) {
      const known = truth.get(revision);
      if (known === undefined) truth.set(revision, changes);
      else if (!sameChanges(known, changes)) {
        problems.push(
          `${name} saw ${show(changes)} at revision ${revision}, where others saw ${show(known)}`,
        );
      }
    }
  }
  return truth;
}

function sameChanges(some: readonly SeenChange[], others: readonly SeenChange[]): boolean {
  return show(some) === show(others);
}

function show(changes: readonly SeenChange[]): string {
  return changes.map(({ key, value }) => `${key}=${value ?? "(deleted)"}`).join(", ");
}

/** Each revision of the store changed something, so a watcher of everything has seen each, from the first on. */
function gapsIn({ name, byRevision, upTo, gaps }: WatchRecord): readonly string[] {
  const problems: string[] = [];
  for (let revision = 1n; revision <= upTo && problems.length < SHOWN; revision += 1n) {
    if (byRevision.has(revision)) continue;
    if (gaps.some(({ after, until }) => revision > after && revision <= until)) continue;
    problems.push(`${name} was never told of revision ${revision}, though of later ones up to ${upTo}`);
  }
  return problems;
}

/** Acknowledged changes that are not what happened at their revision. */
function lost(record: Record, truth: ReadonlyMap<bigint, readonly SeenChange[]>): readonly string[] {
  const wrong = record.acknowledged.filter(({ key, value, revision }) => {
    const seen = truth.get(revision);
    return seen !== undefined && !seen.some((change) => change.key === key && change.value === value);
  });
  return wrong
    .slice(0, SHOWN)
    .map(
      ({ key, value, revision }) =>
        `${key}=${value} was acknowledged at revision ${revision}, where there was ${show(truth.get(revision) ?? [])}`,
    );
}

/** Every value of a register is written by one call, so it may appear once. */
function repeated(truth: ReadonlyMap<bigint, readonly SeenChange[]>): readonly string[] {
  const at = new Map<string, bigint>();
  const problems: string[] = [];
  for (const [revision, changes] of truth) {
    for (const { key, value } of changes) {
      if (value === undefined || !key.startsWith("register/")) continue;
      const earlier = at.get(value);
      if (earlier !== undefined)
        problems.push(`${key}=${value} took effect at ${earlier} and at ${revision}`);
      at.set(value, revision);
    }
  }
  return problems.slice(0, SHOWN);
}

function disagreements(
  finals: readonly FinalState[],
  truth: ReadonlyMap<bigint, readonly SeenChange[]>,
): readonly string[] {
  const [first, ...others] = finals;
  if (first === undefined) return ["no member could be asked at the end"];
  const problems = others
    .filter((other) => showState(other) !== showState(first))
    .map((other) => `${other.member} and ${first.member} ended with different states`);
  return [...problems, ...notReplayed(first, truth)];
}

function showState({ revision, entries }: FinalState): string {
  return JSON.stringify([String(revision), [...entries].sort()]);
}

/** All changes one after the other lead to the state that the members ended with. */
function notReplayed(
  final: FinalState,
  truth: ReadonlyMap<bigint, readonly SeenChange[]>,
): readonly string[] {
  const replayed = new Map<string, string>();
  for (let revision = 1n; revision <= final.revision; revision += 1n) {
    const changes = truth.get(revision);
    // A gap that every watcher was told of: there is nothing to compare with.
    if (changes === undefined) return [];
    for (const { key, value } of changes) {
      if (value === undefined) replayed.delete(key);
      else replayed.set(key, value);
    }
  }
  const expected = showState({ ...final, entries: replayed });
  return showState(final) === expected ? [] : ["the final state is not what the watched changes lead to"];
}
