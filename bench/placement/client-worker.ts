// Clients in threads of their own, so that neither the benchmark's main thread nor one client's event loop is what is
// measured. Each thread has one PlacementClient.

import type { RecordableHistogram } from "node:perf_hooks";
import { parentPort, Worker, workerData } from "node:worker_threads";
import { newLatencies, runLoad } from "../../src/cli/load/load.js";
import { loadKey, type OperationKind } from "../../src/cli/load/operations.js";
import { PlacementClient } from "../../src/placement/client.js";

interface WorkerSettings {
  readonly endpoints: readonly string[];
  /** Any endpoint is as good as another one: each thread keeps to one of them. */
  readonly spread: boolean;
  readonly nth: number;
}

export type Order =
  | {
      readonly what: "load";
      readonly kind: OperationKind;
      readonly inFlight: number;
      readonly durationMs: number;
      readonly keys: number;
      readonly valueBytes: number;
    }
  | {
      readonly what: "fill";
      readonly first: number;
      readonly end: number;
      readonly inFlight: number;
      readonly perTxn: number;
      readonly valueBytes: number;
    };

export interface Outcome {
  readonly seconds: number;
  readonly latencies: RecordableHistogram;
  readonly failures: readonly (readonly [string, number])[];
  /** How busy this thread was, from 0 to 1. */
  readonly busy: number;
}

const PREFIX = "bench/";
const FILL_DEADLINE_MS = 120_000;

/** What a thread of this bundle runs. */
export function runClientWorker(): void {
  const { endpoints, spread, nth }: WorkerSettings = workerData;
  const own = endpoints[nth % endpoints.length] ?? "";
  const client = new PlacementClient({ endpoints: spread ? [own] : endpoints });
  parentPort?.on("message", (order: Order) => {
    const before = performance.eventLoopUtilization();
    void carryOut(client, order).then((outcome) => {
      const { utilization } = performance.eventLoopUtilization(before);
      parentPort?.postMessage({ ...outcome, busy: utilization } satisfies Outcome);
    });
  });
}

async function carryOut(client: PlacementClient, order: Order): Promise<Omit<Outcome, "busy">> {
  if (order.what === "fill") return fill(client, order);
  const { kind, keys, valueBytes, inFlight, durationMs } = order;
  const value = randomBytesOf(valueBytes);
  const target = { client, prefix: PREFIX, keys, value, random: Math.random };
  const { seconds, kinds } = await runLoad({ ...target, next: () => kind, inFlight, durationMs });
  const result = kinds.get(kind);
  return {
    seconds,
    latencies: result?.latencies ?? newLatencies(),
    failures: [...(result?.failures ?? [])],
  };
}

async function fill(
  client: PlacementClient,
  order: Extract<Order, { what: "fill" }>,
): Promise<Omit<Outcome, "busy">> {
  const startedMs = performance.now();
  const latencies = newLatencies();
  let next = order.first;
  const worker = async (): Promise<void> => {
    while (next < order.end) {
      const from = next;
      next = Math.min(order.end, from + order.perTxn);
      const success = Array.from({ length: next - from }, (_, more) => ({
        kind: "set" as const,
        key: loadKey(PREFIX, from + more),
        value: randomBytesOf(order.valueBytes),
      }));
      const beganMs = performance.now();
      await client.txn({ success }, { deadlineMs: FILL_DEADLINE_MS });
      latencies.record(Math.max(1, Math.round((performance.now() - beganMs) * 1_000)));
    }
  };
  await Promise.all(Array.from({ length: order.inFlight }, worker));
  return { seconds: (performance.now() - startedMs) / 1_000, latencies, failures: [] };
}

/** Not the same in every record, and not worth a system call each. */
function randomBytesOf(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = Math.random() * 256;
  return bytes;
}

/** Some threads with clients of the same cluster. */
export class ClientThreads {
  readonly #workers: readonly Worker[];

  constructor(count: number, endpoints: readonly string[], spread: boolean) {
    const program = `import(${JSON.stringify(import.meta.url)}).then(({ runClientWorker }) => runClientWorker());`;
    this.#workers = Array.from({ length: count }, (_, nth) => {
      const settings: WorkerSettings = { endpoints, spread, nth };
      return new Worker(program, { eval: true, workerData: settings });
    });
  }

  get count(): number {
    return this.#workers.length;
  }

  /** One order for each thread, in parallel. */
  run(orders: readonly Order[]): Promise<Outcome[]> {
    return Promise.all(
      orders.map((order, nth) => {
        const worker = this.#workers[nth];
        if (worker === undefined) throw new RangeError("more orders than threads");
        return new Promise<Outcome>((resolve, reject) => {
          const end = () => {
            worker.off("message", onMessage);
            worker.off("error", onError);
          };
          const onMessage = (outcome: Outcome) => {
            end();
            resolve(outcome);
          };
          const onError = (error: unknown) => {
            end();
            reject(error);
          };
          worker.on("message", onMessage);
          worker.on("error", onError);
          worker.postMessage(order);
        });
      }),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}
