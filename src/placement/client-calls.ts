// One call of a client, over as many attempts as its deadline and its safety allow.

import type { CallOptions, Transport } from "@connectrpc/connect";
import type { ConnectDialer } from "../embed/peer-dialer.js";
import { type Failure, failureOf, PlacementError, type WriteOutcome } from "./client-error.js";
import { PlacementConfigInvalid } from "./config.js";

export interface ClientCallsOptions {
  readonly endpoints: readonly string[];
  readonly dialer: ConnectDialer;
  readonly deadlineMs: number;
  readonly random: () => number;
  /** Asks a node for the addresses of all members. Failures do no harm. */
  readonly membersOf: (transport: Transport, call: CallOptions) => Promise<readonly string[]>;
}

export interface CallPlan {
  /** The call changes something: an attempt that may have been applied is not repeated, unless `retryUnknown`. */
  readonly changes: boolean;
  readonly retryUnknown: boolean;
  /** One attempt, however it ends. */
  readonly once?: boolean | undefined;
  /** Only this node will do. */
  readonly endpoint?: string | undefined;
}

const FIRST_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 500;
/** A read does not hang on one silent node for its whole deadline. */
const SHORTEST_ATTEMPT_MS = 500;
/** A change is not sent again with less time left: cut off, it would make a certain "not applied" uncertain. */
const LEAST_CHANGE_MS = 250;
/** How often a client that is well learns where the members are, and how often one that had to look around does. */
const REFRESH_MS = 60_000;
const REFRESH_AFTER_TROUBLE_MS = 1_000;
const REFRESH_DEADLINE_MS = 2_000;
const LONGEST_DEADLINE_MS = 2 ** 31 - 1;

export class ClientCalls {
  readonly #options: ClientCallsOptions;
  #closed = false;
  /** Where the last call succeeded, or where the leader is said to be. */
  #preferred: string | undefined;
  #endpoints: readonly string[];
  /** So long ago that the first trouble is reason enough. */
  #refreshedMs = performance.now() - REFRESH_AFTER_TROUBLE_MS;
  #refreshing = false;

  /** @throws PlacementConfigInvalid without endpoints */
  constructor(options: ClientCallsOptions) {
    if (options.endpoints.length === 0) {
      throw new PlacementConfigInvalid("endpoints is empty: name at least one node, as in 127.0.0.1:7001");
    }
    this.#options = options;
    this.#endpoints = options.endpoints;
    this.#preferred = options.endpoints[Math.floor(options.random() * options.endpoints.length)];
  }

  /** Those that were given, and the members as they were known last. */
  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
  }

  /** @throws PlacementError */
  async run<T>(
    plan: CallPlan,
    options:
      | { readonly deadlineMs?: number | undefined; readonly signal?: AbortSignal | undefined }
      | undefined,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    const deadlineMs = Math.min(options?.deadlineMs ?? this.#options.deadlineMs, LONGEST_DEADLINE_MS);
    const deadlineAtMs = performance.now() + deadlineMs;
    const signal = options?.signal;
    const tried = new Set<string>();
    let mayBeApplied = false;
    let askedMembers = false;
    let endpoint = plan.endpoint ?? this.#preferred ?? this.#choose(tried);
    for (let round = 0; ; ) {
      const remainingMs = deadlineAtMs - performance.now();
      const isOneShot = plan.changes && !plan.retryUnknown;
      const timeoutMs = Math.ceil(isOneShot ? remainingMs : attemptMs(remainingMs));
      const call = signal === undefined ? { timeoutMs } : { timeoutMs, signal };
      const failure = await this.#attempt(endpoint, plan, call, send);
      if ("answer" in failure) {
        this.refreshWhenDue(endpoint, tried.size > 0 || round > 0);
        return failure.answer;
      }
      // "The answer is lost" settles it; "nobody can tell any more" is news only of attempts that came before.
      if (failure.applied) throw clientError("", failure, "applied");
      mayBeApplied ||= !failure.notApplied && failure.reason !== "sessionExpired";
      const outcome = mayBeApplied ? "unknown" : "notApplied";
      if (this.#closed || signal?.aborted === true) {
        throw clientError("the call was given up by its caller; ", failure, outcome);
      }
      if (plan.once === true || !failure.mayPass || (!failure.notApplied && !plan.retryUnknown)) {
        throw clientError("", failure, outcome);
      }
      tried.add(endpoint);
      askedMembers ||= failure.reason !== "notMember";
      let next = this.#untried(plan, failure, tried);
      let waitMs = 0;
      if (next === undefined) {
        // Nodes that belong to no cluster do not change that by themselves.
        if (!askedMembers) throw clientError("", failure, outcome);
        tried.clear();
        askedMembers = false;
        waitMs = Math.max(this.#backoffMs(round), this.#advisedMs(failure));
        round += 1;
        next = plan.endpoint ?? failure.leaderAddress ?? this.#choose(tried);
      }
      const leastMs = isOneShot ? LEAST_CHANGE_MS : 0;
      if (performance.now() + waitMs + leastMs >= deadlineAtMs) {
        throw clientError(`no success within ${deadlineMs} ms; last: `, failure, outcome);
      }
      if (waitMs > 0) await delay(waitMs, signal);
      endpoint = next;
    }
  }

  /** This node answers. Learns from it in the background: nodes that were given may go one day, while others join. */
  refreshWhenDue(endpoint: string, hadTrouble: boolean): void {
    const ageMs = performance.now() - this.#refreshedMs;
    const isDue = ageMs >= (hadTrouble ? REFRESH_AFTER_TROUBLE_MS : REFRESH_MS);
    if (!isDue || this.#refreshing || this.#closed) return;
    this.#refreshing = true;
    const { dialer, endpoints, membersOf } = this.#options;
    const learn = async () => {
      const members = await membersOf(dialer.dial(endpoint), { timeoutMs: REFRESH_DEADLINE_MS });
      this.#endpoints = [...new Set([...endpoints, ...members])];
    };
    learn()
      .catch(() => undefined)
      .finally(() => {
        this.#refreshing = false;
        this.#refreshedMs = performance.now();
      });
  }

  async #attempt<T>(
    endpoint: string,
    plan: CallPlan,
    call: CallOptions,
    send: (transport: Transport, call: CallOptions) => Promise<T>,
  ): Promise<Failure | { readonly answer: T }> {
    const { dialer } = this.#options;
    try {
      const answer = await send(dialer.dial(endpoint), call);
      if (plan.endpoint === undefined) this.#preferred = endpoint;
      return { answer };
    } catch (error) {
      if (this.#preferred === endpoint) this.#preferred = undefined;
      return failureOf(error, endpoint, plan.changes, (failed) => dialer.neverSent(failed));
    }
  }

  /** Where to go at once: to the leader that was named, else to a node that was not asked in this round. */
  #untried(plan: CallPlan, failure: Failure, tried: ReadonlySet<string>): string | undefined {
    if (plan.endpoint !== undefined) return undefined;
    const { leaderAddress } = failure;
    if (leaderAddress !== undefined && !tried.has(leaderAddress)) return leaderAddress;
    return this.#endpoints.every((endpoint) => tried.has(endpoint)) ? undefined : this.#choose(tried);
  }

  #choose(tried: ReadonlySet<string>): string {
    const fresh = this.#endpoints.filter((endpoint) => !tried.has(endpoint));
    return fresh[Math.floor(this.#options.random() * fresh.length)] ?? "";
  }

  /** Everybody was told the same: those who keep to it should not all come back at once. */
  #advisedMs({ retryAfterMs }: Failure): number {
    return retryAfterMs * (1 + this.#options.random() / 4);
  }

  #backoffMs(round: number): number {
    const ceiling = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(round, 10));
    return ceiling * (0.5 + this.#options.random() / 2);
  }
}

function clientError(prefix: string, failure: Failure, outcome: WriteOutcome): PlacementError {
  const { message, reason, endpoint, cause } = failure;
  return new PlacementError(`${prefix}${message}`, reason, outcome, endpoint, cause);
}

function attemptMs(remainingMs: number): number {
  return Math.min(remainingMs, Math.max(SHORTEST_ATTEMPT_MS, remainingMs / 2));
}

/** Ends early when the signal fires. */
export function delay(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal?.addEventListener("abort", done, { once: true });
  });
}
