// Runs etcd/raft's own BenchmarkProposal3Nodes, fetched as a Go module into a temporary folder, if Go is installed.

import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const MODULE = "go.etcd.io/raft/v3";
const VERSION = "v3.7.0";
const TIMEOUT_MS = 180_000;

/** Microseconds for each proposal; undefined, with a note why, where it cannot be run. */
export async function benchmarkEtcdRaft(note: (text: string) => void): Promise<number | undefined> {
  const cwd = await mkdtemp(join(tmpdir(), "raft-node-etcd-"));
  const go = (...args: string[]) =>
    run("go", args, { cwd, timeout: TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 });
  try {
    await writeFile(join(cwd, "go.mod"), "module bench\n\ngo 1.24\n");
    await go("get", "-t", `${MODULE}/rafttest@${VERSION}`);
    const { stdout } = await go(
      "test",
      `${MODULE}/rafttest`,
      "-run=^$",
      "-bench=BenchmarkProposal3Nodes",
      "-benchtime=2s",
    );
    const [, nanoseconds] = /([\d.]+) ns\/op/.exec(stdout) ?? [];
    if (nanoseconds === undefined) throw new Error("its output names no ns/op");
    return Number(nanoseconds) / 1_000;
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    const why = missing ? "Go is not installed" : String(error).split("\n")[0];
    note(`etcd/raft was not measured: ${why}`);
    return undefined;
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}
