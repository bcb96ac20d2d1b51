// A disk and a state machine that are slow, or hang: told of while it lasts, and counted once. Real nodes on ports in
// memory, whose disk and state machine the test holds up.

import { expect, test } from "vitest";
import { Group, TICK_MS } from "../support/node-harness.js";
import { bytesOf } from "../support/node-machine.js";

async function alone() {
  const group = await Group.led([1n], { limits: { slowAppendMs: 500, slowApplyMs: 300 } });
  const { node, log, machine, warnings } = group.at(1n);
  const told = (about: string) => warnings.filter((warning) => warning.includes(about));
  return { group, node, log, machine, told };
}

test("a disk that hangs is told of while it hangs, and when it goes on", async () => {
  const { group, node, log, told } = await alone();
  log.held = true;
  const answers = [node.propose(bytesOf("a"), { deadlineMs: 60_000 })];
  await group.clock.advance(4 * TICK_MS);
  answers.push(node.propose(bytesOf("b"), { deadlineMs: 60_000 }));
  expect(told("the disk is slow")).toEqual([]);
  await group.clock.advance(2 * TICK_MS);
  expect(told("the disk is slow")).toEqual(["the disk is slow: a write of the log goes on"]);
  await group.clock.advance(10 * TICK_MS);
  expect(told("the disk is slow")).toHaveLength(1);
  expect(node.metrics.counters.slowAppends).toBe(1);
  log.held = false;
  log.release();
  await group.settled(Promise.all(answers));
  const ended = told("the disk is slow").slice(1);
  expect(new Set(ended)).toEqual(new Set(["the disk is slow: a write of the log has ended"]));
  // Both writes took that long.
  expect([ended.length, node.metrics.counters.slowAppends]).toEqual([2, 2]);
  expect(node.metrics.appendDuration.maxMs).toBeGreaterThanOrEqual(16 * TICK_MS);
  await group.stop();
});

test("a state machine that hangs is told of while it hangs, and when it goes on", async () => {
  const { group, node, machine, told } = await alone();
  let open = () => {};
  machine.gate = new Promise((resolve) => {
    open = resolve;
  });
  const answer = node.propose(bytesOf("a"), { deadlineMs: 60_000 });
  await group.clock.advance(5 * TICK_MS);
  expect(told("the state machine")).toEqual(["the state machine is slow: a call goes on"]);
  machine.gate = undefined;
  open();
  await group.settled(answer);
  expect(told("the state machine").slice(1)).toEqual(["the state machine is slow: a call has ended"]);
  expect(node.metrics.counters.slowApplies).toBe(1);
  await group.stop();
});

test("what is fast is not told of", async () => {
  const { group, node, told } = await alone();
  for (let n = 0; n < 10; n += 1) await group.propose(1n, `c${n}`);
  await group.clock.advance(20 * TICK_MS);
  expect(told("slow")).toEqual([]);
  expect([node.metrics.counters.slowAppends, node.metrics.counters.slowApplies]).toEqual([0, 0]);
  expect(node.metrics.appendDuration.count).toBeGreaterThanOrEqual(10);
  await group.stop();
});
