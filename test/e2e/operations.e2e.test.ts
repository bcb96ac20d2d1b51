// The commands of docs/operations.md, run as they are written, from top to bottom, in one shell and an empty folder,
// with real processes. Only the ports are other ones, that are free here.

import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { EXIT_STATUS_HELP } from "../../src/cli/exit-status.js";
import { whyNotListen } from "../../src/cli/processes/ports.js";
import { readText } from "../support/source-files.js";
import { MAIN, temporaryFolder } from "./support.js";

const DOCUMENT = readText("docs/operations.md");
const PORTS_IN_DOCUMENT = "710";
const TIMEOUT_MS = 300_000;
const MARK = "=== ";

interface Block {
  readonly section: string;
  readonly commands: string;
}

function blocksOf(text: string): Block[] {
  return text.split(/^## /m).flatMap((part) => {
    const [section = ""] = part.split("\n", 1);
    return [...part.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, commands = ""]) => ({
      section,
      commands,
    }));
  });
}

/** The first digits of ten ports in a row, all free but the first, which is not used. */
async function freeDecade(): Promise<string> {
  for (;;) {
    const decade = 1_500 + Math.floor(Math.random() * 1_500);
    const ports = Array.from({ length: 9 }, (_, at) => decade * 10 + at + 1);
    const problems = await Promise.all(ports.map((port) => whyNotListen("127.0.0.1", port)));
    if (problems.every((problem) => problem === undefined)) return String(decade);
  }
}

/** Runs a script in a process group of its own, so that the nodes that it leaves behind end with the test. */
function runScript(
  script: string,
  cwd: string,
  path: string,
): Promise<{ status: number | null; output: string }> {
  const child = spawn("bash", ["-e", "-c", script], {
    cwd,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH: `${path}:${process.env["PATH"] ?? ""}` },
  });
  const endGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // Nobody of the group is left.
    }
  };
  onTestFinished(endGroup);
  let output = "";
  const take = (text: string): void => {
    output += text;
  };
  child.stdout.setEncoding("utf8").on("data", take);
  child.stderr.setEncoding("utf8").on("data", take);
  return new Promise((resolve) => {
    const timer = setTimeout(endGroup, TIMEOUT_MS - 10_000);
    child.once("exit", (status) => {
      clearTimeout(timer);
      resolve({ status, output });
    });
  });
}

test(
  "every command of docs/operations.md does what it says, in the order of the page",
  async () => {
    const folder = temporaryFolder();
    const bin = join(folder, "bin");
    mkdirSync(bin);
    const command = join(bin, "placement-center");
    writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`);
    chmodSync(command, 0o755);
    const decade = await freeDecade();
    const blocks = blocksOf(DOCUMENT);
    expect(blocks.length).toBeGreaterThan(10);
    const script = blocks
      .map(({ section, commands }, at) => `echo '${MARK}${at} ${section}'\n${commands}`)
      .join("\n")
      .replaceAll(`127.0.0.1:${PORTS_IN_DOCUMENT}`, `127.0.0.1:${decade}`);
    const work = join(folder, "work");
    mkdirSync(work);
    const { status, output } = await runScript(`${script}\necho '${MARK}end'`, work, bin);
    expect(status, output.slice(-8_000)).toBe(0);
    const shown = (section: string): string =>
      output
        .split(MARK)
        .filter((part) => part.replace(/^\d+ /, "").startsWith(section))
        .join("");
    expect(shown("Start")).toContain("hello");
    expect(shown("Grow")).toMatch(/all 5 members answer/);
    expect(shown("Shrink")).toMatch(/all 3 members answer/);
    expect(shown("Replace a node")).toMatch(/node 2 is removed/);
    expect(shown("Rolling restart")).toContain("hello");
    expect(shown("Look into a log")).toMatch(/^sound: /m);
    expect(shown("Lost quorum").match(/hello/g)?.length).toBeGreaterThanOrEqual(2);
    expect(shown("Lost quorum")).toMatch(/ops-2, 3 members/);
    const left = readdirSync(join(work, "node-1"));
    expect(left.filter((name) => name.startsWith("recovery-"))).toHaveLength(1);
    expect(existsSync(join(work, "node-2"))).toBe(false);
  },
  TIMEOUT_MS,
);

test("the page lists the exit statuses of the command", () => {
  const documented = [...DOCUMENT.matchAll(/^\| (\d) \| /gm)].map(([, status]) => status);
  const known = [...EXIT_STATUS_HELP.matchAll(/^ {2}(\d) /gm)].map(([, status]) => status);
  expect(documented).toEqual(known);
});

test("every page that it links to is there", () => {
  const linked = [...DOCUMENT.matchAll(/\]\(([^):#]+)\)/g)].map(([, path = ""]) => path);
  for (const path of linked) expect(() => readText(`docs/${path}`), path).not.toThrow();
});
