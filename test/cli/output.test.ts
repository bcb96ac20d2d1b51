// How results are written: tables for people, JSON for scripts; and what a failed call means as an exit status.

import { describe, expect, test } from "vitest";
import { toCommandError } from "../../src/cli/client-session.js";
import { CommandError, EXIT_STATUS_HELP, ExitStatus } from "../../src/cli/exit-status.js";
import { formatTable, toJsonLine } from "../../src/cli/output.js";
import { PlacementError, type WriteOutcome } from "../../src/placement/client-error.js";
import { PlacementConfigInvalid } from "../../src/placement/config.js";

test("64-bit numbers keep all their digits in JSON", () => {
  expect(toJsonLine({ term: 18_446_744_073_709_551_615n, name: "a" })).toBe(
    '{"term":"18446744073709551615","name":"a"}',
  );
});

test("a table has columns as wide as what is in them, numbers to the right", () => {
  expect(
    formatTable(
      ["id", "address"],
      [
        ["1", "a:1"],
        ["10", "long:2"],
      ],
      new Set(["id"]),
    ),
  ).toEqual(["id  address", " 1  a:1", "10  long:2"]);
});

describe("exit statuses", () => {
  test("are all explained in --help", () => {
    for (const status of Object.values(ExitStatus))
      expect(EXIT_STATUS_HELP).toMatch(new RegExp(`^  ${status}  \\w`, "m"));
  });

  test.each<[string, WriteOutcome, number]>([
    ["invalidArgument", "notApplied", ExitStatus.usage],
    ["noLeader", "notApplied", ExitStatus.unavailable],
    ["unreachable", "notApplied", ExitStatus.unavailable],
    ["deadlineExceeded", "notApplied", ExitStatus.unavailable],
    ["deadlineExceeded", "unknown", ExitStatus.outcomeUnknown],
    ["connectionLost", "unknown", ExitStatus.outcomeUnknown],
    ["membershipRefused", "notApplied", ExitStatus.failed],
    ["tooLarge", "notApplied", ExitStatus.failed],
  ])("of a call that failed with %s, %s: %i", (reason, outcome, status) => {
    const error = toCommandError(new PlacementError("said so", reason, outcome, undefined, undefined));
    expect(error).toBeInstanceOf(CommandError);
    expect(error).toMatchObject({ exitStatus: status, reason, message: expect.stringContaining("said so") });
  });

  test("of a wrong endpoint: wrong usage", () => {
    expect(toCommandError(new PlacementConfigInvalid("endpoint"))).toMatchObject({
      exitStatus: ExitStatus.usage,
    });
  });

  test("of what nobody foresaw is left to whoever shows the stack", () => {
    const bug = new TypeError("x is not a function");
    expect(toCommandError(bug)).toBe(bug);
  });
});
