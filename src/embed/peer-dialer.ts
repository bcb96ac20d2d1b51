// Connect transports to other nodes by address, each on one HTTP/2 session that is kept and reused. Tells calls
// that never left this process from those whose outcome nobody knows.

import type { OutgoingHttpHeaders, SecureClientSessionOptions } from "node:http2";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { ConnectError } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { Clock } from "../node/ports.js";
import { systemClock } from "../node/system-clock.js";
import { errorDetail } from "../services/connect-errors.js";
import type { PeerDialer } from "../services/leader-calls.js";
import { Http2Session } from "../transport/http2-session.js";
import { maxRequestBytes, type TransportLimits, transportLimits } from "../transport/limits.js";
import {
  classifyFailure,
  describeError,
  type FailureClass,
  TransportError,
} from "../transport/transport-errors.js";
import { RpcMetrics, type RpcMetricsView } from "../transport/transport-metrics.js";

export interface ConnectDialerOptions {
  readonly clock?: Clock | undefined;
  /** In [0, 1); for jitter. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
  readonly limits?: Partial<TransportLimits> | undefined;
  /** Present: TLS. Asked anew for every dial, so renewed certificates need no restart. */
  readonly tls?: (() => SecureClientSessionOptions) | undefined;
  /** The header of this name, for every call that does not bring its own. Asked anew for every call. */
  readonly authorization?: (() => string | undefined) | undefined;
  /** Sessions kept at most; the one that was used least recently goes first. Default 64. */
  readonly maxSessions?: number | undefined;
}

/** Calls of one RPC to one node since it was dialled; a stream of answers has ended here when it has begun. */
export interface DialledRpcView extends Pick<RpcMetricsView, "calls" | "failures" | "inFlight" | "duration"> {
  readonly address: string;
  readonly rpc: string;
}

interface Dialled {
  readonly session: Http2Session;
  readonly transport: Transport;
  readonly rpcs: ReadonlyMap<string, RpcMetrics>;
}

export class ConnectDialer implements PeerDialer {
  readonly #options: ConnectDialerOptions;
  readonly #limits: TransportLimits;
  /** In the order of use. */
  readonly #dialled = new Map<string, Dialled>();
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: ConnectDialerOptions = {}) {
    this.#options = options;
    this.#limits = transportLimits(options.limits);
  }

  /** @throws TransportError after `close` */
  dial(address: string): Transport {
    if (this.#closed) throw new TransportError("stopped", "the connections to other nodes were closed");
    const known = this.#dialled.get(address);
    this.#dialled.delete(address);
    const dialled = known ?? this.#open(address);
    this.#dialled.set(address, dialled);
    this.#evict();
    return dialled.transport;
  }

  /** What was called, by address and RPC; bounded, as the sessions are. */
  metrics(): readonly DialledRpcView[] {
    return [...this.#dialled].flatMap(([address, { rpcs }]) =>
      [...rpcs].map(([rpc, counts]) => {
        const { calls, failures, inFlight, duration } = counts.view();
        return { address, rpc, calls, failures, inFlight, duration };
      }),
    );
  }

  neverSent(error: unknown): boolean {
    // A bare Connect code is the word of whoever answered, a proxy perhaps; only what was seen here is proof.
    const seenHere = error instanceof ConnectError ? error.cause : error;
    if (!(seenHere instanceof Error) || seenHere instanceof ConnectError) return false;
    const failure = classifyFailure(seenHere);
    return failure === "refused" || failure === "closing";
  }

  /** Lets calls that are under way finish, within the limits' `closeGraceMs`. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { session } of this.#dialled.values()) this.#closeSession(session);
    this.#dialled.clear();
    await Promise.all(this.#closing);
  }

  #open(address: string): Dialled {
    const { tls, clock = systemClock } = this.#options;
    const baseUrl = `${tls === undefined ? "http" : "https"}://${address}`;
    const session = new Http2Session({
      authority: baseUrl,
      clock,
      random: this.#options.random ?? Math.random,
      limits: this.#limits,
      tls,
    });
    const maxBytes = maxRequestBytes(this.#limits);
    const rpcs = new Map<string, RpcMetrics>();
    const count: Interceptor = (next) => (request) => {
      const { name } = request.method;
      const counts = rpcs.get(name) ?? new RpcMetrics(clock, classifyAnswer);
      rpcs.set(name, counts);
      return counts.measure(() => next(request));
    };
    const transport = createConnectTransport({
      baseUrl,
      httpVersion: "2",
      sessionManager: {
        authority: session.authority,
        request: (method: string, path: string, headers: OutgoingHttpHeaders, options: object) =>
          session.request(method, path, this.#authorized(headers), options).catch((error: unknown) => {
            // Whatever the session failed of, and even if that was long ago: this call had no stream.
            throw new TransportError("refused", describeError(error), error);
          }),
        notifyResponseByteRead: (stream) => session.notifyResponseByteRead(stream),
      },
      // Compression shares the thread pool with the disk.
      acceptCompression: [],
      readMaxBytes: maxBytes,
      writeMaxBytes: maxBytes,
      interceptors: [count],
    });
    return { session, transport, rpcs };
  }

  #authorized(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
    const authorization = this.#options.authorization?.();
    return authorization === undefined ? headers : { authorization, ...headers };
  }

  #evict(): void {
    if (this.#dialled.size <= (this.#options.maxSessions ?? 64)) return;
    for (const [address, { session }] of this.#dialled) {
      this.#dialled.delete(address);
      this.#closeSession(session);
      return;
    }
  }

  #closeSession(session: Http2Session): void {
    const closing = session.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}

/** An error that names its reason is the other node's answer, whatever its code may stand for between peers. */
function classifyAnswer(error: unknown): FailureClass {
  return errorDetail(error) === undefined ? classifyFailure(error) : "rejected";
}
