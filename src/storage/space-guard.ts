// Says early that the disk or the log's quota is filling up, and by itself that there is room again. Two thresholds each
// way: what goes to and fro around one must not make a node refuse and take commands in turns.

import { statfs } from "node:fs/promises";
import type { Cancel, SpaceState, SpaceWatch } from "../node/ports.js";

const MIB = 1024 ** 2;

/** All in bytes. */
export interface SpaceLimits {
  /** Data in the log's file, free pages not counted: beyond it new commands are refused. Default 8 GiB. */
  readonly quotaBytes: number;
  /** With less than this free in the file system, new commands are refused. Default 256 MiB. */
  readonly minFreeBytes: number;
  /**
   * What deletes, membership changes and a leader may still take beyond either limit. At most `minFreeBytes`.
   * Default 128 MiB.
   */
  readonly reserveBytes: number;
}

export const DEFAULT_SPACE_LIMITS: SpaceLimits = Object.freeze({
  quotaBytes: 8 * 1024 * MIB,
  minFreeBytes: 256 * MIB,
  reserveBytes: 128 * MIB,
});

export interface SpaceGuardOptions {
  readonly limits: Partial<SpaceLimits>;
  /** Data in the log's file. */
  readonly usedBytes: () => number;
  /** What the file system has left for this process. */
  readonly freeBytes: () => Promise<number>;
  readonly after: (delayMs: number, run: () => void) => Cancel;
}

const LOOK_EVERY_MS = 1_000;
/** Looks once more when this part of the reserve has been written, however quickly; but not for a few small writes. */
const LOOK_EVERY_RESERVE_PART = 8;
const LOOK_EVERY_BYTES_AT_LEAST = MIB;
/** Before commands are taken again, this part of the quota must be empty, and so much more than the limit be free. */
const QUOTA_SLACK = 0.1;
const FREE_SLACK = 0.25;

export class SpaceGuard implements SpaceWatch {
  readonly #options: SpaceGuardOptions;
  readonly #limits: SpaceLimits;
  readonly #listeners = new Set<(state: SpaceState) => void>();
  #state: SpaceState = "ok";
  #written = 0;
  #freeBytes: number | undefined;
  #looking: Promise<void> | undefined;
  #cancel: Cancel | undefined;
  #stopped = false;

  /** @throws RangeError naming the limit that cannot be */
  constructor(options: SpaceGuardOptions) {
    this.#options = options;
    this.#limits = completeLimits(options.limits);
  }

  get state(): SpaceState {
    return this.#state;
  }

  get limits(): SpaceLimits {
    return this.#limits;
  }

  /** What the file system had left at the last look; undefined as long as it could not be found out. */
  get freeBytes(): number | undefined {
    return this.#freeBytes;
  }

  watch(listener: (state: SpaceState) => void): Cancel {
    const own = (state: SpaceState): void => listener(state);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** Looks now and then from here on; resolves after the first look. */
  start(): Promise<void> {
    this.#schedule();
    return this.look();
  }

  /** So much was written: much of it in a short time deserves a look of its own. */
  wrote(bytes: number): void {
    this.#written += bytes;
    const { reserveBytes } = this.#limits;
    if (this.#written < Math.max(reserveBytes / LOOK_EVERY_RESERVE_PART, LOOK_EVERY_BYTES_AT_LEAST)) return;
    this.#written = 0;
    void this.look();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#listeners.clear();
  }

  /** Never rejects: what cannot be found out counts as room. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    this.#freeBytes = await this.#options.freeBytes().catch(() => undefined);
    if (this.#stopped) return;
    const before = this.#state;
    this.#state = this.#judge(this.#usedBytes(), this.#freeBytes ?? Number.POSITIVE_INFINITY);
    if (this.#state === before && this.#state === "ok") return;
    for (const listener of [...this.#listeners]) listener(this.#state);
  }

  #usedBytes(): number {
    try {
      return this.#options.usedBytes();
    } catch {
      // lmdb answers nothing any more after a failed write; the writer is about to say so.
      return 0;
    }
  }

  #judge(used: number, free: number): SpaceState {
    const { quotaBytes, minFreeBytes, reserveBytes } = this.#limits;
    const isBeyond = (reserve: number, isSo: boolean): boolean => {
      const quota = quotaBytes * (isSo ? 1 - QUOTA_SLACK : 1);
      const minFree = minFreeBytes * (isSo ? 1 + FREE_SLACK : 1);
      return used >= quota + reserve || free < minFree - reserve;
    };
    if (isBeyond(reserveBytes, this.#state === "exhausted")) return "exhausted";
    return isBeyond(0, this.#state !== "ok") ? "full" : "ok";
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancel = this.#options.after(LOOK_EVERY_MS, () => {
      void this.look();
      this.#schedule();
    });
  }
}

/** What an ordinary process may still write to the file system of `folder`. */
export async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

function completeLimits(input: Partial<SpaceLimits>): SpaceLimits {
  const limits = { ...DEFAULT_SPACE_LIMITS, ...input };
  for (const [name, value] of Object.entries(limits)) {
    if (!(value >= 0)) throw new RangeError(`${name} must be 0 or more, is ${value}`);
  }
  if (limits.reserveBytes > limits.minFreeBytes) {
    throw new RangeError(
      `reserveBytes (${limits.reserveBytes}) must not exceed minFreeBytes (${limits.minFreeBytes}): it is a part of it`,
    );
  }
  return limits;
}
