// The work that goes on while things break: registers that are read, written, deleted and compared and set; accounts
// between which money is moved; watchers that are told of every change.

import type { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";
import type { Operation } from "../simulation/linearizability.js";
import type { Random } from "../simulation/random.js";
import type { Record, SeenChange, WatchRecord } from "./record.js";
import { conclusionFrom, type Known, type RegisterClient, reasonFrom } from "./register-client.js";

/** A key is left for a fresh one after so many calls, so that its history can be searched. */
const CALLS_PER_KEY = 150;
const KEYS_AT_ONCE = 4;

export const ACCOUNTS = ["account/a", "account/b", "account/c", "account/d", "account/e"] as const;
export const MONEY_PER_ACCOUNT = 100;

/** The keys in use, shared by all register clients. */
export class Keys {
  readonly #calls = Array.from({ length: KEYS_AT_ONCE }, () => 0);
  readonly #generations = Array.from({ length: KEYS_AT_ONCE }, () => 0);

  next(random: Random): string {
    const at = random.int(0, KEYS_AT_ONCE);
    const calls = (this.#calls[at] ?? 0) + 1;
    const isWorn = calls > CALLS_PER_KEY;
    this.#calls[at] = isWorn ? 1 : calls;
    if (isWorn) this.#generations[at] = (this.#generations[at] ?? 0) + 1;
    return `register/${at}/${this.#generations[at]}`;
  }
}

export interface WorkerContext {
  readonly record: Record;
  readonly random: Random;
  readonly stop: AbortSignal;
  /** Resolves after a while, sooner when the work is over. */
  readonly pause: (ms: number) => Promise<void>;
}

export async function workOnRegisters(
  name: string,
  client: RegisterClient,
  keys: Keys,
  { record, random, stop, pause }: WorkerContext,
): Promise<void> {
  const known = new Map<string, Known>();
  let writes = 0;

  const read = async (key: string): Promise<void> => {
    const begun = record.point();
    const answer = await client.read(key, random.chance(0.4));
    const operation: Operation = { kind: "read", saw: answer.value };
    record.call(key, { operation, begun, ended: record.point(), who: name });
    known.set(key, answer);
    record.count(`${client.kind} read`);
  };

  const write = async (key: string): Promise<void> => {
    writes += 1;
    const value = random.chance(0.15) ? undefined : `${name}-${writes}`;
    const before = random.chance(0.4) ? known.get(key) : undefined;
    const begun = record.point();
    const operation = (succeeded: boolean | undefined): Operation =>
      before === undefined
        ? { kind: "write", value }
        : { kind: "compareAndSet", expected: before.value, value, succeeded };
    try {
      const written = await client.write(key, value, before?.modRevision);
      record.call(key, { operation: operation(!written.refused), begun, ended: record.point(), who: name });
      record.count(`${client.kind} ${written.refused ? "refused" : "write"}`);
      if (written.refused) known.delete(key);
      else known.set(key, { value, modRevision: written.modRevision });
      if (!written.refused && value !== undefined) {
        record.acknowledged.push({ key, value, revision: written.revision });
      }
    } catch (error) {
      known.delete(key);
      if (conclusionFrom(error) === "unknown") {
        record.call(key, { operation: operation(undefined), begun, ended: undefined, who: name });
      }
      throw error;
    }
  };

  while (!stop.aborted) {
    const key = keys.next(random);
    const beganMs = performance.now();
    try {
      await (random.chance(0.4) ? read(key) : write(key));
      record.latenciesMs.push(performance.now() - beganMs);
    } catch (error) {
      record.count(`${client.kind} ${conclusionFrom(error)}: ${reasonFrom(error)}`);
      await pause(random.between(20, 200));
    }
    await pause(random.between(2, 30));
  }
}

export async function openAccounts(client: PlacementClient): Promise<void> {
  const success = ACCOUNTS.map((key) => ({ kind: "set", key, value: String(MONEY_PER_ACCOUNT) }) as const);
  await client.txn({ success }, { deadlineMs: 30_000 });
}

/** Every look at all accounts sees all the money; a transfer that anything else got in between of is done over. */
export async function moveMoney(
  client: PlacementClient,
  { record, random, stop, pause }: WorkerContext,
): Promise<void> {
  while (!stop.aborted) {
    try {
      const { entries } = await client.range({ prefix: "account/" });
      const balances = entries.map(({ value }) => Number(Buffer.from(value).toString("utf8")));
      const total = balances.reduce((sum, balance) => sum + balance, 0);
      record.count("accounts read");
      if (total !== ACCOUNTS.length * MONEY_PER_ACCOUNT || entries.length !== ACCOUNTS.length) {
        record.problem(`the accounts hold ${balances.join(" + ")} = ${total}`);
      }
      const [from, to] = random.shuffled(entries);
      if (from === undefined || to === undefined) continue;
      const amount = random.int(1, 20);
      const moved = [
        { entry: from, by: -amount },
        { entry: to, by: amount },
      ];
      const outcome = await client.txn({
        compare: moved.map(({ entry }) => ({ key: entry.key, modRevision: entry.modRevision })),
        success: moved.map(({ entry, by }) => ({
          kind: "set",
          key: entry.key,
          value: String(Number(Buffer.from(entry.value).toString("utf8")) + by),
        })),
      });
      record.count(outcome.succeeded ? "transfers" : "transfers that lost a race");
    } catch (error) {
      record.count(`accounts: ${reasonFrom(error)}`);
      await pause(random.between(20, 200));
    }
    await pause(random.between(5, 60));
  }
}

/** Takes down every change, from the first; resumes behind the gap when it is told that some are kept no more. */
export async function watchEverything(
  name: string,
  client: PlacementClient,
  { record, stop, pause }: WorkerContext,
): Promise<void> {
  const watch: WatchRecord = { name, byRevision: new Map(), upTo: 0n, gaps: [] };
  record.watches.push(watch);
  while (!stop.aborted) {
    try {
      const updates = client.watch(
        { prefix: "" },
        { fromRevision: watch.upTo + 1n, progressIntervalMs: 1_000, signal: stop },
      );
      for await (const { revision, changes } of updates) {
        for (const change of changes) {
          const seen = seenChange(change);
          if (seen.revision <= watch.upTo) {
            record.problem(`${name} was told of revision ${seen.revision} behind ${watch.upTo}`);
          }
          const others = watch.byRevision.get(seen.revision) ?? [];
          watch.byRevision.set(seen.revision, [...others, { key: seen.key, value: seen.value }]);
        }
        if (revision < watch.upTo) record.problem(`${name} went back from ${watch.upTo} to ${revision}`);
        watch.upTo = revision;
      }
    } catch (error) {
      record.count(`watch: ${reasonFrom(error)}`);
      if (error instanceof PlacementError && error.reason === "compacted") await jumpAhead(watch, client);
      await pause(100);
    }
  }
}

async function jumpAhead(watch: WatchRecord, client: PlacementClient): Promise<void> {
  const { revision } = await client.range({ prefix: "" }, { limit: 1 }).catch(() => ({ revision: 0n }));
  if (revision <= watch.upTo) return;
  watch.gaps.push({ after: watch.upTo, until: revision });
  watch.upTo = revision;
}

type Told = Awaited<ReturnType<ReturnType<PlacementClient["watch"]>["next"]>>["value"]["changes"][number];

function seenChange(change: Told): SeenChange & { readonly revision: bigint } {
  if (change.kind === "delete") {
    return { key: change.key, value: undefined, revision: change.modRevision };
  }
  const { key, value, modRevision } = change.entry;
  return { key, value: Buffer.from(value).toString("utf8"), revision: modRevision };
}
