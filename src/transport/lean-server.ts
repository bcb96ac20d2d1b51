// Unary calls straight on the HTTP/2 stream, in the Connect and the gRPC protocol: binary, uncompressed, of sound
// form. Whatever else arrives goes to connect-es, with the bytes read so far, so that the answers are the same.
// connect-es's own path costs several times the CPU of this one per call.

import {
  constants,
  Http2ServerRequest,
  Http2ServerResponse,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { create, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  codeToHttpStatus,
  errorToJsonBytes,
  parseTimeout as parseConnectTimeout,
} from "@connectrpc/connect/protocol-connect";
import { parseTimeout as parseGrpcTimeout, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import type { Logger } from "../node/ports.js";
import { connectionOf, connectionValues } from "./connection.js";
import { LeanContext, webHeaders } from "./lean-context.js";
import { type NodeHandler, serveUniversal } from "./request-handler.js";
import type { Routing, UnaryMethod } from "./routing.js";
import { describeError } from "./transport-errors.js";

export type StreamHandler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

export interface StreamHandlerOptions {
  readonly routing: Routing;
  readonly logger: Logger;
  /** Serves everything that is no lean call. */
  readonly otherwise: NodeHandler;
}

interface Call {
  readonly unary: UnaryMethod;
  readonly protocol: "connect" | "grpc";
  readonly deadlineMs: number | undefined;
}

const GRPC_PREFIX_BYTES = 5;
const DISCARD_MS = 2_000;

/** A listener for the `stream` event of an HTTP/2 server. */
export function streamHandler(options: StreamHandlerOptions): StreamHandler {
  const { routing, otherwise, logger } = options;
  return (stream, headers) => {
    // Kept for life: a stream without it ends the process when its client resets it.
    stream.on("error", (error) => logger.debug({ error: describeError(error) }, "an HTTP/2 stream failed"));
    const call = recognise(routing, headers);
    if (call === undefined) {
      stream.once("finish", () => discardRest(stream));
      otherwise(new Http2ServerRequest(stream, headers, {}, []), new Http2ServerResponse(stream));
      return;
    }
    readBody(stream, call.unary.readMaxBytes, (chunks, complete) => {
      const input = complete ? decodeInput(call, chunks) : undefined;
      if (input === undefined) replay(options, stream, headers, chunks);
      else void serve(options, call, input, stream, headers);
    });
  };
}

/** Undefined: not a call that this path answers. */
function recognise(routing: Routing, headers: IncomingHttpHeaders): Call | undefined {
  const unary = routing.unary.get(headers[":path"] ?? "");
  if (unary === undefined || headers[":method"] !== "POST") return undefined;
  switch (headers["content-type"]) {
    case "application/proto": {
      if (!isIdentity(headers["content-encoding"])) return undefined;
      const timeout = parseConnectTimeout(textOf(headers["connect-timeout-ms"]), Number.MAX_SAFE_INTEGER);
      if (timeout.error !== undefined) return undefined;
      return { unary, protocol: "connect", deadlineMs: timeout.timeoutMs };
    }
    case "application/grpc":
    case "application/grpc+proto": {
      if (!isIdentity(headers["grpc-encoding"])) return undefined;
      const timeout = parseGrpcTimeout(textOf(headers["grpc-timeout"]), Number.MAX_SAFE_INTEGER);
      if (timeout.error !== undefined) return undefined;
      return { unary, protocol: "grpc", deadlineMs: timeout.timeoutMs };
    }
    default:
      return undefined;
  }
}

function isIdentity(encoding: string | string[] | undefined): boolean {
  return encoding === undefined || encoding === "identity";
}

function textOf(header: string | string[] | undefined): string | null {
  return typeof header === "string" ? header : null;
}

/** Calls back once: with everything, or with what had arrived when it was too much. */
function readBody(
  stream: ServerHttp2Stream,
  maxBytes: number,
  done: (chunks: readonly Buffer[], complete: boolean) => void,
): void {
  const chunks: Buffer[] = [];
  let received = 0;
  const onData = (chunk: Buffer): void => {
    chunks.push(chunk);
    received += chunk.length;
    if (received <= maxBytes + GRPC_PREFIX_BYTES) return;
    stream.off("data", onData);
    stream.off("end", onEnd);
    stream.pause();
    done(chunks, false);
  };
  const onEnd = (): void => {
    // A stream that was reset ends too, but nobody waits for its answer.
    if (!stream.destroyed && !stream.aborted) done(chunks, true);
  };
  stream.on("data", onData);
  stream.on("end", onEnd);
}

/** Undefined: not of the sound form that this path reads. */
function decodeInput(
  call: Call,
  chunks: readonly Buffer[],
): MessageShape<UnaryMethod["method"]["input"]> | undefined {
  const [first] = chunks;
  let bytes = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
  if (call.protocol === "grpc") {
    const isOneMessage =
      bytes.length >= GRPC_PREFIX_BYTES &&
      bytes[0] === 0 &&
      bytes.readUInt32BE(1) === bytes.length - GRPC_PREFIX_BYTES;
    if (!isOneMessage) return undefined;
    bytes = bytes.subarray(GRPC_PREFIX_BYTES);
  }
  if (bytes.length > call.unary.readMaxBytes) return undefined;
  try {
    return fromBinary(call.unary.method.input, bytes);
  } catch {
    return undefined;
  }
}

/** Gives a call that began here to connect-es. */
function replay(
  { routing, logger, otherwise }: StreamHandlerOptions,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  chunks: readonly Buffer[],
): void {
  const response = new Http2ServerResponse(stream);
  stream.once("finish", () => discardRest(stream));
  const path = headers[":path"] ?? "";
  const handler = routing.handlers.get(path);
  const url = `${headers[":scheme"] ?? "http"}://${headers[":authority"] ?? ""}${path}`;
  if (handler === undefined || !URL.canParse(url)) {
    otherwise(new Http2ServerRequest(stream, headers, {}, []), response);
    return;
  }
  const closed = new AbortController();
  stream.once("close", () => closed.abort());
  serveUniversal(
    handler,
    {
      httpVersion: "2.0",
      method: "POST",
      url,
      header: webHeaders(headers),
      body: chunksThenRest(chunks, stream),
      signal: closed.signal,
      contextValues: connectionValues(stream.session ?? stream, () => stream.session?.socket),
    },
    response,
    logger,
  );
}

/** The answer is out; a client that still sends its body is let go on for a moment, so that it can read it. */
function discardRest(stream: ServerHttp2Stream): void {
  if (stream.readableEnded || stream.destroyed) return;
  // Node's request object would go on collecting.
  stream.removeAllListeners("data");
  stream.resume();
  const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), DISCARD_MS);
  stream.once("close", () => clearTimeout(timer));
}

async function* chunksThenRest(
  chunks: readonly Buffer[],
  stream: ServerHttp2Stream,
): AsyncGenerator<Uint8Array> {
  yield* chunks;
  if (!stream.readableEnded) yield* stream;
}

async function serve(
  { routing, logger }: StreamHandlerOptions,
  call: Call,
  input: MessageShape<UnaryMethod["method"]["input"]>,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
): Promise<void> {
  const { method, implementation, writeMaxBytes } = call.unary;
  const context = new LeanContext({
    method,
    protocolName: call.protocol,
    stream,
    headers,
    deadlineMs: call.deadlineMs,
    shutdownSignal: routing.shutdownSignal,
  });
  let body: Uint8Array | undefined;
  let error: ConnectError | undefined;
  try {
    routing.guard?.({
      method,
      connection: connectionOf(stream.session ?? stream, () => stream.session?.socket),
      authorization: headers.authorization,
      host: headers.host,
    });
    body = toBinary(method.output, create(method.output, await implementation(input, context)));
    if (body.length > writeMaxBytes) {
      throw new ConnectError(
        `message size ${body.length} is larger than configured writeMaxBytes ${writeMaxBytes}`,
        Code.ResourceExhausted,
      );
    }
  } catch (thrown) {
    body = undefined;
    // The words of an unexpected error may say more than a client should know.
    error = thrown instanceof ConnectError ? thrown : new ConnectError("internal error", Code.Internal);
    if (!(thrown instanceof ConnectError)) {
      logger.warn({ path: headers[":path"], error: describeError(thrown) }, "a handler failed unexpectedly");
    }
  }
  context.finish(error);
  if (stream.destroyed || stream.closed) return;
  try {
    if (call.protocol === "connect") answerConnect(stream, context, body, error);
    else answerGrpc(stream, context, body, error);
  } catch (thrown) {
    logger.warn({ path: headers[":path"], error: describeError(thrown) }, "a response could not be written");
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }
}

function answerConnect(
  stream: ServerHttp2Stream,
  context: LeanContext,
  output: Uint8Array | undefined,
  error: ConnectError | undefined,
): void {
  const body = error === undefined ? output : errorToJsonBytes(error, undefined);
  const headers: OutgoingHttpHeaders = {
    ...plainHeaders(context.headersSet),
    ...plainHeaders(error?.metadata),
    ...plainHeaders(context.trailersSet, "trailer-"),
    ":status": error === undefined ? 200 : codeToHttpStatus(error.code),
    "content-type": error === undefined ? "application/proto" : "application/json",
    "content-length": String(body?.length ?? 0),
  };
  stream.respond(headers);
  stream.end(body);
}

function answerGrpc(
  stream: ServerHttp2Stream,
  context: LeanContext,
  output: Uint8Array | undefined,
  error: ConnectError | undefined,
): void {
  const trailer = error === undefined ? undefined : setTrailerStatus(new Headers(context.trailersSet), error);
  const trailers = plainHeaders(trailer ?? context.trailersSet);
  if (error === undefined) trailers["grpc-status"] = "0";
  stream.once("wantTrailers", () => stream.sendTrailers(trailers));
  stream.respond(
    { ...plainHeaders(context.headersSet), ":status": 200, "content-type": "application/grpc+proto" },
    { waitForTrailers: true },
  );
  if (output === undefined) {
    stream.end();
    return;
  }
  const frame = Buffer.allocUnsafe(GRPC_PREFIX_BYTES + output.length);
  frame[0] = 0;
  frame.writeUInt32BE(output.length, 1);
  frame.set(output, GRPC_PREFIX_BYTES);
  stream.end(frame);
}

function plainHeaders(headers: Headers | undefined, prefix = ""): OutgoingHttpHeaders {
  const result: OutgoingHttpHeaders = {};
  headers?.forEach((value, name) => {
    result[`${prefix}${name}`] = value;
  });
  return result;
}
