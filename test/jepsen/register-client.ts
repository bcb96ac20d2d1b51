// Three kinds of clients behind one interface: the project's own, which follows the leader and sends again under the same
// number; gRPC and JSON
// over HTTP/1.1, as curl sends it, which ask one node and try nothing again. What an error allows to conclude
// is what the services promise; nothing is assumed that they do not say.

import { fromBinary } from "@bufbuild/protobuf";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorDetail_Outcome, ErrorDetailSchema, KvService } from "../../src/gen/service_pb.js";
import type { PlacementClient } from "../../src/placement/client.js";
import { PlacementError } from "../../src/placement/client-error.js";

export interface Known {
  readonly value: string | undefined;
  /** 0n: there is no such key. */
  readonly modRevision: bigint;
}

export interface Written {
  readonly refused: boolean;
  /** Of the store, after the write. */
  readonly revision: bigint;
  readonly modRevision: bigint;
}

export interface RegisterClient {
  readonly kind: string;
  /** With `lease`: the leader may answer by its lease. */
  read(key: string, lease: boolean): Promise<Known>;
  /** `undefined` deletes; with `ifModRevision` only if the key was last written then. */
  write(key: string, value: string | undefined, ifModRevision: bigint | undefined): Promise<Written>;
}

/** Nobody else's, which is an error of this test. */
export type Conclusion = "notApplied" | "unknown";

/** What may be concluded about a write that ended with this error. */
export function conclusionFrom(error: unknown): Conclusion {
  if (error instanceof PlacementError) return error.outcome === "notApplied" ? "notApplied" : "unknown";
  if (error instanceof ConnectError) {
    if (wasRefused(error.cause)) return "notApplied";
    return conclusionFromOutcome(error.findDetails(ErrorDetailSchema)[0]?.outcome);
  }
  if (error instanceof JsonCallFailed) return error.conclusion;
  throw error;
}

function conclusionFromOutcome(outcome: ErrorDetail_Outcome | undefined): Conclusion {
  return outcome === ErrorDetail_Outcome.NOT_APPLIED ? "notApplied" : "unknown";
}

/** Nobody listened: not a byte was sent. */
function wasRefused(cause: unknown): boolean {
  return cause instanceof Error && "code" in cause && cause.code === "ECONNREFUSED";
}

/** In a few words, for the report. */
export function reasonFrom(error: unknown): string {
  if (error instanceof PlacementError) return error.reason;
  if (error instanceof ConnectError) {
    if (wasRefused(error.cause)) return "connection refused";
    return error.findDetails(ErrorDetailSchema)[0]?.reason ?? `connect code ${error.code}`;
  }
  return error instanceof JsonCallFailed ? error.reason : String(error);
}

const text = (value: Uint8Array): string => Buffer.from(value).toString("utf8");

export class SdkRegister implements RegisterClient {
  readonly kind = "PlacementClient";

  constructor(private readonly client: PlacementClient) {}

  async read(key: string, lease: boolean): Promise<Known> {
    const entry = await this.client.get(key, { consistency: lease ? "leaderLease" : "linearizable" });
    return { value: entry && text(entry.value), modRevision: entry?.modRevision ?? 0n };
  }

  async write(key: string, value: string | undefined, ifModRevision: bigint | undefined): Promise<Written> {
    if (value !== undefined) return this.client.set(key, value, { ifModRevision });
    return { ...(await this.client.delete(key, { ifModRevision })), modRevision: 0n };
  }
}

export class GrpcRegister implements RegisterClient {
  readonly kind = "gRPC";
  readonly #clients = new Map<number, Client<typeof KvService>>();

  constructor(
    /** Of the node to be asked now. */
    private readonly port: () => number,
    private readonly deadlineMs: number,
  ) {}

  async read(key: string, lease: boolean): Promise<Known> {
    const answer = await this.#client().get({ key, consistency: lease ? 2 : 0 });
    return { value: answer.found ? text(answer.value) : undefined, modRevision: answer.modRevision };
  }

  async write(key: string, value: string | undefined, ifModRevision: bigint | undefined): Promise<Written> {
    const condition =
      ifModRevision === undefined
        ? {}
        : { condition: { case: "ifModRevision", value: ifModRevision } as const };
    if (value !== undefined) return this.#client().set({ key, value: Buffer.from(value), ...condition });
    const answer = await this.#client().delete({
      key,
      ...(ifModRevision !== undefined && { ifModRevision }),
    });
    return { ...answer, modRevision: 0n };
  }

  #client(): Client<typeof KvService> {
    const port = this.port();
    const known = this.#clients.get(port);
    if (known !== undefined) return known;
    const transport = createGrpcTransport({
      baseUrl: `http://127.0.0.1:${port}`,
      defaultTimeoutMs: this.deadlineMs,
    });
    const client = createClient(KvService, transport);
    this.#clients.set(port, client);
    return client;
  }
}

class JsonCallFailed extends Error {
  constructor(
    readonly reason: string,
    readonly conclusion: Conclusion,
  ) {
    super(reason);
  }
}

type Json = { readonly [name: string]: unknown };

export class JsonRegister implements RegisterClient {
  readonly kind = "JSON";

  constructor(
    /** Of the node to be asked now. */
    private readonly port: () => number,
    private readonly deadlineMs: number,
  ) {}

  async read(key: string, lease: boolean): Promise<Known> {
    const consistency = lease ? "READ_CONSISTENCY_LEADER_LEASE" : "READ_CONSISTENCY_LINEARIZABLE";
    const { found, value, modRevision } = await this.#call("Get", { key, consistency });
    const isFound = found === true;
    return {
      value: isFound ? Buffer.from(String(value ?? ""), "base64").toString("utf8") : undefined,
      modRevision: isFound ? BigInt(String(modRevision)) : 0n,
    };
  }

  async write(key: string, value: string | undefined, ifModRevision: bigint | undefined): Promise<Written> {
    const condition = ifModRevision === undefined ? {} : { ifModRevision: String(ifModRevision) };
    const answer = await (value === undefined
      ? this.#call("Delete", { key, ...condition })
      : this.#call("Set", { key, value: Buffer.from(value).toString("base64"), ...condition }));
    return {
      refused: answer["refused"] === true,
      revision: BigInt(String(answer["revision"] ?? 0)),
      modRevision: BigInt(String(answer["modRevision"] ?? 0)),
    };
  }

  async #call(method: string, body: Json): Promise<Json> {
    let response: Response;
    let answer: Json;
    try {
      response = await fetch(`http://127.0.0.1:${this.port()}/raftnode.v1.KvService/${method}`, {
        method: "POST",
        headers: { "content-type": "application/json", "connect-timeout-ms": String(this.deadlineMs) },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(this.deadlineMs + 500),
      });
      answer = asJson(await response.json());
    } catch (error) {
      if (error instanceof Error && wasRefused(error.cause)) {
        throw new JsonCallFailed("connection refused", "notApplied");
      }
      throw new JsonCallFailed(`fetch ${error instanceof Error ? error.name : ""}`, "unknown");
    }
    if (response.ok) return answer;
    const details: unknown = answer["details"];
    const [detail] = Array.isArray(details) ? details.map(asJson) : [];
    if (detail === undefined) throw new JsonCallFailed(`HTTP ${response.status}`, "unknown");
    const { reason, outcome } = fromBinary(ErrorDetailSchema, Buffer.from(String(detail["value"]), "base64"));
    throw new JsonCallFailed(reason, conclusionFromOutcome(outcome));
  }
}

function asJson(value: unknown): Json {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
