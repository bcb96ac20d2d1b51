// The disk of one machine: what is on it survives its processes. A write is on its way for a while; if the process dies
// or the write fails meanwhile, chance decides whether it is there afterwards, but it is there whole or not at all, as
// LMDB sees to; only a disk that lies to LMDB leaves a batch torn, which must be refused.

import type { Snapshot } from "../../../src/gen/eraftpb_pb.js";
import type { Random } from "../random.js";
import type { Process, Scheduler } from "../scheduler.js";
import type { Trace } from "../trace.js";

export interface LogImage {
  readonly records: Map<string, Buffer>;
  readonly entries: Map<bigint, Buffer>;
}

/** Keys as latin1, so that they sort as their bytes do. */
export interface StoreImage {
  readonly records: Map<string, Buffer>;
  readonly about: Map<string, Buffer>;
}

interface SnapshotImage {
  readonly complete: Map<string, Uint8Array>;
  /** Complete as well, but not installed yet. */
  readonly received: Map<string, Uint8Array>;
  readonly partial: Map<string, Uint8Array>;
  latest: Snapshot | undefined;
  created: number;
}

interface DiskHealth {
  /** Of one write, in milliseconds; `slowest` is rare. */
  fastestMs: number;
  slowestMs: number;
  /** The next write fails, and all after it in the same process. */
  failing: boolean;
  /** Writes do not end. */
  hanging: boolean;
  freeBytes: number;
  /** Writes of this kind take up to `lateMs` longer. */
  late: "log" | "state" | undefined;
  lateMs: number;
}

export class DiskError extends Error {
  override readonly name = "DiskError";
}

const PLENTY_BYTES = 1e12;

export class Disk {
  log: LogImage | undefined;
  /** The files of the state machine, by path. */
  readonly stores = new Map<string, StoreImage>();
  readonly snapshots: SnapshotImage = {
    complete: new Map(),
    received: new Map(),
    partial: new Map(),
    latest: undefined,
    created: 0,
  };
  readonly health: DiskHealth = {
    fastestMs: 0.2,
    slowestMs: 4,
    failing: false,
    hanging: false,
    freeBytes: PLENTY_BYTES,
    late: undefined,
    lateMs: 0,
  };
  /** A write has failed, or never ended: the process that asked for it may stop working. */
  hasFailed = false;
  /** Asked when the next batch for the log arrives; if it says yes, half of the batch is what is left. */
  mayTear: (() => boolean) | undefined;
  readonly #underWay = new Set<() => void>();
  #copiedStores: ReadonlyMap<string, StoreImage> | undefined;
  #process: Process | undefined;
  /** Runs before each use of the disk; may end the process. */
  onUse: () => void = () => {};
  /** Half of a batch is there: the process ends. */
  onTorn: () => void = () => {};

  constructor(
    readonly name: string,
    private readonly scheduler: Scheduler,
    private readonly random: Random,
    private readonly trace: Trace,
  ) {}

  /** A new process finds what is there; nothing that the last one asked for happens any more. */
  attach(process: Process): void {
    this.#process = process;
    this.hasFailed = false;
    this.mayTear = undefined;
    this.health.failing = false;
  }

  /** The process has died: of what was under way, some is there and some is not. */
  crash(): void {
    for (const perform of this.#underWay) if (this.random.chance(0.5)) perform();
    this.#underWay.clear();
  }

  /** Keeps a copy of the state machine's files, to be put back some day. */
  copyStores(): void {
    this.#copiedStores = copyOf(this.stores);
  }

  /** False: no copy was made before. */
  restoreStores(): boolean {
    const copied = this.#copiedStores;
    if (copied === undefined) return false;
    this.stores.clear();
    for (const [path, image] of copyOf(copied)) this.stores.set(path, image);
    return true;
  }

  /** Resolves when `perform` has happened and will not be undone. `tear` leaves a half of it, in a way that shows. */
  write(
    what: string,
    perform: () => void,
    tear?: (random: Random) => void,
    kind?: "log" | "state",
  ): Promise<void> {
    this.onUse();
    const process = this.#process;
    if (process?.alive !== true) return new Promise(() => {});
    this.#underWay.add(perform);
    return new Promise((resolve, reject) => {
      this.#finishAfter(
        process,
        () => {
          if (!this.#underWay.delete(perform)) return;
          if (this.health.failing || this.health.freeBytes <= 0) {
            this.hasFailed = true;
            if (this.random.chance(0.5)) perform();
            this.trace.add(this.name, `disk fails ${what}`);
            reject(new DiskError(`the disk failed to write ${what}`));
            return;
          }
          if (tear !== undefined && this.#tears(tear)) return;
          perform();
          resolve();
        },
        this.#latenessOf(kind),
      );
    });
  }

  #latenessOf(kind: "log" | "state" | undefined): number {
    const { late, lateMs } = this.health;
    return kind !== undefined && kind === late ? this.random.between(0, lateMs) : 0;
  }

  #tears(tear: (random: Random) => void): boolean {
    const { mayTear } = this;
    this.mayTear = undefined;
    if (mayTear === undefined) return false;
    if (!mayTear()) return false;
    this.trace.add(this.name, "disk tears a batch");
    tear(this.random);
    this.onTorn();
    return true;
  }

  /** A moment that costs time and changes nothing. */
  pause(): Promise<void> {
    this.onUse();
    const process = this.#process;
    if (process?.alive !== true) return new Promise(() => {});
    return new Promise((resolve) => {
      this.#finishAfter(process, resolve);
    });
  }

  /** Changes one byte of something that must not change. False: there is nothing to damage. */
  damage(): boolean {
    const { log } = this;
    if (log === undefined) return false;
    const indexes = [...log.entries.keys()].sort((a, b) => (a < b ? -1 : 1));
    const last = log.records.get("/raft/last_index")?.readBigUInt64BE(4) ?? 0n;
    const first = log.records.get("/raft/first_index")?.readBigUInt64BE(4) ?? 1n;
    const live = indexes.filter((index) => index >= first && index <= last);
    const wantsEntry = live.length > 0 && this.random.chance(0.7);
    const target = wantsEntry
      ? log.entries.get(this.random.pick(live))
      : log.records.get(this.random.pick([...log.records.keys()]));
    if (target === undefined) return false;
    const at = this.random.int(0, target.length);
    target[at] = (target[at] ?? 0) ^ (1 << this.random.int(0, 8));
    this.trace.add(this.name, `disk damaged: byte ${at} of ${wantsEntry ? "an entry" : "a record"}`);
    return true;
  }

  #finishAfter(process: Process, run: () => void, lateMs = 0): void {
    const { fastestMs, slowestMs } = this.health;
    this.scheduler.after(this.random.skewed(fastestMs, slowestMs) + lateMs, process, () => {
      if (this.health.hanging) {
        this.hasFailed = true;
        this.scheduler.after(100, process, () => this.#finishAfter(process, run));
        return;
      }
      run();
    });
  }
}

function copyOf(stores: ReadonlyMap<string, StoreImage>): Map<string, StoreImage> {
  return new Map(
    [...stores].map(([path, { records, about }]) => [
      path,
      { records: new Map(records), about: new Map(about) },
    ]),
  );
}

const disks = new Map<string, Disk>();

/** Where the files of this disk seem to be. */
export function mount(disk: Disk): string {
  const root = `/simulated/${disk.name}`;
  disks.set(root, disk);
  return root;
}

export function unmountAll(): void {
  disks.clear();
}

/** The disk that a path lies on. */
export function diskOf(path: string): Disk {
  const root = path.split("/").slice(0, 3).join("/");
  const disk = disks.get(root);
  if (disk === undefined) throw new Error(`no simulated disk holds ${path}`);
  return disk;
}
