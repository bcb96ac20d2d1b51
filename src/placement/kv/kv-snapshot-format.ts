// The body of a snapshot: frames, each of one kind byte, payload length, CRC-32 of the payload, payload.
//
//   header   KvSnapshotHeader
//   session  16 bytes client id, the session as it is stored (sealed); by client id; since format version 2
//   record   2 bytes key length, key, the record as it is stored (sealed with its own checksum); in key order
//   trailer  KvSnapshotTrailer; without it the body is incomplete
//
// The same state gives the same bytes on every node.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { KvSnapshotHeaderSchema, KvSnapshotTrailerSchema, type KvStoreState } from "../../gen/records_pb.js";
import type { SnapshotSink } from "../../node/ports.js";
import { crc32 } from "../../storage/checksum.js";
import { CLIENT_ID_BYTES, MAX_KEY_BYTES } from "./kv-limits.js";
import { openRecord } from "./kv-record-codec.js";
import { type KvPin, type StoredRecord, sessionKey } from "./kv-store.js";

const FORMAT_VERSION = 2;
const OLDEST_FORMAT_VERSION = 1;
const HEADER = 1;
const RECORD = 2;
const TRAILER = 3;
const SESSION = 4;
const FRAME_HEAD_BYTES = 9;
const KEY_LENGTH_BYTES = 2;
/** More than any record: a length beyond it is damage, not something to wait for. */
const MAX_FRAME_BYTES = 256 * 1024 * 1024;
const PAGE_BYTES = 512 * 1024;

/** A snapshot's body that cannot be restored: damaged, cut off, or of another version. */
export class KvSnapshotInvalid extends Error {
  override readonly name = "KvSnapshotInvalid";
}

/** Writes what `pin` holds. Memory: about one page of records, or one record if it is larger. */
export async function writeSnapshot(pin: KvPin, sink: SnapshotSink): Promise<void> {
  const { state } = pin;
  const header = create(KvSnapshotHeaderSchema, { formatVersion: FORMAT_VERSION, state });
  await sink(frame(HEADER, toBinary(KvSnapshotHeaderSchema, header)));
  const sessions = pin.sessions();
  const sessionCount = BigInt(sessions.length);
  for (const { key, sealed } of sessions) await sink(frame(SESSION, Buffer.concat([key, sealed])));
  let recordCount = 0n;
  let page = pin.page(undefined, PAGE_BYTES);
  for (let last = page.at(-1); last !== undefined; last = page.at(-1)) {
    await sink(Buffer.concat(page.map(recordFrame)));
    recordCount += BigInt(page.length);
    page = pin.page(last.key, PAGE_BYTES);
  }
  if (recordCount !== state.recordCount || sessionCount !== state.sessionCount) {
    throw new KvSnapshotInvalid(
      `the store should hold ${state.recordCount} records and ${state.sessionCount} sessions, and gave ${recordCount} and ${sessionCount}`,
    );
  }
  const trailer = create(KvSnapshotTrailerSchema, { recordCount, sessionCount });
  await sink(frame(TRAILER, toBinary(KvSnapshotTrailerSchema, trailer)));
}

/** What a body holds, frame by frame. */
export type KvSnapshotPart =
  | { readonly kind: "header"; readonly state: KvStoreState }
  | { readonly kind: "session"; readonly record: StoredRecord }
  | { readonly kind: "record"; readonly record: StoredRecord };

/**
 * Reads a body, however it is cut into chunks. Ends normally only when header, every record and trailer were there.
 * @throws KvSnapshotInvalid, StorageFault
 */
export async function* readSnapshot(body: AsyncIterable<Uint8Array>): AsyncGenerator<KvSnapshotPart> {
  let state: KvStoreState | undefined;
  let recordCount = 0n;
  let sessionCount = 0n;
  let lastKey: Uint8Array = Buffer.alloc(0);
  let lastClientId: Uint8Array = Buffer.alloc(0);
  let trailer = false;
  for await (const { kind, payload } of frames(body)) {
    if (trailer) throw new KvSnapshotInvalid("the snapshot goes on behind its trailer");
    if ((kind === HEADER) !== (state === undefined)) {
      throw new KvSnapshotInvalid("the snapshot must have one header, at its beginning");
    }
    if (kind === HEADER) {
      state = readHeader(payload);
      yield { kind: "header", state };
    } else if (kind === SESSION) {
      const record = readSession(payload);
      if (recordCount > 0n || Buffer.compare(lastClientId, record.key) >= 0) {
        throw new KvSnapshotInvalid("the snapshot's sessions are not in order, before its records");
      }
      lastClientId = record.key;
      sessionCount += 1n;
      yield { kind: "session", record };
    } else if (kind === RECORD) {
      const record = readRecord(payload);
      if (Buffer.compare(lastKey, record.key) >= 0) {
        throw new KvSnapshotInvalid("the snapshot's records are not in key order");
      }
      lastKey = record.key;
      recordCount += 1n;
      yield { kind: "record", record };
    } else if (kind === TRAILER) {
      trailer = true;
      const announced = fromBinary(KvSnapshotTrailerSchema, payload);
      checkCount("records", announced.recordCount, recordCount, state?.recordCount);
      checkCount("sessions", announced.sessionCount, sessionCount, state?.sessionCount);
    } else {
      throw new KvSnapshotInvalid(
        `the snapshot holds a frame of unknown kind ${kind}: written by a newer version?`,
      );
    }
  }
  if (!trailer) throw new KvSnapshotInvalid("the snapshot ends before its trailer");
}

function readHeader(payload: Buffer): KvStoreState {
  const { formatVersion, state } = fromBinary(KvSnapshotHeaderSchema, payload);
  const isKnown = formatVersion >= OLDEST_FORMAT_VERSION && formatVersion <= FORMAT_VERSION;
  if (!isKnown || state === undefined) {
    throw new KvSnapshotInvalid(
      `the snapshot has format version ${formatVersion}, this program reads ${OLDEST_FORMAT_VERSION} to ${FORMAT_VERSION}`,
    );
  }
  return state;
}

function readRecord(payload: Buffer): StoredRecord {
  const keyBytes = payload.length < KEY_LENGTH_BYTES ? 0 : payload.readUInt16BE(0);
  const key = payload.subarray(KEY_LENGTH_BYTES, KEY_LENGTH_BYTES + keyBytes);
  if (key.length === 0 || key.length !== keyBytes || keyBytes > MAX_KEY_BYTES) {
    throw new KvSnapshotInvalid("the snapshot holds a record without a proper key");
  }
  const sealed = payload.subarray(KEY_LENGTH_BYTES + keyBytes);
  openRecord("the snapshot", key, sealed);
  return { key, sealed };
}

function readSession(payload: Buffer): StoredRecord {
  if (payload.length <= CLIENT_ID_BYTES) {
    throw new KvSnapshotInvalid("the snapshot holds a session without a proper client id");
  }
  const key = payload.subarray(0, CLIENT_ID_BYTES);
  const sealed = payload.subarray(CLIENT_ID_BYTES);
  openRecord("the snapshot", sessionKey(key), sealed);
  return { key, sealed };
}

function checkCount(what: string, announced: bigint, found: bigint, expected: bigint | undefined): void {
  if (announced !== found || expected !== found) {
    throw new KvSnapshotInvalid(`the snapshot announces ${announced} ${what} and holds ${found}`);
  }
}

function recordFrame({ key, sealed }: StoredRecord): Buffer {
  const keyLength = Buffer.alloc(KEY_LENGTH_BYTES);
  keyLength.writeUInt16BE(key.length);
  return frame(RECORD, Buffer.concat([keyLength, key, sealed]));
}

function frame(kind: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEAD_BYTES + payload.length);
  bytes.writeUInt8(kind, 0);
  bytes.writeUInt32BE(payload.length, 1);
  bytes.writeUInt32BE(crc32(payload), 5);
  bytes.set(payload, FRAME_HEAD_BYTES);
  return bytes;
}

async function* frames(
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ readonly kind: number; readonly payload: Buffer }> {
  let parts: Uint8Array[] = [];
  let available = 0;
  let needed = FRAME_HEAD_BYTES;
  for await (const chunk of body) {
    parts.push(chunk);
    available += chunk.length;
    // Joined only when a whole frame is there, so that small chunks of a large record are copied once.
    if (available < needed) continue;
    let bytes = Buffer.concat(parts);
    for (;;) {
      needed = FRAME_HEAD_BYTES;
      if (bytes.length < needed) break;
      const length = bytes.readUInt32BE(1);
      if (length > MAX_FRAME_BYTES)
        throw new KvSnapshotInvalid("the snapshot is damaged: a frame is too long");
      needed += length;
      if (bytes.length < needed) break;
      const payload = bytes.subarray(FRAME_HEAD_BYTES, needed);
      if (crc32(payload) !== bytes.readUInt32BE(5)) {
        throw new KvSnapshotInvalid("the snapshot is damaged: a frame fails its checksum");
      }
      yield { kind: bytes.readUInt8(0), payload };
      bytes = bytes.subarray(needed);
    }
    parts = [bytes];
    available = bytes.length;
  }
  if (available > 0) throw new KvSnapshotInvalid("the snapshot ends in the middle of a frame");
}
