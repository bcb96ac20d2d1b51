// What a leader knows of one peer: each transition and each rule for late messages, and that no sequence of calls
// makes it send what is known to be there.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvariantViolation } from "../../../src/core/errors.js";

import { Progress } from "../../../src/core/tracker/progress.js";
import { NO_INDEX, NO_LIMIT, type ProgressStateName } from "../../../src/core/types.js";
import { propertyRuns } from "../../support/property.js";

interface Given {
  readonly state?: ProgressStateName;
  readonly matched?: bigint;
  readonly nextIdx?: bigint;
  readonly pendingSnapshot?: bigint;
  readonly capacity?: number;
  readonly maxBytes?: number;
}

function given({
  state = "Probe",
  matched = 0n,
  nextIdx = 1n,
  pendingSnapshot = NO_INDEX,
  capacity = 256,
  maxBytes = NO_LIMIT,
}: Given = {}): Progress {
  const progress = new Progress(nextIdx, capacity, maxBytes);
  progress.state = state;
  progress.matched = matched;
  progress.pendingSnapshot = pendingSnapshot;
  return progress;
}

describe("a new progress", () => {
  test("probes from where it is told, knows nothing, and may be sent to", () => {
    const progress = new Progress(7n, 256, NO_LIMIT);
    expect(progress).toMatchObject({
      state: "Probe",
      matched: 0n,
      nextIdx: 7n,
      paused: false,
      recentActive: false,
      isLearner: false,
    });
    expect(progress.isPaused()).toBe(false);
  });
});

describe("a change of state", () => {
  test.for([
    { from: "Replicate", pendingSnapshot: NO_INDEX, nextIdx: 2n, why: "forgets what is under way" },
    { from: "Snapshot", pendingSnapshot: 10n, nextIdx: 11n, why: "continues behind a snapshot that arrived" },
    { from: "Snapshot", pendingSnapshot: NO_INDEX, nextIdx: 2n, why: "does not trust one that failed" },
    { from: "Probe", pendingSnapshot: NO_INDEX, nextIdx: 2n, why: "starts over" },
  ] as const)(
    "from $from (snapshot $pendingSnapshot) to Probe $why",
    ({ from, pendingSnapshot, nextIdx }) => {
      const progress = given({ state: from, matched: 1n, nextIdx: 5n, pendingSnapshot });
      progress.pause();
      progress.becomeProbe();
      expect(progress).toMatchObject({
        state: "Probe",
        matched: 1n,
        nextIdx,
        paused: false,
        pendingSnapshot: NO_INDEX,
      });
    },
  );

  test("to Probe does not go back behind what a peer matches beyond its snapshot", () => {
    const progress = given({ state: "Snapshot", matched: 15n, pendingSnapshot: 10n });
    progress.becomeProbe();
    expect(progress.nextIdx).toBe(16n);
  });

  test("to Replicate starts behind what is known, whatever was probed", () => {
    const progress = given({ matched: 1n, nextIdx: 5n });
    progress.becomeReplicate();
    expect(progress).toMatchObject({ state: "Replicate", matched: 1n, nextIdx: 2n });
  });

  test("to Snapshot says where to go on when it has arrived, and sends nothing until then", () => {
    const progress = given({ matched: 1n, nextIdx: 5n });
    progress.becomeSnapshot(10n);
    expect(progress).toMatchObject({ state: "Snapshot", matched: 1n, pendingSnapshot: 10n, nextIdx: 11n });
    expect(progress.isPaused()).toBe(true);
    progress.resume();
    expect(progress.isPaused()).toBe(true);
    expect(() => progress.sentEntries(1, 1)).toThrow(
      new InvariantViolation("an append was sent to a peer that waits for a snapshot"),
    );
  });

  test("empties the window", () => {
    const progress = given({ state: "Replicate", capacity: 2, maxBytes: 10 });
    progress.sentEntries(1, 9);
    progress.sentEntries(1, 9);
    expect(progress.isPaused()).toBe(true);
    progress.becomeProbe();
    progress.becomeReplicate();
    expect(progress.inflights).toMatchObject({ count: 0, bytes: 0 });
    expect(progress.isPaused()).toBe(false);
  });

  test("is caught up with its snapshot only in state Snapshot, from the snapshot's index on", () => {
    const progress = given({ state: "Snapshot", matched: 9n, pendingSnapshot: 10n });
    expect(progress.isSnapshotCaughtUp()).toBe(false);
    progress.maybeUpdate(10n);
    expect(progress.isSnapshotCaughtUp()).toBe(true);
    progress.becomeProbe();
    expect(progress.isSnapshotCaughtUp()).toBe(false);
  });

  test("after a failed snapshot probes from what is known", () => {
    const progress = given({ matched: 3n });
    progress.becomeSnapshot(10n);
    progress.snapshotFailure();
    progress.becomeProbe();
    expect(progress).toMatchObject({ state: "Probe", nextIdx: 4n });
  });
});

describe("a reset", () => {
  test("forgets the peer's log, keeps the reported commit index and the commit group, and takes new limits", () => {
    const progress = given({ state: "Replicate", matched: 4n, nextIdx: 9n, capacity: 8 });
    progress.sentEntries(1, 5);
    progress.pendingRequestSnapshot = 3n;
    progress.recentActive = true;
    progress.isLearner = true;
    progress.commitGroupId = 6n;
    progress.updateCommitted(4n);
    progress.reset(21n, 2, 100);
    expect(progress).toMatchObject({
      state: "Probe",
      matched: 0n,
      nextIdx: 21n,
      paused: false,
      pendingSnapshot: NO_INDEX,
      pendingRequestSnapshot: NO_INDEX,
      recentActive: false,
      isLearner: true,
      committedIndex: 4n,
      commitGroupId: 6n,
    });
    expect(progress.inflights).toMatchObject({ count: 0, bytes: 0, capacity: 2 });
  });

  test("forgets that a probe or a snapshot was under way: to a new leader the peer is silent for no reason", () => {
    const probed = given({ matched: 2n, nextIdx: 3n });
    probed.sentEntries(1, 5);
    const fed = given({ state: "Replicate", matched: 2n, nextIdx: 3n });
    fed.becomeSnapshot(30n);
    for (const progress of [probed, fed]) {
      progress.reset(21n, 2, 100);
      expect(progress).toMatchObject({ state: "Probe", paused: false, pendingSnapshot: NO_INDEX });
      expect(progress.isPaused()).toBe(false);
      progress.becomeProbe();
      expect(progress.nextIdx).toBe(1n);
    }
  });
});

describe("an acknowledgement", () => {
  test.for([
    { index: 2n, matched: 3n, nextIdx: 5n, isNews: false },
    { index: 3n, matched: 3n, nextIdx: 5n, isNews: false },
    { index: 4n, matched: 4n, nextIdx: 5n, isNews: true },
    { index: 5n, matched: 5n, nextIdx: 6n, isNews: true },
  ])("of $index by a peer that matches 3 and is sent 5 next", ({ index, matched, nextIdx, isNews }) => {
    const progress = given({ matched: 3n, nextIdx: 5n });
    progress.pause();
    expect(progress.maybeUpdate(index)).toBe(isNews);
    expect(progress).toMatchObject({ matched, nextIdx, paused: !isNews });
  });

  test("of the commit index never lowers it", () => {
    const progress = given();
    for (const [index, expected] of [
      [5n, 5n],
      [3n, 5n],
      [6n, 6n],
    ] as const) {
      progress.updateCommitted(index);
      expect(progress.committedIndex).toBe(expected);
    }
  });
});

describe("a refusal", () => {
  test.for<{
    readonly why: string;
    readonly state: "Probe" | "Replicate";
    readonly matched: bigint;
    readonly nextIdx: bigint;
    readonly rejected: bigint;
    readonly hint: bigint;
    readonly taken: boolean;
    readonly next: bigint;
  }>([
    {
      why: "is stale when it is about what is matched",
      state: "Replicate",
      matched: 5n,
      nextIdx: 10n,
      rejected: 5n,
      hint: 5n,
      taken: false,
      next: 10n,
    },
    {
      why: "is stale when it is about less",
      state: "Replicate",
      matched: 5n,
      nextIdx: 10n,
      rejected: 4n,
      hint: 4n,
      taken: false,
      next: 10n,
    },
    {
      why: "goes back to what is matched, not to the hint",
      state: "Replicate",
      matched: 5n,
      nextIdx: 10n,
      rejected: 9n,
      hint: 7n,
      taken: true,
      next: 6n,
    },
    {
      why: "is stale when nothing has been sent yet",
      state: "Probe",
      matched: 0n,
      nextIdx: 0n,
      rejected: 0n,
      hint: 0n,
      taken: false,
      next: 0n,
    },
    {
      why: "is stale when it is not about the last probe",
      state: "Probe",
      matched: 0n,
      nextIdx: 10n,
      rejected: 5n,
      hint: 5n,
      taken: false,
      next: 10n,
    },
    {
      why: "goes back by one without a better hint",
      state: "Probe",
      matched: 0n,
      nextIdx: 10n,
      rejected: 9n,
      hint: 9n,
      taken: true,
      next: 9n,
    },
    {
      why: "goes back to the first entry",
      state: "Probe",
      matched: 0n,
      nextIdx: 2n,
      rejected: 1n,
      hint: 1n,
      taken: true,
      next: 1n,
    },
    {
      why: "never goes back before the first entry",
      state: "Probe",
      matched: 0n,
      nextIdx: 1n,
      rejected: 0n,
      hint: 0n,
      taken: true,
      next: 1n,
    },
    {
      why: "goes back behind the hint",
      state: "Probe",
      matched: 0n,
      nextIdx: 10n,
      rejected: 9n,
      hint: 2n,
      taken: true,
      next: 3n,
    },
    {
      why: "of everything goes back to the first entry",
      state: "Probe",
      matched: 0n,
      nextIdx: 10n,
      rejected: 9n,
      hint: 0n,
      taken: true,
      next: 1n,
    },
    {
      why: "that is late never goes back to what is matched",
      state: "Probe",
      matched: 5n,
      nextIdx: 7n,
      rejected: 6n,
      hint: 2n,
      taken: true,
      next: 6n,
    },
    {
      why: "that is late and about what is matched neither",
      state: "Probe",
      matched: 5n,
      nextIdx: 6n,
      rejected: 5n,
      hint: 0n,
      taken: true,
      next: 6n,
    },
  ])("$why ($state)", ({ state, matched, nextIdx, rejected, hint, taken, next }) => {
    const progress = given({ state, matched, nextIdx });
    progress.pause();
    expect(progress.maybeDecrTo(rejected, hint, NO_INDEX)).toBe(taken);
    expect(progress).toMatchObject({ matched, nextIdx: next });
    if (state === "Probe") expect(progress.paused).toBe(!taken);
  });

  test("while a snapshot is on its way is stale, so that the snapshot's place is kept", () => {
    const progress = given({ matched: 2n });
    progress.becomeSnapshot(10n);
    expect(progress.maybeDecrTo(10n, 2n, NO_INDEX)).toBe(false);
    expect(progress.nextIdx).toBe(11n);
  });

  test("with a request for a snapshot is taken even if it is not about the last probe", () => {
    const progress = given({ matched: 2n, nextIdx: 10n });
    progress.pause();
    expect(progress.maybeDecrTo(5n, 5n, 7n)).toBe(true);
    expect(progress).toMatchObject({ nextIdx: 10n, pendingRequestSnapshot: 7n, paused: false });
    expect(progress.maybeDecrTo(5n, 5n, 8n)).toBe(true);
    expect(progress.pendingRequestSnapshot, "the first request stands").toBe(7n);
  });

  test("with a request for a snapshot is stale in Replicate below what is matched, and taken at it", () => {
    const progress = given({ state: "Replicate", matched: 5n, nextIdx: 10n });
    expect(progress.maybeDecrTo(4n, 4n, 5n)).toBe(false);
    expect(progress.pendingRequestSnapshot).toBe(NO_INDEX);
    expect(progress.maybeDecrTo(5n, 5n, 5n)).toBe(true);
    expect(progress).toMatchObject({ pendingRequestSnapshot: 5n, nextIdx: 10n });
  });
});

describe("flow control", () => {
  test.for([
    { state: "Probe", paused: false, isPaused: false },
    { state: "Probe", paused: true, isPaused: true },
    { state: "Replicate", paused: false, isPaused: false },
    { state: "Replicate", paused: true, isPaused: false },
    { state: "Snapshot", paused: false, isPaused: true },
    { state: "Snapshot", paused: true, isPaused: true },
  ] as const)("with room, in $state with paused = $paused: $isPaused", ({ state, paused, isPaused }) => {
    const progress = given({ state });
    progress.paused = paused;
    expect(progress.isPaused()).toBe(isPaused);
  });

  test("lets one append with entries to a probing peer, and does not reckon with its arrival", () => {
    const progress = given({ matched: 2n, nextIdx: 3n });
    progress.sentEntries(4, 100);
    expect(progress).toMatchObject({ nextIdx: 3n, paused: true });
    expect(progress.inflights.count).toBe(0);
    expect(progress.isPaused()).toBe(true);
    progress.resume();
    expect(progress.isPaused()).toBe(false);
  });

  test("is not paused by an append without entries to a probing peer", () => {
    const progress = given();
    progress.sentEntries(0, 0);
    expect(progress.isPaused()).toBe(false);
  });

  test("reckons in Replicate with the arrival of every append, one slot each", () => {
    const progress = given({ state: "Replicate", nextIdx: 3n, capacity: 2 });
    progress.sentEntries(4, 100);
    expect(progress).toMatchObject({ nextIdx: 7n, paused: false });
    progress.sentEntries(1, 10);
    expect(progress).toMatchObject({ nextIdx: 8n, paused: true });
    expect(progress.inflights).toMatchObject({ count: 2, bytes: 110 });
    progress.inflights.freeTo(6n);
    expect(progress.inflights).toMatchObject({ count: 1, bytes: 10 });
    expect(progress.isPaused()).toBe(false);
  });

  test("reckons with entries added to the last append, which stays one message", () => {
    const progress = given({ state: "Replicate", nextIdx: 3n, capacity: 2, maxBytes: 100 });
    progress.sentEntries(1, 10);
    progress.addedToLastAppend(0, 0);
    expect(progress).toMatchObject({ nextIdx: 4n, paused: false });
    progress.addedToLastAppend(3, 60);
    expect(progress).toMatchObject({ nextIdx: 7n, paused: false });
    expect(progress.inflights).toMatchObject({ count: 1, bytes: 70 });
    progress.addedToLastAppend(1, 30);
    expect(progress.isPaused(), "the byte limit is reached").toBe(true);
    progress.inflights.freeTo(6n);
    expect(progress.inflights.count, "its last entry is 7").toBe(1);
    progress.inflights.freeTo(7n);
    expect(progress.isPaused()).toBe(false);
  });

  test("is not paused by nothing added to the last append, though the window is full", () => {
    const progress = given({ state: "Replicate", capacity: 1 });
    progress.sentEntries(1, 10);
    progress.resume();
    progress.addedToLastAppend(0, 0);
    expect(progress.isPaused()).toBe(false);
  });

  test("takes entries added to an append that no window counted as a sending of its own", () => {
    const empty = given({ state: "Replicate", nextIdx: 3n });
    empty.addedToLastAppend(2, 10);
    expect(empty.nextIdx).toBe(5n);
    expect(empty.inflights).toMatchObject({ count: 1, bytes: 10 });
    const probing = given({ nextIdx: 3n });
    probing.addedToLastAppend(2, 10);
    expect(probing).toMatchObject({ nextIdx: 3n, paused: true });
  });

  test("is paused by bytes as by messages", () => {
    const progress = given({ state: "Replicate", capacity: 100, maxBytes: 1_000 });
    progress.sentEntries(1, 999);
    expect(progress.isPaused()).toBe(false);
    progress.sentEntries(1, 1);
    expect(progress.isPaused()).toBe(true);
  });

  test("lets one message without entries through a full window after the peer has spoken, and no entries", () => {
    const progress = given({ state: "Replicate", capacity: 1 });
    progress.sentEntries(1, 10);
    expect(progress.isPaused()).toBe(true);
    progress.resume();
    expect(progress.isPaused()).toBe(false);
    expect(progress.inflights.full(), "so that the leader knows to send no entries").toBe(true);
    const before = progress.nextIdx;
    progress.sentEntries(0, 0);
    expect(progress.isPaused()).toBe(true);
    expect(progress.nextIdx).toBe(before);
    expect(progress.inflights.count).toBe(1);
    progress.resume();
    expect(() => progress.sentEntries(1, 10)).toThrow(InvariantViolation);
    expect(progress.nextIdx, "a refused append must not be reckoned with").toBe(before);
  });

  test("silences a peer whose window has no capacity, whatever it says, until it has some again", () => {
    const progress = given({ state: "Replicate", capacity: 4 });
    progress.sentEntries(1, 10);
    progress.inflights.setCapacity(0);
    expect(progress.isPaused()).toBe(true);
    progress.resume();
    progress.inflights.freeTo(1n);
    expect(progress.isPaused()).toBe(true);
    progress.inflights.setCapacity(2);
    expect(progress.isPaused()).toBe(false);
  });

  test("sends no probe either to a peer whose window has no capacity", () => {
    const progress = given({ capacity: 1 });
    progress.inflights.setCapacity(0);
    expect(progress.isPaused()).toBe(true);
    progress.inflights.setCapacity(1);
    expect(progress.isPaused()).toBe(false);
  });

  test("goes on at once when a full window is made larger", () => {
    const progress = given({ state: "Replicate", capacity: 1 });
    progress.sentEntries(1, 10);
    progress.inflights.setCapacity(2);
    expect(progress.isPaused()).toBe(false);
  });
});

describe("in any order of acknowledgements, refusals, sendings and changes of state", () => {
  const index = fc.bigInt(0n, 30n);
  type Call = (progress: Progress) => void;
  const call: fc.Arbitrary<Call> = fc.oneof(
    index.map((value) => (progress: Progress) => void progress.maybeUpdate(value)),
    fc.tuple(index, index, fc.bigInt(0n, 2n)).map(
      ([rejected, hint, request]) =>
        (progress: Progress) =>
          void progress.maybeDecrTo(rejected, hint, request),
    ),
    // A refusal of exactly the last append, which random indexes would seldom hit.
    fc.tuple(index).map(
      ([hint]) =>
        (progress: Progress) =>
          void progress.maybeDecrTo(progress.nextIdx - 1n, hint, NO_INDEX),
    ),
    fc.nat({ max: 3 }).map((count) => (progress: Progress) => {
      if (progress.isPaused()) return;
      progress.sentEntries(progress.inflights.full() ? 0 : count, count * 10);
    }),
    fc.nat({ max: 3 }).map((count) => (progress: Progress) => {
      if (progress.isPaused() || progress.inflights.full()) return;
      progress.addedToLastAppend(count, count * 10);
    }),
    index.map((value) => (progress: Progress) => progress.inflights.freeTo(value)),
    index.map((value) => (progress: Progress) => progress.becomeSnapshot(value)),
    fc.constantFrom<Call>(
      (progress) => progress.becomeProbe(),
      (progress) => progress.becomeReplicate(),
      (progress) => progress.snapshotFailure(),
      (progress) => progress.pause(),
      (progress) => progress.resume(),
    ),
  );

  test("what is matched never goes back and is never sent again", () => {
    fc.assert(
      fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
        const progress = new Progress(1n, 4, 100);
        let matched = 0n;
        for (const step of calls) {
          step(progress);
          expect(progress.matched).toBeGreaterThanOrEqual(matched);
          expect(progress.nextIdx).toBeGreaterThan(progress.matched);
          matched = progress.matched;
        }
      }),
      propertyRuns(2_000),
    );
  });
});
