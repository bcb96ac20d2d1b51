// Where the next page of a range begins, as the opaque bytes that the client sends back.

import { RaftNodeError } from "../../node/errors.js";
import type { KeySpan } from "./kv-key-range.js";
import { MAX_KEY_BYTES } from "./kv-limits.js";

export interface PageToken {
  /** What all pages are of. */
  readonly revision: bigint;
  /** The last key of the page before. */
  readonly after: string;
}

const FORMAT = 1;
const HEAD_BYTES = 9;

export function encodePageToken({ revision, after }: PageToken): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(FORMAT, 0);
  head.writeBigUInt64BE(revision, 1);
  return Buffer.concat([head, Buffer.from(after)]);
}

/** @throws RaftNodeError `invalidArgument` for bytes that no page came with */
export function decodePageToken(bytes: Uint8Array): PageToken {
  const token = Buffer.from(bytes);
  const isSound = token.length > HEAD_BYTES && token.length <= HEAD_BYTES + MAX_KEY_BYTES;
  if (!isSound || token.readUInt8(0) !== FORMAT) {
    throw new RaftNodeError("invalidArgument", "page_token is not one that a page of a range came with");
  }
  return { revision: token.readBigUInt64BE(1), after: token.subarray(HEAD_BYTES).toString("utf8") };
}

/** What is left of a span behind a key. */
export function spanAfter(span: KeySpan, after: string): KeySpan {
  const last = Buffer.from(after);
  const start = Buffer.concat([last, Buffer.alloc(1)]);
  return {
    start: Buffer.compare(start, span.start) > 0 ? start : span.start,
    end: span.end,
    includes: (key) => span.includes(key) && Buffer.compare(Buffer.from(key), last) > 0,
  };
}
