// Snapshots of this node, for backups: what there is to say about one, and its body piece by piece.

import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { type SnapshotDescriptor, SnapshotDescriptorSchema } from "../gen/records_pb.js";
import {
  type DownloadSnapshotResponse,
  DownloadSnapshotResponseSchema,
  type SnapshotInfo,
  SnapshotInfoSchema,
} from "../gen/service_pb.js";
import type { CallOptions } from "../node/calls.js";
import { RaftNodeError } from "../node/errors.js";
import type { OpenSnapshot, OpenSnapshotOptions } from "../node/maintenance.js";
import { fromRecord } from "../node/membership.js";
import type { Snapshot } from "../node/ports.js";
import { membershipMessage } from "./membership-message.js";

/** What is asked of the node here; a RaftNode fits. */
export interface SnapshottedNode {
  readonly clusterId: string;
  takeSnapshot(options?: CallOptions): Promise<Snapshot>;
  openSnapshot(options?: OpenSnapshotOptions): Promise<OpenSnapshot>;
}

/** Of the body in one message: far below the limit of any listener, and few enough messages for a large body. */
const CHUNK_BYTES = 256 * 1024;
/** Each keeps a file on the disk that may be superseded, and a piece of it in memory. */
const MAX_DOWNLOADS = 4;
/** Many gigabytes take their time; the client's signal ends the waiting sooner. */
export const LONG_WORK_BUDGET = { defaultDeadlineMs: 10 * 60_000, maxDeadlineMs: 60 * 60_000 };

export function snapshotInfo(snapshot: Snapshot, clusterId: string): SnapshotInfo {
  const descriptor: SnapshotDescriptor = fromBinary(SnapshotDescriptorSchema, snapshot.data);
  const info: MessageInitShape<typeof SnapshotInfoSchema> = {
    index: snapshot.metadata?.index ?? 0n,
    term: snapshot.metadata?.term ?? 0n,
    sizeBytes: descriptor.sizeBytes,
    checksum: descriptor.crc32,
    clusterId,
  };
  const { membership } = descriptor;
  if (membership !== undefined) info.membership = membershipMessage(fromRecord(membership));
  return create(SnapshotInfoSchema, info);
}

export class SnapshotDownloads {
  #open = 0;

  constructor(private readonly node: SnapshottedNode) {}

  /**
   * First what the snapshot is, then its body in order. A piece is read when the one before it is on its way: whoever
   * takes them slowly costs one piece of memory.
   * @throws RaftNodeError `inboxFull` when too many are under way; StorageFault with the last piece of a body that is
   *   damaged.
   */
  async *download(take: boolean, signal: AbortSignal): AsyncGenerator<DownloadSnapshotResponse> {
    if (this.#open >= MAX_DOWNLOADS) {
      throw new RaftNodeError("inboxFull", `${MAX_DOWNLOADS} snapshots are being downloaded from this node`);
    }
    this.#open += 1;
    try {
      const deadlineMs = LONG_WORK_BUDGET.maxDeadlineMs;
      const { snapshot, body } = await this.node.openSnapshot({ take, signal, deadlineMs });
      try {
        const info = snapshotInfo(snapshot, this.node.clusterId);
        yield create(DownloadSnapshotResponseSchema, { part: { case: "snapshot", value: info } });
        for (let offset = 0; offset < body.sizeBytes && !signal.aborted; ) {
          const data = await body.read(offset, CHUNK_BYTES);
          const chunk = { offset: BigInt(offset), data };
          yield create(DownloadSnapshotResponseSchema, { part: { case: "chunk", value: chunk } });
          offset += data.length;
        }
      } finally {
        await body.close();
      }
    } finally {
      this.#open -= 1;
    }
  }
}
