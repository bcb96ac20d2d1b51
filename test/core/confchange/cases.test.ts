// Runs the text cases beside this file: what a membership becomes, command by command, and since when each member
// has been tracked.

import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { describeFailure, runPath } from "../../support/datadriven.js";
import { newHandler } from "../datadriven-main.js";

test.for(["simple.txt", "joint.txt"])("every case of %s comes out as written", (name) => {
  const report = runPath(fileURLToPath(new URL(name, import.meta.url)), newHandler);
  expect(report.failures.map(describeFailure).join("\n")).toBe("");
  expect(report.cases).toBeGreaterThan(10);
});
