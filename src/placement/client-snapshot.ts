// The body of a node's snapshot, as a stream whose every piece is checked for its place, and the whole for its checksum.

import { createClient, type Transport } from "@connectrpc/connect";
import { type DownloadSnapshotResponse, RaftAdminService, type SnapshotInfo } from "../gen/service_pb.js";
import { crc32 } from "../storage/checksum.js";

/** A node that has said nothing for so long is given up; taking a snapshot of a large state may take a while. */
const SILENCE_LIMIT_MS = 10 * 60_000;

/** The stream is not what it announced: cut off, out of order, or damaged on its way. */
export class SnapshotStreamInvalid extends Error {
  override readonly name = "SnapshotStreamInvalid";
}

/** First what the snapshot is, then its body in order. */
export type SnapshotPart =
  | { readonly kind: "info"; readonly info: SnapshotInfo }
  | { readonly kind: "body"; readonly data: Uint8Array };

/**
 * Ends normally only when the body was complete and had its checksum.
 * @param take have the node take a new snapshot first.
 * @throws SnapshotStreamInvalid; ConnectError
 */
export async function* downloadSnapshot(
  transport: Transport,
  take: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<SnapshotPart> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted === true) abort();
  let timer = setTimeout(abort, SILENCE_LIMIT_MS);
  try {
    // A large body takes its time: 0 stands for no deadline.
    const call = { signal: controller.signal, timeoutMs: 0 };
    const body = new BodyCheck();
    for await (const response of createClient(RaftAdminService, transport).downloadSnapshot({ take }, call)) {
      // The time that the caller takes is not the node's silence.
      clearTimeout(timer);
      yield body.take(response);
      timer = setTimeout(abort, SILENCE_LIMIT_MS);
    }
    body.requireComplete();
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    // A stream that its caller left in the middle would stay open.
    controller.abort();
  }
}

class BodyCheck {
  #info: SnapshotInfo | undefined;
  #received = 0n;
  #crc = 0;

  take({ part }: DownloadSnapshotResponse): SnapshotPart {
    if (part.case === "snapshot" && this.#info === undefined) {
      this.#info = part.value;
      return { kind: "info", info: part.value };
    }
    if (part.case !== "chunk" || this.#info === undefined || part.value.offset !== this.#received) {
      throw new SnapshotStreamInvalid("the node sent the parts of its snapshot out of order");
    }
    const { data } = part.value;
    this.#received += BigInt(data.length);
    this.#crc = crc32(data, this.#crc);
    return { kind: "body", data };
  }

  requireComplete(): void {
    if (this.#info === undefined) throw new SnapshotStreamInvalid("the node sent no snapshot");
    const { sizeBytes, checksum } = this.#info;
    if (this.#received !== sizeBytes) {
      throw new SnapshotStreamInvalid(`the node sent ${this.#received} bytes of ${sizeBytes}`);
    }
    if (this.#crc !== checksum) throw new SnapshotStreamInvalid("the snapshot was damaged on its way");
  }
}
