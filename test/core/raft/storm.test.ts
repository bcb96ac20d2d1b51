// Random storms over whole clusters of RawNodes: see test/support/storm.ts. Each seed is one storm, exactly.

import { expect, test } from "vitest";
import { Storm } from "../../support/storm.js";

const SEEDS = Number(process.env["STORM_SEEDS"] ?? 100);
const FIRST = Number(process.env["STORM_FIRST"] ?? 1);
const EVENTS = Number(process.env["STORM_EVENTS"] ?? 3_000);

test(`${SEEDS} storms break no invariant, and the group recovers from each`, () => {
  const seen = { elections: 0, commits: 0, reads: 0, crashes: 0, confChanges: 0, snapshots: 0 };
  for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
    const storm = new Storm({ seed, events: EVENTS });
    storm.run(EVENTS);
    storm.heal();
    for (const what of Object.keys(seen) as (keyof typeof seen)[]) seen[what] += storm.seen[what];
  }
  // A storm in which little happens proves little.
  expect(seen.elections).toBeGreaterThan(SEEDS * 3);
  expect(seen.commits).toBeGreaterThan(SEEDS * 30);
  expect(seen.reads).toBeGreaterThan(SEEDS * 5);
  expect(seen.confChanges).toBeGreaterThan(SEEDS);
  expect(seen.snapshots).toBeGreaterThan(SEEDS / 4);
}, 120_000);
