// The pages that say which test shows what name tests that exist, and leave nothing out.

import { describe, expect, test } from "vitest";
import { readText } from "../support/source-files.js";

interface Row {
  readonly heading: string;
  /** The number of a behaviour, or the name of a scenario. */
  readonly what: string;
  /** Empty when there is no test. */
  readonly file: string;
  /** A test's title as its source has it, or why there is none. */
  readonly title: string;
}

/** Of every table of a page; the file and the title are its last two columns. */
function rowsOf(page: string): Row[] {
  let heading = "";
  return readText(page)
    .split("\n")
    .flatMap((line) => {
      if (line.startsWith("## ")) heading = line.slice(3);
      const columns = line.startsWith("| ")
        ? line
            .slice(1, -1)
            .split("|")
            .map((column) => column.trim())
        : [];
      const [what, ...rest] = columns;
      const [file, title] = rest.slice(-2);
      if (what === undefined || file === undefined || title === undefined) return [];
      return what === "" || what === "---" || what === "upstream" ? [] : [{ heading, what, file, title }];
    });
}

function isTitleIn(source: string, title: string): boolean {
  return ['"', "`"].some((quote) => source.includes(`${quote}${title}${quote}`));
}

describe.each(["docs/behaviour-coverage.md", "docs/scenario-coverage.md"])("%s", (page) => {
  const rows = rowsOf(page);

  test("names only tests that exist", () => {
    const sources = new Map(rows.filter(({ file }) => file !== "").map(({ file }) => [file, readText(file)]));
    const missing = rows
      .filter(({ file }) => file !== "")
      .filter(({ file, title }) => !isTitleIn(sources.get(file) ?? "", title))
      .map(({ what, file, title }) => `${what}: ${file} has no test "${title}"`);
    expect(missing, "give the row the test's new name").toEqual([]);
  });

  test("says why wherever there is no test", () => {
    expect(rows.filter(({ title }) => title === "")).toEqual([]);
  });
});

test("every one of the ninety behaviours is listed", () => {
  const listed = new Set(rowsOf("docs/behaviour-coverage.md").map(({ what }) => what));
  const all = Array.from({ length: 90 }, (_, position) => String(position + 1));
  expect(all.filter((number) => !listed.has(number))).toEqual([]);
  expect(listed.size).toBe(90);
});

test("every heading of the scenarios says how many there are, and there are as many", () => {
  const listed = new Map<string, Set<string>>();
  for (const { heading, what } of rowsOf("docs/scenario-coverage.md")) {
    listed.set(heading, (listed.get(heading) ?? new Set()).add(what));
  }
  const counts = [...listed].map(([heading, names]) => `${heading.replace(/ \(\d+\)$/, "")} (${names.size})`);
  expect(counts).toEqual([...listed.keys()]);
  // What raft-rs has: 202 in its harness, 47 beside its source, 7 of its case reader.
  const ofRaftRs = [...listed].filter(([heading]) => heading.startsWith("raft-rs"));
  expect(ofRaftRs.reduce((sum, [, names]) => sum + names.size, 0)).toBe(202 + 47 + 7);
});
