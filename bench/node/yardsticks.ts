// What this machine can do at best, measured in the same run: a bare fsync, and a bare HTTP/2 call to another process.

import { spawn } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { type ClientHttp2Session, connect, createServer } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuSecondsOf } from "../process-usage.js";
import type { Report } from "../report.js";
import { quantile } from "./load.js";

const FSYNCS = 200;
const FSYNC_BYTES = 4_096;
const CALL_BYTES = 300;
const CALL_SECONDS = 1;

export async function yardsticks(report: Report): Promise<void> {
  await bareFsync(report);
  await bareHttp2(report, [1, 64]);
}

async function bareFsync(report: Report): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "raft-node-bench-"));
  const file = await open(join(dir, "file"), "w");
  try {
    const page = new Uint8Array(FSYNC_BYTES).fill(1);
    const tookMs = new Float64Array(FSYNCS);
    for (let nth = 0; nth < FSYNCS; nth += 1) {
      const startedMs = performance.now();
      await file.write(page, 0, page.length, (nth % 64) * page.length);
      await file.datasync();
      tookMs[nth] = performance.now() - startedMs;
    }
    tookMs.sort();
    report("bare-fsync-p50", quantile(tookMs, 0.5), "ms", { bytes: FSYNC_BYTES });
    report("bare-fsync-p99", quantile(tookMs, 0.99), "ms", { bytes: FSYNC_BYTES });
  } finally {
    await file.close();
    await rm(dir, { recursive: true, force: true });
  }
}

/** Answers every call with an empty body. Runs in a process of its own. */
export function runEchoServer(): void {
  const server = createServer();
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.resume();
    stream.on("end", () => stream.respond({ ":status": 200 }, { endStream: true }));
  });
  server.listen({ host: "127.0.0.1", port: 0 }, () => {
    const address = server.address();
    if (address !== null && typeof address !== "string") process.send?.(address.port);
  });
  process.on("disconnect", () => process.exit(0));
}

export async function bareHttp2(report: Report, depths: readonly number[]): Promise<void> {
  const program = `const { runEchoServer } = await import(${JSON.stringify(import.meta.url)}); runEchoServer();`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  try {
    const port = await new Promise<number>((resolve, reject) => {
      child.once("message", (message) => resolve(Number(message)));
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the HTTP/2 server ended with ${code}`)));
    });
    const session = connect(`http://127.0.0.1:${port}`);
    for (const inFlight of depths) {
      const cpuBefore = cpuSecondsOf(child.pid);
      const endsAtMs = performance.now() + CALL_SECONDS * 1_000;
      const all = await Promise.all(
        Array.from({ length: inFlight }, async () => {
          const tookMs: number[] = [];
          while (performance.now() < endsAtMs) {
            const startedMs = performance.now();
            await roundTrip(session);
            tookMs.push(performance.now() - startedMs);
          }
          return tookMs;
        }),
      );
      const tookMs = Float64Array.from(all.flat()).sort();
      report("bare-http2-calls-per-second", tookMs.length / CALL_SECONDS, "1/s", { inFlight });
      const cpuSeconds = cpuSecondsOf(child.pid) - cpuBefore;
      const perThousand = (cpuSeconds * 1_000) / tookMs.length;
      report("bare-http2-server-cpu-seconds-per-1000-calls", perThousand, "s", { inFlight });
      report("bare-http2-p50", quantile(tookMs, 0.5), "ms", { inFlight });
      report("bare-http2-p99", quantile(tookMs, 0.99), "ms", { inFlight });
    }
    await new Promise<void>((resolve) => session.close(() => resolve()));
  } finally {
    child.kill("SIGKILL");
  }
}

function roundTrip(session: ClientHttp2Session): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": "/" });
    stream.on("error", reject);
    stream.on("close", () => resolve());
    stream.resume();
    stream.end(new Uint8Array(CALL_BYTES));
  });
}
