// Votes, quorums and members: what counts, what does not, and that what is handed out cannot reach inside.

import { describe, expect, test } from "vitest";
import { JointConfig } from "../../../src/core/quorum/joint.js";
import { MajorityConfig } from "../../../src/core/quorum/majority.js";
import { NodeIdSet } from "../../../src/core/quorum/node-id-set.js";
import type { Configuration } from "../../../src/core/tracker/configuration.js";
import type { Progress } from "../../../src/core/tracker/progress.js";
import { ProgressTracker } from "../../../src/core/tracker/progress-tracker.js";
import { NO_LIMIT, type NodeId } from "../../../src/core/types.js";

interface Members {
  readonly incoming: readonly NodeId[];
  readonly outgoing?: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  readonly learnersNext?: readonly NodeId[];
}

function configuration({
  incoming,
  outgoing = [],
  learners = [],
  learnersNext = [],
}: Members): Configuration {
  return {
    voters: new JointConfig(new MajorityConfig(incoming), new MajorityConfig(outgoing)),
    learners: new NodeIdSet(learners),
    learnersNext: new NodeIdSet(learnersNext),
    autoLeave: false,
  };
}

function trackerOf(members: Members): ProgressTracker {
  const tracker = new ProgressTracker(8, NO_LIMIT);
  const { voters, learners } = configuration(members);
  tracker.applyConf(
    configuration(members),
    [...voters.ids(), ...learners].map((id) => ({ id, kind: "add" })),
    1n,
  );
  return tracker;
}

function progressOf(tracker: ProgressTracker, id: NodeId): Progress {
  const progress = tracker.get(id);
  if (progress === undefined) throw new Error(`no progress for ${id}`);
  return progress;
}

describe("votes", () => {
  test("count by the first answer of each voter", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n] });
    tracker.recordVote(1n, true);
    tracker.recordVote(2n, false);
    tracker.recordVote(2n, true);
    expect(tracker.tallyVotes()).toEqual({ granted: 1, rejected: 1, result: "pending" });
    tracker.recordVote(3n, true);
    tracker.recordVote(3n, false);
    expect(tracker.tallyVotes()).toEqual({ granted: 2, rejected: 1, result: "won" });
  });

  test("of learners and strangers are not counted", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n], learners: [4n] });
    for (const id of [4n, 5n, 6n]) tracker.recordVote(id, true);
    expect(tracker.tallyVotes()).toEqual({ granted: 0, rejected: 0, result: "pending" });
  });

  test("are needed from both halves of a joint configuration", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n], outgoing: [3n, 4n, 5n] });
    for (const id of [1n, 2n]) tracker.recordVote(id, true);
    expect(tracker.tallyVotes()).toEqual({ granted: 2, rejected: 0, result: "pending" });
    for (const id of [3n, 4n]) tracker.recordVote(id, true);
    expect(tracker.tallyVotes()).toEqual({ granted: 4, rejected: 0, result: "won" });
  });

  test("of one election say nothing in the next", () => {
    const tracker = trackerOf({ incoming: [1n, 2n] });
    tracker.recordVote(1n, false);
    expect(tracker.tallyVotes().result).toBe("lost");
    tracker.resetVotes();
    expect(tracker.tallyVotes()).toEqual({ granted: 0, rejected: 0, result: "pending" });
    tracker.recordVote(1n, true);
    tracker.recordVote(2n, true);
    expect(tracker.tallyVotes().result).toBe("won");
  });

  test("can be judged without being recorded", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n] });
    expect(
      tracker.voteResult(
        new Map([
          [1n, true],
          [3n, true],
        ]),
      ),
    ).toBe("won");
    expect(tracker.tallyVotes().granted).toBe(0);
  });
});

describe("a quorum", () => {
  test("is of voters, in both halves, and learners do not help", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n], outgoing: [1n, 4n, 5n], learners: [6n] });
    expect(tracker.hasQuorum(new Set([1n, 2n]))).toBe(false);
    expect(tracker.hasQuorum(new Set([1n, 2n, 6n]))).toBe(false);
    expect(tracker.hasQuorum(new Set([1n, 2n, 5n]))).toBe(true);
    expect(tracker.hasQuorum(new Set([2n, 3n, 4n, 5n]))).toBe(true);
    expect(tracker.hasQuorum(new Set())).toBe(false);
  });

  test("was recently active if its members have spoken since the last time this was asked", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n, 4n, 5n] });
    expect(tracker.quorumRecentlyActive(1n), "new members count as active").toBe(true);
    expect(tracker.quorumRecentlyActive(1n), "and only the first time").toBe(false);
    progressOf(tracker, 4n).recentActive = true;
    expect(tracker.quorumRecentlyActive(1n)).toBe(false);
    progressOf(tracker, 4n).recentActive = true;
    progressOf(tracker, 5n).recentActive = true;
    expect(tracker.quorumRecentlyActive(1n)).toBe(true);
    expect(tracker.ids().map((id) => progressOf(tracker, id).recentActive)).toEqual([
      true,
      false,
      false,
      false,
      false,
    ]);
  });

  test("counts a voter of both halves as active in both", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n], outgoing: [2n, 3n, 4n] });
    tracker.quorumRecentlyActive(1n);
    progressOf(tracker, 2n).recentActive = true;
    expect(tracker.quorumRecentlyActive(1n)).toBe(false);
    progressOf(tracker, 2n).recentActive = true;
    progressOf(tracker, 3n).recentActive = true;
    expect(tracker.quorumRecentlyActive(1n)).toBe(true);
  });

  test("always counts the asker, even before it has counted anything", () => {
    const tracker = trackerOf({ incoming: [1n, 2n] });
    for (const id of tracker.ids()) progressOf(tracker, id).recentActive = false;
    progressOf(tracker, 2n).recentActive = true;
    expect(tracker.quorumRecentlyActive(1n)).toBe(true);
  });

  test("does not count the asker when it is a learner or gone", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n], learners: [4n] });
    tracker.quorumRecentlyActive(4n);
    for (const self of [4n, 9n]) {
      progressOf(tracker, 2n).recentActive = true;
      expect(tracker.quorumRecentlyActive(self)).toBe(false);
    }
  });

  test("of one voter is that voter", () => {
    const tracker = trackerOf({ incoming: [1n], learners: [2n] });
    expect(tracker.isSingleton()).toBe(true);
    tracker.quorumRecentlyActive(1n);
    expect(tracker.quorumRecentlyActive(1n)).toBe(true);
  });
});

describe("the index that may be committed", () => {
  test("is what a majority of the voters matches; learners do not count", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n], learners: [4n, 5n] });
    for (const [id, matched] of [
      [1n, 9n],
      [2n, 4n],
      [3n, 2n],
      [4n, 9n],
      [5n, 9n],
    ] as const) {
      progressOf(tracker, id).matched = matched;
    }
    expect(tracker.maximalCommittedIndex()).toEqual({ index: 4n, usedGroupCommit: false });
  });

  test("must be in two groups when group commit is on, and then only", () => {
    const tracker = trackerOf({ incoming: [1n, 2n, 3n] });
    for (const [id, matched, groupId] of [
      [1n, 9n, 1n],
      [2n, 8n, 1n],
      [3n, 2n, 2n],
    ] as const) {
      progressOf(tracker, id).matched = matched;
      progressOf(tracker, id).commitGroupId = groupId;
    }
    expect(tracker.maximalCommittedIndex()).toEqual({ index: 8n, usedGroupCommit: false });
    tracker.groupCommit = true;
    expect(tracker.maximalCommittedIndex()).toEqual({ index: 2n, usedGroupCommit: true });
    tracker.groupCommit = false;
    expect(tracker.maximalCommittedIndex()).toEqual({ index: 8n, usedGroupCommit: false });
  });
});

describe("members", () => {
  test("are listed in id order, and a list stays as it was when members change", () => {
    const tracker = trackerOf({ incoming: [9n, 1n, 5n], learners: [3n] });
    const before = tracker.ids();
    expect(before).toEqual([1n, 3n, 5n, 9n]);
    expect(tracker.ids(), "walked for every broadcast").toBe(before);
    expect(Object.isFrozen(before)).toBe(true);
    tracker.applyConf(
      configuration({ incoming: [1n, 2n, 5n], learners: [3n] }),
      [
        { id: 2n, kind: "add" },
        { id: 9n, kind: "remove" },
      ],
      1n,
    );
    expect(tracker.ids()).toEqual([1n, 2n, 3n, 5n]);
    expect(before).toEqual([1n, 3n, 5n, 9n]);
    expect(tracker.get(9n)).toBeUndefined();
  });

  test("that are new start where they are told, count as active, and have the tracker's limits", () => {
    const tracker = new ProgressTracker(3, 500);
    tracker.applyConf(configuration({ incoming: [1n] }), [{ id: 1n, kind: "add" }], 42n);
    expect(progressOf(tracker, 1n)).toMatchObject({
      nextIdx: 42n,
      matched: 0n,
      recentActive: true,
      state: "Probe",
    });
    expect(progressOf(tracker, 1n).inflights.capacity).toBe(3);
    progressOf(tracker, 1n).inflights.add(1n, 500);
    expect(progressOf(tracker, 1n).inflights.full()).toBe(true);
  });

  test("that stay keep their progress, and are learners as the configuration says", () => {
    const tracker = trackerOf({ incoming: [1n, 2n] });
    const before = progressOf(tracker, 2n);
    before.matched = 7n;
    tracker.applyConf(configuration({ incoming: [1n], learners: [2n] }), [], 99n);
    expect(progressOf(tracker, 2n)).toBe(before);
    expect(before).toMatchObject({ matched: 7n, isLearner: true });
    tracker.applyConf(configuration({ incoming: [1n, 2n] }), [], 99n);
    expect(before.isLearner).toBe(false);
  });

  test("that are removed and added in one change start anew", () => {
    const tracker = trackerOf({ incoming: [1n, 2n] });
    progressOf(tracker, 2n).matched = 7n;
    progressOf(tracker, 2n).commitGroupId = 3n;
    tracker.applyConf(
      tracker.conf,
      [
        { id: 2n, kind: "remove" },
        { id: 2n, kind: "add" },
      ],
      50n,
    );
    expect(progressOf(tracker, 2n)).toMatchObject({ matched: 0n, nextIdx: 50n, commitGroupId: 0n });
  });

  test("are voters of either half, or learners, or neither", () => {
    const tracker = trackerOf({ incoming: [1n, 2n], outgoing: [2n, 3n], learners: [4n], learnersNext: [3n] });
    const ids = [1n, 2n, 3n, 4n, 5n];
    expect(ids.map((id) => tracker.isVoter(id))).toEqual([true, true, true, false, false]);
    expect(ids.map((id) => tracker.isLearner(id))).toEqual([false, false, false, true, false]);
    expect(progressOf(tracker, 3n).isLearner, "it votes until the joint configuration is left").toBe(false);
  });

  test("are reported in id order, in messages that nobody else holds", () => {
    const tracker = trackerOf({
      incoming: [9n, 10n, 1n],
      outgoing: [3n, 2n],
      learners: [8n, 7n],
      learnersNext: [2n],
    });
    const state = tracker.toConfState();
    expect(state).toMatchObject({
      voters: [1n, 9n, 10n],
      votersOutgoing: [2n, 3n],
      learners: [7n, 8n],
      learnersNext: [2n],
      autoLeave: false,
    });
    state.voters.push(77n);
    state.learners.length = 0;
    expect(tracker.toConfState().voters).toEqual([1n, 9n, 10n]);
    expect(tracker.toConfState().learners).toEqual([7n, 8n]);
    expect(tracker.isVoter(77n)).toBe(false);
  });

  test("are all gone after clearing, and so are votes", () => {
    const tracker = trackerOf({ incoming: [1n], learners: [2n] });
    tracker.recordVote(1n, true);
    tracker.groupCommit = true;
    tracker.clear();
    expect(tracker.ids()).toEqual([]);
    expect(tracker.toConfState()).toMatchObject({ voters: [], learners: [] });
    expect(tracker.get(1n)).toBeUndefined();
    expect(tracker.groupCommit).toBe(true);
    tracker.applyConf(configuration({ incoming: [1n] }), [{ id: 1n, kind: "add" }], 1n);
    expect(tracker.tallyVotes()).toEqual({ granted: 0, rejected: 0, result: "pending" });
  });
});
