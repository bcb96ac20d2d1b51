// When the log may be cut: with `snapshots: "always"` only behind a snapshot that is on the disk, so that a lost state
// can be rebuilt, and at a bounded cost. Real nodes on ports in memory.

import { expect, test } from "vitest";
import { errorOf, Group, type Station, type TestOptions } from "../support/node-harness.js";
import { NotebookMachine } from "../support/node-machine.js";

const ALWAYS: TestOptions = { compaction: { afterEntries: 8, keepEntries: 2, snapshots: "always" } };

async function proposeMany(group: Group, count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) await group.propose(1n, `c${n}`);
}

const firstIndexOf = ({ node }: Station) => node.status().firstIndex;
const snapshotsOf = ({ node }: Station) => node.metrics.counters.snapshotsCreated;

test("the log is cut only behind a snapshot, which is made when it is time to cut", async () => {
  const group = await Group.led([1n], ALWAYS);
  const only = group.at(1n);
  let open = () => {};
  only.snapshots.gate = new Promise((resolve) => {
    open = resolve;
  });
  await proposeMany(group, 30);
  expect(firstIndexOf(only)).toBe(2n);
  open();
  await group.clock.settle();
  await proposeMany(group, 30);
  const { snapshotIndex, firstIndex } = only.node.status();
  expect(firstIndex).toBeGreaterThan(40n);
  expect(snapshotIndex - firstIndex).toBeGreaterThanOrEqual(1n);
  // One for every six entries at most.
  expect(snapshotsOf(only)).toBeLessThanOrEqual(10);
  await group.stop();
});

test("a node that lost its state rebuilds it from its snapshot and its log", async () => {
  for (const lost of ["always", "onDemand"] as const) {
    const group = await Group.led([1n], { compaction: { ...ALWAYS.compaction, snapshots: lost } });
    await proposeMany(group, 40);
    expect(firstIndexOf(group.at(1n))).toBeGreaterThan(2n);
    const crashed = group.crash(1n);
    const restart = group.restart({ ...crashed, machine: new NotebookMachine() });
    if (lost === "onDemand") {
      await expect(restart).rejects.toThrow("what lies between is lost");
      continue;
    }
    const { machine, node } = await restart;
    await group.elect();
    await group.propose(1n, "after");
    expect(machine.commands).toEqual([...Array.from({ length: 40 }, (_, n) => `c${n}`), "after"]);
    expect(node.status().state).toBe("running");
    await group.stop();
  }
});

test("the log of a state machine without a disk is cut too", async () => {
  const group = await Group.led([1n], ALWAYS);
  const only = group.at(1n);
  only.machine.lazy = true;
  await proposeMany(group, 40);
  expect(only.machine.durableIndex).toBeLessThan(5n);
  expect(firstIndexOf(only)).toBeGreaterThan(20n);
  const { machine } = await group.restart(group.crash(1n));
  await group.elect();
  await group.clock.advance(300);
  expect(machine.commands).toHaveLength(40);
  await group.stop();
});

test("making snapshots takes a tenth of the time at most", async () => {
  const group = await Group.led([1n], ALWAYS);
  const only = group.at(1n);
  const { machine } = only;
  const snapshot = machine.snapshot.bind(machine);
  machine.snapshot = async () => {
    group.clock.jump(1_000);
    return snapshot();
  };
  await proposeMany(group, 40);
  expect(snapshotsOf(only)).toBe(1);
  await group.clock.advance(8_900);
  await proposeMany(group, 20);
  expect(snapshotsOf(only)).toBe(1);
  await group.clock.advance(200);
  await proposeMany(group, 20);
  expect(snapshotsOf(only)).toBe(2);
  await group.stop();
});

test("a wish that is none is refused by name", async () => {
  const compaction = JSON.parse('{ "snapshots": "sometimes" }');
  const error = await errorOf(Group.of([1n], { compaction }));
  expect([error.code, error.message]).toEqual([
    "invalidArgument",
    'compaction.snapshots must be "onDemand" or "always", is "sometimes"',
  ]);
});
