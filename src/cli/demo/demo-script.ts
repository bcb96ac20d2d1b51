// The demonstration itself, step by step: a real cluster loses its leader in the middle of the work, grows, hands
// over, shrinks, and at the end every acknowledged record is looked for on every member.

import { setTimeout as sleep } from "node:timers/promises";
import { Role } from "../../gen/service_pb.js";
import { type KvEntry, PlacementClient } from "../../placement/client.js";
import { PlacementError } from "../../placement/client-error.js";
import { CommandError, ExitStatus } from "../exit-status.js";
import { DemoCluster } from "./demo-cluster.js";
import type { DemoRecord } from "./records.js";

export interface DemoSummary {
  readonly records: number;
  /** Records whose write was acknowledged. */
  readonly acknowledged: number;
  /** Acknowledged records that some member lacks, or has otherwise. */
  readonly lost: number;
  /** From the leader's SIGKILL to the first acknowledgement of a write that began after it. */
  readonly failoverMs: number;
  readonly seconds: number;
}

const FOUNDERS = 3;
const NEWCOMER = 4;
const WRITERS = 4;
const CALL_DEADLINE_MS = 2_000;
const METRICS_DEADLINE_MS = 500;
const STEP_DEADLINE_MS = 30_000;
const RETRY_PAUSE_MS = 25;

/**
 * @param tell takes a line about what is going on.
 * @param signal ends it early, as a failure.
 * @throws CommandError when a step does not come about; every process has ended by then, and every file is gone.
 */
export async function runDemo(
  records: readonly DemoRecord[],
  tell: (line: string) => void,
  signal: AbortSignal,
): Promise<DemoSummary> {
  const cluster = await DemoCluster.prepare(NEWCOMER, FOUNDERS);
  const client = clientOf(cluster, cluster.ids);
  try {
    return await new Demo(cluster, client, records, tell, signal).run();
  } catch (error) {
    if (!signal.aborted) for (const line of cluster.lastLogLines()) tell(line);
    throw error;
  } finally {
    await client.close();
    await cluster.destroy();
  }
}

function clientOf(cluster: DemoCluster, ids: readonly number[]): PlacementClient {
  return new PlacementClient({
    endpoints: ids.map((id) => cluster.address(id)),
    deadlineMs: CALL_DEADLINE_MS,
  });
}

class Demo {
  readonly #cluster: DemoCluster;
  readonly #client: PlacementClient;
  readonly #records: readonly DemoRecord[];
  readonly #tell: (line: string) => void;
  readonly #signal: AbortSignal;
  readonly #acknowledged = new Set<DemoRecord>();
  readonly #startedAtMs = performance.now();

  constructor(
    cluster: DemoCluster,
    client: PlacementClient,
    records: readonly DemoRecord[],
    tell: (line: string) => void,
    signal: AbortSignal,
  ) {
    this.#cluster = cluster;
    this.#client = client;
    this.#records = records;
    this.#tell = tell;
    this.#signal = signal;
  }

  async run(): Promise<DemoSummary> {
    const founders = this.#cluster.ids.slice(0, FOUNDERS);
    this.#say(`starting ${FOUNDERS} nodes, each a process of its own, with LMDB on disk`);
    await Promise.all(founders.map((id) => this.#cluster.start(id)));
    this.#say(`node ${await this.#findLeader()} leads`);

    const { failoverMs, killed } = await this.#writeThroughFailover();

    this.#say(`starting node ${killed} again with what it had on disk`);
    await this.#cluster.start(killed);
    await this.#waitUntilLevel(founders);
    this.#say(`node ${killed} has caught up`);

    await this.#grow();
    await this.#handOverTo(NEWCOMER);
    // Neither the new leader nor the node that came back: both are still to be compared.
    const leaver = founders.filter((id) => id !== killed).at(-1) ?? killed;
    await this.#remove(leaver);

    const lost = await this.#compareAllMembers();
    return {
      records: this.#records.length,
      acknowledged: this.#acknowledged.size,
      lost,
      failoverMs: Math.round(failoverMs),
      seconds: Math.round((performance.now() - this.#startedAtMs) / 100) / 10,
    };
  }

  /** Writes everything; half way the leader is killed while the writers go on. */
  async #writeThroughFailover(): Promise<{ failoverMs: number; killed: number }> {
    const half = Math.floor(this.#records.length / 2);
    let isDue = true;
    let killed = 0;
    let killedAtMs: number | undefined;
    let failoverMs: number | undefined;
    const pending = this.#records.values();
    this.#say(`writing ${this.#records.length} records, ${WRITERS} at a time`);
    const write = async (): Promise<void> => {
      for (const record of pending) {
        if (isDue && this.#acknowledged.size >= half) {
          isDue = false;
          // Asked now: on a busy machine leadership may have moved since the beginning.
          killed = await this.#findLeader();
          this.#say(
            `${this.#acknowledged.size} acknowledged; killing the leader, node ${killed}, with SIGKILL`,
          );
          killedAtMs = performance.now();
          void this.#cluster.kill(killed);
        }
        const beganAfterKill = killedAtMs;
        await this.#untilItWorks(`writing ${record.key}`, () => this.#client.set(record.key, record.value));
        this.#acknowledged.add(record);
        if (beganAfterKill !== undefined && failoverMs === undefined) {
          failoverMs = performance.now() - beganAfterKill;
          this.#say(`writing goes on ${Math.round(failoverMs)} ms after the kill`);
        }
      }
    };
    await Promise.all(Array.from({ length: WRITERS }, write));
    if (failoverMs === undefined)
      throw failure("the input is too small: nothing was left to write after the kill");
    this.#say(`${this.#acknowledged.size} of ${this.#records.length} records acknowledged`);
    return { failoverMs, killed };
  }

  async #grow(): Promise<void> {
    this.#say(`starting node ${NEWCOMER} and adding it as a learner`);
    await this.#cluster.start(NEWCOMER);
    const address = this.#cluster.address(NEWCOMER);
    const id = BigInt(NEWCOMER);
    await this.#untilMember("adding a learner", id, () => this.#client.addLearner(id, address));
    await this.#waitUntilLevel([NEWCOMER]);
    this.#say(`node ${NEWCOMER} has caught up; promoting it to a voter`);
    await this.#untilMember(
      "promoting it",
      id,
      () => this.#client.promote(id),
      (learner) => !learner,
    );
  }

  async #handOverTo(id: number): Promise<void> {
    this.#say(`handing leadership over to node ${id}`);
    await this.#until(`node ${id} to lead`, async () => {
      if ((await this.#leaderNow()) === id) return true;
      await this.#client.transfer(BigInt(id));
      return (await this.#leaderNow()) === id;
    });
    this.#say(`node ${id} leads`);
  }

  async #remove(id: number): Promise<void> {
    this.#say(`removing node ${id}`);
    await this.#until(`node ${id} to be no member`, async () => {
      if (!(await this.#memberIds()).includes(id)) return true;
      await this.#client.remove(BigInt(id));
      return !(await this.#memberIds()).includes(id);
    });
    await this.#cluster.stop(id);
  }

  /** Reads every record from every member's own state, and once more from the cluster as a whole. */
  async #compareAllMembers(): Promise<number> {
    const members = await this.#memberIds();
    await this.#waitUntilLevel(members);
    const lost = new Set<DemoRecord>();
    for (const id of members) {
      const one = clientOf(this.#cluster, [id]);
      try {
        for (const record of this.#records) {
          const entry = await this.#read(one, record, "serializable");
          if (!isSame(record, entry) && this.#acknowledged.has(record)) lost.add(record);
        }
      } finally {
        await one.close();
      }
      this.#say(`node ${id}: ${this.#records.length} records read back and compared`);
    }
    for (const record of this.#records) {
      const entry = await this.#read(this.#client, record, "linearizable");
      if (!isSame(record, entry) && this.#acknowledged.has(record)) lost.add(record);
    }
    this.#say(`linearizable: ${this.#records.length} records read back and compared`);
    return lost.size;
  }

  #read(client: PlacementClient, { key }: DemoRecord, consistency: "linearizable" | "serializable") {
    return this.#untilItWorks(`reading ${key}`, () => client.get(key, { consistency }));
  }

  async #findLeader(): Promise<number> {
    let leader = 0;
    await this.#until("a leader", async () => {
      leader = (await this.#leaderNow()) ?? 0;
      return leader !== 0;
    });
    return leader;
  }

  /** The node that says of itself that it leads, in the highest term. */
  async #leaderNow(): Promise<number | undefined> {
    const leaders = (await this.#metricsOf(this.#cluster.ids)).filter(({ role }) => role === Role.LEADER);
    leaders.sort((a, b) => (a.term < b.term ? 1 : -1));
    return leaders[0] === undefined ? undefined : Number(leaders[0].id);
  }

  /** Waits until the nodes have applied all that the leader has committed by now. */
  async #waitUntilLevel(ids: readonly number[]): Promise<void> {
    const leader = await this.#findLeader();
    const [{ commit } = { commit: 0n }] = await this.#metricsOf([leader]);
    await this.#until(`nodes ${ids.join(", ")} to catch up`, async () => {
      const metrics = await this.#metricsOf(ids);
      return metrics.length === ids.length && metrics.every(({ applied }) => applied >= commit);
    });
  }

  async #memberIds(): Promise<number[]> {
    const leader = await this.#findLeader();
    const [metrics] = await this.#metricsOf([leader]);
    return (metrics?.membership?.members ?? []).map(({ id }) => Number(id));
  }

  /** Of those that answer. */
  async #metricsOf(ids: readonly number[]) {
    const answers = await Promise.all(
      ids.map((id) =>
        this.#client
          .metrics(this.#cluster.address(id), { deadlineMs: METRICS_DEADLINE_MS })
          .catch(() => undefined),
      ),
    );
    return answers.filter((answer) => answer !== undefined);
  }

  /** Asks for a change of members until the membership shows it: an answer may get lost, the change not. */
  async #untilMember(
    what: string,
    id: bigint,
    ask: () => Promise<unknown>,
    isAsWanted: (learner: boolean) => boolean = () => true,
  ): Promise<void> {
    const isDone = async (): Promise<boolean> => {
      const [metrics] = await this.#metricsOf([await this.#findLeader()]);
      const member = metrics?.membership?.members.find((candidate) => candidate.id === id);
      return member !== undefined && isAsWanted(member.learner);
    };
    await this.#until(what, async () => {
      if (await isDone()) return true;
      await ask();
      return isDone();
    });
  }

  /** Repeats a call that is harmless to repeat. */
  async #untilItWorks<Result>(what: string, call: () => Promise<Result>): Promise<Result> {
    let result: { readonly value: Result } | undefined;
    await this.#until(what, async () => {
      result = { value: await call() };
      return true;
    });
    if (result === undefined) throw failure(`${what} gave no result`);
    return result.value;
  }

  async #until(what: string, attempt: () => Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + STEP_DEADLINE_MS;
    let lastError = "";
    while (!this.#signal.aborted) {
      try {
        if (await attempt()) return;
      } catch (error) {
        if (!(error instanceof PlacementError)) throw error;
        lastError = `; the last answer was: ${error.message}`;
      }
      const [dead] = this.#cluster.unexpectedlyDead;
      if (dead !== undefined) throw failure(`node ${dead} ended by itself`);
      if (performance.now() > deadlineMs) {
        throw failure(`waited ${STEP_DEADLINE_MS / 1000} s in vain for ${what}${lastError}`);
      }
      await sleep(RETRY_PAUSE_MS, undefined, { signal: this.#signal }).catch(() => {});
    }
    throw failure(`stopped while waiting for ${what}`);
  }

  #say(what: string): void {
    const seconds = ((performance.now() - this.#startedAtMs) / 1000).toFixed(1).padStart(5);
    this.#tell(`${seconds} s  ${what}`);
  }
}

function isSame(record: DemoRecord, entry: KvEntry | undefined): boolean {
  return entry !== undefined && Buffer.compare(entry.value, record.value) === 0;
}

function failure(message: string): CommandError {
  return new CommandError(ExitStatus.failed, message, "demoFailed");
}
