// Throws volleys at the doors of two real nodes, one that serves alone and one that waits for the others, and looks after
// each round whether both are well, bounded, and unchanged by whoever may change nothing.

import { join } from "node:path";
import { Random } from "../simulation/random.js";
import { clientsDoor, PRETENDED_PEERS, peersDoor, strangersDoor, wrongPeersDoor } from "./calls.js";
import type { Door } from "./door.js";
import { configurationDoor, logFilesDoor } from "./files.js";
import { framesDoor } from "./frames.js";
import { http1Door } from "./http1.js";
import { Target } from "./target.js";

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Of the built command. */
  readonly main: string;
  readonly dir: string;
  readonly tell: (line: string) => void;
}

export interface FuzzReport {
  readonly seed: number;
  readonly inputs: Readonly<{ [door: string]: number }>;
  /** Of them, those that were taken in. */
  readonly accepted: Readonly<{ [door: string]: number }>;
  readonly problem: string | undefined;
  /** The inputs of the round that led to it, at most. */
  readonly suspects: readonly string[];
  readonly peakMib: number;
}

interface Volleys {
  readonly door: Door;
  /** Of one round: as many as take about a second. */
  readonly count: number;
}

const ROUND: readonly Volleys[] = [
  { door: framesDoor, count: 20 },
  { door: http1Door, count: 40 },
  { door: strangersDoor, count: 150 },
  { door: wrongPeersDoor, count: 80 },
  { door: clientsDoor, count: 150 },
  { door: peersDoor, count: 150 },
  { door: configurationDoor, count: 100 },
  { door: logFilesDoor, count: 2 },
];
const AT_ONCE = 16;
const ROUNDS_UNTIL_RESTART = 5;

export async function fuzz({ seed, seconds, main, dir, tell }: FuzzOptions): Promise<FuzzReport> {
  const random = new Random(seed);
  const targets = {
    alone: await Target.start({ name: "alone", main, dir: join(dir, "alone"), pretendedPeers: [] }),
    waiting: await Target.start({
      name: "waiting",
      main,
      dir: join(dir, "waiting"),
      pretendedPeers: PRETENDED_PEERS,
    }),
  };
  const both = [targets.alone, targets.waiting];
  const inputs = new Map<string, number>();
  const accepted = new Map<string, number>();
  let suspects: string[] = [];
  let peakMib = 0;
  const report = (problem?: string): FuzzReport => ({
    seed,
    inputs: Object.fromEntries(inputs),
    accepted: Object.fromEntries(accepted),
    problem,
    suspects: problem === undefined ? [] : suspects,
    peakMib: Math.round(peakMib),
  });
  const endMs = performance.now() + seconds * 1_000;
  try {
    for (let round = 1; performance.now() < endMs; round += 1) {
      for (const { door, count } of ROUND) {
        suspects = [];
        const target = door.who === "peer" ? targets.waiting : targets.alone;
        const before = door.who === "stranger" ? await target.fingerprint() : "";
        const thrown = await throwVolleys(
          door,
          target,
          count,
          random.fork(`${door.name} ${round}`),
          suspects,
        );
        inputs.set(door.name, (inputs.get(door.name) ?? 0) + count);
        accepted.set(door.name, (accepted.get(door.name) ?? 0) + thrown);
        if (door.who === "stranger" && thrown > 0) {
          return report(`${door.name}: ${thrown} were taken in`);
        }
        await target.check();
        peakMib = Math.max(peakMib, target.rssMib());
        const after = door.who === "stranger" ? await target.fingerprint() : "";
        if (before !== after) return report(`${door.name} changed ${before} to ${after}`);
      }
      if (round % ROUNDS_UNTIL_RESTART === 0) {
        for (const target of both) {
          await target.restart();
          await target.check();
        }
      }
      tell(
        `round ${round}: ${[...inputs.values()].reduce((sum, count) => sum + count, 0)} inputs, both nodes are well, ${peakMib.toFixed(0)} MiB at most`,
      );
    }
    return report();
  } catch (error) {
    return report(error instanceof Error ? error.message : String(error));
  } finally {
    await Promise.all(both.map((target) => target.close()));
  }
}

/** Resolves with how many were taken in. */
async function throwVolleys(
  door: Door,
  target: Target,
  count: number,
  random: Random,
  thrown: string[],
): Promise<number> {
  let left = count;
  let accepted = 0;
  const thrower = async (own: Random): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const volley = await door.volley(own, target);
      thrown.push(`${door.name}: ${volley.what}`);
      if (volley.accepted) accepted += 1;
    }
  };
  await Promise.all(
    Array.from({ length: Math.min(AT_ONCE, count) }, (_, at) => thrower(random.fork(`${at}`))),
  );
  return accepted;
}
