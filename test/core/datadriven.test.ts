// The reader of text cases and the command that runs folders of them: what it accepts, how it reports a difference,
// and that it never calls a run successful in which nothing was run.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DatadrivenSyntaxError, parseCases, runText } from "../support/datadriven.js";
import { main } from "./datadriven-main.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

describe("the reader of cases", () => {
  test("finds command, arguments, input, expected output and line", () => {
    const text = [
      "# A comment,",
      "",
      "run a=1 b=(2, 3,4) flag empty=() none=",
      "first input",
      "",
      "# not a comment any more",
      "----",
      "first output",
      "second output",
      "",
      "next",
      "----",
    ].join("\n");
    expect(parseCases(text, "f")).toEqual([
      {
        command: "run",
        args: [
          { key: "a", values: ["1"] },
          { key: "b", values: ["2", "3", "4"] },
          { key: "flag", values: [] },
          { key: "empty", values: [] },
          { key: "none", values: [""] },
        ],
        input: "first input\n\n# not a comment any more",
        expected: "first output\nsecond output\n",
        line: 3,
      },
      { command: "next", args: [], input: "", expected: "", line: 11 },
    ]);
  });

  test("lets a command go on in the next line, and output contain blank lines between doubled separators", () => {
    const text = "run a=1 \\\n  b=2\n----\n----\none\n\ntwo\n----\n----\n\nrun\n----\nthree\n";
    expect(parseCases(text, "f")).toMatchObject([
      { args: [{ key: "a" }, { key: "b" }], expected: "one\n\ntwo\n" },
      { command: "run", expected: "three\n", line: 11 },
    ]);
  });

  test("does not mind Windows line endings", () => {
    expect(parseCases("run\r\nx\r\n----\r\ny\r\n", "f")).toMatchObject([{ input: "x", expected: "y\n" }]);
  });

  test.for([
    { what: "a case without a separator", text: "\nrun\nx\n", message: "f:2" },
    { what: "an unclosed list", text: "run a=(1,2\n----\n", message: "f:1" },
    { what: "unclosed output", text: "run\n----\n----\nx\n----\n", message: "f:1" },
  ])("says where $what is", ({ text, message }) => {
    expect(() => parseCases(text, "f")).toThrow(DatadrivenSyntaxError);
    expect(() => parseCases(text, "f")).toThrow(message);
  });

  test("says in which case a handler gave up", () => {
    const giveUp = (): string => {
      throw new Error("no such thing");
    };
    expect(() => runText("\n\nrun\n----\n", "f", giveUp)).toThrow("f:3: no such thing");
  });

  test("reports what differs, and only that", () => {
    const report = runText("a\n----\na\n\nb\n----\nc\n", "f", ({ command }) => command);
    expect(report).toEqual({
      files: 1,
      cases: 2,
      failures: [{ file: "f", line: 5, command: "b", expected: "c\n", actual: "b\n" }],
    });
  });
});

describe("npm run datadriven", () => {
  const GOOD = "vote cfg=(1) votes=(y)\n----\nVoteWon\n";
  let dir: string;
  let printed: string[];
  const run = (...paths: string[]): number => main(paths, dir, (line) => printed.push(line));
  const write = (name: string, text: string): void => {
    const file = join(dir, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  };

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "raft-node-datadriven-"));
    printed = [];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test("runs both kinds of cases in folders within a folder, each file from an empty membership", () => {
    write("README.md", "no case");
    write(".hidden", "no case");
    write("quorum/votes.txt", GOOD);
    write("confchange/a.txt", "simple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=0\n");
    write("confchange/b.txt", "simple\nv2\n----\nvoters=(2)\n2: StateProbe match=0 next=0\n");
    expect(run(".")).toBe(0);
    expect(printed).toEqual([".: 3 cases in 3 files, 0 failed"]);
  });

  test("exits with 1 when a result differs, and shows both", () => {
    write("bad.txt", `${GOOD}\nvote cfg=(1,2) votes=(y,_)\n----\nVoteWon\n`);
    expect(run("bad.txt")).toBe(1);
    expect(printed.join("\n")).toMatch(
      /bad\.txt:5: vote\n {2}expected:\n {4}VoteWon\n {2}actual:\n {4}VotePending/,
    );
    expect(printed.at(-1)).toBe("bad.txt: 2 cases in 1 files, 1 failed");
  });

  test.for([
    {
      what: "a wrong committed index",
      text: "committed cfg=(1) idx=(3)\n----\n     idx\n>      3    (id=1)\n4\n",
    },
    { what: "a wrong chart", text: "committed cfg=(1) idx=(3)\n----\n     idx\nx      3    (id=1)\n3\n" },
    { what: "a wrong index in groups", text: "group_committed cfg=(1) idx=(3) gid=(1)\n----\n2\n" },
    { what: "a wrong membership", text: "simple\nv1\n----\nvoters=(2)\n" },
    { what: "a wrong error", text: "leave-joint\n----\nsome other error\n" },
  ])("does not let $what pass", ({ text }) => {
    write("bad.txt", text);
    expect(run("bad.txt")).toBe(1);
  });

  test.for([
    { what: "nothing is named", name: "x.txt", text: GOOD, path: undefined, says: "usage" },
    { what: "the folder does not exist", name: "x.txt", text: GOOD, path: "y", says: "does not exist" },
    { what: "there is no case", name: "x.txt", text: "# nothing\n", path: ".", says: "holds no cases" },
    {
      what: "a command is unknown",
      name: "x.txt",
      text: "frob\n----\n",
      path: ".",
      says: "unknown command frob",
    },
    {
      what: "an argument is unknown",
      name: "x.txt",
      text: "vote cgf=(1)\n----\n",
      path: ".",
      says: "unknown argument cgf",
    },
    {
      what: "a number is none",
      name: "x.txt",
      text: "vote cfg=(a) votes=(y)\n----\n",
      path: ".",
      says: `"a" is no whole number`,
    },
    {
      what: "a vote is none",
      name: "x.txt",
      text: "vote cfg=(1) votes=(x)\n----\n",
      path: ".",
      says: "y, n or _",
    },
    {
      what: "a change is none",
      name: "x.txt",
      text: "simple\nw1\n----\n",
      path: ".",
      says: `"w1" is no change`,
    },
    {
      what: "an index is 0",
      name: "x.txt",
      text: "committed cfg=(1) idx=(0)\n----\n",
      path: ".",
      says: "written _",
    },
  ])("exits with 2 when $what", ({ name, text, path, says }) => {
    write(name, text);
    expect(path === undefined ? run() : run(path)).toBe(2);
    expect(printed.join("\n")).toContain(says);
  });

  test("hands its exit status on, and takes paths from where it was called", () => {
    write("good/votes.txt", GOOD);
    write("bad/votes.txt", GOOD.replace("Won", "Lost"));
    const statusOf = (path: string): number | null => {
      const env = { ...process.env, INIT_CWD: dir };
      return spawnSync(process.execPath, [join(root, "scripts", "datadriven.mjs"), path], { cwd: root, env })
        .status;
    };
    expect([statusOf("good"), statusOf("bad"), statusOf("ugly")]).toEqual([0, 1, 2]);
  });
});
