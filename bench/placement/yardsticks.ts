// What a placement center's writes stand on, measured in the same run: bare lmdb with as many puts waiting at once.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { open } from "lmdb";
import { percentileMs } from "../../src/cli/load/load.js";
import type { Report } from "../report.js";

/** Each put is awaited until it is on disk, as a write to the store is. */
export async function bareLmdbPuts(
  report: Report,
  depths: readonly number[],
  bytes: number,
  durationMs: number,
): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "placement-center-bench-"));
  const database = open<Buffer, string>({
    path: join(dir, "bare.mdb"),
    noSubdir: true,
    encoding: "binary",
    overlappingSync: false,
    eventTurnBatching: false,
    mapSize: 1024 ** 3,
  });
  try {
    for (const inFlight of depths) {
      const latencies: RecordableHistogram = createHistogram();
      const value = Buffer.alloc(bytes, 1);
      const startedMs = performance.now();
      const worker = async (): Promise<void> => {
        while (performance.now() - startedMs < durationMs) {
          const beganMs = performance.now();
          await database.put(`key-${Math.floor(Math.random() * 10_000)}`, value);
          latencies.record(Math.max(1, Math.round((performance.now() - beganMs) * 1_000)));
        }
      };
      await Promise.all(Array.from({ length: inFlight }, worker));
      const seconds = (performance.now() - startedMs) / 1_000;
      const params = { inFlight, bytes };
      report("bare-lmdb-put-ops-per-second", latencies.count / seconds, "1/s", params);
      report("bare-lmdb-put-p50", percentileMs(latencies, 50), "ms", params);
      report("bare-lmdb-put-p99", percentileMs(latencies, 99), "ms", params);
    }
  } finally {
    await database.close();
    await rm(dir, { recursive: true, force: true });
  }
}
