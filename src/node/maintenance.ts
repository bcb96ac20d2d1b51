// What an operator asks of one node, whoever leads: a snapshot of its state, and that its log be cut.

import type { LogIndex } from "../core/types.js";
import type { CallOptions } from "./calls.js";
import { RaftNodeError } from "./errors.js";
import type { Snapshot, SnapshotReader } from "./ports.js";
import type { Runtime } from "./runtime.js";
import { openBody } from "./snapshotting.js";

/** A snapshot and its body, which stays on the disk until the reader is closed. */
export interface OpenSnapshot {
  readonly snapshot: Snapshot;
  readonly body: SnapshotReader;
}

export interface OpenSnapshotOptions extends CallOptions {
  /** Make a new one first. Default: the newest that there is, or a new one when there is none. */
  readonly take?: boolean | undefined;
}

export function takeSnapshot(runtime: Runtime, options: CallOptions | undefined): Promise<Snapshot> {
  if (runtime.options.stateMachine.appliedIndex === 0n) {
    throw new RaftNodeError(
      "readDropped",
      "this node holds no state yet, it waits for a cluster: ask a member",
    );
  }
  return waitFor(runtime, options, () => runtime.snapshotting.take(), "the snapshot is made all the same");
}

export async function openSnapshot(runtime: Runtime, options: OpenSnapshotOptions): Promise<OpenSnapshot> {
  const { snapshots } = runtime.options;
  const latest = options.take === true ? undefined : snapshots.latest();
  const snapshot = latest ?? (await takeSnapshot(runtime, options));
  return { snapshot, body: await openBody(snapshot, snapshots) };
}

export interface CompactLogOptions extends CallOptions {
  /** Cut the log up to this entry, at most. Default: as far as it may be cut. */
  readonly upTo?: LogIndex | undefined;
  /** Also write the log's file anew without its free pages, if that can be done now. Default false. */
  readonly file?: boolean | undefined;
}

export interface CompactedLog {
  /** The first entry that the log still holds. */
  readonly firstIndex: LogIndex;
  /** The size of the log's file, and what of it is free for entries to come. 0 of a log without a file. */
  readonly fileBytes: number;
  readonly freeBytes: number;
}

export async function compactLog(runtime: Runtime, options: CompactLogOptions): Promise<CompactedLog> {
  const { log } = runtime.options;
  const work = async () => {
    await runtime.snapshotting.compact(options.upTo);
    if (options.file === true) await log.compactFile?.();
  };
  await waitFor(runtime, options, work, "what was begun goes on");
  const { fileBytes, freeBytes } = log.stats?.() ?? { fileBytes: 0, freeBytes: 0 };
  return { firstIndex: log.storage.firstIndex(), fileBytes, freeBytes };
}

/** For work that is not begun again and not given up because somebody stops waiting for it. */
function waitFor<T>(
  runtime: Runtime,
  options: CallOptions | undefined,
  work: () => Promise<T>,
  fate: string,
): Promise<T> {
  const call = runtime.calls.open<T>("wait", options, {
    expired: () => new RaftNodeError("deadlineExceeded", `the deadline passed; ${fate}`),
    aborted: () => new RaftNodeError("aborted", `the signal fired; ${fate}`),
  });
  work().then(
    (result) => call.resolve(result),
    (error: unknown) => call.reject(error instanceof Error ? error : new Error(String(error))),
  );
  return call.promise;
}
