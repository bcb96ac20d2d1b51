// That the judge of real runs finds what it is there to find: records made by hand, right ones and such as only a store
// that lost, repeated, reordered or forgot something could give.

import { expect, test } from "vitest";
import { type FinalState, judge } from "./judge.js";
import { Record, type WatchRecord } from "./record.js";

function watch(name: string, changes: readonly (readonly [string, string])[]): WatchRecord {
  const byRevision = new Map(changes.map(([key, value], at) => [BigInt(at + 1), [{ key, value }]] as const));
  return { name, byRevision, upTo: BigInt(changes.length), gaps: [] };
}

const HISTORY = [
  ["register/a", "one"],
  ["register/b", "two"],
  ["register/a", "three"],
] as const;
const STATE = new Map([
  ["register/a", "three"],
  ["register/b", "two"],
]);
const FINALS: readonly FinalState[] = ["node 1", "node 2"].map((member) => ({
  member,
  revision: 3n,
  entries: STATE,
}));

function sound(): Record {
  const record = new Record();
  record.watches.push(watch("first", HISTORY), watch("second", HISTORY));
  HISTORY.forEach(([key, value], at) => {
    const begun = record.point();
    record.call(key, { operation: { kind: "write", value }, begun, ended: record.point(), who: "client" });
    record.acknowledged.push({ key, value, revision: BigInt(at + 1) });
  });
  return record;
}

const problemsOf = (record: Record, finals = FINALS): string => judge(record, finals).problems.join("\n");

test("what a sound store does is no problem", () => {
  const judgement = judge(sound(), FINALS);
  expect(judgement).toMatchObject({ problems: [], keys: 2, calls: 3, acknowledged: 3, watchedRevisions: 3 });
});

test("a read of what was overwritten before it began is found", () => {
  const record = sound();
  const begun = record.point();
  const operation = { kind: "read", saw: "one" } as const;
  record.call("register/a", { operation, begun, ended: record.point(), who: "late" });
  expect(problemsOf(record)).toContain("the calls on register/a are not linearizable");
});

test("an acknowledged write that is not at its revision is found", () => {
  const record = sound();
  record.acknowledged.push({ key: "register/c", value: "lost", revision: 2n });
  expect(problemsOf(record)).toContain("register/c=lost was acknowledged at revision 2, where there was");
});

test("a revision that a watcher was never told of is found, unless it was told that it is too late", () => {
  const record = sound();
  record.watches[0]?.byRevision.delete(2n);
  expect(problemsOf(record)).toBe("first was never told of revision 2, though of later ones up to 3");
  record.watches[0]?.gaps.push({ after: 1n, until: 2n });
  expect(problemsOf(record)).toBe("");
});

test("watchers that were told different things are found", () => {
  const record = sound();
  record.watches[1]?.byRevision.set(2n, [{ key: "register/b", value: "other" }]);
  expect(problemsOf(record)).toContain("second saw register/b=other at revision 2, where others saw");
});

test("a write that took effect twice is found", () => {
  const record = sound();
  for (const { byRevision } of record.watches) byRevision.set(3n, [{ key: "register/a", value: "one" }]);
  expect(problemsOf(record)).toContain("register/a=one took effect at 1 and at 3");
});

test("members that end with different states, or with another than the changes lead to, are found", () => {
  const other: FinalState = { member: "node 3", revision: 3n, entries: new Map([["register/a", "three"]]) };
  expect(problemsOf(sound(), [...FINALS, other])).toContain("node 3 and node 1 ended with different states");
  expect(problemsOf(sound(), [other])).toContain("not what the watched changes lead to");
  expect(problemsOf(sound(), [])).toContain("no member could be asked");
});
