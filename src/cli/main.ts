#!/usr/bin/env node
// The `placement-center` command.

import { ExitStatus } from "./exit-status.js";
import { processOutput } from "./output.js";
import { runProgram } from "./program.js";

// `placement-center log dump … | head`: nobody reads any more, so there is nothing left to do.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? ExitStatus.ok : ExitStatus.failed);
});
// Setting the exit code, rather than exiting, lets everything that was written reach its reader.
process.exitCode = await runProgram(process.argv.slice(2), processOutput);
