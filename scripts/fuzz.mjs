// `npm run fuzz`: hostile bytes at every door of real nodes; see test/fuzz.

import { runTestProgram } from "./test-program.mjs";

await runTestProgram("fuzz");
