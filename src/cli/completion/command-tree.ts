// What can be typed behind `placement-center`, taken from the commands themselves, so that no completion can lag
// behind them.

import type { Command, Option } from "commander";

export interface CommandTree {
  /** `member add`; empty for the program itself. */
  readonly path: string;
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionWord[];
  readonly children: readonly CommandTree[];
}

export interface OptionWord {
  readonly flag: string;
  readonly summary: string;
  readonly value: "none" | "file" | "word";
  /** All values that are right; empty when there are too many. */
  readonly choices: readonly string[];
}

export function commandTree(command: Command, parent = ""): CommandTree {
  const isProgram = command.parent === null;
  const path = isProgram ? "" : `${parent} ${command.name()}`.trim();
  return {
    path,
    name: command.name(),
    summary: firstSentence(command.summary() || command.description()),
    options: [...command.options.map(optionWord), HELP],
    children: command.commands.map((child) => commandTree(child, path)),
  };
}

/** The tree and everything in it, parents first. */
export function allCommands(tree: CommandTree): CommandTree[] {
  return [tree, ...tree.children.flatMap(allCommands)];
}

const HELP: OptionWord = { flag: "--help", summary: "print help", value: "none", choices: [] };

function optionWord(option: Option): OptionWord {
  const takes = /<(.*)>/.exec(option.flags)?.[1];
  const isPath = takes === "file" || takes === "folder" || takes === "path";
  return {
    flag: option.long ?? option.flags,
    summary: firstSentence(option.description),
    value: takes === undefined ? "none" : isPath ? "file" : "word",
    choices: option.argChoices ?? [],
  };
}

/** Shells show one line; quotes would have to be escaped for each of them. */
function firstSentence(text: string): string {
  const [sentence = ""] = text.split(/[.;:]\s|\n/);
  return sentence.replaceAll(/['"`\\$:[\]]/g, "").replace(/\.$/, "");
}
