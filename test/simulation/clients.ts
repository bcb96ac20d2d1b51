// Clients that read, write, delete and compare-and-set, through nodes that come and go, and remember what they saw.

import { create } from "@bufbuild/protobuf";
import { SessionProblem } from "../../src/gen/records_pb.js";
import { type WriteId, WriteIdSchema } from "../../src/gen/service_pb.js";
import { RaftNodeError, type RaftNodeErrorCode } from "../../src/node/errors.js";
import { decodeResult } from "../../src/placement/kv/kv-command.js";
import type { Host, Up } from "./host.js";
import type { HistoryCall, Operation } from "./linearizability.js";
import type { Observation } from "./observation.js";
import type { Random } from "./random.js";
import { type Held, pairOfKeys, type Register, singleKey, TornTransaction } from "./registers.js";
import type { Scheduler } from "./scheduler.js";
import type { Swarm } from "./swarm.js";
import type { Trace } from "./trace.js";

/** After these a command is certain never to be applied. */
const CERTAIN: ReadonlySet<RaftNodeErrorCode> = new Set([
  "notLeader",
  "proposalDropped",
  "inboxFull",
  "noSpace",
  "tooLarge",
  "invalidArgument",
]);
const ATTEMPTS = 6;
const PATIENCE_MS = 4_000;
/** Of one who only reads: asks again rather than wait. */
const GLANCE_MS = 200;

export interface ClientWorld {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly swarm: Swarm;
  readonly hosts: () => readonly Host[];
  readonly observe: (observation: Observation) => void;
  readonly violated: (invariant: string, what: string) => void;
}

/** What all clients together were told. */
export class History {
  readonly byKey = new Map<string, HistoryCall[]>();
  readonly outcomes = new Map<string, number>();
  /** Writes under way: what has begun may take effect, even if nobody waits for its end. */
  readonly #open = new Map<string, { readonly key: string; readonly call: HistoryCall }>();
  /** The highest revision of the store that was acknowledged to anybody. */
  acknowledgedRevision = 0n;
  #points = 0;

  point(): number {
    this.#points += 1;
    return this.#points;
  }

  begin(key: string, call: HistoryCall): void {
    this.#open.set(call.who, { key, call });
  }

  /** Whatever this client had begun has come to an end, remembered or certain not to have happened. */
  end(who: string): void {
    this.#open.delete(who);
  }

  /** Takes in what is still under way, as calls of unknown outcome. */
  close(): void {
    for (const { key, call } of this.#open.values()) this.add(key, call);
    this.#open.clear();
  }

  add(key: string, call: HistoryCall): void {
    const calls = this.byKey.get(key);
    if (calls === undefined) this.byKey.set(key, [call]);
    else calls.push(call);
  }

  count(what: string): void {
    this.outcomes.set(what, (this.outcomes.get(what) ?? 0) + 1);
  }
}

type Answer<T> =
  | { readonly kind: "answered"; readonly value: T }
  | { readonly kind: "refused"; readonly code: RaftNodeErrorCode; readonly leaderHint: bigint | undefined }
  /** Nobody knows what became of it. */
  | { readonly kind: "lost" };

/** All that the clients of a seed work on. */
export function registersOf({ keys, transactions }: Swarm): readonly Register[] {
  const single = Array.from({ length: keys }, (_, at) => singleKey(`key-${at}`));
  return transactions ? [...single, pairOfKeys("pair")] : single;
}

export class Client {
  readonly #registers: readonly Register[];
  readonly #known = new Map<string, Held>();
  readonly #clientId: Uint8Array;
  #leader: bigint | undefined;
  #writes = 0;
  #knownRevision = 0n;
  #stopped = false;
  /** Ended calls, for the test that time is not wasted. */
  served = 0;

  constructor(
    private readonly name: string,
    private readonly world: ClientWorld,
    private readonly history: History,
    private readonly random: Random,
  ) {
    this.#registers = registersOf(world.swarm);
    this.#clientId = Uint8Array.from({ length: 16 }, () => random.int(0, 256));
  }

  stop(): void {
    this.#stopped = true;
  }

  async work(): Promise<void> {
    const { swarm, scheduler } = this.world;
    while (!this.#stopped) {
      await scheduler.sleep(this.random.between(0, 2 * swarm.thinkMs));
      if (this.#stopped) return;
      await this.callOnce();
    }
  }

  async callOnce(): Promise<boolean> {
    const register = this.random.pick(this.#registers);
    const draw = this.random.float();
    if (draw < 0.4) return this.read(register, this.random.chance(0.5));
    const known = this.#known.get(register.name);
    if (draw < 0.75 || known === undefined) return this.write(register, this.random.chance(0.15));
    return this.write(register, this.random.chance(0.1), known);
  }

  /** Reads again and again from whoever takes itself for the leader, and never waits for long. */
  async watch(): Promise<void> {
    const { scheduler, hosts } = this.world;
    while (!this.#stopped) {
      await scheduler.sleep(this.random.between(5, 60));
      const leading = hosts().filter(({ up }) => up?.node.isLeader === true);
      if (this.#stopped || leading.length === 0) continue;
      await this.#readFrom(
        this.random.pick(leading),
        this.random.pick(this.#registers),
        this.random.chance(0.5),
        GLANCE_MS,
      );
    }
  }

  async read(register: Register, lease: boolean): Promise<boolean> {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const host = this.#choose();
      if (host === undefined) return false;
      const deadlineMs = this.random.skewed(100, 2_500);
      if (await this.#readFrom(host, register, lease, deadlineMs)) return true;
      await this.world.scheduler.sleep(this.random.between(5, 100));
    }
    return false;
  }

  async #readFrom(host: Host, register: Register, lease: boolean, deadlineMs: number): Promise<boolean> {
    const begun = this.history.point();
    const floor = this.history.acknowledgedRevision;
    const patienceMs = deadlineMs === GLANCE_MS ? GLANCE_MS : PATIENCE_MS;
    const answer = await this.#call(host, patienceMs, async ({ node, machine, run }) => {
      await node.readIndex({ deadlineMs, lease });
      const { revision } = machine;
      this.world.observe({ type: "read", run, revision, floor });
      return { held: register.read((key) => machine.get(key)), revision };
    });
    if (answer.kind !== "answered") {
      this.history.count(answer.kind === "refused" ? `read ${answer.code}` : "read lost");
      return false;
    }
    const { held, revision } = answer.value;
    this.#note(register.name, held, revision);
    this.#remember(register.name, { kind: "read", saw: held.value }, begun, true);
    return true;
  }

  /** With `expected`: compare-and-set. */
  async write(register: Register, deletes: boolean, expected?: Held): Promise<boolean> {
    const { scheduler, swarm } = this.world;
    this.#writes += 1;
    const sequence = BigInt(this.#writes);
    const value = deletes ? undefined : `${this.name}-${sequence}`;
    const inSession = swarm.sessions && this.random.chance(0.7);
    const writeId = inSession ? this.#writeId(sequence) : undefined;
    const data = register.encode({ value, writeId, ifModRevision: expected?.modRevision });
    const begun = this.history.point();
    const operation = operationOf(value, expected, undefined);
    this.history.begin(register.name, { operation, begun, ended: undefined, who: this.name });
    let mayBeApplied = false;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const host = this.#choose();
      if (host === undefined) break;
      const answer = await this.#call(host, PATIENCE_MS, async (up) => {
        const deadlineMs = this.random.skewed(100, 2_500);
        const applied = await up.node.propose(data, { deadlineMs, essential: deletes });
        this.#acknowledged(up, applied.index);
        return applied;
      });
      if (answer.kind === "answered") {
        return this.#finish(
          register,
          value,
          expected,
          begun,
          answer.value.result,
          mayBeApplied && !inSession,
        );
      }
      if (answer.kind === "refused" && CERTAIN.has(answer.code)) {
        this.history.count(answer.code);
        this.#leader = answer.leaderHint;
      } else {
        this.history.count(answer.kind === "refused" ? answer.code : "lost");
        mayBeApplied = true;
        this.#leader = undefined;
        if (!inSession) break;
      }
      await scheduler.sleep(this.random.between(5, 150));
    }
    this.history.end(this.name);
    if (mayBeApplied) this.#remember(register.name, operation, begun, false);
    return false;
  }

  #finish(
    register: Register,
    value: string | undefined,
    expected: Held | undefined,
    begun: number,
    encoded: Uint8Array,
    ambiguous: boolean,
  ): boolean {
    this.history.end(this.name);
    const result = decodeResult(encoded);
    if (result.rejected !== "") this.world.violated("commands make sense", result.rejected);
    const { name } = register;
    if (ambiguous || result.sessionProblem !== SessionProblem.NONE) {
      this.history.count("session problem");
      this.#remember(name, operationOf(value, expected, undefined), begun, false);
      return false;
    }
    const { refused, modRevision, found } = register.outcomeOf(result);
    if (result.revision > this.history.acknowledgedRevision)
      this.history.acknowledgedRevision = result.revision;
    if (found !== undefined) this.#remember(name, { kind: "read", saw: found.value }, begun, true);
    else this.#remember(name, operationOf(value, expected, !refused), begun, true);
    if (refused) this.#known.delete(name);
    else this.#note(name, { value, modRevision: value === undefined ? 0n : modRevision }, result.revision);
    return true;
  }

  #acknowledged({ run, node, log }: Up, index: bigint): void {
    const { storage } = log;
    // What is compacted was durable long ago.
    if (index < storage.firstIndex()) return;
    const term = storage.term(index);
    const holders = this.world.hosts().filter((host) => host.holds(index, term));
    this.world.observe({
      type: "acknowledged",
      run,
      index,
      membership: node.membership,
      holders: new Set(holders.map(({ id }) => id)),
    });
  }

  #writeId(sequence: bigint): WriteId {
    return create(WriteIdSchema, {
      clientId: this.#clientId,
      sequence,
      finishedBelow: sequence,
      knownRevision: this.#knownRevision,
    });
  }

  #note(key: string, known: Held, revision: bigint): void {
    this.#known.set(key, known);
    if (revision > this.#knownRevision) this.#knownRevision = revision;
  }

  #remember(key: string, operation: Operation, begun: number, hasEnded: boolean): void {
    const ended = hasEnded ? this.history.point() : undefined;
    this.history.add(key, { operation, begun, ended, who: this.name });
    if (hasEnded) this.served += 1;
    this.history.count(hasEnded ? operation.kind : "unknown");
  }

  #choose(): Host | undefined {
    const hosts = this.world.hosts().filter(({ state }) => state === "up");
    const known = hosts.find(({ id }) => id === this.#leader);
    if (known !== undefined && this.random.chance(0.8)) return known;
    const leading = hosts.filter(({ up }) => up?.node.isLeader === true);
    if (leading.length > 0 && this.random.chance(0.6)) return this.random.pick(leading);
    return hosts.length === 0 ? undefined : this.random.pick(hosts);
  }

  /** The call runs in the node's process, and so does not get through to one that is frozen. */
  #call<T>(host: Host, patienceMs: number, run: (up: Up) => Promise<T>): Promise<Answer<T>> {
    const { scheduler } = this.world;
    return new Promise((resolve) => {
      let open = true;
      const answer = (result: Answer<T>): void => {
        if (!open) return;
        open = false;
        deadline.cancelled = true;
        scheduler.after(this.random.between(0.1, 2), undefined, () => resolve(result));
      };
      const deadline = scheduler.after(patienceMs, undefined, () => {
        open = false;
        resolve({ kind: "lost" });
      });
      const { up } = host;
      if (up === undefined) return answer({ kind: "refused", code: "notLeader", leaderHint: undefined });
      scheduler.after(this.random.between(0.1, 2), up.process, () => {
        run(up).then(
          (value) => answer({ kind: "answered", value }),
          (error: unknown) => {
            if (error instanceof RaftNodeError) {
              answer({ kind: "refused", code: error.code, leaderHint: error.leaderHint });
            } else if (error instanceof TornTransaction) {
              this.world.violated("transactions are whole", error.message);
            } else if (host.disk.hasFailed) {
              answer({ kind: "lost" });
            } else {
              const words = error instanceof Error ? (error.stack ?? error.message) : String(error);
              this.world.violated("calls end with errors that say what happened", words);
            }
          },
        );
      });
    });
  }
}

function operationOf(
  value: string | undefined,
  expected: Held | undefined,
  succeeded: boolean | undefined,
): Operation {
  if (expected === undefined) return { kind: "write", value };
  return { kind: "compareAndSet", expected: expected.value, value, succeeded };
}
