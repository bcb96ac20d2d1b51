// Who may do what: finds out who calls, by token, certificate or place, and compares with what the call needs. Counts
// what it refuses, and says so in the log now and then.

import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { ConnectError } from "@connectrpc/connect";
import type { Cancel, Clock, Logger } from "../node/ports.js";
import {
  ACCESS_ROLES,
  type AccessRole,
  nameOf,
  PAGE_ROLES,
  rolesFor,
  type ServiceRoles,
} from "./access-policy.js";
import type { TokenTable } from "./access-tokens.js";
import { ServiceError, toConnectError } from "./connect-errors.js";

export interface Caller {
  readonly remoteAddress: string;
  /** On this machine, and by a name of it. */
  readonly isLocal: boolean;
  /** Showed a certificate that was verified. */
  readonly isCertified: boolean;
  /** Showed one that lets it speak as a node. */
  readonly isPeer: boolean;
  /** The header of this name. */
  readonly authorization: string | undefined;
}

export interface AccessControlOptions {
  /** Absent: there are no tokens; who calls from this machine, or with a certificate, may do everything. */
  readonly tokens?: TokenTable | undefined;
  /** Callers without token and certificate may do everything, wherever they are. */
  readonly anonymous: boolean;
  /** Of services that are not this project's. */
  readonly serviceRoles?: ServiceRoles | undefined;
  readonly logger: Logger;
  readonly clock: Clock;
}

export type RefusalReason = "unauthenticated" | "permissionDenied";

/** Of one reason and one service: `page` stands for the pages of operators. */
export interface RefusalCount {
  readonly reason: RefusalReason;
  readonly service: string;
  readonly count: number;
}

interface Asked {
  /** For people: `raftnode.v1.KvService/Get`, `/metrics`. */
  readonly what: string;
  readonly service: string;
  readonly roles: readonly AccessRole[];
}

interface Identity {
  readonly who: string;
  readonly roles: readonly AccessRole[];
}

interface OpenStream {
  readonly asked: Asked;
  readonly caller: Caller;
  readonly end: (error: ConnectError) => void;
}

const LOG_INTERVAL_MS = 10_000;
const PAGES = "page";
const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i;
const HOW =
  "send the header `authorization: Bearer TOKEN` (placement-center: --token-file, or PLACEMENT_CENTER_TOKEN in the environment)";

export class AccessControl {
  readonly #options: AccessControlOptions;
  readonly #asked = new Map<DescMethod, Asked>();
  readonly #streams = new Set<OpenStream>();
  readonly #counts = new Map<string, RefusalCount>();
  readonly #logged = new Map<RefusalReason, { atMs: number; since: number }>();
  #tokens: TokenTable | undefined;

  constructor(options: AccessControlOptions) {
    this.#options = options;
    this.#tokens = options.tokens;
  }

  /** Undefined: there are none. */
  get tokens(): TokenTable | undefined {
    return this.#tokens;
  }

  get refusals(): readonly RefusalCount[] {
    return [...this.#counts.values()];
  }

  /**
   * Lets a call in, or not. What it returns tells once when the permission is withdrawn later.
   * @throws ConnectError `Unauthenticated` or `PermissionDenied`, with an ErrorDetail: nothing was done.
   */
  judgeCall(
    method: DescMethod,
    caller: Caller,
  ): { onWithdrawn(listener: (error: ConnectError) => void): Cancel } | undefined {
    const asked = this.#askedBy(method);
    const refusal = this.#judge(asked, caller);
    if (refusal !== undefined) {
      const isRead = method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
      throw answer(refusal, isRead ? "read" : "write");
    }
    if (this.#tokens === undefined) return undefined;
    return {
      onWithdrawn: (end) => {
        const stream = { asked, caller, end };
        this.#streams.add(stream);
        return () => this.#streams.delete(stream);
      },
    };
  }

  /** Undefined: the page may be shown. */
  judgePage(path: string, caller: Caller): ServiceError | undefined {
    return this.#judge({ what: path, service: PAGES, roles: PAGE_ROLES }, caller);
  }

  /** From now on these count, and what is open with others ends. */
  replaceTokens(tokens: TokenTable): void {
    this.#tokens = tokens;
    for (const stream of [...this.#streams]) {
      const refusal = this.#judge(stream.asked, stream.caller);
      if (refusal === undefined) continue;
      this.#streams.delete(stream);
      stream.end(answer(refusal, "read"));
    }
  }

  #judge(asked: Asked, caller: Caller): ServiceError | undefined {
    const found = this.#identify(caller);
    const refusal = "roles" in found ? denial(found, asked) : found;
    if (refusal !== undefined) this.#note(refusal, asked, caller);
    return refusal;
  }

  #askedBy(method: DescMethod): Asked {
    const known = this.#asked.get(method);
    if (known !== undefined) return known;
    const roles = rolesFor(method, this.#options.serviceRoles);
    const asked = { what: nameOf(method), service: method.parent.typeName, roles };
    this.#asked.set(method, asked);
    return asked;
  }

  #identify(caller: Caller): Identity | ServiceError {
    const { anonymous } = this.#options;
    const tokens = this.#tokens;
    if (tokens === undefined) {
      if (anonymous || caller.isLocal || caller.isCertified) return EVERYBODY;
      return new ServiceError(
        "unauthenticated",
        "this node has no tokens, and lets in only who calls from its own machine, as 127.0.0.1 or localhost, or shows a certificate: " +
          "give it tokens (--tokens) or authorities (--tls-ca), or say that everybody may do everything (--anonymous)",
      );
    }
    if (caller.authorization === undefined) {
      if (anonymous) return EVERYBODY;
      if (caller.isPeer) return { who: "a node", roles: PEER };
      return new ServiceError("unauthenticated", `this node wants a token: ${HOW}`);
    }
    const presented = BEARER.exec(caller.authorization)?.[1];
    if (presented === undefined) {
      return new ServiceError("unauthenticated", `the header authorization holds no bearer token: ${HOW}`);
    }
    const entry = tokens.find(presented);
    if (entry === undefined) {
      return new ServiceError(
        "unauthenticated",
        "this node does not know the token: it was withdrawn, or is another cluster's, or the node's file of tokens is not the newest",
      );
    }
    if (anonymous) return { who: `token ${entry.name}`, roles: ACCESS_ROLES };
    return { who: `token ${entry.name}`, roles: caller.isPeer ? [...entry.roles, ...PEER] : entry.roles };
  }

  #note({ reason, message }: ServiceError, asked: Asked, caller: Caller): void {
    if (reason !== "unauthenticated" && reason !== "permissionDenied") return;
    const key = `${reason} ${asked.service}`;
    const count = (this.#counts.get(key)?.count ?? 0) + 1;
    this.#counts.set(key, { reason, service: asked.service, count });
    const { clock, logger } = this.#options;
    const last = this.#logged.get(reason);
    const atMs = clock.nowMs();
    if (last !== undefined && atMs - last.atMs < LOG_INTERVAL_MS) {
      last.since += 1;
      return;
    }
    this.#logged.set(reason, { atMs, since: 0 });
    logger.warn(
      { call: asked.what, from: caller.remoteAddress, why: message, unlogged: last?.since ?? 0 },
      "a caller was refused",
    );
  }
}

const PEER: readonly AccessRole[] = ["peer"];
const EVERYBODY: Identity = { who: "a caller without a token", roles: ACCESS_ROLES };

function denial({ who, roles }: Identity, asked: Asked): ServiceError | undefined {
  if (asked.roles.some((role) => roles.includes(role))) return undefined;
  return new ServiceError(
    "permissionDenied",
    `${who} has the role ${roles.join(", ")}, and ${asked.what} needs ${asked.roles.join(" or ")}: use another token, or have the role added to this one in the file of tokens`,
  );
}

function answer(refusal: ServiceError, purpose: "read" | "write"): ConnectError {
  return toConnectError(refusal, purpose, { leaderId: undefined, leaderAddress: undefined });
}
