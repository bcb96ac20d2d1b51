// Numbers the writes of a client, so that the store applies each once, however often it is sent.

import { randomBytes } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type WriteId, WriteIdSchema } from "../gen/service_pb.js";

const CLIENT_ID_BYTES = 16;

export class ClientWrites {
  readonly #clientId = randomBytes(CLIENT_ID_BYTES);
  /** Begun and not ended, in order. */
  readonly #open = new Set<bigint>();
  #last = 0n;
  #knownRevision = 0n;

  /** The highest revision of the store that any answer has named; 0n: none did yet. */
  get knownRevision(): bigint {
    return this.#knownRevision;
  }

  learnRevision(revision: bigint): void {
    if (revision > this.#knownRevision) this.#knownRevision = revision;
  }

  /** For all attempts of one write. `end` must be called when it has ended, in any way. */
  begin(): { readonly writeId: WriteId; readonly end: () => void } {
    this.#last += 1n;
    const sequence = this.#last;
    this.#open.add(sequence);
    const writeId = create(WriteIdSchema, {
      clientId: this.#clientId,
      sequence,
      finishedBelow: this.#oldestOpen(sequence),
      knownRevision: this.#knownRevision,
    });
    return { writeId, end: () => this.#open.delete(sequence) };
  }

  #oldestOpen(otherwise: bigint): bigint {
    for (const sequence of this.#open) return sequence;
    return otherwise;
  }
}
