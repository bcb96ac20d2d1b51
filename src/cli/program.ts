// Puts the commands together, runs the one that was asked for, and turns every way to fail into a sentence and an
// exit status.

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { benchCommand } from "./commands/bench.js";
import { clusterCommand } from "./commands/cluster.js";
import { compactCommand } from "./commands/compact.js";
import { completionCommand } from "./commands/completion.js";
import { deleteCommand } from "./commands/delete.js";
import { demoCommand } from "./commands/demo.js";
import { doctorCommand } from "./commands/doctor.js";
import { existsCommand } from "./commands/exists.js";
import { getCommand } from "./commands/get.js";
import { leaderCommand } from "./commands/leader.js";
import { logCommand } from "./commands/log.js";
import { logLevelCommand } from "./commands/log-level.js";
import { memberCommand } from "./commands/member.js";
import { putCommand } from "./commands/put.js";
import { rangeCommand } from "./commands/range.js";
import { recoverCommand } from "./commands/recover.js";
import { snapshotCommand } from "./commands/snapshot.js";
import { startCommand } from "./commands/start.js";
import { statusCommand } from "./commands/status.js";
import { tokenCommand } from "./commands/token.js";
import { txnCommand } from "./commands/txn.js";
import { watchCommand } from "./commands/watch.js";
import { CommandError, EXIT_STATUS_HELP, ExitStatus } from "./exit-status.js";
import { type Output, toJsonLine } from "./output.js";

/** Runs one command line, without the names of the interpreter and the script. Never throws. */
export async function runProgram(args: readonly string[], output: Output): Promise<ExitStatus> {
  let status: ExitStatus = ExitStatus.ok;
  const program = createProgram(output, (ended) => {
    status = ended;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return status;
  } catch (error) {
    return explain(error, args.includes("--json"), output);
  }
}

/** @param end takes the exit status of a command that ended as expected, but not with 0. */
export function createProgram(output: Output, end: (status: ExitStatus) => void): Command {
  const program = new Command("placement-center")
    .description("A replicated metadata store on Raft: run its nodes, read and write it, change its members.")
    .version(ownVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print help, also for one command: placement-center put --help")
    .showSuggestionAfterError(true)
    .configureHelp({ showGlobalOptions: false })
    .addHelpText("after", `\n${EXIT_STATUS_HELP}\n\n${FIRST_STEPS}`);
  program.commandsGroup("Run:");
  program.addCommand(clusterCommand(output));
  program.addCommand(startCommand(output));
  program.addCommand(demoCommand(output));
  program.commandsGroup("Read and write:");
  program.addCommand(putCommand(output, end));
  program.addCommand(getCommand(output, end));
  program.addCommand(deleteCommand(output, end));
  program.addCommand(existsCommand(output, end));
  program.addCommand(rangeCommand(output));
  program.addCommand(txnCommand(output, end));
  program.addCommand(watchCommand(output));
  program.commandsGroup("Operate:");
  program.addCommand(statusCommand(output));
  program.addCommand(memberCommand(output));
  program.addCommand(leaderCommand(output));
  program.addCommand(logLevelCommand(output));
  program.addCommand(tokenCommand(output));
  program.addCommand(benchCommand(output, end));
  program.addCommand(compactCommand(output, end));
  program.addCommand(snapshotCommand(output, end));
  program.commandsGroup("Repair:");
  program.addCommand(doctorCommand(output, end));
  program.addCommand(logCommand(output, end));
  program.addCommand(recoverCommand(output));
  program.commandsGroup("Other:");
  program.addCommand(completionCommand(output));
  inEveryCommand(program, (command) => {
    command.exitOverride();
    command.helpCommand(false);
    command.configureOutput({
      writeOut: (text) => output.line(text.trimEnd()),
      writeErr: (text) => output.note(text.trimEnd()),
      // `explain` prints it, so that it appears once and as JSON if asked for.
      outputError: () => {},
    });
  });
  return program;
}

const FIRST_STEPS = `First steps:
  placement-center cluster               a real cluster of three on this machine
  placement-center put greeting hello    write, from another terminal
  placement-center get greeting
  placement-center status`;

function explain(error: unknown, asJson: boolean, output: Output): ExitStatus {
  if (error instanceof CommanderError) {
    // `--help` and `--version` end the parse in the same way as a mistake does.
    if (error.exitCode === 0) return ExitStatus.ok;
    const said = error.message.replace(/^error: /, "");
    // Help was asked for by giving no command: it has been printed.
    if (error.code !== "commander.help") printError(said, "usage", asJson, output);
    return ExitStatus.usage;
  }
  if (error instanceof CommandError) {
    printError(error.message, error.reason, asJson, output);
    return error.exitStatus;
  }
  // Not foreseen: here the stack is what helps.
  printError(
    error instanceof Error ? (error.stack ?? error.message) : String(error),
    "unexpected",
    asJson,
    output,
  );
  return ExitStatus.failed;
}

function printError(message: string, reason: string, asJson: boolean, output: Output): void {
  output.note(asJson ? toJsonLine({ error: { reason, message } }) : `error: ${message}`);
}

function inEveryCommand(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const child of command.commands) inEveryCommand(child, visit);
}

function ownVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const hasVersion = typeof manifest === "object" && manifest !== null && "version" in manifest;
  return hasVersion ? String(manifest.version) : "unknown";
}
