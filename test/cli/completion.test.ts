// Shell completion: the scripts name every command and every option, are right for their shell, and bash completes
// with them what a person would expect. Shells that are not installed here are said to be skipped.

import { spawnSync } from "node:child_process";
import { beforeAll, describe, expect, test } from "vitest";
import { SHELLS } from "../../src/cli/completion/scripts.js";
import { runInProcess } from "./recorded-output.js";

const scripts = new Map<string, string>();

beforeAll(async () => {
  for (const shell of SHELLS) scripts.set(shell, (await runInProcess("completion", shell)).lines.join("\n"));
});

function isInstalled(shell: string): boolean {
  return spawnSync(shell, ["-c", "exit 0"]).status === 0;
}

describe.each(SHELLS)("%s", (shell) => {
  test("is offered every command, and every option of a command", () => {
    const script = scripts.get(shell) ?? "";
    for (const word of ["start", "member", "replace", "log", "dump", "recover", "doctor", "completion"]) {
      expect(script).toMatch(new RegExp(`\\b${word}\\b`));
    }
    for (const option of ["endpoints", "tick-ms", "confirm", "from", "json"])
      expect(script).toContain(option);
  });

  test.skipIf(!isInstalled(shell))("finds no fault with its script", () => {
    const checked = spawnSync(shell, ["-n"], { input: scripts.get(shell) ?? "" });
    expect({ status: checked.status, stderr: String(checked.stderr) }).toEqual({ status: 0, stderr: "" });
  });
});

describe("what bash completes", () => {
  function complete(...words: readonly string[]): string[] {
    const typed = ["placement-center", ...words].map((word) => `'${word}'`).join(" ");
    const ask = `COMP_WORDS=(${typed}); COMP_CWORD=${words.length}; _placement_center; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = spawnSync("bash", ["-c", `${scripts.get("bash")}\n${ask}`]);
    return String(stdout)
      .split("\n")
      .filter((line) => line !== "");
  }

  test.skipIf(!isInstalled("bash")).each<[string[], string[]]>([
    [["rec"], ["recover"]],
    [
      ["member", "re"],
      ["remove", "replace"],
    ],
    [["log", "d"], ["dump"]],
    [["get", "key", "--ser"], ["--serializable"]],
    [["start", "--log-l"], ["--log-level"]],
    [["start", "--listen", ""], []],
    [["nonsense", "member", "li"], ["list"]],
  ])("%j", (words, expected) => {
    expect(complete(...words)).toEqual(expected);
  });
});

test("a shell that nobody knows is named", async () => {
  const { status, notes } = await runInProcess("completion", "tcsh");
  expect([status, notes]).toEqual([2, expect.stringMatching(/'tcsh'.*bash, zsh, fish/)]);
});
