// Why a node could not start reaches the operator as a sentence, without a stack.

import { expect, test } from "vitest";
import { CommandError, ExitStatus } from "../../src/cli/exit-status.js";
import { describeStartFailure } from "../../src/cli/processes/start-failure.js";
import { NodeRemoved } from "../../src/node/errors.js";

test("a node that was removed says so, and how its machine comes back", () => {
  const described = describeStartFailure(new NodeRemoved(3n, 17n));
  expect(described).toBeInstanceOf(CommandError);
  expect(described).toMatchObject({
    exitStatus: ExitStatus.failed,
    message:
      "node 3 was removed from its group by the membership change at index 17 and must not start again: the group goes " +
      "on without it. To bring this machine back, add it to the group as a new node, with an id that was never used " +
      "and an empty data folder",
  });
});

test("what nobody foresaw keeps its stack", () => {
  const bug = new TypeError("undefined is not a function");
  expect(describeStartFailure(bug)).toBe(bug);
});
