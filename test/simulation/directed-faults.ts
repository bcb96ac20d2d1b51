// Faults that take several things at the right moment, which chance alone brings about too seldom.

import { isJoint } from "../../src/node/membership.js";
import type { Host } from "./host.js";
import type { NemesisWorld } from "./nemesis.js";
import type { Random } from "./random.js";

export type DirectedFault =
  | "transferUnseen"
  | "lonelyVoter"
  | "partedInJoint"
  | "twoChanges"
  | "lateLog"
  | "lateState";

const LOOK_MS = 1;
const MOST_LOOKS = 1_500;
const MOST_LATE_MS = 4_000;

export class DirectedFaults {
  constructor(
    private readonly world: NemesisWorld,
    private readonly random: Random,
    private readonly isStopped: () => boolean,
  ) {}

  /** False: it cannot be done now. */
  do(fault: DirectedFault, host: Host): boolean {
    switch (fault) {
      case "transferUnseen":
        return this.#transferUnseen();
      case "lonelyVoter":
        return this.#lonelyVoter();
      case "partedInJoint":
        return this.#partInJoint();
      case "twoChanges":
        return this.#twoChanges();
      case "lateLog":
        return this.#late(host, "log");
      case "lateState":
        return this.#late(host, "state");
    }
  }

  /** The leader hands over, and is cut off before it can see what comes of it. */
  #transferUnseen(): boolean {
    const { operator } = this.world;
    const leader = operator.leader();
    const others = this.#others(leader);
    if (leader === undefined || others.length === 0) return false;
    operator.transferTo(leader, this.random.pick(others).id);
    this.#after(this.random.between(0, 8), () => this.#part([leader], others));
    return this.#healAfter(2 * this.#electionMs());
  }

  /**
   * One voter misses its leader until it campaigns; then the leader is cut off from those who have just vouched for it,
   * some of whom are started anew.
   */
  #lonelyVoter(): boolean {
    const leader = this.world.operator.leader();
    const [lonely, ...others] = this.random.shuffled(this.#others(leader));
    if (leader === undefined || lonely === undefined || others.length === 0) return false;
    this.#part([leader], [lonely]);
    const patienceMs = this.random.between(0.9, 1.5) * this.#electionMs();
    const restarts = this.random.chance(0.5);
    this.#after(patienceMs, () => {
      this.#part([leader], others);
      if (!restarts) return;
      for (const other of others) {
        other.crash("killed");
        this.#after(1, () => other.start());
      }
    });
    return this.#healAfter(patienceMs + 1.5 * this.#electionMs());
  }

  /** Whoever leads a joint change is cut off, with the newcomer, from those who do not know yet that it is committed. */
  #partInJoint(): boolean {
    const { operator } = this.world;
    const leader = operator.leader();
    const membership = leader?.up?.node.membership;
    if (leader === undefined || membership === undefined || isJoint(membership)) return false;
    const voters = membership.voters.filter((id) => id !== leader.id);
    if (voters.length < 2) return false;
    const newcomer = operator.replace(leader, this.random.pick(voters));
    let looks = 0;
    const look = (): void => {
      const { up } = leader;
      looks += 1;
      if (up === undefined || looks > MOST_LOOKS) return;
      if (!isJoint(up.node.membership)) {
        this.#after(LOOK_MS, look);
        return;
      }
      this.#part(
        [leader, newcomer],
        this.#others(leader).filter((host) => host !== newcomer),
      );
      if (this.random.chance(0.7)) {
        leader.crash("killed");
        this.#after(this.random.between(1, 200), () => leader.start());
      }
      this.#healAfter(this.random.between(3, 8) * this.#electionMs());
    };
    look();
    return true;
  }

  /** Two voters more, asked for at once; then those who do not know that either is committed are left to themselves. */
  #twoChanges(): boolean {
    const { operator } = this.world;
    const leader = operator.leader();
    const voters = leader?.up?.node.membership.voters ?? [];
    if (leader === undefined || voters.length !== 3) return false;
    const newcomers = [operator.addVoter(leader), operator.addVoter(leader)];
    const others = this.#others(leader).filter((host) => !newcomers.includes(host));
    let looks = 0;
    const look = (): void => {
      looks += 1;
      const known = leader.up?.node.membership.voters;
      if (known === undefined || looks > MOST_LOOKS) return;
      if (known.length < 5) {
        this.#after(LOOK_MS, look);
        return;
      }
      this.#part([leader, ...newcomers], others);
      this.#healAfter(this.random.between(3, 8) * this.#electionMs());
    };
    look();
    return true;
  }

  /** What is written to the log or to the state comes late, and then the machine dies. */
  #late(host: Host, kind: "log" | "state"): boolean {
    const { health } = host.disk;
    if (host.state !== "up" || health.late !== undefined) return false;
    health.late = kind;
    health.lateMs = this.random.pick([50, 400, 2_000]);
    this.world.trace.add("nemesis", `disk of ${host.id} is late with its ${kind}`);
    this.#after(this.random.between(50, MOST_LATE_MS), () => {
      health.late = undefined;
      host.crash("killed");
      this.#after(this.random.between(1, 500), () => host.start());
    });
    return true;
  }

  #others(leader: Host | undefined): readonly Host[] {
    return this.world.hosts().filter((host) => host !== leader && host.up !== undefined);
  }

  #part(inside: readonly Host[], outside: readonly Host[]): void {
    const { network, trace } = this.world;
    for (const { id } of inside) {
      for (const other of outside) {
        network.cut(id, other.id);
        network.cut(other.id, id);
      }
    }
    const names = (hosts: readonly Host[]): string => hosts.map(({ id }) => id).join();
    trace.add("nemesis", `parts ${names(inside)} from ${names(outside)}`);
  }

  #healAfter(delayMs: number): true {
    this.#after(delayMs, () => this.world.network.heal());
    return true;
  }

  #after(delayMs: number, run: () => void): void {
    this.world.scheduler.after(delayMs, undefined, () => {
      if (!this.isStopped()) run();
    });
  }

  #electionMs(): number {
    const { electionTick, tickIntervalMs } = this.world.swarm;
    return electionTick * tickIntervalMs;
  }
}
