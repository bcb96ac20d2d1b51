// Runs the text cases beside this file. Each result is also computed with the halves exchanged, joined with nobody
// and with itself, with slow voters slower still, and by counting; a difference would be printed into the output.

import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { describeFailure, runPath } from "../../support/datadriven.js";
import { newHandler } from "../datadriven-main.js";

test.for(["majority-commit.txt", "joint-commit.txt", "group-commit.txt", "votes.txt"])(
  "every case of %s comes out as written",
  (name) => {
    const report = runPath(fileURLToPath(new URL(name, import.meta.url)), newHandler);
    expect(report.failures.map(describeFailure).join("\n")).toBe("");
    expect(report.cases).toBeGreaterThan(5);
  },
);
