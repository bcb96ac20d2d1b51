// Completion scripts for bash, zsh and fish, from the tree of commands.

import { allCommands, type CommandTree, type OptionWord } from "./command-tree.js";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell, tree: CommandTree): string[] {
  switch (shell) {
    case "bash":
      return bashScript(tree);
    case "zsh":
      return zshScript(tree);
    case "fish":
      return fishScript(tree);
  }
}

function bashScript(tree: CommandTree): string[] {
  const commands = allCommands(tree);
  return [
    "# placement-center completion for bash: source <(placement-center completion bash)",
    "_placement_center() {",
    `  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" at`,
    "  for ((at = 1; at < COMP_CWORD; at++)); do",
    `    case "$path \${COMP_WORDS[at]}" in`,
    `      ${pathPatterns(commands)}) path="\${path:+$path }\${COMP_WORDS[at]}" ;;`,
    "    esac",
    "  done",
    "  COMPREPLY=()",
    '  case "$path $previous" in',
    ...commands.flatMap((command) => command.options.flatMap((option) => bashValue(command, option))),
    "  esac",
    '  case "$path" in',
    ...commands.map((command) => {
      const words = [...command.children.map(({ name }) => name), ...command.options.map(({ flag }) => flag)];
      return `    "${command.path}") COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$current")) ;;`;
    }),
    "  esac",
    "}",
    "complete -o default -F _placement_center placement-center",
  ];
}

/** Behind an option with a value, nothing but its values; a file is completed by the shell itself. */
function bashValue(command: CommandTree, option: OptionWord): string[] {
  if (option.value === "none") return [];
  const reply =
    option.choices.length === 0
      ? ""
      : `COMPREPLY=($(compgen -W "${option.choices.join(" ")}" -- "$current")); `;
  return [`    "${command.path} ${option.flag}") ${reply}return ;;`];
}

function zshScript(tree: CommandTree): string[] {
  const commands = allCommands(tree);
  return [
    "#compdef placement-center",
    "# placement-center completion for zsh: source <(placement-center completion zsh)",
    "_placement_center() {",
    `  local at_path="" word previous="\${words[CURRENT-1]}"`,
    "  local -a names flags",
    `  for word in "\${(@)words[2,CURRENT-1]}"; do`,
    '    case "$at_path $word" in',
    `      ${pathPatterns(commands)}) at_path="\${at_path:+$at_path }$word" ;;`,
    "    esac",
    "  done",
    '  case "$at_path $previous" in',
    ...commands.flatMap((command) => command.options.flatMap((option) => zshValue(command, option))),
    "  esac",
    '  case "$at_path" in',
    ...commands.map((command) => {
      const names = command.children.map(({ name, summary }) => `'${name}:${summary}'`).join(" ");
      const flags = command.options.map(({ flag, summary }) => `'${flag}:${summary}'`).join(" ");
      return `    "${command.path}") names=(${names}); flags=(${flags}) ;;`;
    }),
    "  esac",
    `  if [[ "\${words[CURRENT]}" == -* ]]; then _describe option flags`,
    `  elif (( \${#names} )); then _describe command names`,
    "  else _files; fi",
    "}",
    "compdef _placement_center placement-center",
  ];
}

function zshValue(command: CommandTree, option: OptionWord): string[] {
  if (option.value === "none") return [];
  const offer =
    option.choices.length > 0
      ? `compadd -- ${option.choices.join(" ")}`
      : option.value === "file"
        ? "_files"
        : "_message value";
  return [`    "${command.path} ${option.flag}") ${offer}; return ;;`];
}

function fishScript(tree: CommandTree): string[] {
  return [
    "# placement-center completion for fish: placement-center completion fish | source",
    ...allCommands(tree).flatMap((command) => [
      ...command.children.map(
        ({ name, summary }) =>
          `complete -c placement-center -n ${fishCondition(command, true)} -f -a ${name} -d '${summary}'`,
      ),
      ...command.options.map(
        (option) =>
          `complete -c placement-center -n ${fishCondition(command, false)} -l ${option.flag.replace(/^--/, "")}${fishValue(option)} -d '${option.summary}'`,
      ),
    ]),
  ];
}

function fishCondition({ path, children }: CommandTree, choosing: boolean): string {
  if (path === "") return "__fish_use_subcommand";
  const seen = path.split(" ").map((word) => `__fish_seen_subcommand_from ${word}`);
  const none = choosing
    ? [`not __fish_seen_subcommand_from ${children.map(({ name }) => name).join(" ")}`]
    : [];
  return `'${[...seen, ...none].join("; and ")}'`;
}

function fishValue(option: OptionWord): string {
  if (option.value === "none") return "";
  if (option.choices.length > 0) return ` -x -a '${option.choices.join(" ")}'`;
  return option.value === "file" ? " -r" : " -x";
}

/** `" member"|"member add"`: the words that lead further down. */
function pathPatterns(commands: readonly CommandTree[]): string {
  return commands
    .flatMap((command) => command.children.map(({ name }) => `"${command.path} ${name}"`))
    .join("|");
}
