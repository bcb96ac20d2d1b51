#!/usr/bin/env node
// The `placement-center` command.

import { processOutput } from "./output.js";
import { runProgram } from "./program.js";

// Setting the exit code, rather than exiting, lets everything that was written reach its reader.
process.exitCode = await runProgram(process.argv.slice(2), processOutput);
