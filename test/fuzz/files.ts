// The doors of files: a configuration, tokens, a log, a snapshot, gone wrong in every way. Those that are read by this
// project's own code are read here, many a second; the commands themselves are run now and then.

import { spawn } from "node:child_process";
import {
  cpSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gatherSettings, settingValue } from "../../src/cli/config/configuration.js";
import { SETTING_NAMES, SETTINGS } from "../../src/cli/config/settings.js";
import { CommandError } from "../../src/cli/exit-status.js";
import { AccessConfigInvalid, parseTokens } from "../../src/services/access-tokens.js";
import type { Random } from "../simulation/random.js";
import { type Door, shown } from "./door.js";
import { anyString, anyUint64, damaged, randomBytes } from "./hostile.js";
import { type Target, TargetFailed } from "./target.js";

const COMMAND_MS = 30_000;

export const configurationDoor: Door = {
  name: "configuration files",
  who: "file",
  async volley(random) {
    const text = Array.from({ length: 20 }, () => configurationLine(random)).join("\n");
    const bytes = random.chance(0.4) ? damaged(random, Buffer.from(text)) : Buffer.from(text);
    const accepted = inTemporaryFolder((folder) => {
      const file = join(folder, "node.toml");
      writeFileSync(file, bytes);
      return expectOnly(CommandError, bytes, () => {
        const given = gatherSettings(file, {}, new Map());
        for (const name of SETTING_NAMES) settingValue<unknown>(given, SETTINGS[name]);
      });
    });
    expectOnly(AccessConfigInvalid, bytes, () => parseTokens(bytes.toString("utf8"), "tokens.toml"));
    return { what: shown(bytes), accepted };
  },
};

function configurationLine(random: Random): string {
  const keys = SETTING_NAMES.map((name) => SETTINGS[name].key);
  const key = random.chance(0.9) ? random.pick(keys) : JSON.stringify(anyString(random));
  const value = random.pick([
    JSON.stringify(anyString(random)),
    String(anyUint64(random)),
    "true",
    "[]",
    "{}",
    "1979-05-27T07:32:00Z",
    "nan",
    "-1",
    "[[token]]",
    "'''",
  ]);
  return random.chance(0.95) ? `${key} = ${value}` : `[${key}]`;
}

/** The log of the node under fire, copied while it is written, and damaged. */
export const logFilesDoor: Door = {
  name: "damaged logs and snapshots",
  who: "file",
  async volley(random, target) {
    const folder = mkdtempSync(join(tmpdir(), "raft-node-fuzz-"));
    try {
      // Locks are sockets, which nobody can copy.
      cpSync(target.dataDir, folder, { recursive: true, filter: (path) => !lstatSync(path).isSocket() });
      const files = filesUnder(folder).filter((file) => statSync(file).size > 0);
      const file = random.pick(files);
      const bytes = readFileSync(file);
      const wounded = random.chance(0.1) ? randomBytes(random, 9_000) : wound(random, bytes);
      writeFileSync(file, wounded);
      const command = random.pick([
        ["log", "verify", folder],
        ["log", "dump", folder, "--json"],
        ["log", "stats", folder],
        ["doctor", folder],
        ["snapshot", "verify", file],
        ["snapshot", "status", file, "--json"],
        [
          "start",
          "--id",
          "1",
          "--cluster-id",
          "fuzz",
          "--data",
          folder,
          "--listen",
          "127.0.0.1:0",
          "--check-config",
          "--members",
          "1=127.0.0.1:1",
        ],
      ]);
      const accepted = await runCommand(target, command);
      return { what: `${command.join(" ")} with ${wounded.length} of ${bytes.length} bytes`, accepted };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

function wound(random: Random, bytes: Buffer): Buffer {
  const result = Buffer.from(bytes);
  if (random.chance(0.2)) return result.subarray(0, random.int(0, result.length));
  for (let times = random.int(1, 30); times > 0; times -= 1) {
    const at = random.int(0, result.length);
    if (random.chance(0.5)) result[at] = random.int(0, 256);
    else result.fill(random.pick([0, 255]), at, Math.min(result.length, at + random.int(1, 5_000)));
  }
  return result;
}

/** An exit status and a sentence are right; a signal, a stack trace, or no end are not. */
function runCommand({ main }: Target, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let words = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-20_000);
    });
    const late = setTimeout(() => child.kill("SIGKILL"), COMMAND_MS);
    child.once("close", (status, signal) => {
      clearTimeout(late);
      const command = `placement-center ${args.join(" ")}`;
      if (signal !== null) reject(new TargetFailed(`${command} was ended by ${signal}: ${words}`));
      else if (/^\s+at .+:\d+:\d+\)?$/m.test(words))
        reject(new TargetFailed(`${command} ended with ${status} and a stack trace: ${words}`));
      else resolve(status === 0);
    });
  });
}

function expectOnly(
  expected: abstract new (...args: never[]) => Error,
  bytes: Buffer,
  run: () => void,
): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (error instanceof expected) return false;
    throw new TargetFailed(`${shown(bytes)} led to ${String(error)}, which is no ${expected.name}`);
  }
}

function inTemporaryFolder<T>(run: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "raft-node-fuzz-"));
  try {
    return run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function filesUnder(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
