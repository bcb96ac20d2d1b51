// The door of bytes to the HTTP/1.1 listener, and of HTTP/1.1 to the HTTP/2 one: request lines, headers, lengths and
// chunks that contradict each other.

import type { Random } from "../simulation/random.js";
import { type Door, shown, throwAt } from "./door.js";
import { anyString, damaged, randomBytes } from "./hostile.js";

const METHODS = [
  "GET",
  "POST",
  "PUT",
  "HEAD",
  "OPTIONS",
  "CONNECT",
  "TRACE",
  "PRI",
  "",
  "get",
  "POST\t",
  "\0",
];
const PATHS = [
  "/",
  "/livez",
  "/readyz",
  "/metrics",
  "/status",
  "*",
  "//",
  "/%",
  "/%00",
  "/..%2f..%2fetc/passwd",
  "http://x/",
  "/raftnode.v1.KvService/Get",
  "/raftnode.v1.KvService/Get?connect=v1&encoding=json&message=%7B%7D",
  "/raftnode.v1.KvService/Get?connect=v1&encoding=proto&base64=1&message=____",
  "/raftnode.v1.PlacementCenterService/SendRaftMessage",
  `/${"a".repeat(20_000)}`,
];
const HEADERS = [
  "content-type: application/json",
  "content-type: application/proto",
  "content-type: application/grpc",
  "content-type: ",
  "content-encoding: gzip",
  "content-length: 5",
  "content-length: 99999999999999999999",
  "content-length: -1",
  "content-length: 5, 6",
  "transfer-encoding: chunked",
  "transfer-encoding: gzip, chunked",
  "connect-protocol-version: 9",
  "connect-timeout-ms: -5",
  "connect-timeout-ms: 99999999999999999",
  "expect: 100-continue",
  "upgrade: h2c",
  "upgrade: websocket",
  "connection: upgrade",
  "authorization: Bearer",
  "authorization: Bearer pct_wrong",
  "authorization: Basic Og==",
  "accept-encoding: gzip, br, x",
  "te: trailers",
  "host: x",
  "host: ",
  "x: \u0001",
  ": empty",
  "no colon at all",
  "x :y",
  `x: ${"y".repeat(70_000)}`,
];

export const http1Door: Door = {
  name: "HTTP/1.1 bytes",
  who: "stranger",
  async volley(random, { httpPort, listenPort }) {
    const requests = Array.from({ length: random.chance(0.2) ? random.int(2, 50) : 1 }, () =>
      request(random),
    );
    const bytes = Buffer.concat(requests);
    const sent = random.chance(0.3) ? damaged(random, bytes) : bytes;
    await throwAt(random.chance(0.85) ? httpPort : listenPort, [sent]);
    return { what: shown(sent), accepted: false };
  },
};

function request(random: Random): Buffer {
  const body = random.chance(0.5) ? Buffer.from('{"key":"k"}') : randomBytes(random, 300);
  const headers = Array.from({ length: random.int(0, 8) }, () => random.pick(HEADERS));
  if (random.chance(0.2)) headers.push(`${anyString(random)}: ${anyString(random)}`);
  if (random.chance(0.05)) headers.push(...Array.from({ length: 3_000 }, (_, at) => `x-${at}: y`));
  if (random.chance(0.4))
    headers.push("host: localhost", `content-length: ${body.length}`, "content-type: application/json");
  const line = `${random.pick(METHODS)} ${random.pick(PATHS)} HTTP/${random.pick(["1.1", "1.0", "0.9", "2.0", "9"])}`;
  const head = Buffer.from([line, ...headers, "", ""].join(random.chance(0.95) ? "\r\n" : "\n"), "latin1");
  const chunked = Buffer.from(`${random.pick(["5", "fffffffff", "-1", "g", "0"])}\r\nabcde\r\n0\r\n\r\n`);
  return Buffer.concat([head, random.chance(0.3) ? chunked : body]);
}
