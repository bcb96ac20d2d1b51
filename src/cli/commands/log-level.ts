// `placement-center log-level`: how much a running node logs.

import { Argument, Command } from "commander";
import { findHolder } from "../../storage/folder-lock.js";
import { jsonOption } from "../arguments.js";
import { LOG_LEVELS, type LogLevel } from "../config/settings.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { NOTICE_MS, requestedLogLevel, requestLogLevel } from "../log-level.js";
import { type Output, toJsonLine } from "../output.js";

const AS_CONFIGURED = "configured";

export function logLevelCommand(output: Output): Command {
  return new Command("log-level")
    .summary("change how much a running node logs")
    .description(
      "Show or change the level of a running node's logs, on the machine where it runs. The change lasts until the node stops.",
    )
    .argument("<folder>", "the data folder of the node")
    .addArgument(new Argument("[level]", "the new level").choices([...LOG_LEVELS, AS_CONFIGURED]))
    .addOption(jsonOption())
    .action(async (folder: string, word: string | undefined, options: { readonly json?: boolean }) => {
      await requireRunning(folder);
      const level = LOG_LEVELS.find((known) => known === word);
      if (word !== undefined) await requestLogLevel(folder, level);
      const shown: LogLevel | typeof AS_CONFIGURED = (await requestedLogLevel(folder)) ?? AS_CONFIGURED;
      if (options.json === true) output.line(toJsonLine({ level: shown }));
      else if (word === undefined) output.line(shown);
      else output.line(`${shown}, within ${NOTICE_MS / 1_000} s`);
    });
}

async function requireRunning(folder: string): Promise<void> {
  const holder = await findHolder(folder).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.failed, `${folder} cannot be read: ${why}`);
  });
  if (holder !== undefined) return;
  throw new CommandError(
    ExitStatus.failed,
    `no node runs in ${folder}: name the folder that its --data says; a node that is stopped is given its level with --log-level`,
  );
}
