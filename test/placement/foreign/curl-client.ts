// JSON over HTTP/1.1: by curl, and by Node's own HTTP client with the same bytes, for machines without curl.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  create,
  type DescMessage,
  fromJsonString,
  type MessageShape,
  toJsonString,
} from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { codeFromHttpStatus, errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import {
  bearerHeader,
  type ForeignCall,
  type ForeignClient,
  refusalOf,
  type Target,
} from "./foreign-client.js";

export const HAS_CURL = spawnSync("curl", ["--version"]).status === 0;

const FRAME_PREFIX_BYTES = 5;
const END_OF_STREAM = 2;

/** Head and body of an answer, as they arrive. */
type Answer = AsyncIterable<Buffer>;
type Post = (url: string, headers: Readonly<Record<string, string>>, body: Uint8Array) => Answer;

export function curlClient(target: Target): ForeignClient {
  const folder = mkdtempSync(join(tmpdir(), "raft-node-curl-"));
  return jsonClient(target, withCurl(folder, target.tls), async () =>
    rmSync(folder, { recursive: true, force: true }),
  );
}

export function httpClient(target: Target): ForeignClient {
  return jsonClient(target, withNode(target.tls), async () => {});
}

function jsonClient({ http, tls }: Target, post: Post, close: () => Promise<void>): ForeignClient {
  const base = `${tls === undefined ? "http" : "https"}://${http}`;
  const urlOf = (method: { name: string; parent: { typeName: string } }) =>
    `${base}/${method.parent.typeName}/${method.name}`;
  return {
    unary: async (method, request, call = {}) => {
      const body = toJsonString(method.input, create(method.input, request));
      const headers = { "content-type": "application/json", ...headersOf(call) };
      const text = Buffer.concat(await all(post(urlOf(method), headers, Buffer.from(body))));
      const { status, rest } = splitHead(text);
      if (status === 200) return fromJsonString(method.output, rest.toString());
      throw refusalOf(
        errorFromJsonBytes(rest, undefined, new ConnectError(rest.toString(), codeFromHttpStatus(status))),
      );
    },
    stream: async function* (method, request, call = {}) {
      const body = frame(toJsonString(method.input, create(method.input, request)));
      const headers = { "content-type": "application/connect+json", ...headersOf(call) };
      yield* readFrames(post(urlOf(method), headers, body), method.output);
    },
    close,
  };
}

function headersOf(call: ForeignCall): Record<string, string> {
  const { deadlineMs } = call;
  return {
    ...bearerHeader(call),
    ...(deadlineMs === undefined ? {} : { "connect-timeout-ms": String(deadlineMs) }),
  };
}

function withCurl(folder: string, tls: Target["tls"]): Post {
  const files: string[] = [];
  for (const [flag, text] of [
    ["--cacert", tls?.ca],
    ["--cert", tls?.cert],
    ["--key", tls?.key],
  ] as const) {
    if (text === undefined) continue;
    const path = join(folder, flag.slice(2));
    writeFileSync(path, text);
    files.push(flag, path);
  }
  return async function* (url, headers, body) {
    const lines = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
    // 100-continue would add a head of its own.
    const args = [
      "-s",
      "-N",
      "-i",
      "--http1.1",
      "-H",
      "expect:",
      ...lines,
      ...files,
      "--data-binary",
      "@-",
      url,
    ];
    const child = spawn("curl", args, { stdio: ["pipe", "pipe", "ignore"] });
    child.stdin.end(body);
    try {
      yield* child.stdout;
    } finally {
      child.kill();
    }
  };
}

function withNode(tls: Target["tls"]): Post {
  return async function* (url, headers, body) {
    const open = tls === undefined ? requestHttp : requestHttps;
    const call = open(url, { method: "POST", headers, agent: false, ...tls });
    const answered = new Promise<import("node:http").IncomingMessage>((resolve, reject) => {
      call.once("response", resolve);
      call.once("error", reject);
    });
    call.end(body);
    const response = await answered;
    yield Buffer.from(`HTTP/1.1 ${response.statusCode}\r\n\r\n`);
    try {
      yield* response;
    } finally {
      call.destroy();
    }
  };
}

async function all(answer: Answer): Promise<Buffer[]> {
  const parts: Buffer[] = [];
  for await (const part of answer) parts.push(part);
  return parts;
}

function splitHead(bytes: Buffer): { status: number; rest: Buffer } {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) throw new ConnectError(`no answer: ${bytes.toString()}`, Code.Unavailable);
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(bytes.toString())?.[1]), rest: bytes.subarray(end + 4) };
}

function frame(json: string): Buffer {
  const prefix = Buffer.alloc(FRAME_PREFIX_BYTES);
  prefix.writeUInt32BE(Buffer.byteLength(json), 1);
  return Buffer.concat([prefix, Buffer.from(json)]);
}

/** Connect's envelope: a flag, a length, and JSON; the last one says how it ended. */
async function* readFrames<O extends DescMessage>(
  answer: Answer,
  output: O,
): AsyncGenerator<MessageShape<O>> {
  let held = Buffer.alloc(0);
  let inBody = false;
  for await (const part of answer) {
    held = Buffer.concat([held, part]);
    if (!inBody && held.includes("\r\n\r\n")) {
      const { status, rest } = splitHead(held);
      if (status !== 200) throw refusalOf(new ConnectError(rest.toString(), codeFromHttpStatus(status)));
      held = Buffer.from(rest);
      inBody = true;
    }
    while (inBody && held.length >= FRAME_PREFIX_BYTES) {
      const length = held.readUInt32BE(1);
      if (held.length < FRAME_PREFIX_BYTES + length) break;
      const json = held.subarray(FRAME_PREFIX_BYTES, FRAME_PREFIX_BYTES + length);
      const isEnd = held[0] === END_OF_STREAM;
      held = held.subarray(FRAME_PREFIX_BYTES + length);
      if (!isEnd) yield fromJsonString(output, json.toString());
      else throwEnd(json);
    }
  }
}

function throwEnd(json: Uint8Array): void {
  const end: unknown = JSON.parse(Buffer.from(json).toString());
  if (typeof end !== "object" || end === null || !("error" in end)) return;
  throw refusalOf(
    errorFromJsonBytes(Buffer.from(JSON.stringify(end.error)), undefined, new ConnectError("no error in it")),
  );
}
