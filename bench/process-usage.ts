// What another process has used so far, as Linux tells it: CPU time says more than the clock on a machine that is busy.

import { existsSync, readFileSync } from "node:fs";

/** Of the figures in /proc; the same on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100;
const KIB = 1024;

/** Since the process was started; NaN where there is no /proc. */
export function cpuSecondsOf(pid: number | undefined): number {
  const fields = procFile(pid, "stat")
    ?.replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields?.[11]) + Number(fields?.[12])) / TICKS_PER_SECOND;
}

/** What the process has in memory: all of it, and what is not pages of a mapped file. */
export function memoryOf(pid: number | undefined): {
  readonly rssBytes: number;
  readonly anonymousBytes: number;
} {
  const status = procFile(pid, "status") ?? "";
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * KIB;
  return { rssBytes: bytes("VmRSS"), anonymousBytes: bytes("RssAnon") };
}

function procFile(pid: number | undefined, name: string): string | undefined {
  const file = `/proc/${pid}/${name}`;
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}
