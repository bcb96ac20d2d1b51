// Makes a store, blank or from a snapshot's body, in a file beside the present one, then lets it take its place by one
// rename: whenever the process dies, either the old file or the complete new one is found.

import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type KvStoreState, KvStoreStateSchema } from "../../gen/records_pb.js";
import { syncFolder } from "../../storage/storage-files.js";
import { KvSnapshotInvalid, readSnapshot } from "./kv-snapshot-format.js";
import { KvStore, type StoredRecord } from "./kv-store.js";

const BATCH_BYTES = 4 * 1024 * 1024;

export class KvStoreBuilder {
  private constructor(
    readonly path: string,
    readonly store: KvStore,
  ) {}

  /** Removes what was left behind half done. */
  static async discardLeftovers(dir: string): Promise<void> {
    await removeStore(incomingPath(dir));
  }

  static async begin(dir: string): Promise<KvStoreBuilder> {
    await KvStoreBuilder.discardLeftovers(dir);
    const path = incomingPath(dir);
    return new KvStoreBuilder(path, await KvStore.create(path));
  }

  /** Leaves the store empty. */
  async fillBlank(): Promise<void> {
    await this.store.writeStored([], [], create(KvStoreStateSchema));
    await this.store.close();
  }

  /**
   * Reads the whole body into the new store and makes it durable.
   * @throws KvSnapshotInvalid when the body is not a complete snapshot as of `appliedIndex`.
   */
  async fill(appliedIndex: bigint, body: AsyncIterable<Uint8Array>): Promise<void> {
    let state: KvStoreState | undefined;
    let batch: StoredRecord[] = [];
    let sessions: StoredRecord[] = [];
    let batchBytes = 0;
    const unfinished = create(KvStoreStateSchema);
    for await (const part of readSnapshot(body)) {
      if (part.kind === "header") {
        state = part.state;
        if (state.appliedIndex === appliedIndex) continue;
        throw new KvSnapshotInvalid(`the snapshot is as of ${state.appliedIndex}, expected ${appliedIndex}`);
      }
      if (part.kind === "record") batch.push(part.record);
      else sessions.push(part.record);
      batchBytes += part.record.key.length + part.record.sealed.length;
      if (batchBytes < BATCH_BYTES) continue;
      await this.store.writeStored(batch, sessions, unfinished);
      batch = [];
      sessions = [];
      batchBytes = 0;
    }
    if (state === undefined) throw new KvSnapshotInvalid("the snapshot is empty");
    await this.store.writeStored(batch, sessions, state);
    await this.store.close();
  }

  async abandon(): Promise<void> {
    await this.store.close();
    await removeStore(this.path);
  }

  /** Both stores must be closed. */
  async takePlaceOf(path: string): Promise<void> {
    await rename(this.path, path);
    await removeStore(this.path);
    await syncFolder(dirname(path));
  }
}

function incomingPath(dir: string): string {
  return join(dir, "incoming.mdb");
}

async function removeStore(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(`${path}-lock`, { force: true });
}
