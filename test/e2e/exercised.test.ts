// Every command has a test that runs it as a process of its own: a command that is added without one fails here, and so does
// one that prints data and knows no --json.

import { describe, expect, test } from "vitest";
import { allCommands, commandTree } from "../../src/cli/completion/command-tree.js";
import { createProgram } from "../../src/cli/program.js";
import { filesUnder, readText } from "../support/source-files.js";

const program = createProgram({ line: () => {}, bytes: () => {}, note: () => {} }, () => {});
const commands = allCommands(commandTree(program)).filter(({ children }) => children.length === 0);

const tests = filesUnder("test/e2e")
  .filter((path) => path.endsWith(".e2e.test.ts"))
  .map((path) => readText(path))
  .join("\n");
/** Tests paste what stands in blocks of `sh` on these pages. */
const pages = ["docs/operations.md", "docs/getting-started.md"]
  .flatMap((path) => [...readText(path).matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block))
  .join("\n");

/** As a test runs it: `"member", "add"`, or pasted: `placement-center member add`. */
function isExercised(path: string): boolean {
  const words = path.split(" ");
  // A single word also stands for other things, further back in a list.
  const before = words.length > 1 ? "[\\[(,]\\s*" : "[\\[(]\\s*";
  const inTests = new RegExp(`${before}${words.map((word) => `"${word}"`).join(",\\s*")}[,\\])]`);
  const onPages = new RegExp(`(placement-center|main\\.js"?|\\$PC) ${path}\\b`);
  return inTests.test(tests) || onPages.test(pages) || onPages.test(tests);
}

describe("every command", () => {
  test.each(commands.map(({ path }) => path))("%s is run by a test with real processes", (path) => {
    expect(isExercised(path)).toBe(true);
  });

  test("a command that no test runs is noticed", () => {
    expect(isExercised("member nonsense")).toBe(false);
    expect(isExercised("nonsense")).toBe(false);
  });

  test("has --json, but for the one whose output is a script", () => {
    const without = commands.filter(({ options }) => options.every(({ flag }) => flag !== "--json"));
    expect(without.map(({ path }) => path)).toEqual(["completion"]);
  });

  test("says in a sentence what it does, and so does every option", () => {
    for (const { path, summary, options } of commands) {
      expect(summary, path).not.toBe("");
      for (const option of options) expect(option.summary, `${path} ${option.flag}`).not.toBe("");
    }
  });
});
