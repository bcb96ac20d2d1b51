// `npm run test:jepsen`: a real cluster is broken in every way while its clients are heard; see test/jepsen.

import { runTestProgram } from "./test-program.mjs";

await runTestProgram("jepsen");
