// The commands of docs/operations.md, run as they are written, from top to bottom, in one shell and an empty folder,
// with real processes. Only the ports are other ones, that are free here.

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { EXIT_STATUS_HELP } from "../../src/cli/exit-status.js";
import { readText } from "../support/source-files.js";
import { binFolder, blocksOf, freeDecade, runScript } from "./script.js";
import { temporaryFolder } from "./support.js";

const DOCUMENT = readText("docs/operations.md");
const PORTS_IN_DOCUMENT = "710";
const TIMEOUT_MS = 300_000;
const MARK = "=== ";

test(
  "every command of docs/operations.md does what it says, in the order of the page",
  async () => {
    const folder = temporaryFolder();
    const path = binFolder(folder);
    const decade = await freeDecade();
    const blocks = blocksOf(DOCUMENT);
    expect(blocks.length).toBeGreaterThan(10);
    const script = blocks
      .map(({ section, commands }, at) => `echo '${MARK}${at} ${section}'\n${commands}`)
      .join("\n")
      .replaceAll(`127.0.0.1:${PORTS_IN_DOCUMENT}`, `127.0.0.1:${decade}`);
    const work = join(folder, "work");
    mkdirSync(work);
    const { status, output } = await runScript(`${script}\necho '${MARK}end'`, {
      cwd: work,
      path,
      timeoutMs: TIMEOUT_MS - 10_000,
    });
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
    expect(shown("Move a node")).toMatch(/127\.0\.0\.1:\d+5 +voter/);
    expect(shown("Rolling restart")).toContain("hello");
    expect(shown("Back up and restore")).toMatch(/^sound: \d+ keys[\s\S]*^hello/m);
    expect(shown("Measure")).toMatch(/^get +\d+/m);
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
