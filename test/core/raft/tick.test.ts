// What `tick()` says: whether there is probably something to do now, so that an embedder with a thousand groups need
// not ask each of them for a Ready.

import { describe, expect, test } from "vitest";
import { TestNode, type TestNodeOptions } from "../../support/test-node.js";

const VOTERS = [1n, 2n, 3n];

/** One tick. */
const ticked = (node: TestNode): boolean => node.act((raw) => raw.tick());

function leaderOf(config: TestNodeOptions["config"]): TestNode {
  const leader = new TestNode(1n, { voters: VOTERS, config: { electionTick: 10, ...config } }).forceLeader();
  leader.takeMessages();
  return leader;
}

describe("a tick brings work", () => {
  test("to a leader when heartbeats are due, and only then", () => {
    const leader = leaderOf({ heartbeatTick: 3 });
    for (let round = 0; round < 5; round += 1) {
      expect([ticked(leader), ticked(leader), ticked(leader)]).toEqual([false, false, true]);
      expect(leader.takeMessages()).toHaveLength(2);
    }
  });

  test("to a leader when it asks whether it has a quorum, whatever the answer", () => {
    const leader = leaderOf({ heartbeatTick: 9, checkQuorum: true });
    const brought = Array.from({ length: 10 }, () => ticked(leader));
    expect(leader.role).toBe("follower");
    const due = brought.flatMap((work, position) => (work ? [position + 1] : []));
    expect(due).toEqual([9, 10]);
  });

  test("to a leader that keeps its quorum too", () => {
    const leader = leaderOf({ heartbeatTick: 9, checkQuorum: true });
    const due: number[] = [];
    for (let tick = 1; tick <= 20; tick += 1) {
      for (const id of [2, 3]) leader.progress(id).recentActive = true;
      if (ticked(leader)) due.push(tick);
    }
    expect(leader.role).toBe("leader");
    expect(due).toEqual([9, 10, 18, 20]);
  });

  test("to a voter when its patience ends, whether it may campaign or not; to a learner never", () => {
    const voter = new TestNode(1n, { voters: VOTERS });
    expect(Array.from({ length: 10 }, () => ticked(voter))).toEqual([...new Array(9).fill(false), true]);
    const learner = new TestNode(1n, { voters: [2n, 3n], learners: [1n] });
    expect(Array.from({ length: 40 }, () => ticked(learner))).not.toContain(true);
  });
});
