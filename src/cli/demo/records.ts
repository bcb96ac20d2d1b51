// The demonstration's input: real data that every clone has, the project's own package-lock.json.

import { readFileSync } from "node:fs";
import { CommandError, ExitStatus } from "../exit-status.js";

export interface DemoRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

/** Each package of a lock file as a record: its name (with its place in the tree) and what is locked, as JSON. */
export function readLockFile(path: string | URL): DemoRecord[] {
  let lock: unknown;
  try {
    lock = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.usage, `the input cannot be read as a package-lock.json: ${why}`);
  }
  const packages =
    typeof lock === "object" && lock !== null && "packages" in lock ? lock.packages : undefined;
  if (typeof packages !== "object" || packages === null) {
    throw new CommandError(
      ExitStatus.usage,
      "the input has no packages: name a package-lock.json of npm 7 or later",
    );
  }
  const encoder = new TextEncoder();
  return Object.entries(packages).map(([name, locked]) => ({
    // The project itself stands under the empty name, which is no key.
    key: name === "" ? "(this project)" : name,
    value: encoder.encode(JSON.stringify(locked)),
  }));
}
