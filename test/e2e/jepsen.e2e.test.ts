// Five real processes, killed, frozen, cut off and rearranged for a minute while clients work: what these were told is
// linearizable, nothing acknowledged is lost, watches see every change once and in order. Needs Linux, whose /proc tells
// which node opened a connection. `npm run test:jepsen` runs it for longer, with any seed.

import { expect, test } from "vitest";
import { runOnce } from "../jepsen/run.js";
import { canTellOwners } from "../jepsen/socket-owner.js";
import { MAIN, temporaryFolder } from "./support.js";

const SECONDS = Number(process.env["JEPSEN_SECONDS"] ?? "60");
const SEED = Number(process.env["JEPSEN_SEED"] ?? "1");
const MENDING_MS = 240_000;

test.skipIf(!canTellOwners())(
  "a cluster of real processes keeps its word whatever breaks",
  async () => {
    const story: string[] = [];
    const report = await runOnce({
      seed: SEED,
      seconds: SECONDS,
      size: 5,
      main: MAIN,
      dir: temporaryFolder(),
      tell: (line) => story.push(line),
    });
    expect(report.problems, `seed ${SEED}:\n${story.join("\n")}`).toEqual([]);
    expect(report.undecided).toBe(0);
    expect(report.acknowledged, JSON.stringify(report, null, 1)).toBeGreaterThan(0);
  },
  SECONDS * 1_000 + MENDING_MS,
);
