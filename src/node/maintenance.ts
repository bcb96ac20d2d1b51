// What an operator asks of one node, whoever leads: a snapshot of its state, and that its log be cut.

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
