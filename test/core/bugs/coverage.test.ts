// Each bug that raft-rs, etcd/raft or OpenRaft had and that any port may have again has a test, whose title begins with
// the bug's number: U is still in raft-rs's main branch, R was fixed there, E in etcd/raft, O is what OpenRaft found in
// the code that it grew from. This reads the titles.

import { expect, test } from "vitest";
import { filesUnder, readText } from "../../support/source-files.js";

const BUGS = [...numbers("U", 14), ...numbers("R", 24), ...numbers("E", 23), ...numbers("O", 10)];

function numbers(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, position) => `${letter}${position + 1}`);
}

/** The numbers that titles begin with: `"U3, E4: is left …"`. */
function numbersInTitles(): string[] {
  const title = /["'`]([UREO]\d+(?:, [UREO]\d+)*): /g;
  return filesUnder("test/core")
    .filter((path) => path.endsWith(".test.ts"))
    .flatMap((path) => [...readText(path).matchAll(title)])
    .flatMap(([, list = ""]) => list.split(", "));
}

test("every known bug has a test that is named after it", () => {
  const tested = new Set(numbersInTitles());
  expect(BUGS.filter((bug) => !tested.has(bug))).toEqual([]);
});

test("no test is named after a bug that nobody knows", () => {
  expect(numbersInTitles().filter((bug) => !BUGS.includes(bug))).toEqual([]);
});
