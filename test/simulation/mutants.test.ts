// Shows that each known bug still can be put back: the text that it replaces occurs exactly once where it should.

import { describe, expect, test } from "vitest";
import { readText } from "../support/source-files.js";
import { MUTANTS } from "./mutants.js";
import { DIRECTED_THEMES } from "./swarm.js";

describe("the known bugs", () => {
  test("are at least 25, under names of their own", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(25);
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  });

  test("are hunted with themes that there are", () => {
    for (const { theme } of MUTANTS)
      if (theme !== undefined) expect(Object.keys(DIRECTED_THEMES)).toContain(theme);
  });

  test.each(MUTANTS)("'$name' still has its place in $file", ({ file, find, replace }) => {
    expect(readText(file).split(find).length - 1).toBe(1);
    expect(replace).not.toBe(find);
  });
});
