// A client-streaming call of the Connect protocol, binary, straight on an HTTP/2 stream. Large pieces are written as they
// are: connect-node's client copies each of them twice, and that garbage, outside of V8's heap and collected late, is most
// of what the memory of a node that sends a snapshot would grow by.

import type { ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { endStreamFlag, endStreamFromJson } from "@connectrpc/connect/protocol-connect";
import { readAnswer, type StreamSource } from "./lean-client.js";

export interface LeanUpload {
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly maxResponseBytes: number;
  /** Ends the call; it throws the reason then. */
  readonly signal: AbortSignal;
}

/** One encoded message, in parts that stand behind each other on the wire. */
export type MessageParts = readonly Uint8Array[];

const PREFIX_BYTES = 5;
const CANCEL = 8;

/**
 * Sends messages, each when the one before it has left this process, and resolves with the answer. A peer that answers
 * early, which is how it refuses, gets no more of them.
 * @throws what the signal or the source of messages throws; TransportError; ConnectError when the peer answered with an
 *   error.
 */
export async function upload(
  source: StreamSource,
  { path, headers, maxResponseBytes, signal }: LeanUpload,
  messages: AsyncIterable<MessageParts>,
): Promise<Uint8Array> {
  signal.throwIfAborted();
  const stream = await source.request("POST", path, {
    ...headers,
    "content-type": "application/connect+proto",
    "connect-protocol-version": "1",
  });
  const abort = () => stream.close(CANCEL);
  // What happened is told by the answer that does not come.
  stream.on("error", () => undefined);
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    const answer = readAnswer(source, stream, maxResponseBytes);
    const body = await Promise.race([answer, sendAll(stream, messages).then(() => answer)]);
    return messageIn(body);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener("abort", abort);
    if (!stream.closed) stream.close(CANCEL);
  }
}

/** Resolves when all is written, or the stream has ended; rejects only with what the source throws. */
async function sendAll(stream: ClientHttp2Stream, messages: AsyncIterable<MessageParts>): Promise<void> {
  let written = (): void => {};
  stream.once("close", () => written());
  for await (const parts of messages) {
    if (stream.closed || stream.destroyed) return;
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(
      parts.reduce((bytes, part) => bytes + part.length, 0),
      1,
    );
    await new Promise<void>((resolve) => {
      written = resolve;
      stream.cork();
      stream.write(prefix);
      for (const [at, part] of parts.entries()) {
        if (at === parts.length - 1) stream.write(part, () => resolve());
        else stream.write(part);
      }
      stream.uncork();
    });
    if (stream.closed || stream.destroyed) return;
  }
  stream.end();
}

/** The one message of the answer. @throws ConnectError when the peer ended the call with an error */
function messageIn(body: Uint8Array): Uint8Array {
  let message: Uint8Array | undefined;
  for (let at = 0; at + PREFIX_BYTES <= body.length; ) {
    const flags = body[at] ?? 0;
    const end = at + PREFIX_BYTES + new DataView(body.buffer, body.byteOffset + at + 1, 4).getUint32(0);
    const content = body.subarray(at + PREFIX_BYTES, end);
    if (end > body.length) break;
    if ((flags & endStreamFlag) !== 0) {
      const { error } = endStreamFromJson(content);
      if (error !== undefined) throw error;
      if (message !== undefined) return message;
      break;
    }
    message = content;
    at = end;
  }
  throw new ConnectError("the peer's answer holds no message, or no end", Code.Internal);
}
