// One HTTP/2 session to one peer, kept alive, given up and dialled again as calls need it. Takes the place of
// connect-node's own session manager, which throws uncaught after a lost PING and never times a connect out.
//
// | state | means | a call now | leaves to |
// | --- | --- | --- | --- |
// | `idle` | no session | dials, then waits | connecting |
// | `connecting` | TCP, TLS and HTTP/2 settings are under way, against a time limit | waits for the outcome | ready, backingOff, idle (reset) |
// | `ready` | the peer has shown that it speaks HTTP/2; PINGed when silent | gets a stream | idle (GOAWAY, closed after it had answered, reset), backingOff |
// | `backingOff` | the last session failed; the wait doubles each time, with jitter | fails at once with that failure; dials when the wait is over | connecting, idle (reset) |
// | `closed` | `close` was called | fails | – |
//
// A session that received GOAWAY is no longer the current one but finishes its streams. Every session keeps its
// `error` listener for life: Node emits errors long after the last call has gone.

import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";
import { assertNever } from "../core/errors.js";
import type { Cancel, Clock } from "../node/ports.js";
import type { TransportLimits } from "./limits.js";
import { classifyFailure, describeError, TransportError } from "./transport-errors.js";

export type Http2SessionLimits = Pick<
  TransportLimits,
  | "connectTimeoutMs"
  | "pingIntervalMs"
  | "pingTimeoutMs"
  | "backoffMinMs"
  | "backoffMaxMs"
  | "streamWindowBytes"
  | "sessionWindowBytes"
  | "closeGraceMs"
>;

export interface Http2SessionOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly authority: string;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly limits: Http2SessionLimits;
  /** Asked anew for every dial, so that renewed certificates are used without a restart. */
  readonly tls?: (() => SecureClientSessionOptions) | undefined;
}

export type Http2SessionState = State["kind"];

type State = Idle | Connecting | Ready | BackingOff | Closed;

interface Idle {
  readonly kind: "idle";
}

interface Connecting {
  readonly kind: "connecting";
  readonly session: ClientHttp2Session;
  readonly outcome: Promise<void>;
  readonly settle: (error?: TransportError) => void;
  readonly cancelTimeout: Cancel;
}

interface Ready {
  readonly kind: "ready";
  readonly session: ClientHttp2Session;
  readonly stopPings: Cancel;
  heardAtMs: number;
  hasAnswered: boolean;
}

interface BackingOff {
  readonly kind: "backingOff";
  readonly untilMs: number;
  readonly error: TransportError;
}

interface Closed {
  readonly kind: "closed";
}

const IDLE: Idle = { kind: "idle" };
const CLOSED: Closed = { kind: "closed" };
// A session may close between two calls; more than a few in a row is a peer that closes on sight.
const MAX_DIALS_PER_CALL = 3;

/** Fits `sessionManager` of connect-node's transports. */
export class Http2Session {
  readonly authority: string;
  #state: State = IDLE;
  #failuresInARow = 0;
  readonly #options: Http2SessionOptions;
  readonly #openSessions = new Set<ClientHttp2Session>();

  constructor(options: Http2SessionOptions) {
    this.authority = new URL(options.authority).origin;
    this.#options = options;
  }

  get state(): Http2SessionState {
    return this.#state.kind;
  }

  /**
   * Opens a stream, dialling first if need be.
   * @throws TransportError at once while backing off, or when connecting fails or takes too long.
   */
  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: object = {},
  ): Promise<ClientHttp2Stream> {
    for (let dials = 0; dials < MAX_DIALS_PER_CALL; ) {
      const state = this.#state;
      switch (state.kind) {
        case "closed":
          throw new TransportError("stopped", `the session with ${this.authority} was closed`);
        case "backingOff":
          if (this.#options.clock.nowMs() < state.untilMs) {
            throw new TransportError(state.error.failure, state.error.message, state.error);
          }
          this.#enter(this.#dial());
          dials += 1;
          break;
        case "idle":
          this.#enter(this.#dial());
          dials += 1;
          break;
        case "connecting":
          await state.outcome;
          break;
        case "ready": {
          if (state.session.closed || state.session.destroyed) {
            this.#enter(IDLE);
            break;
          }
          return state.session.request({ ...headers, ":method": method, ":path": path }, options);
        }
        default:
          assertNever(state);
      }
    }
    throw new TransportError("closing", `${this.authority} closes every new session`);
  }

  /** The peer was heard: no PING is needed for a while. */
  notifyResponseByteRead(stream: ClientHttp2Stream): void {
    const state = this.#state;
    if (state.kind !== "ready" || stream.session !== state.session) return;
    state.heardAtMs = this.#options.clock.nowMs();
    state.hasAnswered = true;
    this.#failuresInARow = 0;
  }

  /**
   * Gives the present session up and forgets any backoff: the next call dials. For a peer that is known to have
   * restarted; its old session may look alive for minutes.
   */
  reset(reason: TransportError): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#failuresInARow = 0;
    this.#enter(IDLE);
    if (state.kind === "connecting") state.settle(reason);
    if (state.kind === "connecting" || state.kind === "ready") state.session.destroy(reason);
  }

  /** Refuses new calls, lets open ones finish for `closeGraceMs`, then destroys what is left. */
  async close(): Promise<void> {
    const state = this.#state;
    this.#enter(CLOSED);
    const stopped = new TransportError("stopped", `the session with ${this.authority} was closed`);
    if (state.kind === "connecting") {
      state.settle(stopped);
      state.session.destroy(stopped);
    }
    this.#forgetDestroyed();
    if (this.#openSessions.size === 0) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(this.#options.limits.closeGraceMs, () => {
        for (const session of this.#openSessions) session.destroy(stopped);
        resolve();
      });
      for (const session of this.#openSessions) {
        session.once("close", () => {
          if (this.#openSessions.size > 0) return;
          cancel();
          resolve();
        });
        session.close();
      }
    });
  }

  #forgetDestroyed(): void {
    for (const session of this.#openSessions) if (session.destroyed) this.#openSessions.delete(session);
  }

  #enter(next: State): void {
    const previous = this.#state;
    this.#state = next;
    if (previous.kind === "connecting") previous.cancelTimeout();
    if (previous.kind === "ready") previous.stopPings();
  }

  #dial(): Connecting {
    const { limits, clock, tls } = this.#options;
    const session = connect(this.authority, {
      ...tls?.(),
      settings: { initialWindowSize: limits.streamWindowBytes, enablePush: false },
    });
    this.#forgetDestroyed();
    this.#openSessions.add(session);
    const connecting = connectingState(session, clock, limits.connectTimeoutMs, () => {
      this.#lost(
        session,
        new TransportError(
          "frozen",
          `${this.authority} did not complete an HTTP/2 connection within ${limits.connectTimeoutMs} ms`,
        ),
      );
    });
    let lastError: unknown;
    session.on("error", (error) => {
      lastError = error;
    });
    session.on("connect", () => {
      if (!session.destroyed) session.setLocalWindowSize(limits.sessionWindowBytes);
    });
    // The first SETTINGS frame, not the TCP handshake, tells that a live process is there.
    session.once("remoteSettings", () => this.#established(session));
    session.on("goaway", () => {
      if (this.#current() === session && this.#state.kind === "ready") this.#enter(IDLE);
    });
    session.on("close", () => {
      this.#openSessions.delete(session);
      this.#lost(session, lastError);
    });
    // After a TLS alert Node destroys the session without another event.
    session.socket.on("error", (error) => this.#lost(session, error));
    return connecting;
  }

  #established(session: ClientHttp2Session): void {
    const state = this.#state;
    if (state.kind !== "connecting" || state.session !== session) return;
    this.#enter(
      readyState(session, this.#options.clock, this.#options.limits, (ready) => {
        const silence = `${this.authority} did not answer a PING within ${this.#options.limits.pingTimeoutMs} ms`;
        this.#lost(ready.session, new TransportError("frozen", silence));
      }),
    );
    state.settle();
  }

  /** A session ended, by itself or because it must. Only the current one matters. */
  #lost(session: ClientHttp2Session, cause: unknown): void {
    const state = this.#state;
    if (this.#current() !== session) return;
    const error = this.#lossError(state, cause);
    if (state.kind === "ready" && state.hasAnswered && cause === undefined) this.#enter(IDLE);
    else this.#enter(this.#backOff(error));
    if (state.kind === "connecting") state.settle(error);
    if (!session.destroyed) session.destroy(error);
  }

  #lossError(state: State, cause: unknown): TransportError {
    if (cause instanceof TransportError) return cause;
    if (cause === undefined) {
      if (state.kind !== "connecting") {
        return new TransportError("killed", `the session with ${this.authority} ended`);
      }
      const question =
        this.#options.tls === undefined
          ? "is it a --listen address, and does it want TLS"
          : "does it trust this certificate";
      return new TransportError(
        "refused",
        `${this.authority} closed the connection before HTTP/2 was spoken: ${question}?`,
      );
    }
    // Whatever went wrong before the peer spoke: nothing was sent.
    const failure = state.kind === "connecting" ? "refused" : classifyFailure(cause);
    return new TransportError(failure, `${this.authority}: ${describeError(cause)}`, cause);
  }

  #backOff(error: TransportError): BackingOff {
    const { backoffMinMs, backoffMaxMs } = this.#options.limits;
    const ceiling = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failuresInARow, 20));
    this.#failuresInARow += 1;
    const waitMs = ceiling * (0.5 + 0.5 * this.#options.random());
    return { kind: "backingOff", untilMs: this.#options.clock.nowMs() + waitMs, error };
  }

  #current(): ClientHttp2Session | undefined {
    const state = this.#state;
    return state.kind === "connecting" || state.kind === "ready" ? state.session : undefined;
  }
}

function connectingState(
  session: ClientHttp2Session,
  clock: Clock,
  timeoutMs: number,
  onTimeout: () => void,
): Connecting {
  let settle: (error?: TransportError) => void = () => {};
  const outcome = new Promise<void>((resolve, reject) => {
    settle = (error) => (error === undefined ? resolve() : reject(error));
  });
  // Calls that wait see the rejection; without any, it must not count as unhandled.
  outcome.catch(() => {});
  return { kind: "connecting", session, outcome, settle, cancelTimeout: clock.after(timeoutMs, onTimeout) };
}

function readyState(
  session: ClientHttp2Session,
  clock: Clock,
  limits: Http2SessionLimits,
  onSilence: (ready: Ready) => void,
): Ready {
  let cancelAnswerTimeout: Cancel | undefined;
  const stopWaiting = (): void => {
    cancelAnswerTimeout?.();
    cancelAnswerTimeout = undefined;
  };
  const cancelInterval = clock.every(limits.pingIntervalMs, () => {
    if (cancelAnswerTimeout !== undefined) return;
    if (session.destroyed) {
      onSilence(ready);
      return;
    }
    if (clock.nowMs() - ready.heardAtMs < limits.pingIntervalMs) return;
    let answered = false;
    cancelAnswerTimeout = clock.after(limits.pingTimeoutMs, () => {
      // After a stall of our own, the answer may be waiting in the socket: let it be read first.
      clock.soon(() => {
        if (!answered) onSilence(ready);
      });
    });
    session.ping((error) => {
      answered = true;
      stopWaiting();
      if (error === null) ready.heardAtMs = clock.nowMs();
    });
  });
  const ready: Ready = {
    kind: "ready",
    session,
    stopPings: () => {
      cancelInterval();
      stopWaiting();
    },
    heardAtMs: clock.nowMs(),
    hasAnswered: false,
  };
  return ready;
}
