// Whatever goes wrong: draws one fault after another of those that the seed uses, and mends them all in the end.

import { isVoter } from "../../src/node/membership.js";
import { DirectedFaults } from "./directed-faults.js";
import type { Host } from "./host.js";
import type { Network } from "./network/network.js";
import type { Operator } from "./operator.js";
import type { Random } from "./random.js";
import type { Scheduler } from "./scheduler.js";
import { type Fault, MAX_LEASE_SKEW, type Swarm } from "./swarm.js";
import type { Trace } from "./trace.js";

export interface NemesisWorld {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly swarm: Swarm;
  readonly network: Network;
  readonly operator: Operator;
  readonly hosts: () => readonly Host[];
}

const DISK_FULL_BYTES = 200 * 1024 ** 2;
const DISK_EXHAUSTED_BYTES = 10 * 1024 ** 2;
const PLENTY_BYTES = 1e12;

export class Nemesis {
  #stopped = false;
  readonly #used = new Set<Fault>();
  readonly #directed: DirectedFaults;

  constructor(
    private readonly world: NemesisWorld,
    private readonly random: Random,
  ) {
    this.#directed = new DirectedFaults(world, random, () => this.#stopped);
  }

  get used(): ReadonlySet<Fault> {
    return this.#used;
  }

  async work(): Promise<void> {
    const { swarm, scheduler } = this.world;
    const faults = [...swarm.faults];
    if (faults.length === 0) return;
    for (;;) {
      await scheduler.sleep(this.random.between(0, 2 * swarm.calmMs));
      if (this.#stopped) return;
      const fault = this.random.pick(faults);
      if (!this.#do(fault)) continue;
      this.#used.add(fault);
    }
  }

  /** No more faults; what can be mended is. Machines that are lost stay lost. */
  stop(): void {
    this.#stopped = true;
    const { network } = this.world;
    network.heal();
    Object.assign(network.weather, {
      fastestMs: 0.2,
      slowestMs: 5,
      lossProbability: 0,
      doubleProbability: 0,
    });
    for (const host of this.world.hosts()) {
      host.process?.resume();
      host.setClockRate(1);
      host.usesLeft = Number.POSITIVE_INFINITY;
      const { health } = host.disk;
      Object.assign(health, {
        fastestMs: 0.2,
        slowestMs: 4,
        hanging: false,
        failing: false,
        freeBytes: PLENTY_BYTES,
        late: undefined,
      });
      host.start();
    }
  }

  /** False: it cannot be done now. */
  #do(fault: Fault): boolean {
    const { network, operator, swarm, trace } = this.world;
    const host = this.#someHost();
    if (host === undefined) return false;
    switch (fault) {
      case "partition":
        return this.#partition();
      case "isolatedLeader":
        return this.#isolateLeader();
      case "oneWayCut": {
        const other = this.#someHost();
        if (other === undefined || other === host) return false;
        trace.add("nemesis", `cuts ${host.id}>${other.id}`);
        network.cut(host.id, other.id);
        return this.#later(() => network.heal(), 4_000);
      }
      case "loss":
        network.weather.lossProbability = this.random.pick([0.01, 0.1, 0.3]);
        return this.#later(() => {
          network.weather.lossProbability = 0;
        }, 3_000);
      case "doubling":
        network.weather.doubleProbability = this.random.pick([0.05, 0.4]);
        return this.#later(() => {
          network.weather.doubleProbability = 0;
        }, 5_000);
      case "slowNetwork":
        network.weather.slowestMs = this.random.pick([50, 300, 1_500]);
        return this.#later(() => {
          network.weather.slowestMs = 5;
        }, 3_000);
      case "slowLink": {
        const other = this.#someHost();
        if (other === undefined) return false;
        network.slowDown(host.id, other.id, this.random.pick([20, 200, 800]));
        return true;
      }
      case "crash":
        host.crash("killed");
        return this.#restartLater(host);
      case "crashInMidCall":
        host.usesLeft = this.random.int(1, 40);
        return this.#restartLater(host);
      case "freeze": {
        const { process } = host;
        if (process === undefined || process.frozen) return false;
        trace.add("nemesis", `freezes ${host.id}`);
        process.freeze();
        return this.#later(() => process.resume(), 3_000);
      }
      case "clockSkew":
        if (swarm.leaseReads) host.setClockRate(1 + this.random.between(-MAX_LEASE_SKEW, MAX_LEASE_SKEW));
        else host.setClockRate(this.random.pick([0.1, 0.5, 1, 1, 1.3, 3, 8]));
        trace.add("nemesis", `clock of ${host.id} runs at ${host.clockRate.toFixed(2)}`);
        return true;
      case "clockStop":
        host.setClockRate(0);
        trace.add("nemesis", `clock of ${host.id} stops`);
        return this.#later(() => host.setClockRate(1), 4_000);
      case "slowDisk":
        host.disk.health.slowestMs = this.random.pick([50, 400, 2_000]);
        host.disk.health.fastestMs = this.random.pick([0.2, 20, 100]);
        trace.add("nemesis", `disk of ${host.id} is slow`);
        return this.#later(() => {
          host.disk.health.slowestMs = 4;
          host.disk.health.fastestMs = 0.2;
        }, 5_000);
      case "failingDisk":
        host.disk.health.failing = true;
        trace.add("nemesis", `disk of ${host.id} fails`);
        return this.#restartLater(host);
      case "hangingDisk":
        host.disk.health.hanging = true;
        trace.add("nemesis", `disk of ${host.id} hangs`);
        return this.#later(() => {
          host.disk.health.hanging = false;
        }, 8_000);
      case "fullDisk":
        host.disk.health.freeBytes = this.random.pick([DISK_FULL_BYTES, DISK_EXHAUSTED_BYTES, 0]);
        trace.add("nemesis", `disk of ${host.id} has ${host.disk.health.freeBytes} bytes left`);
        this.#later(() => {
          host.disk.health.freeBytes = PLENTY_BYTES;
        }, 4_000);
        // Without any space writes fail, and the process ends.
        return this.#restartLater(host);
      case "damagedDisk":
        if (!this.#mayLose(host)) return false;
        host.crash("killed");
        host.damaged = host.disk.damage();
        return this.#restartLater(host);
      case "tornBatch":
        host.disk.mayTear = () => !this.#stopped && this.#mayLose(host);
        return this.#restartLater(host);
      case "lostDisk":
        if (!this.#mayLose(host)) return false;
        host.crash("its disk is gone");
        host.state = "lost";
        return true;
      case "lostState":
        host.crash("its state is gone");
        host.disk.stores.clear();
        return this.#restartLater(host);
      case "oldState":
        if (host.disk.restoreStores()) host.crash("its state is put back to an older one");
        else host.disk.copyStores();
        return this.#restartLater(host);
      case "transfer":
        operator.transfer();
        return true;
      case "membership":
        if (this.#lost().length === 0 || operator.mend()) operator.changeSomething();
        return true;
      case "requestSnapshot":
        operator.requestSnapshot();
        return true;
      default:
        return this.#directed.do(fault, host);
    }
  }

  #partition(): boolean {
    const hosts = this.random.shuffled(this.world.hosts());
    if (hosts.length < 2) return false;
    const size = this.random.int(1, hosts.length);
    return this.#part(hosts.slice(0, size), hosts.slice(size), 4_000);
  }

  /** Whoever leads, alone or with one other, for about as long as it takes to elect another. */
  #isolateLeader(): boolean {
    const leader = this.world.operator.leader();
    if (leader === undefined) return false;
    const others = this.random.shuffled(this.world.hosts().filter((host) => host !== leader));
    if (others.length === 0) return false;
    const inside = this.random.chance(0.3) ? [leader, ...others.splice(0, 1)] : [leader];
    const { electionTick, tickIntervalMs } = this.world.swarm;
    return this.#part(inside, others, 4 * electionTick * tickIntervalMs);
  }

  #part(inside: readonly Host[], outside: readonly Host[], mostMs: number): true {
    const { network, trace } = this.world;
    for (const { id } of inside) {
      for (const other of outside) {
        network.cut(id, other.id);
        network.cut(other.id, id);
      }
    }
    trace.add(
      "nemesis",
      `parts ${inside.map(({ id }) => id).join()} from ${outside.map(({ id }) => id).join()}`,
    );
    return this.#later(() => network.heal(), mostMs);
  }

  #later(mend: () => void, mostMs: number): true {
    this.world.scheduler.after(this.random.between(50, mostMs), undefined, () => {
      if (!this.#stopped) mend();
    });
    return true;
  }

  #restartLater(host: Host): true {
    const restart = (): void => {
      if (this.#stopped) return;
      host.start();
      if (host.state === "down") this.world.scheduler.after(500, undefined, restart);
    };
    this.world.scheduler.after(this.random.between(1, 3_000), undefined, restart);
    return true;
  }

  #someHost(): Host | undefined {
    const hosts = this.world.hosts().filter(({ state }) => state !== "lost" && state !== "retired");
    const leading = hosts.filter(({ up }) => up?.node.isLeader === true);
    if (leading.length > 0 && this.random.chance(0.35)) return this.random.pick(leading);
    return hosts.length === 0 ? undefined : this.random.pick(hosts);
  }

  #lost(): readonly Host[] {
    return this.world.hosts().filter(isLost);
  }

  /**
   * A group survives the loss of machines for good only if the others are a majority of every membership that there
   * is, or may be about to be.
   */
  #mayLose(host: Host): boolean {
    const { operator, hosts } = this.world;
    const node = operator.leader()?.up?.node;
    if (node === undefined || operator.isChanging || isLost(host)) return false;
    const { membership } = node;
    const { commit } = node.status();
    if (membership.votersOutgoing.length > 0) return false;
    // A leader that was deposed long ago does not know what the membership is.
    const isLatest = hosts().every(
      (other) =>
        !other.hasConfChangeAfter(membership.index) &&
        (other.up?.node.membership.index ?? 0n) <= membership.index &&
        (other.disk.snapshots.latest?.metadata?.index ?? 0n) <= commit,
    );
    if (!isLatest) return false;
    const losses = hosts().filter(
      (other) => isVoter(membership, other.id) && (isLost(other) || other === host),
    );
    return 2 * losses.length < membership.voters.length;
  }
}

function isLost({ state, damaged }: Host): boolean {
  return state === "lost" || damaged;
}
