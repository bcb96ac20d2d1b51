// Builds a store from a snapshot's body in a file beside the present one, then lets it take its place by one rename:
// whenever the process dies, either the old file or the complete new one is found.

import { closeSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type KvStoreState, KvStoreStateSchema } from "../../gen/records_pb.js";
import { KvSnapshotInvalid, readSnapshot } from "./kv-snapshot-format.js";
import { KvStore, type StoredRecord } from "./kv-store.js";

const BATCH_BYTES = 4 * 1024 * 1024;

export class KvRestore {
  private constructor(
    readonly path: string,
    readonly store: KvStore,
  ) {}

  /** Removes what an earlier, interrupted restore left behind. */
  static discardLeftovers(dir: string): void {
    removeStore(incomingPath(dir));
  }

  static async begin(dir: string): Promise<KvRestore> {
    KvRestore.discardLeftovers(dir);
    const path = incomingPath(dir);
    return new KvRestore(path, await KvStore.open(path));
  }

  /**
   * Reads the whole body into the new store and makes it durable.
   * @throws KvSnapshotInvalid when the body is not a complete snapshot as of `appliedIndex`.
   */
  async fill(appliedIndex: bigint, body: AsyncIterable<Uint8Array>): Promise<void> {
    let state: KvStoreState | undefined;
    let batch: StoredRecord[] = [];
    let batchBytes = 0;
    const unfinished = create(KvStoreStateSchema);
    for await (const part of readSnapshot(body)) {
      if (part.kind === "header") {
        state = part.state;
        if (state.appliedIndex === appliedIndex) continue;
        throw new KvSnapshotInvalid(`the snapshot is as of ${state.appliedIndex}, expected ${appliedIndex}`);
      }
      batch.push(part.record);
      batchBytes += part.record.key.length + part.record.sealed.length;
      if (batchBytes < BATCH_BYTES) continue;
      await this.store.writeStored(batch, unfinished);
      batch = [];
      batchBytes = 0;
    }
    if (state === undefined) throw new KvSnapshotInvalid("the snapshot is empty");
    await this.store.writeStored(batch, state);
    await this.store.close();
  }

  async abandon(): Promise<void> {
    await this.store.close();
    removeStore(this.path);
  }

  /** Both stores must be closed. */
  takePlaceOf(path: string): void {
    renameSync(this.path, path);
    removeStore(this.path);
    syncDirectory(dirname(path));
  }
}

function incomingPath(dir: string): string {
  return join(dir, "incoming.mdb");
}

function removeStore(path: string): void {
  rmSync(path, { force: true });
  rmSync(`${path}-lock`, { force: true });
}

/** A rename is durable only when the directory is. */
function syncDirectory(dir: string): void {
  const handle = openSync(dir, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
