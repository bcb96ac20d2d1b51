// Reads and runs text cases in the format of cockroachdb/datadriven, which etcd/raft and raft-rs use: a command
// line, its input, `----`, the expected output up to a blank line (or between doubled `----` lines).

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";

export interface DatadrivenCase {
  readonly command: string;
  /** In the order written; `key` alone has no values, `key=a` one, `key=(a, b)` several. */
  readonly args: readonly DatadrivenArg[];
  /** The lines between the command and `----`, without the last line break. */
  readonly input: string;
  /** Ends in a line break, unless it is empty. */
  readonly expected: string;
  /** Of the command, counted from 1. */
  readonly line: number;
}

export interface DatadrivenArg {
  readonly key: string;
  readonly values: readonly string[];
}

/** Answers one case with its actual output. Made anew for every file, so that it may remember earlier cases. */
export type DatadrivenHandler = (current: DatadrivenCase) => string;

export interface DatadrivenFailure {
  readonly file: string;
  readonly line: number;
  readonly command: string;
  readonly expected: string;
  readonly actual: string;
}

export interface DatadrivenReport {
  readonly files: number;
  readonly cases: number;
  readonly failures: readonly DatadrivenFailure[];
}

/** A file or a case that does not say what to do. The message says where and why. */
export class DatadrivenSyntaxError extends Error {
  override readonly name = "DatadrivenSyntaxError";
}

const SEPARATOR = "----";

/** @throws DatadrivenSyntaxError naming the line. */
export function parseCases(text: string, file: string): DatadrivenCase[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  const cases: DatadrivenCase[] = [];
  let at = 0;
  const nextLine = (): string | undefined => lines[at++];

  for (let head = nextLine(); head !== undefined; head = nextLine()) {
    const line = at;
    const fail = (why: string) => new DatadrivenSyntaxError(`${file}:${line}: ${why}`);
    if (head.trim() === "" || head.startsWith("#")) continue;
    let directive = head.trim();
    while (directive.endsWith("\\")) directive = `${directive.slice(0, -1)} ${nextLine()?.trim() ?? ""}`;
    const { command, args } = parseDirective(directive, fail);

    const input: string[] = [];
    let next = nextLine();
    for (; next !== undefined && next.trimEnd() !== SEPARATOR; next = nextLine()) input.push(next);
    if (next === undefined) throw fail(`"${command}" has no ${SEPARATOR} after its input`);

    const expected: string[] = [];
    if (lines[at] === SEPARATOR) {
      at++;
      next = nextLine();
      for (; next !== undefined && !(next === SEPARATOR && lines[at] === SEPARATOR); next = nextLine()) {
        expected.push(next);
      }
      if (next === undefined)
        throw fail(`the output of "${command}" has no closing ${SEPARATOR} ${SEPARATOR}`);
      at++;
    } else {
      for (next = nextLine(); next !== undefined && next.trim() !== ""; next = nextLine())
        expected.push(next);
    }
    cases.push({ command, args, input: input.join("\n"), expected: endedLines(expected), line });
  }
  return cases;
}

/** Runs every case of one file. @throws DatadrivenSyntaxError for a file or a case that cannot be run. */
export function runText(text: string, file: string, handler: DatadrivenHandler): DatadrivenReport {
  const cases = parseCases(text, file);
  const failures = cases.flatMap((current) => {
    const { command, expected, line } = current;
    const actual = ended(answer(handler, current, file));
    return actual === expected ? [] : [{ file, line, command, expected, actual }];
  });
  return { files: 1, cases: cases.length, failures };
}

/**
 * Runs one file, or every file of a folder and the folders in it, in the order of their names. Hidden files,
 * editors' backups and Markdown are not taken for cases.
 */
export function runPath(path: string, newHandler: () => DatadrivenHandler): DatadrivenReport {
  const reports = caseFiles(path).map((file) => runText(readFileSync(file, "utf8"), file, newHandler()));
  return {
    files: reports.length,
    cases: reports.reduce((sum, report) => sum + report.cases, 0),
    failures: reports.flatMap((report) => report.failures),
  };
}

/** A failure in words: where, and what differs line by line. */
export function describeFailure({ file, line, command, expected, actual }: DatadrivenFailure): string {
  return `${file}:${line}: ${command}\n  expected:\n${indented(expected)}\n  actual:\n${indented(actual)}`;
}

function caseFiles(path: string): string[] {
  if (!existsSync(path)) throw new DatadrivenSyntaxError(`${path} does not exist`);
  if (statSync(path).isFile()) return [path];
  return readdirSync(path)
    .sort()
    .filter((name) => !/^\.|~$|^#.*#$|\.md$/.test(basename(name)))
    .flatMap((name) => caseFiles(join(path, name)));
}

function answer(handler: DatadrivenHandler, current: DatadrivenCase, file: string): string {
  try {
    return handler(current);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DatadrivenSyntaxError(`${file}:${current.line}: ${why}`, { cause: error });
  }
}

function parseDirective(
  directive: string,
  fail: (why: string) => DatadrivenSyntaxError,
): { command: string; args: DatadrivenArg[] } {
  const [command = "", rest = ""] = splitOnce(directive, /\s+/);
  const args: DatadrivenArg[] = [];
  let left = rest.trim();
  while (left !== "") {
    const match = /^([^\s=()]+)(?:=(?:\(([^()]*)\)|([^\s()]*)))?(?:\s+|$)/.exec(left);
    if (match === null) throw fail(`cannot read the argument at "${left}"`);
    const [whole, key = "", list, single] = match;
    args.push({ key, values: valuesOf(list, single) });
    left = left.slice(whole.length);
  }
  return { command, args };
}

function valuesOf(list: string | undefined, single: string | undefined): string[] {
  if (list !== undefined) return list.trim() === "" ? [] : list.split(",").map((value) => value.trim());
  return single === undefined ? [] : [single];
}

function splitOnce(text: string, separator: RegExp): [string, string] {
  const match = separator.exec(text);
  if (match === null) return [text, ""];
  return [text.slice(0, match.index), text.slice(match.index + match[0].length)];
}

function endedLines(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

function ended(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

function indented(text: string): string {
  return text === "" ? "    (nothing)" : text.replace(/\n$/, "").replaceAll(/^/gm, "    ");
}
