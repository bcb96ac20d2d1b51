// `placement-center completion`: a script that lets a shell complete commands and options.

import { Argument, Command } from "commander";
import { commandTree } from "../completion/command-tree.js";
import { completionScript, SHELLS, type Shell } from "../completion/scripts.js";
import type { Output } from "../output.js";

export function completionCommand(output: Output): Command {
  const command: Command = new Command("completion")
    .summary("print a completion script for a shell")
    .description(
      "Print a script that completes commands and options. bash: source <(placement-center completion bash). zsh: source <(placement-center completion zsh). fish: placement-center completion fish | source",
    )
    .addArgument(new Argument("<shell>", "yours").choices(SHELLS))
    .action((shell: Shell) => {
      if (command.parent === null) return;
      for (const line of completionScript(shell, commandTree(command.parent))) output.line(line);
    });
  return command;
}
