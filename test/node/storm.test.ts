// Storms: groups of real nodes under crashes, partitions, lost messages, held disks, snapshots, transfers and
// learners that come and go, all drawn from one seed. Afterwards every promise is checked: what was acknowledged is
// there once, what was refused for certain is not, reads were not stale, and all members hold the same.

import { describe, expect, test } from "vitest";
import type { NodeId } from "../../src/core/types.js";
import { RaftNodeError, type RaftNodeErrorCode } from "../../src/node/errors.js";
import { addressOf, ELECTION_MS, Group, type Station, TICK_MS } from "../support/node-harness.js";
import { bytesOf, type NotebookMachine } from "../support/node-machine.js";

const SEEDS = Array.from({ length: 24 }, (_, n) => 1_000 + n);
const STEPS = 120;
const VOTERS: readonly NodeId[] = [1n, 2n, 3n];
const LEARNER = 4n;

/** After these a command is certain never to be applied. */
const CERTAIN: ReadonlySet<RaftNodeErrorCode> = new Set([
  "notLeader",
  "proposalDropped",
  "inboxFull",
  "tooLarge",
  "invalidArgument",
]);

/** mulberry32: small, and the same on every machine. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Storm {
  readonly acknowledged: string[] = [];
  readonly refused: string[] = [];
  readonly staleReads: string[] = [];
  readonly outcomes = new Map<string, number>();
  readonly #down = new Map<NodeId, Station>();
  /** Opens the gate of a state machine that is held up. */
  readonly #gates = new Map<NotebookMachine, () => void>();
  #commands = 0;

  constructor(
    private readonly group: Group,
    private readonly random: () => number,
  ) {}

  async step(): Promise<void> {
    const draw = this.random();
    if (draw < 0.45) this.#propose();
    else if (draw < 0.55) this.#read();
    else if (draw < 0.59) this.group.network.isolate(this.#pick(VOTERS));
    else if (draw < 0.7) this.group.network.heal();
    else if (draw < 0.74) this.group.network.filter = () => this.random() > 0.2;
    else if (draw < 0.8) await this.#crashOrRestart(this.#pick(VOTERS));
    else if (draw < 0.85) this.#holdDisk();
    else if (draw < 0.88) this.#makeLazy();
    else if (draw < 0.9) this.#holdMachine();
    else if (draw < 0.94) this.#transfer();
    else await this.#changeLearner();
    if (this.random() < 0.5) await this.group.clock.settle();
    if (this.random() < 0.4) await this.group.clock.advance(TICK_MS * Math.ceil(this.random() * 8));
    if (this.random() < 0.03) await this.group.clock.stall(TICK_MS * 40);
  }

  /** Everything is mended, and the group comes to rest. */
  async calm(): Promise<Station> {
    const { group } = this;
    group.network.heal();
    for (const id of [...this.#down.keys()]) await this.#crashOrRestart(id);
    for (const [machine, open] of this.#gates) {
      machine.gate = undefined;
      open();
    }
    for (const { log, machine } of group.stations) {
      log.held = false;
      log.release();
      machine.lazy = false;
    }
    await group.clock.advance(8 * ELECTION_MS);
    const leader = await group.elect();
    await group.propose(leader.id, "last");
    this.acknowledged.push("last");
    await group.clock.advance(4 * ELECTION_MS);
    return leader;
  }

  #propose(): void {
    const { node } = this.#anyLeaderOr(this.#up());
    this.#commands += 1;
    const text = `c${this.#commands}`;
    node.propose(bytesOf(text), { deadlineMs: 200 + this.random() * 5_000 }).then(
      () => {
        this.acknowledged.push(text);
        this.#count("applied");
      },
      (error: unknown) => {
        if (!(error instanceof RaftNodeError)) throw error;
        this.#count(error.code);
        if (CERTAIN.has(error.code)) this.refused.push(text);
      },
    );
  }

  #read(): void {
    const station = this.#up();
    const before = [...this.acknowledged];
    station.node.readIndex({ deadlineMs: 200 + this.random() * 5_000 }).then(
      () => {
        this.#count("read");
        const seen = new Set(station.machine.commands);
        this.staleReads.push(...before.filter((text) => !seen.has(text)));
      },
      (error: unknown) => this.#count(`read ${error instanceof RaftNodeError ? error.code : "failed"}`),
    );
  }

  async #crashOrRestart(id: NodeId): Promise<void> {
    const down = this.#down.get(id);
    if (down !== undefined) {
      this.#down.delete(id);
      await this.group.restart(down);
    } else if (this.#down.size === 0) {
      this.#down.set(id, this.group.crash(id));
    }
  }

  #holdDisk(): void {
    const { log } = this.#up();
    if (log.held) {
      log.held = false;
      log.release();
    } else {
      log.held = true;
      log.release(this.random() < 0.5 ? 1 : 0);
    }
  }

  #holdMachine(): void {
    const { machine } = this.#up();
    const open = this.#gates.get(machine);
    this.#gates.delete(machine);
    machine.gate = undefined;
    if (open !== undefined) open();
    else machine.gate = new Promise((resolve) => this.#gates.set(machine, resolve));
  }

  #makeLazy(): void {
    const { machine } = this.#up();
    machine.lazy = !machine.lazy;
    if (!machine.lazy) machine.sync();
  }

  #transfer(): void {
    const { node } = this.#anyLeaderOr(this.#up());
    this.#forget(node.transferLeadership(this.#pick(VOTERS), { deadlineMs: 1_000 }));
  }

  async #changeLearner(): Promise<void> {
    const { node } = this.#anyLeaderOr(this.#up());
    if (!this.group.stations.some(({ id }) => id === LEARNER) && !this.#down.has(LEARNER)) {
      await this.group.add(LEARNER);
    }
    const joined = node.membership.learners.includes(LEARNER);
    this.#forget(joined ? node.removeNode(LEARNER) : node.addLearner(LEARNER, addressOf(LEARNER)));
  }

  #forget(promise: Promise<unknown>): void {
    promise.then(
      () => this.#count("changed"),
      (error: unknown) =>
        this.#count(`change ${error instanceof RaftNodeError ? error.code : String(error)}`),
    );
  }

  #anyLeaderOr(other: Station): Station {
    const leaders = this.group.stations.filter(({ node }) => node.isLeader);
    return leaders.length > 0 && this.random() < 0.9 ? this.#pick(leaders) : other;
  }

  #up(): Station {
    return this.#pick(this.group.stations);
  }

  #pick<T>(from: readonly T[]): T {
    const picked = from[Math.floor(this.random() * from.length)];
    if (picked === undefined) throw new Error("nothing to pick from");
    return picked;
  }

  #count(what: string): void {
    this.outcomes.set(what, (this.outcomes.get(what) ?? 0) + 1);
  }
}

describe("a storm", () => {
  const totals = new Map<string, number>();

  test.each(SEEDS)("of seed %i breaks no promise", async (seed) => {
    const random = randomOf(seed);
    const group = await Group.led(VOTERS, { compaction: { afterEntries: 8, keepEntries: 3 } });
    const storm = new Storm(group, random);
    for (let step = 0; step < STEPS; step += 1) await storm.step();
    const leader = await storm.calm();
    const { commands } = leader.machine;
    const because = `seed ${seed}, outcomes ${JSON.stringify([...storm.outcomes])}`;
    const failed = group.stations.filter(({ node }) => node.status().state !== "running");
    expect(
      failed.map(({ id, warnings }) => `${id}: ${warnings.join("; ")}`),
      because,
    ).toEqual([]);
    const members = group.membersOf(leader);
    for (const { machine } of members) expect(machine.commands, because).toEqual(commands);
    expect(new Set(commands).size, because).toBe(commands.length);
    const kept = new Set(commands);
    expect(
      storm.acknowledged.filter((text) => !kept.has(text)),
      because,
    ).toEqual([]);
    expect(
      storm.refused.filter((text) => kept.has(text)),
      because,
    ).toEqual([]);
    expect(storm.staleReads, because).toEqual([]);
    for (const [what, times] of storm.outcomes) totals.set(what, (totals.get(what) ?? 0) + times);
    for (const { node } of members) expect(node.membership, because).toEqual(leader.node.membership);
    await group.stop();
  });

  test("brings about all that may become of a call", () => {
    const expected = [
      "applied",
      "read",
      "changed",
      "notLeader",
      "proposalDropped",
      "outcomeUnknown",
      "deadlineExceeded",
    ];
    expect(expected.filter((what) => (totals.get(what) ?? 0) < 10)).toEqual([]);
    expect(totals.get("applied")).toBeGreaterThan(10 * SEEDS.length);
  });
});
