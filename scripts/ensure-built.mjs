// Builds dist/ when it is missing or no longer what src/ says, and is quick when there is nothing to do.
// Run by `npm start` and `npm run demo`; test/global-setup.ts imports it. Several may run at once.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const distDir = join(root, "dist");
const stampFile = join(distDir, ".built-from");
const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
// Outside dist/, so that removing dist/ never removes a lock that somebody holds.
const lockDir = join(root, "node_modules", ".raft-node-build-lock");
const LOCK_POLL_MS = 100;
const LOCK_WAIT_MS = 120_000;

/**
 * @param {{ tolerateTypeErrors?: boolean }} [options] `tolerateTypeErrors`: the compiler writes its output all the
 *   same; use it, and say so. For test runs while the sources are in the middle of a change.
 * @returns {Promise<{ built: boolean, message: string }>} what was done, in one line.
 * @throws Error with the compiler's own words when the build failed.
 */
export async function ensureBuilt({ tolerateTypeErrors = false } = {}) {
  if (!existsSync(compiler)) {
    throw new Error("The dependencies are not installed: run `npm ci` first.");
  }
  if (isFresh()) return { built: false, message: "dist/ is up to date" };
  const release = await takeLock();
  try {
    // Whoever held the lock may have built exactly this.
    if (isFresh()) return { built: false, message: "dist/ is up to date" };
    return build(tolerateTypeErrors);
  } finally {
    release();
  }
}

function build(tolerateTypeErrors) {
  const startedAt = performance.now();
  const fingerprint = sourceFingerprint();
  const result = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], {
    cwd: root,
    encoding: "utf8",
  });
  const words = `${result.stdout ?? ""}${result.stderr ?? ""}`.trim();
  const failed = result.status !== 0;
  if (failed && !tolerateTypeErrors) throw new Error(`The build failed:\n${words}`);
  removeOutputsWithoutSource();
  mkdirSync(distDir, { recursive: true });
  writeFileSync(stampFile, fingerprint);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const remark = failed ? `, in spite of type errors:\n${words}` : "";
  return { built: true, message: `built dist/ in ${seconds} s${remark}` };
}

function isFresh() {
  if (!existsSync(stampFile)) return false;
  return readFileSync(stampFile, "utf8") === sourceFingerprint();
}

/** Changes when a source file is added, removed, renamed or touched, or when the compiler's settings change. */
function sourceFingerprint() {
  const hash = createHash("sha256");
  const settings = ["tsconfig.json", "tsconfig.build.json", "package.json"].map((name) => join(root, name));
  for (const file of [...settings, ...filesUnder(join(root, "src"))]) {
    const { mtimeMs, size } = statSync(file);
    hash.update(`${relative(root, file)}\0${mtimeMs}\0${size}\n`);
  }
  return hash.digest("hex");
}

function removeOutputsWithoutSource() {
  for (const output of filesUnder(distDir)) {
    const source = relative(distDir, output).replace(/(\.d\.ts|\.js|\.js\.map)$/, ".ts");
    if (!existsSync(join(root, "src", source))) rmSync(output, { force: true });
  }
}

function filesUnder(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function takeLock() {
  const deadline = Date.now() + LOCK_WAIT_MS;
  const ownerFile = join(lockDir, "pid");
  for (;;) {
    try {
      mkdirSync(lockDir);
      writeFileSync(ownerFile, String(process.pid));
      return () => rmSync(lockDir, { recursive: true, force: true });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (ownerIsGone(ownerFile)) {
      rmSync(lockDir, { recursive: true, force: true });
      continue;
    }
    if (Date.now() > deadline) {
      throw new Error(
        `Another build has not finished in ${LOCK_WAIT_MS / 1000} s. If none runs, remove ${lockDir}`,
      );
    }
    await sleep(LOCK_POLL_MS);
  }
}

function ownerIsGone(ownerFile) {
  try {
    process.kill(Number(readFileSync(ownerFile, "utf8")), 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const { message } = await ensureBuilt();
    // Standard output belongs to the command that follows.
    console.error(message);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
