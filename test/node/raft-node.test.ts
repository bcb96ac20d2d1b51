// What an embedder gets from RaftNode, shown on groups of real nodes over ports in memory, with time that only the
// test moves.

import { expect, test } from "vitest";
import { Group } from "../support/node-harness.js";
import { bytesOf, textOf } from "../support/node-machine.js";

test("a group of one elects itself and answers a command with the state machine's result", async () => {
  const group = await Group.led([1n]);
  expect(await group.propose(1n, "hello")).toBe("hello@3");
  expect(group.at(1n).machine.commands).toEqual(["hello"]);
  await group.stop();
});

test("a group of three applies a command on every member", async () => {
  const group = await Group.led([1n, 2n, 3n]);
  const leader = group.leader();
  expect(await group.propose(leader?.id ?? 0n, "hello")).toMatch(/^hello@/);
  await group.clock.advance(200);
  for (const { machine } of group.stations) expect(machine.commands).toEqual(["hello"]);
  await group.stop();
});
