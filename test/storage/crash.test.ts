// Nothing that was acknowledged is lost when the process is killed: a real writer process is killed at random moments,
// again and again on the same folder, and each new one finds the log as it must be: complete, contiguous, at an
// operation that is not older than the last acknowledged one.
// `npm run test:crash -- --kills 5000 --seed 7` runs more of it, or the same again.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { beforeAll, expect, test } from "vitest";
import { temporaryFolder } from "./support.js";

const KILLS = Number(process.env["CRASH_KILLS"] ?? 200);
const SHOWS_PROGRESS = process.env["CRASH_PROGRESS"] === "1";
const SEED = Number(process.env["CRASH_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const MS_PER_KILL = 2_000;
const PROGRESS_MS = 2_000;
/** Fresh folders now and then, so that the birth of a log is interrupted too. */
const KILLS_PER_FOLDER = 10;
/** Folders at a time: one process starts while another one writes. */
const LANES = 2;
const WITHIN_START_MS = 200;
const WITHIN_WRITING_MS = 60;
/** Inside node_modules, where it finds lmdb. One small file starts several times faster than the modules it is made of. */
const BUNDLE_DIR = fileURLToPath(new URL("../../node_modules/.cache/raft-node", import.meta.url));
const WRITER = join(BUNDLE_DIR, `crash-writer-${process.pid}.mjs`);

beforeAll(async () => {
  await mkdir(BUNDLE_DIR, { recursive: true });
  await build({
    entryPoints: [fileURLToPath(new URL("crash-writer.mjs", import.meta.url))],
    outfile: WRITER,
    bundle: true,
    minify: true,
    external: ["lmdb"],
    platform: "node",
    format: "esm",
    target: "node20",
    // tsconfig.json sends lmdb to its types.
    tsconfigRaw: {},
    logLevel: "error",
  });
  return () => rm(WRITER, { force: true });
});

test(
  `what was acknowledged survives ${KILLS} kills (seed ${SEED})`,
  async () => {
    const tally = new Tally();
    let folders = 0;
    const lane = async (): Promise<void> => {
      for (;;) {
        const first = folders * KILLS_PER_FOLDER;
        folders += 1;
        if (first >= KILLS) return;
        await killInFolder(
          await temporaryFolder(),
          SEED + first,
          Math.min(KILLS_PER_FOLDER, KILLS - first),
          tally,
        );
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    tally.show();
    expect(tally.kills).toBe(KILLS);
    expect(tally.acknowledged).toBeGreaterThan(0);
    // Kills must hit processes that are at work, not only those that have not come so far.
    expect(tally.opened).toBeGreaterThan(KILLS / 4);
  },
  30_000 + KILLS * MS_PER_KILL,
);

class Tally {
  kills = 0;
  opened = 0;
  acknowledged = 0;
  #shownAt = performance.now();

  count({ opened, acked }: Killed): void {
    this.kills += 1;
    if (opened !== undefined) this.opened += 1;
    this.acknowledged += Math.max(0, acked - (opened ?? acked));
    if (SHOWS_PROGRESS && performance.now() - this.#shownAt > PROGRESS_MS) this.show();
  }

  show(): void {
    this.#shownAt = performance.now();
    if (!SHOWS_PROGRESS) return;
    console.log(
      `seed ${SEED}: ${this.kills} of ${KILLS} kills, ${this.opened} of processes that had opened the log, ` +
        `${this.acknowledged} operations acknowledged, none lost`,
    );
  }
}

/** Starts writers in one folder, one after the other, and kills each. */
async function killInFolder(dir: string, seed: number, kills: number, tally: Tally): Promise<void> {
  let acked = 0;
  for (let round = 0; round < kills; round += 1) {
    // The first ones are killed while they open the folder or even before.
    const killed = await writeUntilKilled(dir, seed, round < 3 ? "starting" : "writing");
    const context = `seed ${seed}, round ${round}: ${killed.complaint}`;
    expect(killed.complaint, context).toBe("");
    if (killed.opened !== undefined) expect(killed.opened, context).toBeGreaterThanOrEqual(acked);
    acked = Math.max(acked, killed.acked);
    tally.count(killed);
  }
}

interface Killed {
  readonly opened: number | undefined;
  readonly acked: number;
  /** What the process had to say beside its progress. */
  readonly complaint: string;
}

async function writeUntilKilled(dir: string, seed: number, when: "starting" | "writing"): Promise<Killed> {
  const child = spawn(process.execPath, [WRITER, dir, String(seed)], { stdio: ["ignore", "pipe", "pipe"] });
  const closed = once(child, "close");
  let complaint = "";
  child.stderr.on("data", (chunk) => {
    complaint += String(chunk);
  });
  let opened: number | undefined;
  let acked = 0;
  const kill = (withinMs: number): void => {
    setTimeout(() => child.kill("SIGKILL"), Math.random() * withinMs);
  };
  if (when === "starting") kill(WITHIN_START_MS);
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, number] = line.split(" ");
    if (word === "opened") {
      opened = Number(number);
      if (when === "writing") kill(WITHIN_WRITING_MS);
    } else if (word === "acked") acked = Number(number);
    else complaint += line;
  }
  const [code] = await closed;
  if (code !== null) complaint += ` ended by itself with ${code}`;
  return { opened, acked, complaint };
}
