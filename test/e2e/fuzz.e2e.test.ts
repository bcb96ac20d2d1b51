// One round of hostile bytes at every door of two real nodes: both live, neither grows without bound, and nobody who was not
// let in has changed anything. `npm run fuzz` goes on for as long as it is told to, with any seed.

import { expect, test } from "vitest";
import { fuzz } from "../fuzz/run.js";
import { MAIN, temporaryFolder } from "./support.js";

test("nodes live through hostile bytes, and nothing is changed by whoever may change nothing", async () => {
  const { problem, suspects, inputs, accepted } = await fuzz({
    seed: 1,
    seconds: 1,
    main: MAIN,
    dir: temporaryFolder(),
    tell: () => undefined,
  });
  expect(problem, suspects.join("\n")).toBe(undefined);
  expect(Object.values(inputs).every((count) => count > 0)).toBe(true);
  // Otherwise everything was refused at the door, and nothing shown of what is behind it.
  expect(accepted["calls of clients"]).toBeGreaterThan(0);
  expect(accepted["members gone mad"]).toBeGreaterThan(0);
  expect([accepted["calls of strangers"], accepted["peers that are none"]]).toEqual([0, 0]);
});
