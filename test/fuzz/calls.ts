// The doors of well-formed HTTP/2: every RPC there is, by gRPC, gRPC-Web and Connect, with hostile messages and framing, from
// nobody, from somebody with a wrong token, from a client, from one who pretends to be a peer, and from a peer.

import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { gzipSync } from "node:zlib";
import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import { ConfChangeV2Schema, MessageSchema } from "../../src/gen/eraftpb_pb.js";
import { MembershipContextSchema, SnapshotDescriptorSchema } from "../../src/gen/records_pb.js";
import {
  file_service,
  KvService,
  PlacementCenterService,
  RaftClientService,
} from "../../src/gen/service_pb.js";
import type { Random } from "../simulation/random.js";
import { type Door, shown, type Thrown } from "./door.js";
import { anyMessage, anyString, anyUint64, type Grammar, randomBytes } from "./hostile.js";
import { CLUSTER_ID, NODE_ID, type Target } from "./target.js";

const METHODS: readonly DescMethod[] = file_service.services.flatMap((service) => service.methods);
const PEER_METHODS: readonly DescMethod[] = PlacementCenterService.methods;
const CALL_MS = 1_500;
const END_CHARACTERS = 500;
const FAILED_AT_THE_END = /"error":|grpc-status: ?[1-9]/;
/** Voters whose part the fuzzer plays. */
export const PRETENDED_PEERS: readonly bigint[] = [NODE_ID + 1n, NODE_ID + 2n];
const UNKNOWN_PEER = 9n;

const INSIDES: Grammar["insides"] = new Map<string, DescMessage>([
  ["raftnode.v1.SendRaftMessageRequest.message", MessageSchema],
  ["raftnode.v1.SnapshotHeader.message", MessageSchema],
  ["raftnode.v1.SendRaftConfChangeRequest.message", ConfChangeV2Schema],
  ["eraftpb.Snapshot.data", SnapshotDescriptorSchema],
  ["eraftpb.ConfChangeV2.context", MembershipContextSchema],
]);
const ANYTHING: Grammar = { insides: INSIDES, likely: new Map() };
const FEW = [0n, 1n, 2n, 3n, 4n, 5n];

/** Messages that a node takes in, because they seem to come from a member and to be for it. */
function speaking(from: bigint): Grammar {
  const likely = new Map([
    ["eraftpb.Message.to", [NODE_ID]],
    ["eraftpb.Message.from", [from]],
    ...["term", "log_term", "index", "commit", "commit_term", "reject_hint", "request_snapshot"].map(
      (field) => [`eraftpb.Message.${field}`, FEW] as const,
    ),
    ["eraftpb.Entry.term", FEW],
    ["eraftpb.Entry.index", FEW],
    ["eraftpb.SnapshotMetadata.index", FEW],
    ["eraftpb.SnapshotMetadata.term", FEW],
  ] as const);
  return { insides: INSIDES, likely };
}

/** What clients may ask for. */
const CLIENT_METHODS: readonly DescMethod[] = [...KvService.methods, ...RaftClientService.methods];

const CONTENT_TYPES = [
  "application/grpc",
  "application/grpc+proto",
  "application/grpc+json",
  "application/grpc-web",
  "application/grpc-web+proto",
  "application/proto",
  "application/json",
  "application/connect+proto",
  "application/connect+json",
  "text/plain",
  "",
  "application/grpc+thrift",
];

interface Call {
  readonly path: string;
  readonly headers: { readonly [name: string]: string };
  readonly body: Buffer;
}

export const strangersDoor: Door = {
  name: "calls of strangers",
  who: "stranger",
  volley: (random, target) => {
    const authorization = random.pick([
      "",
      "Bearer",
      "Bearer pct_wrong",
      `Bearer ${target.tokens.client}x`,
      anyHeader(random),
    ]);
    return send(
      target,
      anyCall(random, random.pick(METHODS), { ...(authorization !== "" && { authorization }) }),
    );
  },
};

export const clientsDoor: Door = {
  name: "calls of clients",
  who: "client",
  volley: (random, target) =>
    send(
      target,
      anyCall(random, random.pick(random.chance(0.8) ? CLIENT_METHODS : METHODS), {
        authorization: `Bearer ${target.tokens.client}`,
      }),
    ),
};

/** Has the token of nodes, but is of another cluster, or says no id that another node could have. */
export const wrongPeersDoor: Door = {
  name: "peers that are none",
  who: "stranger",
  volley: (random, target) => {
    const isForeign = random.chance(0.5);
    return send(
      target,
      anyCall(
        random,
        random.pick(PEER_METHODS.filter(({ localName }) => localName !== "sendRaftConfChange")),
        {
          authorization: `Bearer ${target.tokens.peer}`,
          "raft-cluster-id": isForeign ? random.pick(["other", "", "fuzz2", "FUZZ"]) : CLUSTER_ID,
          "raft-from": isForeign ? "2" : random.pick(["1", "0", "-1", "18446744073709551616", "x", ""]),
          "raft-incarnation": anyHeader(random),
          "raft-address": random.pick(["127.0.0.1:1", "x", ""]),
        },
        speaking(2n),
      ),
    );
  },
};

export const peersDoor: Door = {
  name: "members gone mad",
  who: "peer",
  volley: (random, target) => {
    // One that this node has not heard of may have joined while it was away.
    const from = random.pick([...PRETENDED_PEERS, UNKNOWN_PEER]);
    const headers = {
      authorization: `Bearer ${target.tokens.peer}`,
      "raft-cluster-id": CLUSTER_ID,
      "raft-from": String(from),
      "raft-incarnation": random.pick(["one", "two"]),
      "raft-address": "127.0.0.1:2",
    };
    return send(target, anyCall(random, random.pick(PEER_METHODS), headers, speaking(from)));
  },
};

function anyHeader(random: Random): string {
  return anyString(random)
    .replace(/[^\x21-\x7e]/g, "?")
    .slice(0, 200);
}

/** Half of all calls are right in all but their messages: only these get behind the framing. */
function anyCall(random: Random, method: DescMethod, more: Call["headers"], grammar = ANYTHING): Call {
  if (random.chance(0.5)) return rightlyFramedCall(random, method, more, grammar);
  const type = random.pick(CONTENT_TYPES);
  const headers: { [name: string]: string } = { "content-type": type, te: "trailers", ...more };
  if (random.chance(0.2))
    headers["grpc-timeout"] = random.pick(["1m", "1S", "0n", "99999999H", "-1S", "x", ""]);
  if (random.chance(0.2)) headers["connect-timeout-ms"] = random.pick(["0", "1", "99999999999", "-1", "x"]);
  if (random.chance(0.2)) headers["grpc-encoding"] = random.pick(["gzip", "identity", "br", "x", ""]);
  if (random.chance(0.1)) headers["content-encoding"] = random.pick(["gzip", "x"]);
  if (random.chance(0.1)) headers["connect-protocol-version"] = random.pick(["1", "2", ""]);
  const path = random.chance(0.97)
    ? `/${method.parent.typeName}/${method.name}`
    : random.pick([
        "/",
        "*",
        "//",
        `/${method.parent.typeName}/`,
        `/${method.parent.typeName}/Nothing`,
        "/%2e%2e/x",
      ]);
  return { path, headers, body: anyBody(random, method, type, grammar) };
}

function rightlyFramedCall(
  random: Random,
  method: DescMethod,
  more: Call["headers"],
  grammar: Grammar,
): Call {
  const path = `/${method.parent.typeName}/${method.name}`;
  const isUnary = method.methodKind === "unary";
  const count = method.methodKind === "client_streaming" ? random.int(1, 5) : 1;
  const messages = Array.from({ length: count }, () => anyMessage(random, method.input, grammar));
  if (isUnary && random.chance(0.5)) {
    return { path, headers: { "content-type": "application/proto", ...more }, body: Buffer.concat(messages) };
  }
  const frames = messages.map((message) => {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    return Buffer.concat([head, message]);
  });
  return {
    path,
    headers: { "content-type": "application/grpc", te: "trailers", ...more },
    body: Buffer.concat(frames),
  };
}

function anyBody(random: Random, method: DescMethod, type: string, grammar: Grammar): Buffer {
  if (random.chance(0.05)) return randomBytes(random, 2_000);
  if (type.includes("json")) return Buffer.from(anyJson(random, 0));
  const messages = Array.from({ length: random.chance(0.9) ? 1 : random.int(0, 6) }, () =>
    anyMessage(random, method.input, grammar),
  );
  if (type === "application/proto") return Buffer.concat(messages);
  return Buffer.concat(messages.map((message) => framed(random, message)));
}

/** A byte of flags and a length, which may lie. */
function framed(random: Random, message: Buffer): Buffer {
  const isBomb = random.chance(0.01);
  const isZipped = isBomb || random.chance(0.05);
  const payload = isZipped ? gzipSync(isBomb ? Buffer.alloc(64 * 1024 * 1024) : message) : message;
  const head = Buffer.alloc(5);
  head[0] = random.chance(0.9) ? Number(isZipped) : random.pick([1, 2, 3, 128, 255]);
  head.writeUInt32BE(
    random.chance(0.93) ? payload.length : random.pick([0, 1, payload.length + 1, 2 ** 31, 2 ** 32 - 1]),
    1,
  );
  return Buffer.concat([head, payload]);
}

function anyJson(random: Random, depth: number): string {
  const deep = random.chance(0.02) ? 50_000 : 0;
  if (deep > 0) return "[".repeat(deep);
  const names = [
    "key",
    "value",
    "range",
    "prefix",
    "message",
    "nodeId",
    "writeId",
    "compare",
    "success",
    "consistency",
    "__proto__",
    "toString",
  ];
  switch (random.int(0, depth > 3 ? 5 : 7)) {
    case 0:
      return JSON.stringify(anyString(random));
    case 1:
      return random.pick(["null", "true", "1e999", "-1", "NaN", "1.5", "0x1", ""]);
    case 2:
      return `"${anyUint64(random)}"`;
    case 3:
      return String(anyUint64(random));
    case 4:
      return JSON.stringify(randomBytes(random, 20).toString("base64"));
    case 5:
      return `[${Array.from({ length: random.int(0, 4) }, () => anyJson(random, depth + 1)).join(",")}]`;
    default:
      return `{${Array.from({ length: random.int(0, 5) }, () => `"${random.pick(names)}":${anyJson(random, depth + 1)}`).join(",")}}`;
  }
}

const sessions = new Map<number, ClientHttp2Session>();

function sessionTo(port: number): ClientHttp2Session {
  const known = sessions.get(port);
  if (known !== undefined && !known.closed && !known.destroyed) return known;
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  session.unref();
  sessions.set(port, session);
  return session;
}

/** Resolves when the call has ended, was reset, or has taken its time. Streams of answers are left. */
async function send({ listenPort }: Target, { path, headers, body }: Call): Promise<Thrown> {
  const accepted = await new Promise<boolean>((resolve) => {
    let isGood = false;
    const session = sessionTo(listenPort);
    const late = setTimeout(() => stream.close(), CALL_MS);
    const stream = session.request({ ":method": "POST", ":path": path, ...headers });
    stream.on("error", () => undefined);
    let end = "";
    // The last word of gRPC is in the trailers, or in the headers when there is nothing else; of others, in the body.
    stream.on("response", (answer) => {
      isGood = answer[":status"] === 200 && (answer["grpc-status"] ?? "0") === "0";
    });
    stream.on("trailers", (answer) => {
      isGood &&= (answer["grpc-status"] ?? "0") === "0";
    });
    stream.once("close", () => {
      clearTimeout(late);
      resolve(isGood && !FAILED_AT_THE_END.test(end));
    });
    stream.setEncoding("latin1").on("data", (text: string) => {
      end = (end + text).slice(-END_CHARACTERS);
    });
    stream.end(body);
  });
  return {
    what: `${path} ${JSON.stringify({ ...headers, authorization: headers["authorization"] && "…" })} ${shown(body)}`,
    accepted,
  };
}
