// A unary call of the Connect protocol, binary, straight on an HTTP/2 stream. connect-node's client does the same
// at several times the CPU per call, which is most of what a small envelope costs.

import type { ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import type { Clock } from "../node/ports.js";
import { classifyReset, describeError, TransportError } from "./transport-errors.js";

export interface LeanCall {
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Uint8Array;
  readonly deadlineMs: number;
  readonly maxResponseBytes: number;
}

/** What a lean call needs of a session: a stream on it. */
export interface StreamSource {
  request(method: string, path: string, headers: OutgoingHttpHeaders): Promise<ClientHttp2Stream>;
  notifyResponseByteRead(stream: ClientHttp2Stream): void;
}

/**
 * Sends a body, resolves with the body of the answer.
 * @throws TransportError; ConnectError when the peer answered with an error.
 */
export function callUnary(source: StreamSource, clock: Clock, call: LeanCall): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let open: ClientHttp2Stream | undefined;
    let settled = false;
    const cancelDeadline = clock.after(call.deadlineMs, () => {
      fail(new TransportError("deadline", `no answer within ${call.deadlineMs} ms`));
    });
    const settle = (): boolean => {
      if (settled) return false;
      settled = true;
      cancelDeadline();
      return true;
    };
    const fail = (error: unknown): void => {
      if (!settle()) return;
      reject(error);
      open?.close(8);
    };
    source
      .request("POST", call.path, {
        ...call.headers,
        "content-type": "application/proto",
        "connect-protocol-version": "1",
        "connect-timeout-ms": String(call.deadlineMs),
      })
      .then((stream) => {
        open = stream;
        stream.on("error", (error) => fail(error));
        if (settled) {
          stream.close(8);
          return;
        }
        readAnswer(source, stream, call.maxResponseBytes).then((body) => {
          if (settle()) resolve(body);
        }, fail);
        stream.end(call.body);
      }, fail);
  });
}

/** Resolves with the body of an answer with status 200. @throws as `callUnary` */
export function readAnswer(
  source: StreamSource,
  stream: ClientHttp2Stream,
  maxResponseBytes: number,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let status = 0;
    let complete = false;
    let received = 0;
    const chunks: Buffer[] = [];
    stream.on("response", (headers) => {
      status = headers[":status"] ?? 0;
      source.notifyResponseByteRead(stream);
    });
    stream.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (received > maxResponseBytes) {
        reject(new TransportError("tooLarge", `the answer exceeds ${maxResponseBytes} bytes`));
        return;
      }
      chunks.push(chunk);
    });
    stream.on("end", () => {
      complete = true;
      const body = chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks);
      // `end` also comes when the session died before any answer.
      if (status === 200) resolve(body);
      else if (status !== 0) reject(errorOfAnswer(status, body));
    });
    stream.on("close", () => {
      if (complete && status !== 0) return;
      const failure = classifyReset(stream.rstCode);
      reject(new TransportError(failure, `the call ended without an answer (HTTP/2 code ${stream.rstCode})`));
    });
  });
}

function errorOfAnswer(status: number, body: Uint8Array): unknown {
  const fallback = new ConnectError(
    `the peer answered HTTP ${status}: is its address that of a raft-node --listen?`,
    Code.Unknown,
  );
  try {
    return errorFromJsonBytes(body, undefined, fallback);
  } catch (error) {
    return error instanceof ConnectError
      ? error
      : new TransportError("rejected", describeError(error), error);
  }
}
