// The secure cluster of docs/getting-started.md, from clone to calls with tokens over TLS, pasted as it stands on the page
// into one shell. Only the ports are other ones, that are free here, and `npm` is not really run: dist/ is built.

import { mkdirSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PROJECT_ROOT, readText } from "../support/source-files.js";
import { binFolder, blocksOf, freeDecade, runScript } from "./script.js";
import { temporaryFolder } from "./support.js";

const DOCUMENT = readText("docs/getting-started.md");
const SECTION = "5. Three nodes with TLS and tokens";
const MARK = "=== ";

test("three nodes with TLS and tokens come about by pasting the page", async () => {
  const folder = temporaryFolder();
  const clone = join(folder, "clone");
  mkdirSync(clone);
  for (const name of ["dist", "package.json"]) symlinkSync(join(PROJECT_ROOT, name), join(clone, name));
  const blocks = blocksOf(DOCUMENT).filter(({ section }) => section === SECTION);
  expect(blocks.length).toBeGreaterThan(5);
  const [ports, httpPorts] = [await freeDecade(), await freeDecade()];
  const script = blocks
    .map(({ commands }, at) => `echo '${MARK}${at}'\n${commands}`)
    .join("\n")
    .replaceAll("127.0.0.1:720", `127.0.0.1:${ports}`)
    .replaceAll("127.0.0.1:820", `127.0.0.1:${httpPorts}`);
  const { status, output } = await runScript(script, {
    cwd: clone,
    path: binFolder(folder, { npm: 'echo "npm $@"' }),
    timeoutMs: 100_000,
  });
  expect(status, output.slice(-8_000)).toBe(0);
  const [built, , tokens, , started, used] = output.split(new RegExp(`^${MARK}`, "m")).slice(1);
  expect(built).toContain("npm ci\nnpm run build");
  expect(tokens?.match(/^sha256 = "[0-9a-f]{64}"$/gm)).toHaveLength(3);
  expect(tokens).not.toContain("pct_");
  expect(started).toMatch(/all 3 members answer/);
  expect(started).toMatch(/leader/);
  expect(used).toMatch(/^hello/m);
  expect(used).toMatch(/has the role client, and raftnode\.v1\.RaftAdminService\/RemoveNode needs admin/);
  expect(used).toContain("refused, as it should be");
  expect(used).toContain(`"value":"${Buffer.from("hello").toString("base64")}"`);
  expect(used).toContain('"code":"unauthenticated"');
  expect(used).toMatch(/^raftnode_server_has_leader 1$/m);
  expect(used).toMatch(/ok$/m);
  // Whoever reads a token can use it.
  expect(statSync(join(clone, "secure", "shop.token")).mode & 0o777).toBe(0o600);
});

test("every page that it links to is there", () => {
  for (const [, path = ""] of DOCUMENT.matchAll(/\]\(([^):#]+)\)/g)) {
    expect(() => readText(join("docs", path)), path).not.toThrow();
  }
});
