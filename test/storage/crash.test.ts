// Nothing that was acknowledged is lost when the process is killed: a real writer process is killed at random moments,
// again and again on the same folder, and each new one finds the log as it must be: complete, contiguous, at an
// operation that is not older than the last acknowledged one.
// CRASH_KILLS=5000 and CRASH_SEED=7 run more of it, or the same again.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { temporaryFolder } from "./support.js";

const WRITER = fileURLToPath(new URL("crash-writer.mjs", import.meta.url));
const KILLS = Number(process.env["CRASH_KILLS"] ?? 30);
const SEED = Number(process.env["CRASH_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const MS_PER_KILL = 2_000;
/** Fresh folders now and then, so that the birth of a log is interrupted too. */
const KILLS_PER_FOLDER = 10;

test(
  `what was acknowledged survives ${KILLS} kills (seed ${SEED})`,
  async () => {
    let acknowledged = 0;
    for (let done = 0; done < KILLS; ) {
      const dir = await temporaryFolder();
      const seed = SEED + done;
      let acked = 0;
      for (let round = 0; round < KILLS_PER_FOLDER && done < KILLS; round += 1, done += 1) {
        // The first ones are killed while they open the folder or even before.
        const killed = await writeUntilKilled(dir, seed, round < 3 ? "starting" : "writing");
        const context = `seed ${seed}, round ${round}: ${killed.complaint}`;
        expect(killed.complaint, context).toBe("");
        if (killed.opened !== undefined) expect(killed.opened, context).toBeGreaterThanOrEqual(acked);
        acked = Math.max(acked, killed.acked);
        acknowledged += killed.acked;
      }
    }
    expect(acknowledged).toBeGreaterThan(0);
  },
  30_000 + KILLS * MS_PER_KILL,
);

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
  if (when === "starting") kill(400);
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, number] = line.split(" ");
    if (word === "opened") {
      opened = Number(number);
      if (when === "writing") kill(150);
    } else if (word === "acked") acked = Number(number);
    else complaint += line;
  }
  const [code] = await closed;
  if (code !== null) complaint += ` ended by itself with ${code}`;
  return { opened, acked, complaint };
}
