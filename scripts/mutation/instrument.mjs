// Puts all mutants of the core into its code at once, each behind a switch. The mutants are Stryker's, and left-out
// statements.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Instrumenter } from "@stryker-mutator/instrumenter";
import { braceStatements, statementLeftOut } from "./statements.mjs";

const SILENT = { isDebugEnabled: () => false, debug() {}, info() {}, warn: console.warn };
/**
 * Not mutated: what an error says to people (tests hold to its class and its code, which has no spaces), and the end
 * of an exhaustive switch, which the compiler has shown to be out of reach.
 */
const NOT_THE_POINT = {
  shouldIgnore(path) {
    if (isText(path) && path.findParent(raises) !== null) return "text of an error";
    if (isOutOfReach(path)) return "out of reach";
    return undefined;
  },
};
const TOP_LEVEL = /^(?:export )?(?:function|const|let|(class)) (\w+)/;
const MEMBER = /^ {2}(?:(?:static|readonly|get|set) )*(#?\w+)\b/;

/**
 * @param root folder of the project.
 * @param files all files of the core, from the root.
 * @param mutated those of them that are to get mutants.
 */
export async function instrument(root, files, mutated) {
  const unbraced = files.map((name) => ({
    name,
    mutate: mutated.has(name),
    content: readFileSync(join(root, name), "utf8"),
  }));
  const sources = await braceStatements(SILENT, unbraced);
  const options = { plugins: null, excludedMutations: [], ignorers: [NOT_THE_POINT], noHeader: false };
  const instrumented = await new Instrumenter(SILENT).instrument(sources, options);
  const originals = new Map(sources.map(({ name, content }) => [name, content.split("\n")]));
  return {
    contents: new Map(instrumented.files.map(({ name, content }) => [name, content])),
    mutants: instrumented.mutants
      .filter(({ status }) => status !== "Ignored")
      .map(({ id, fileName, mutatorName, replacement, location: { start, end } }) => ({
        id,
        file: fileName,
        within: enclosing(originals.get(fileName), start.line),
        line: start.line + 1,
        column: start.column + 1,
        ...statementLeftOut({
          mutatorName,
          original: textBetween(originals.get(fileName), start, end),
          replacement,
        }),
      })),
  };
}

function isText(path) {
  if (path.isArrowFunctionExpression()) return isText(path.get("body"));
  return (
    path.isTemplateLiteral() ||
    path.isBinaryExpression({ operator: "+" }) ||
    (path.isStringLiteral() && path.node.value.includes(" "))
  );
}

/** Throws an error, or hands its text to `invariant`. */
function raises(path) {
  return path.isThrowStatement() || (path.isCallExpression() && path.node.callee.name === "invariant");
}

function isOutOfReach(path) {
  if (!path.isSwitchCase() || path.node.test !== null) return false;
  const [only] = path.node.consequent;
  const call = only?.type === "ReturnStatement" ? only.argument : only?.expression;
  return call?.type === "CallExpression" && call.callee.name === "assertNever";
}

/** The function, method or constant that a line belongs to. Formatting decides where they begin. */
function enclosing(lines, line) {
  let member = "";
  for (let at = line; at >= 0; at--) {
    const [, isClass, name] = TOP_LEVEL.exec(lines[at]) ?? [];
    if (name !== undefined) return isClass !== undefined && member !== "" ? member : name;
    if (member === "") member = MEMBER.exec(lines[at])?.[1] ?? "";
  }
  return "";
}

function textBetween(lines, start, end) {
  if (start.line === end.line) return lines[start.line].slice(start.column, end.column);
  return [
    lines[start.line].slice(start.column),
    ...lines.slice(start.line + 1, end.line),
    lines[end.line].slice(0, end.column),
  ].join("\n");
}
