// `placement-center token`: makes the tokens by which nodes know who calls. Works on this machine alone; no node is asked.

import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { ACCESS_ROLES, type AccessRole } from "../../services/access-policy.js";
import {
  AccessConfigInvalid,
  createToken,
  isTokenName,
  parseTokens,
  tokenLines,
} from "../../services/access-tokens.js";
import { jsonOption } from "../arguments.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { type Output, toJsonLine } from "../output.js";

interface NewOptions {
  readonly name: string;
  readonly role: readonly AccessRole[];
  readonly out?: string;
  readonly appendTo?: string;
  readonly json?: boolean;
}

/** Whoever reads a token can use it. */
const OWNER_ONLY = 0o600;

export function tokenCommand(output: Output): Command {
  const command = new Command("token").summary("make tokens for clients, operators and nodes");
  command
    .command("new")
    .description(
      "Make a token, and the entry for the file of --tokens that lets its holder in. The token is shown once: the entry holds only its hash.",
    )
    .addOption(
      new Option("--name <name>", "who will have it; shown in logs")
        .argParser(parseName)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option("--role <role...>", `what it opens: ${ACCESS_ROLES.join(", ")}`)
        .choices(ACCESS_ROLES)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option("--out <file>", "write the token there instead of showing it; the file must be new"),
    )
    .addOption(new Option("--append-to <file>", "add the entry to this file of tokens instead of showing it"))
    .addOption(jsonOption())
    .action((options: NewOptions) => makeToken(options, output));
  return command;
}

function makeToken({ name, role, out, appendTo, json }: NewOptions, output: Output): void {
  const { token, ...entry } = createToken(name, [...new Set(role)]);
  const lines = tokenLines(entry);
  // First what can be refused, so that nothing is half done.
  const known = appendTo === undefined ? "" : readEntries(appendTo, lines);
  if (out !== undefined) writeNew(out, `${token}\n`);
  if (appendTo !== undefined) {
    const gap = known === "" ? "" : known.endsWith("\n") ? "\n" : "\n\n";
    attempt(appendTo, () => appendFileSync(appendTo, `${gap}${lines.join("\n")}\n`));
  }
  if (json === true) {
    output.line(toJsonLine({ ...entry, ...(out === undefined ? { token } : { out }) }));
    return;
  }
  if (out === undefined) output.line(token);
  else output.note(`the token is in ${out}: hand it to ${name}, and keep it from everybody else`);
  if (appendTo !== undefined) {
    output.note(`${appendTo} has its entry: nodes that read this file let it in within seconds`);
    return;
  }
  output.note("for the file of --tokens:");
  for (const line of lines) output.line(line);
}

/** What the file holds, if the entry fits there. @throws CommandError */
function readEntries(file: string, lines: readonly string[]): string {
  const known = existsSync(file) ? attempt(file, () => readFileSync(file, "utf8")) : "";
  try {
    parseTokens(`${known}\n${lines.join("\n")}\n`, file);
  } catch (error) {
    if (!(error instanceof AccessConfigInvalid)) throw error;
    throw new CommandError(ExitStatus.failed, `nothing was changed: ${error.message}`);
  }
  return known;
}

function writeNew(file: string, text: string): void {
  attempt(file, () => writeFileSync(file, text, { mode: OWNER_ONLY, flag: "wx" }));
}

function attempt<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.failed, `${file} cannot be used: ${why}`);
  }
}

function parseName(text: string): string {
  if (isTokenName(text)) return text;
  throw new InvalidArgumentError('It must be 1 to 64 letters, digits, ".", "_", "-" or "@".');
}
