// What the store remembers of each client, so that a write that is sent several times takes effect once. Part of the
// replicated state: every node must remember and forget the same, so time is counted in log entries, not by a clock.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  KvResultSchema,
  type KvSession,
  KvSessionSchema,
  type KvStoreState,
  SessionProblem,
} from "../../gen/records_pb.js";
import type { WriteId } from "../../gen/service_pb.js";
import {
  CLIENT_ID_BYTES,
  MAX_KEPT_RESULT_BYTES,
  MAX_SESSION_BYTES,
  MAX_SESSION_IDLE_ENTRIES,
  MAX_SESSION_RESULTS,
  MAX_SESSIONS,
} from "./kv-limits.js";

/** What an encoded session, and one of its results, occupy in memory beside their bytes. Estimates. */
const BYTES_PER_SESSION = 512;
const BYTES_PER_RESULT = 96;

interface Session {
  readonly clientId: Uint8Array;
  readonly results: Map<bigint, Uint8Array>;
  finishedBelow: bigint;
  lastIndex: bigint;
  lastRevision: bigint;
  bytes: number;
}

export interface KvSessionLimits {
  readonly maxSessions: number;
  readonly maxBytes: number;
  readonly maxIdleEntries: number;
  readonly maxResults: number;
}

const LIMITS: KvSessionLimits = {
  maxSessions: MAX_SESSIONS,
  maxBytes: MAX_SESSION_BYTES,
  maxIdleEntries: MAX_SESSION_IDLE_ENTRIES,
  maxResults: MAX_SESSION_RESULTS,
};

/** A session as it is written to disk; `undefined` deletes. */
export interface SessionChange {
  readonly clientId: Uint8Array;
  readonly body: Uint8Array | undefined;
}

/** - `new`: apply it. - `known`: it was; this is its result. - `expired`: nobody can tell any more. */
export type Admission =
  | { readonly kind: "new" }
  | { readonly kind: "known"; readonly result: Uint8Array }
  | { readonly kind: "expired" };

/** What is wrong with a write id, as a sentence; undefined when nothing is. */
export function writeIdProblem({ clientId, sequence, finishedBelow }: WriteId): string | undefined {
  if (clientId.length !== CLIENT_ID_BYTES) {
    return `client_id has ${clientId.length} bytes: give ${CLIENT_ID_BYTES} random ones, the same for all writes of a client`;
  }
  if (sequence === 0n) return "sequence is missing: number the writes of a client from 1 on";
  if (finishedBelow > sequence) return "finished_below is above the sequence of this very write";
  return undefined;
}

export class KvSessions {
  readonly #limits: KvSessionLimits;
  /** By client id in hex, the one that was used longest ago first. */
  #sessions = new Map<string, Session>();
  #dirty = new Set<string>();
  #bytes = 0;
  #forgottenRevision = 0n;

  /** @param limits other than those that every node must share: for tests. */
  constructor(limits: Partial<KvSessionLimits> = {}) {
    this.#limits = { ...LIMITS, ...limits };
  }

  get count(): number {
    return this.#sessions.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The highest revision at which a session that is forgotten was used. */
  get forgottenRevision(): bigint {
    return this.#forgottenRevision;
  }

  /** Takes over what was on disk. @throws what `fromBinary` throws */
  load(state: KvStoreState, bodies: Iterable<Uint8Array>): void {
    const found = [...bodies].map((body) => fromSession(fromBinary(KvSessionSchema, body)));
    found.sort((a, b) => (a.lastIndex < b.lastIndex ? -1 : 1));
    this.#sessions = new Map(found.map((session) => [hex(session.clientId), session]));
    this.#dirty = new Set();
    this.#bytes = found.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#forgottenRevision = state.forgottenRevision;
  }

  admit(id: WriteId): Admission {
    const session = this.#sessions.get(hex(id.clientId));
    if (session === undefined) {
      // A session that was forgotten was last used at `forgottenRevision` at the latest. What this client sent after
      // it had seen that revision cannot be among what was forgotten.
      return { kind: id.knownRevision < this.#forgottenRevision ? "expired" : "new" };
    }
    const result = session.results.get(id.sequence);
    if (result !== undefined) return { kind: "known", result };
    return { kind: id.sequence < session.finishedBelow ? "expired" : "new" };
  }

  /** Remembers what a command that was `new` came to. */
  record(id: WriteId, index: bigint, revision: bigint, result: Uint8Array): void {
    const name = hex(id.clientId);
    const known = this.#sessions.get(name);
    const session = known ?? newSession(Uint8Array.from(id.clientId));
    this.#bytes -= known?.bytes ?? 0;
    session.lastIndex = index;
    session.lastRevision = revision;
    this.#finish(session, id.finishedBelow);
    const kept = result.length <= MAX_KEPT_RESULT_BYTES ? result : answerLost(revision);
    session.results.set(id.sequence, kept);
    session.bytes += BYTES_PER_RESULT + kept.length;
    while (session.results.size > this.#limits.maxResults) this.#finish(session, lowest(session) + 1n);
    // Behind all others: it was used last.
    this.#sessions.delete(name);
    this.#sessions.set(name, session);
    this.#bytes += session.bytes;
    this.#dirty.add(name);
    const { maxSessions, maxBytes } = this.#limits;
    while (this.#sessions.size > 1 && (this.#sessions.size > maxSessions || this.#bytes > maxBytes)) {
      this.#forgetOldest();
    }
  }

  /** Forgets sessions that were not used for too long, as of this index of the log. Before every command. */
  expire(index: bigint): void {
    for (const { lastIndex } of this.#sessions.values()) {
      if (lastIndex + BigInt(this.#limits.maxIdleEntries) >= index) return;
      this.#forgetOldest();
    }
  }

  /** What changed since the last call. */
  takeDirty(): readonly SessionChange[] {
    const dirty = this.#dirty;
    this.#dirty = new Set();
    return [...dirty].map((name) => {
      const session = this.#sessions.get(name);
      return {
        clientId: Buffer.from(name, "hex"),
        body: session && toBinary(KvSessionSchema, toSession(session)),
      };
    });
  }

  #finish(session: Session, below: bigint): void {
    if (below <= session.finishedBelow) return;
    session.finishedBelow = below;
    for (const [sequence, result] of session.results) {
      if (sequence >= below) continue;
      session.results.delete(sequence);
      session.bytes -= BYTES_PER_RESULT + result.length;
    }
  }

  #forgetOldest(): void {
    for (const [name, session] of this.#sessions) {
      this.#sessions.delete(name);
      this.#dirty.add(name);
      this.#bytes -= session.bytes;
      if (session.lastRevision > this.#forgottenRevision) this.#forgottenRevision = session.lastRevision;
      return;
    }
  }
}

function newSession(clientId: Uint8Array): Session {
  return {
    clientId,
    results: new Map(),
    finishedBelow: 0n,
    lastIndex: 0n,
    lastRevision: 0n,
    bytes: BYTES_PER_SESSION,
  };
}

function fromSession(stored: KvSession): Session {
  const results = new Map(stored.results.map(({ sequence, result }) => [sequence, result]));
  const bytes = stored.results.reduce((sum, { result }) => sum + BYTES_PER_RESULT + result.length, 0);
  const { clientId, finishedBelow, lastIndex, lastRevision } = stored;
  return { clientId, results, finishedBelow, lastIndex, lastRevision, bytes: BYTES_PER_SESSION + bytes };
}

function toSession({ clientId, finishedBelow, lastIndex, lastRevision, results }: Session): KvSession {
  return create(KvSessionSchema, {
    clientId,
    finishedBelow,
    lastIndex,
    lastRevision,
    results: [...results].map(([sequence, result]) => ({ sequence, result })),
  });
}

function answerLost(revision: bigint): Uint8Array {
  const result = { revision, sessionProblem: SessionProblem.ANSWER_LOST };
  return toBinary(KvResultSchema, create(KvResultSchema, result));
}

function lowest({ results }: Session): bigint {
  let least: bigint | undefined;
  for (const sequence of results.keys()) if (least === undefined || sequence < least) least = sequence;
  return least ?? 0n;
}

function hex(clientId: Uint8Array): string {
  return Buffer.from(clientId.buffer, clientId.byteOffset, clientId.byteLength).toString("hex");
}
