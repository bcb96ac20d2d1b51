// One run: start five nodes, let clients work while things break, mend everything, wait until all members are of one mind,
// and judge what the clients were told.

import { mkdirSync } from "node:fs";
import { PlacementClient } from "../../src/placement/client.js";
import { Random } from "../simulation/random.js";
import { Cluster } from "./cluster.js";
import { type FinalState, type Judgement, judge } from "./judge.js";
import type { Member } from "./member.js";
import { Nemesis } from "./nemesis.js";
import { Record } from "./record.js";
import { GrpcRegister, JsonRegister, type RegisterClient, SdkRegister } from "./register-client.js";
import {
  Keys,
  moveMoney,
  openAccounts,
  type WorkerContext,
  watchEverything,
  workOnRegisters,
} from "./workers.js";

export interface RunOptions {
  readonly seed: number;
  /** While things break; starting, mending and judging come on top. */
  readonly seconds: number;
  readonly size: number;
  /** Of the built command. */
  readonly main: string;
  /** For data and logs; the caller removes it. */
  readonly dir: string;
  readonly tell: (line: string) => void;
}

export interface Report extends Judgement {
  readonly seed: number;
  readonly seconds: number;
  readonly faults: Readonly<{ [fault: string]: number }>;
  readonly counts: Readonly<{ [what: string]: number }>;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

const CALL_DEADLINE_MS = 3_000;
const CONVERGE_MS = 60_000;
const RETRY_MS = 250;

export async function runOnce(options: RunOptions): Promise<Report> {
  const { seed, seconds, size, dir, tell } = options;
  const random = new Random(seed);
  mkdirSync(dir, { recursive: true });
  const record = new Record();
  const faults = new Map<string, number>();
  const cluster = new Cluster({ main: options.main, dir, random: random.fork("cluster") });
  const clients: PlacementClient[] = [];
  const newClient = (deadlineMs = CALL_DEADLINE_MS): PlacementClient => {
    const client = cluster.client(deadlineMs);
    clients.push(client);
    return client;
  };
  const workOver = new AbortController();
  const watchOver = new AbortController();
  const beganMs = performance.now();
  try {
    await cluster.start(size);
    await openAccounts(newClient());
    tell(`five nodes serve; breaking things for ${seconds} s, seed ${seed}`);

    const contextFor = (name: string, stop: AbortSignal): WorkerContext => ({
      record,
      random: random.fork(name),
      stop,
      pause: (ms) => pause(ms, stop),
    });
    const keys = new Keys();
    const watchers = [1, 2, 3].map((number) => {
      const name = `watcher-${number}`;
      return watchEverything(name, newClient(), contextFor(name, watchOver.signal));
    });
    const work = [
      ...registersOf(cluster, random.fork("nodes to ask"), newClient).map((client, at) =>
        workOnRegisters(`client-${at + 1}`, client, keys, contextFor(`client-${at}`, workOver.signal)),
      ),
      ...[1, 2].map((number) => moveMoney(newClient(), contextFor(`bank-${number}`, workOver.signal))),
    ];
    const nemesisOver = AbortSignal.timeout(seconds * 1_000);
    const nemesis = new Nemesis({
      cluster,
      client: newClient(),
      random: random.fork("nemesis"),
      stop: nemesisOver,
      pause: (ms) => pause(ms, nemesisOver),
      tell: (fault, details) => {
        faults.set(fault, (faults.get(fault) ?? 0) + 1);
        const at = ((performance.now() - beganMs) / 1_000).toFixed(1);
        tell(`${at.padStart(7)} s  ${fault}${details === "" ? "" : `: ${details}`}`);
      },
    });
    await nemesis.run();
    tell("everything is mended; waiting until all members are of one mind");
    await cluster.listening();
    // Work goes on for a moment in a cluster that is whole: it has to serve.
    await serveAgain(newClient(), record);
    workOver.abort();
    await Promise.all(work);
    const finals = await finalStates(cluster, record);
    await watchersArrive(record, finals);
    watchOver.abort();
    await Promise.all(watchers);
    const ends = cluster.all.filter(({ unforeseenEnds }) => unforeseenEnds > 0);
    for (const { id, logFile } of ends) record.problem(`node ${id} ended by itself: see ${logFile}`);
    tell("judging");
    return {
      ...judge(record, finals),
      seed,
      seconds,
      faults: sorted(faults),
      counts: sorted(record.counts),
      latencyMs: percentiles(record.latenciesMs),
    };
  } finally {
    workOver.abort();
    watchOver.abort();
    await Promise.all(clients.map((client) => client.close()));
    await cluster.close();
  }
}

function registersOf(
  cluster: Cluster,
  random: Random,
  newClient: () => PlacementClient,
): readonly RegisterClient[] {
  // Mostly the same node, so that what it believes is put to the test; another one when that has gone.
  const sticky = (portOf: (member: Member) => number) => {
    let member: Member | undefined;
    return () => {
      if (member === undefined || !cluster.members.has(member.id) || random.chance(0.02)) {
        member = random.pick(cluster.all);
      }
      return portOf(member);
    };
  };
  return [
    new SdkRegister(newClient()),
    new SdkRegister(newClient()),
    new GrpcRegister(
      sticky(({ listenPort }) => listenPort),
      CALL_DEADLINE_MS,
    ),
    new GrpcRegister(
      sticky(({ listenPort }) => listenPort),
      CALL_DEADLINE_MS,
    ),
    new JsonRegister(
      sticky(({ httpPort }) => httpPort),
      CALL_DEADLINE_MS,
    ),
    new JsonRegister(
      sticky(({ httpPort }) => httpPort),
      CALL_DEADLINE_MS,
    ),
  ];
}

/** A write and a read, within the bound. */
async function serveAgain(client: PlacementClient, record: Record): Promise<void> {
  try {
    await client.set("end/served", "yes", { deadlineMs: CONVERGE_MS });
    await client.get("end/served", { deadlineMs: CONVERGE_MS });
  } catch (error) {
    record.problem(`${CONVERGE_MS} ms after everything was mended, nothing is served: ${String(error)}`);
  }
}

/** What each member has, asked of its own state, once all have reached the same revision. */
async function finalStates(cluster: Cluster, record: Record): Promise<readonly FinalState[]> {
  const deadline = AbortSignal.timeout(CONVERGE_MS);
  for (;;) {
    try {
      const states = await Promise.all((await currentMembers(cluster)).map(stateOf));
      const revisions = new Set(states.map(({ revision }) => revision));
      if (revisions.size === 1 || deadline.aborted) return states;
    } catch (error) {
      if (deadline.aborted) {
        record.problem(`a member cannot be asked in the end: ${String(error)}`);
        return [];
      }
    }
    await pause(RETRY_MS, deadline);
  }
}

/** The addresses of the members, as the one knows them that has applied most; a node that waits to be added knows nobody. */
async function currentMembers(cluster: Cluster): Promise<readonly string[]> {
  const views = await Promise.all(
    cluster.running.map(async ({ address }) => {
      const client = new PlacementClient({ endpoints: [address], deadlineMs: CALL_DEADLINE_MS });
      return client.members().finally(() => client.close());
    }),
  );
  const [newest] = views.toSorted((a, b) => Number(b.index - a.index));
  return (newest?.members ?? []).map(({ address }) => address);
}

async function stateOf(address: string): Promise<FinalState> {
  const client = new PlacementClient({ endpoints: [address], deadlineMs: CALL_DEADLINE_MS });
  try {
    // One page holds what a run writes: more would be another endpoint's business.
    const { entries, revision } = await client.range(
      { prefix: "" },
      { consistency: "serializable", limit: 10_000 },
    );
    return {
      member: address,
      revision,
      entries: new Map(entries.map(({ key, value }) => [key, Buffer.from(value).toString("utf8")])),
    };
  } finally {
    await client.close();
  }
}

async function watchersArrive(record: Record, finals: readonly FinalState[]): Promise<void> {
  const deadline = AbortSignal.timeout(CONVERGE_MS);
  const last = finals[0]?.revision ?? 0n;
  const late = () => record.watches.filter(({ upTo }) => upTo < last);
  while (late().length > 0 && !deadline.aborted) await pause(RETRY_MS, deadline);
  for (const { name, upTo } of late()) {
    record.problem(`${name} was told nothing beyond revision ${upTo}; the store is at ${last}`);
  }
}

/** Never rejects: whoever waits looks at the signal. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
  });
}

function sorted(counts: ReadonlyMap<string, number>): Readonly<{ [name: string]: number }> {
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function percentiles(values: readonly number[]): Report["latencyMs"] {
  const ordered = [...values].sort((a, b) => a - b);
  const at = (share: number) => Math.round(ordered[Math.floor(share * (ordered.length - 1))] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
