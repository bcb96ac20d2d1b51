// `npm run datadriven -- PATH`: runs a folder (or a file) of quorum and confchange cases against the core. Exit
// status 0: all as expected; 1: some differ; 2: nothing could be run, the message says why.

import { resolve } from "node:path";
import {
  type DatadrivenHandler,
  DatadrivenSyntaxError,
  describeFailure,
  runPath,
} from "../support/datadriven.js";
import { CONFCHANGE_COMMANDS, newConfChangeHandler } from "./confchange/confchange-commands.js";
import { QUORUM_COMMANDS, quorumCommand } from "./quorum/quorum-commands.js";

const USAGE =
  "usage: npm run datadriven -- PATH [PATH...]   (folders or files of quorum and confchange cases)";

/** Each command says which kind of case it is, so that a folder may hold both kinds. */
export function newHandler(): DatadrivenHandler {
  const confChange = newConfChangeHandler();
  return (current) => {
    if (QUORUM_COMMANDS.has(current.command)) return quorumCommand(current);
    if (CONFCHANGE_COMMANDS.has(current.command)) return confChange(current);
    const known = [...QUORUM_COMMANDS, ...CONFCHANGE_COMMANDS].join(", ");
    throw new Error(`unknown command ${current.command}; known are ${known}`);
  };
}

/** @returns the exit status. */
export function main(paths: readonly string[], baseDir: string, print: (line: string) => void): number {
  if (paths.length === 0) {
    print(USAGE);
    return 2;
  }
  let failed = 0;
  for (const path of paths) {
    try {
      const report = runPath(resolve(baseDir, path), newHandler);
      for (const failure of report.failures) print(describeFailure(failure));
      print(`${path}: ${report.cases} cases in ${report.files} files, ${report.failures.length} failed`);
      if (report.cases === 0) {
        print(`${path} holds no cases`);
        return 2;
      }
      failed += report.failures.length;
    } catch (error) {
      if (!(error instanceof DatadrivenSyntaxError)) throw error;
      print(error.message);
      return 2;
    }
  }
  return failed === 0 ? 0 : 1;
}
