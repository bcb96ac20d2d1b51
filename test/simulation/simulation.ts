// One seed from beginning to end: a group is born, suffers, is healed, and must then converge and serve.

import { isJoint, isMember, memberIds } from "../../src/node/membership.js";
import { Client, History, registersOf } from "./clients.js";
import { unmountAll } from "./disk/disk.js";
import { addressOf, bornWith, Host } from "./host.js";
import { INVARIANTS } from "./invariants/all.js";
import { Ledger } from "./ledger.js";
import { checkRegister, describeCall } from "./linearizability.js";
import { Nemesis } from "./nemesis.js";
import { Network } from "./network/network.js";
import { Wiring } from "./network/transport.js";
import type { Observation, Observer } from "./observation.js";
import { Operator } from "./operator.js";
import { Random } from "./random.js";
import { Scheduler } from "./scheduler.js";
import { drawSwarm, type Swarm } from "./swarm.js";
import { Trace } from "./trace.js";

/** How many election timeouts a healed group may take until everybody agrees and serves. */
const LIVENESS_ELECTIONS = 80;
/** Farewell to machines that are no members: long enough for what they know to have spread. */
const RETIRE_AFTER_MS = 3_000;

export interface Violation {
  readonly invariant: string;
  readonly what: string;
}

export interface Outcome {
  readonly seed: number;
  readonly violation: Violation | undefined;
  readonly traceHash: string;
  readonly traceLines: number;
  readonly simulatedMs: number;
  readonly events: number;
  readonly outcomes: ReadonlyMap<string, number>;
  readonly faults: readonly string[];
  /** Keys whose history was too hard to judge. */
  readonly undecided: number;
  readonly tail: readonly string[];
  readonly swarm: Swarm;
}

/** With the name of a directed theme: as if the seed followed it. */
export async function simulate(seed: number, tailLines = 60, theme?: string): Promise<Outcome> {
  unmountAll();
  const simulation = new Simulation(seed, theme);
  await simulation.run();
  return simulation.outcome(tailLines);
}

class Simulation {
  readonly #random: Random;
  readonly #swarm: Swarm;
  readonly #scheduler: Scheduler;
  readonly #trace = new Trace();
  readonly #network: Network;
  readonly #wiring: Wiring;
  readonly #hosts: Host[] = [];
  readonly #observers: readonly (readonly [string, Observer])[];
  readonly #history = new History();
  readonly #clients: readonly Client[];
  /** Begins when the others have stopped. */
  readonly #lastClient: Client;
  readonly #operator: Operator;
  readonly #nemesis: Nemesis;
  #violation: Violation | undefined;
  #undecided = 0;

  constructor(
    readonly seed: number,
    theme: string | undefined,
  ) {
    this.#random = new Random(seed);
    this.#swarm = drawSwarm(this.#random.fork("swarm"), seed, theme);
    this.#scheduler = new Scheduler(this.#random.fork("scheduler"));
    this.#network = new Network(this.#scheduler, this.#random.fork("network"), this.#trace);
    this.#wiring = new Wiring(this.#network, this.#swarm.inEnvelopes);
    const ledger = new Ledger();
    this.#observers = Object.entries(INVARIANTS).map(([name, invariant]) => [name, invariant(ledger)]);
    const world = {
      scheduler: this.#scheduler,
      trace: this.#trace,
      swarm: this.#swarm,
      network: this.#network,
      hosts: () => this.#hosts,
      observe: (observation: Observation) => this.#observe(observation),
      violated: (invariant: string, what: string) => this.#violated(invariant, what),
    };
    this.#operator = new Operator(
      { ...world, addHost: () => this.#addHost() },
      this.#random.fork("operator"),
    );
    this.#nemesis = new Nemesis({ ...world, operator: this.#operator }, this.#random.fork("nemesis"));
    this.#lastClient = new Client("last", world, this.#history, this.#random.fork("last client"));
    this.#clients = Array.from(
      { length: this.#swarm.clients + this.#swarm.watchers },
      (_, at) => new Client(`client-${at + 1}`, world, this.#history, this.#random.fork(`client ${at}`)),
    );
  }

  async run(): Promise<void> {
    const { voters, safetyMs } = this.#swarm;
    const ids = Array.from({ length: voters }, (_, at) => BigInt(at + 1));
    for (const _ of ids) this.#addHost(ids);
    this.#clients.forEach((client, at) => void (at < this.#swarm.clients ? client.work() : client.watch()));
    void this.#nemesis.work();
    process.on("unhandledRejection", this.#thrown);
    try {
      await this.#runUntil(safetyMs);
      if (this.#violation === undefined) {
        this.#trace.add("nemesis", "stops; everything is mended");
        this.#nemesis.stop();
        await this.#converge();
      }
    } finally {
      process.off("unhandledRejection", this.#thrown);
    }
    if (this.#violation === undefined) this.#judgeHistory();
  }

  outcome(tailLines: number): Outcome {
    return {
      seed: this.seed,
      violation: this.#violation,
      traceHash: this.#trace.digest(),
      traceLines: this.#trace.lines,
      simulatedMs: this.#scheduler.nowMs,
      events: this.#scheduler.eventCount,
      outcomes: this.#history.outcomes,
      faults: [...this.#nemesis.used],
      undecided: this.#undecided,
      tail: this.#trace.tail(tailLines),
      swarm: this.#swarm,
    };
  }

  #addHost(bootstrap?: readonly bigint[]): Host {
    const id = BigInt(this.#hosts.length + 1);
    const host = new Host(
      id,
      {
        scheduler: this.#scheduler,
        random: this.#random,
        trace: this.#trace,
        wiring: this.#wiring,
        swarm: this.#swarm,
        hosts: () => this.#hosts,
        observe: (observation) => this.#observe(observation),
        violated: (invariant, what) => this.#violated(invariant, what),
      },
      bootstrap === undefined ? undefined : bornWith(bootstrap),
    );
    this.#hosts.push(host);
    host.start();
    return host;
  }

  async #runUntil(endMs: number, isDone: () => boolean = () => false): Promise<boolean> {
    while (this.#violation === undefined) {
      this.#trace.at(this.#scheduler.nowMs);
      try {
        if (!(await this.#scheduler.step(endMs))) return false;
      } catch (error) {
        this.#thrown(error);
      }
      const { current } = this.#scheduler;
      if (current !== undefined) {
        for (const host of this.#hosts) if (host.process === current) host.inspect();
      }
      if (isDone()) return true;
    }
    return false;
  }

  /** Liveness: within a bounded time all members agree, and every key can be written and read everywhere. */
  async #converge(): Promise<void> {
    const { electionTick, tickIntervalMs } = this.#swarm;
    const electionMs = electionTick * tickIntervalMs;
    const endMs = this.#scheduler.nowMs + LIVENESS_ELECTIONS * electionMs;
    let mendedAtMs: number | undefined;
    let isMended = false;
    const lookMs = electionMs / 2;
    let agreed = false;
    while (this.#violation === undefined && !agreed && this.#scheduler.nowMs < endMs) {
      await this.#runUntil(this.#scheduler.nowMs + lookMs);
      for (const host of this.#hosts) host.start();
      isMended = this.#operator.mend();
      if (!isMended) continue;
      mendedAtMs ??= this.#scheduler.nowMs;
      if (this.#scheduler.nowMs - mendedAtMs < RETIRE_AFTER_MS) continue;
      this.#retireStrangers();
      for (const client of this.#clients) client.stop();
      agreed = this.#agree();
    }
    if (this.#violation !== undefined) return;
    if (!agreed) {
      this.#violated(
        "liveness",
        `the group did not come to agree within ${LIVENESS_ELECTIONS} election timeouts\n${this.#report()}`,
      );
      return;
    }
    await this.#serveEverything(endMs + 20 * electionMs);
  }

  async #serveEverything(endMs: number): Promise<void> {
    const client = this.#lastClient;
    let finished = 0;
    const registers = registersOf(this.#swarm);
    const work = async (): Promise<void> => {
      for (const register of registers) {
        while (!(await client.write(register, false))) await this.#scheduler.sleep(50);
        while (!(await client.read(register, false))) await this.#scheduler.sleep(50);
        finished += 1;
      }
    };
    void work();
    const served = await this.#runUntil(endMs, () => finished === registers.length);
    if (!served && this.#violation === undefined) {
      this.#violated(
        "liveness",
        `the group agrees, but served only ${finished} of ${registers.length} registers\n${this.#report()}`,
      );
    }
  }

  /** One leader, one membership, one log, all of it applied. */
  #agree(): boolean {
    const leader = this.#operator.leader()?.up;
    if (leader === undefined) return false;
    const { membership } = leader.node;
    if (isJoint(membership)) return false;
    const { commit, lastIndex } = leader.node.status();
    if (commit !== lastIndex) return false;
    return memberIds(membership).every((id) => {
      const status = this.#hosts.find((host) => host.id === id)?.up?.node.status();
      return (
        status !== undefined &&
        status.leaderId === leader.run.id &&
        status.applied === commit &&
        status.membership.index === membership.index
      );
    });
  }

  #retireStrangers(): void {
    const membership = this.#operator.leader()?.up?.node.membership;
    if (membership === undefined) return;
    for (const host of this.#hosts) {
      if (isMember(membership, host.id) || host.state === "lost" || host.state === "retired") continue;
      host.crash("retired");
      host.state = "retired";
    }
  }

  #judgeHistory(): void {
    this.#history.close();
    for (const [key, calls] of this.#history.byKey) {
      const verdict = checkRegister(calls);
      if (verdict.kind === "undecided") this.#undecided += 1;
      if (verdict.kind !== "violation") continue;
      const words = [
        `the calls on ${key} are not linearizable; the longest order that works ends with`,
        ...verdict.longest.map((call) => `  ${describeCall(call)}`),
        "and then none of these fits:",
        ...verdict.stuck.map((call) => `  ${describeCall(call)}`),
      ];
      this.#violated("linearizability", words.join("\n"));
      return;
    }
  }

  #observe(observation: Observation): void {
    for (const [name, observer] of this.#observers) {
      const what = observer(observation);
      if (what !== undefined) this.#violated(name, what);
    }
  }

  #violated(invariant: string, what: string): void {
    this.#violation ??= { invariant, what };
    this.#trace.add("VIOLATED", `${invariant}: ${what}`);
  }

  readonly #thrown = (error: unknown): void => {
    this.#violated(
      "nothing is thrown that nobody catches",
      error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
  };

  #report(): string {
    const lines = this.#hosts.map(({ id, state, up }) => {
      if (up === undefined) return `node ${id} (${addressOf(id)}) is ${state}`;
      const { role, term, leaderId, firstIndex, lastIndex, commit, applied, membership, space, progress } =
        up.node.status();
      const peers = progress.map(
        (peer) => `${peer.id}:${peer.state} ${peer.matched}<${peer.nextIdx}${peer.paused ? " paused" : ""}`,
      );
      return (
        `node ${id} ${up.node.status().state} ${role} t${term} leader ${leaderId} log ${firstIndex}..${lastIndex} commit ${commit} ` +
        `applied ${applied} space ${space} members ${membership.voters.join()}|${membership.votersOutgoing.join()}|${membership.learners.join()}` +
        ` snapshot ${up.node.status().snapshotIndex} ${peers.join(", ")}`
      );
    });
    return lines.join("\n");
  }
}
