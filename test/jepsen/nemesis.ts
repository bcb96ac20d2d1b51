// What breaks, and when: faults of processes, of the network, and changes of the membership, each for a while, then
// mended, drawn from the seed. Two may be under way at a time.

import type { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import type { Random } from "../simulation/random.js";
import type { Cluster } from "./cluster.js";
import type { Party } from "./links.js";
import type { Member } from "./member.js";
import { reasonFrom } from "./register-client.js";

export interface NemesisContext {
  readonly cluster: Cluster;
  readonly client: PlacementClient;
  readonly random: Random;
  readonly stop: AbortSignal;
  readonly pause: (ms: number) => Promise<void>;
  /** For the report and the story. */
  readonly tell: (fault: string, details: string) => void;
}

type Fault = () => Promise<void>;

const VOTERS_AT_MOST = 6;
const VOTERS_AT_LEAST = 4;
/** What files may still grow by on a "full" disk. */
const ROOM_BYTES = 64 * 1024;

export class Nemesis {
  constructor(private readonly context: NemesisContext) {}

  /** Resolves when the time is over and everything is mended. */
  async run(): Promise<void> {
    await Promise.all([
      this.#repeat(4_000, this.#processFaults),
      this.#repeat(4_000, this.#networkFaults),
      this.#repeat(3_000, [() => this.#changeMembership(), () => this.#transfer()]),
    ]);
    this.context.cluster.links.heal();
    for (const member of this.context.cluster.all) {
      member.resume();
      member.start();
    }
  }

  async #repeat(calmMs: number, faults: readonly Fault[]): Promise<void> {
    const { random, stop, pause } = this.context;
    while (!stop.aborted) {
      // Each once before any a second time, so that a short run has them all.
      for (const fault of random.shuffled(faults)) {
        await pause(random.between(calmMs / 2, calmMs * 1.5));
        if (stop.aborted) return;
        await fault();
      }
    }
  }

  readonly #processFaults: readonly Fault[] = [
    () => this.#killSome("kill the leader", (leader) => leader),
    () => this.#killSome("kill one", () => this.#some(1)),
    () => this.#killSome("kill a majority", () => this.#some(3)),
    () => this.#killSome("kill all", () => this.#some(this.context.cluster.all.length)),
    () => this.#freezeSome("freeze the leader", (leader) => leader),
    () => this.#freezeSome("freeze two", () => this.#some(2)),
    () => this.#restartCleanly(),
    () => this.#fillDisk(),
  ];

  readonly #networkFaults: readonly Fault[] = [
    () => this.#isolate("isolate the leader", true, true),
    () => this.#isolate("nobody hears the leader", false, true),
    () => this.#isolate("the leader hears nobody", true, false),
    () => this.#split(),
    () => this.#ring(),
    () => this.#slow(),
    () => this.#reset(),
  ];

  #some(count: number): readonly Member[] {
    return this.context.random.shuffled(this.context.cluster.all).slice(0, count);
  }

  /** Who leads, as somebody believes; anybody, when nobody says. */
  async #leader(): Promise<readonly Member[]> {
    const { client, cluster } = this.context;
    const { id } = await client.leader({ deadlineMs: 1_000 }).catch(() => ({ id: undefined }));
    const leader = cluster.members.get(Number(id ?? 0n));
    return leader === undefined ? this.#some(1) : [leader];
  }

  async #killSome(fault: string, choose: (leader: readonly Member[]) => readonly Member[]): Promise<void> {
    const { random, pause, tell } = this.context;
    const victims = choose(await this.#leader());
    tell(fault, names(victims));
    await Promise.all(victims.map((victim) => victim.kill()));
    await pause(random.between(500, 5_000));
    for (const victim of victims) this.#restart(victim);
  }

  async #freezeSome(fault: string, choose: (leader: readonly Member[]) => readonly Member[]): Promise<void> {
    const { random, pause, tell } = this.context;
    const victims = choose(await this.#leader());
    tell(fault, names(victims));
    for (const victim of victims) victim.freeze();
    await pause(random.between(500, 6_000));
    for (const victim of victims) victim.resume();
  }

  async #restartCleanly(): Promise<void> {
    const { pause, tell } = this.context;
    const victims = this.#some(1);
    tell("restart", names(victims));
    await Promise.all(victims.map((victim) => victim.stop()));
    await pause(300);
    for (const victim of victims) this.#restart(victim);
  }

  /** The node goes on until its log does not grow any more, and ends; then there is room again. */
  async #fillDisk(): Promise<void> {
    const { random, pause, tell } = this.context;
    const victims = this.#some(1);
    tell("fill the disk", names(victims));
    await Promise.all(victims.map((victim) => victim.kill()));
    for (const victim of victims) this.#restart(victim, ROOM_BYTES);
    await pause(random.between(3_000, 8_000));
    await Promise.all(victims.map((victim) => victim.kill()));
    for (const victim of victims) this.#restart(victim);
  }

  #restart(member: Member, room?: number): void {
    // It may have left the cluster meanwhile.
    if (this.context.cluster.members.has(member.id)) member.start(room);
  }

  async #isolate(fault: string, itHears: boolean, itIsHeard: boolean): Promise<void> {
    const { cluster, tell } = this.context;
    const victims = await this.#leader();
    tell(fault, names(victims));
    for (const { id } of victims) {
      for (const other of cluster.all) {
        if (other.id === id) continue;
        if (itIsHeard) cluster.links.rule(id, other.id, { kind: "cut" });
        if (itHears) cluster.links.rule(other.id, id, { kind: "cut" });
      }
    }
    await this.#holdThenHeal();
  }

  /** Two sides; clients reach one of them only. */
  async #split(): Promise<void> {
    const { cluster, random, tell } = this.context;
    const some = this.#some(random.int(1, 4));
    tell("split", `${names(some)} | the others`);
    const isInside = (party: Party): boolean => some.some(({ id }) => id === party);
    const parties: readonly Party[] = ["client", ...cluster.members.keys()];
    for (const from of parties) {
      for (const { id } of cluster.all) {
        if (isInside(from) !== isInside(id)) cluster.links.rule(from, id, { kind: "cut" });
      }
    }
    await this.#holdThenHeal();
  }

  /** Everybody reaches a majority, but no two the same. */
  async #ring(): Promise<void> {
    const { cluster, random, tell } = this.context;
    const order = random.shuffled(cluster.all);
    tell("majorities in a ring", names(order));
    const reach = Math.floor(order.length / 4);
    order.forEach((from, at) => {
      order.forEach((to, other) => {
        const distance = Math.abs(at - other);
        const around = Math.min(distance, order.length - distance);
        if (around > Math.max(1, reach)) cluster.links.rule(from.id, to.id, { kind: "cut" });
      });
    });
    await this.#holdThenHeal();
  }

  async #slow(): Promise<void> {
    const { cluster, random, tell } = this.context;
    const delayMs = random.between(10, 400);
    tell("slow links", `${delayMs.toFixed(0)} ms`);
    for (const { id: from } of cluster.all) {
      for (const { id: to } of cluster.all) {
        if (random.chance(0.6)) cluster.links.rule(from, to, { kind: "slow", delayMs, jitterMs: delayMs });
      }
    }
    await this.#holdThenHeal();
  }

  async #reset(): Promise<void> {
    const { cluster, random, pause, tell } = this.context;
    tell("reset connections", "");
    for (let times = 0; times < 10; times += 1) {
      for (const { id } of cluster.all) if (random.chance(0.5)) cluster.links.reset(id);
      await pause(random.between(50, 500));
    }
  }

  async #holdThenHeal(): Promise<void> {
    const { cluster, random, pause } = this.context;
    await pause(random.between(1_000, 7_000));
    cluster.links.heal();
  }

  async #transfer(): Promise<void> {
    const { client, random, tell } = this.context;
    const [to] = this.#some(1);
    const target = to === undefined || random.chance(0.3) ? undefined : BigInt(to.id);
    await this.#administer("transfer", () => client.transfer(target, { deadlineMs: 3_000 }), tell);
  }

  /** One step towards one voter more, or one fewer; what fails now is tried again next time. */
  async #changeMembership(): Promise<void> {
    const { cluster, client, random, tell } = this.context;
    const { members } = await client.members({ deadlineMs: 2_000 }).catch(() => ({ members: [] }));
    if (members.length === 0) return;
    const known = new Map(members.map((member) => [Number(member.id), member]));
    const isMember = ({ id }: Member): boolean => known.has(id);
    const gone = cluster.all.find((member) => !isMember(member) && this.#leaving.has(member.id));
    if (gone !== undefined) {
      tell("dismiss", names([gone]));
      return cluster.dismiss(gone);
    }
    const waiting = cluster.all.find((member) => !isMember(member));
    if (waiting !== undefined) {
      const add = () => client.addLearner(BigInt(waiting.id), waiting.address, { deadlineMs: 5_000 });
      return this.#administer(`add node ${waiting.id}`, add, tell);
    }
    const learner = members.find((member) => member.learner);
    if (learner !== undefined) {
      const promote = () => client.promote(learner.id, { deadlineMs: 5_000 });
      return this.#administer(`promote node ${learner.id}`, promote, tell);
    }
    if (members.length >= VOTERS_AT_MOST || (members.length > VOTERS_AT_LEAST && random.chance(0.5))) {
      const victim = random.pick(members);
      this.#leaving.add(Number(victim.id));
      cluster.members.get(Number(victim.id))?.expectItsEnd();
      const remove = () => client.remove(victim.id, { deadlineMs: 5_000 });
      return this.#administer(`remove node ${victim.id}`, remove, tell);
    }
    tell("start one more node", names([await cluster.startJoining()]));
  }

  /** Whom it was asked to remove: when they are no members any more, they never will be again. */
  readonly #leaving = new Set<number>();

  async #administer(
    what: string,
    change: () => Promise<unknown>,
    tell: NemesisContext["tell"],
  ): Promise<void> {
    try {
      await change();
      tell(what.replace(/ node \d+/, ""), `${what}: done`);
    } catch (error) {
      if (!(error instanceof PlacementError)) throw error;
      tell(`${what.replace(/ node \d+/, "")}: ${reasonFrom(error)}`, what);
    }
  }
}

function names(members: readonly Member[]): string {
  return members.map(({ id }) => `node ${id}`).join(", ");
}
