// A group begins while its nodes run: a crash at any moment leaves the old or the new, an answer means the new; a node
// that has heard of a group waits for it. Real nodes on ports in memory.

import { expect, test } from "vitest";
import type { InitialMember } from "../../src/node/initialize.js";
import { addressOf, ELECTION_MS, errorOf, Group, TICK_MS } from "../support/node-harness.js";

const membersOf = (...ids: bigint[]): InitialMember[] => ids.map((id) => ({ id, address: addressOf(id) }));

async function waiting(...ids: bigint[]): Promise<Group> {
  const group = await Group.of([]);
  for (const id of ids) await group.add(id);
  return group;
}

/** Lets what is due happen, one event at a time. */
async function events(count: number): Promise<void> {
  for (let event = 0; event < count; event += 1) await new Promise((resolve) => setImmediate(resolve));
}

test("a crash at any moment leaves the old or the new, and after an answer the new", async () => {
  const seen = new Set<string>();
  for (let moment = 0; moment < 24; moment += 1) {
    const group = await waiting(1n);
    let answered = false;
    group
      .node(1n)
      .initialize(membersOf(1n))
      .then(
        () => {
          answered = true;
        },
        () => {},
      );
    for (let step = 0; step < moment; step += 1) {
      await events(1);
      await group.clock.advance(1);
    }
    const { node } = await group.restart(group.crash(1n));
    const { term, lastIndex, membership } = node.status();
    const isNew = membership.voters.length > 0;
    if (answered) expect(isNew).toBe(true);
    if (isNew) {
      expect([...membership.addresses]).toEqual([[1n, addressOf(1n)]]);
      await group.elect();
      expect(await group.propose(1n, "word")).toContain("word");
    } else {
      expect([term, lastIndex]).toEqual([0n, 0n]);
    }
    seen.add(`${isNew} ${answered}`);
    await group.stop();
  }
  expect([...seen].sort()).toContain("false false");
  expect([...seen].sort()).toContain("true true");
});

test("asked twice before it has answered, a node answers both", async () => {
  const group = await waiting(1n);
  const both = Promise.all([
    group.node(1n).initialize(membersOf(1n)),
    group.node(1n).initialize(membersOf(1n)),
  ]);
  await group.settled(both);
  for (const { voters } of await both) expect(voters).toEqual([1n]);
  expect(group.at(1n).node.metrics.counters.snapshotsInstalled).toBe(0);
  await group.stop();
});

test("asked for other members before it has answered, a node keeps to the first", async () => {
  const group = await waiting(1n);
  const first = group.node(1n).initialize(membersOf(1n));
  const second = errorOf(group.node(1n).initialize(membersOf(1n, 2n)));
  await group.settled(Promise.all([first, second]));
  expect((await first).voters).toEqual([1n]);
  expect(await second).toMatchObject({ code: "membershipRefused" });
  await group.stop();
});

test("a node that voted for a group waits to be brought in by it, and says so when that does not come", async () => {
  const group = await waiting(1n, 2n);
  const began = group.node(1n).initialize(membersOf(1n, 2n));
  await group.settled(began, 0);
  await began;
  // It votes, and the one it voted for is gone.
  for (let tick = 0; tick < 40 && group.node(2n).status().term === 0n; tick += 1) {
    await group.clock.advance(TICK_MS);
  }
  expect(group.node(2n).status()).toMatchObject({ member: false });
  const crashed = group.crash(1n);
  const refused = errorOf(group.node(2n).initialize(membersOf(1n, 2n), { deadlineMs: ELECTION_MS }));
  await group.settled(refused);
  const error = await refused;
  expect(error.code).toBe("deadlineExceeded");
  expect(error.message).toContain("this node has heard of a group (term 2) and waits for its leader");

  await group.restart(crashed);
  const again = group.node(2n).initialize(membersOf(1n, 2n), { deadlineMs: 100 * ELECTION_MS });
  await group.settled(again, 200);
  expect((await again).voters).toEqual([1n, 2n]);
  await group.stop();
});
