// Has calls done where they can be done: writes at the leader, here or one hop away; linearizable reads here, once
// the leader has confirmed an index. Waits out elections within the call's deadline.

import { Code, ConnectError, type HandlerContext, type Transport } from "@connectrpc/connect";
import type { LogIndex, NodeId } from "../core/types.js";
import { ReadConsistency } from "../gen/service_pb.js";
import type { CallOptions } from "../node/calls.js";
import { RaftNodeError } from "../node/errors.js";
import type { NodeEvents } from "../node/events.js";
import type { Cancel, Clock, Logger } from "../node/ports.js";
import type { ReadIndexOptions } from "../node/reads.js";
import { CallBudget, type CallBudgetLimits, DEFAULT_CALL_BUDGET } from "./call-budget.js";
import {
  type CallPurpose,
  errorDetail,
  passesByItself,
  ServiceError,
  ShuttingDown,
  toConnectError,
} from "./connect-errors.js";
import { requireLeader } from "./leader-only.js";
import { leanPartsOf } from "./lean-parts.js";

/** Marks a call that a node sends on for a client: whoever gets it answers, and never sends it on again. */
export const FORWARDED_HEADER = "raft-forwarded";

/** What is asked of the node here; a RaftNode fits. */
export interface RoutedNode {
  readonly id: NodeId;
  readonly isLeader: boolean;
  readonly leaderId: NodeId | undefined;
  readonly leaderAddress: string | undefined;
  /** Absent: it belongs to a cluster. */
  readonly isMember?: boolean | undefined;
  readIndex(options?: ReadIndexOptions): Promise<LogIndex>;
  on(event: "leader", listener: (event: NodeEvents["leader"]) => void): Cancel;
}

/** How much a read must see. */
export interface ReadLevel {
  readonly consistency?: ReadConsistency | undefined;
  /** Of a serializable read. 0: any age. */
  readonly maxStalenessMs?: number | undefined;
}

/** How other nodes are reached. */
export interface PeerDialer {
  /** A transport to `host:port`, kept and reused. */
  dial(address: string): Transport;
  /** Whether a call that failed with this error certainly never reached the other side. */
  neverSent(error: unknown): boolean;
}

/** One operation that only the leader can do. */
export interface LeaderOperation<T> {
  /** `here` only passes its options on to the node, which then takes them without a signal where it can: cheaper. */
  readonly lean?: boolean;
  /** On this node, which leads. */
  here(options: CallOptions): Promise<T>;
  /** On the node behind `transport`. The options must be passed on as they are. */
  there(transport: Transport, options: ForwardOptions): Promise<T>;
}

export interface ForwardOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * What a node that does not lead does with writes and linearizable reads:
 * - `forward`: has them done at the leader, and waits out elections.
 * - `refuse`: answers `notLeader` (FailedPrecondition) with who leads, at once.
 */
export const FORWARDING = ["forward", "refuse"] as const;

export type Forwarding = (typeof FORWARDING)[number];

export interface LeaderCallsOptions {
  /** Default `forward`. */
  readonly forwarding?: Forwarding | undefined;
  readonly node: RoutedNode;
  readonly dialer: PeerDialer;
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  readonly budget?: Partial<CallBudgetLimits> | undefined;
  /** Calls that wait for a leader at most; more are refused with `inboxFull`. Default 10,000. */
  readonly maxWaiting?: number | undefined;
  /** In [0, 1). */
  readonly random?: (() => number) | undefined;
}

const FIRST_RETRY_MS = 10;
const LONGEST_RETRY_MS = 250;
const DRAIN_POLL_MS = 5;

export class LeaderCalls {
  readonly #node: RoutedNode;
  readonly #refuses: boolean;
  readonly #dialer: PeerDialer;
  readonly #clock: Clock;
  readonly #logger: Logger | undefined;
  readonly #limits: CallBudgetLimits;
  readonly #maxWaiting: number;
  readonly #random: () => number;
  readonly #streams = new Set<AbortController>();
  #waiting = 0;
  #underWay = 0;
  #draining = false;

  constructor(options: LeaderCallsOptions) {
    this.#node = options.node;
    this.#refuses = options.forwarding === "refuse";
    this.#dialer = options.dialer;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#limits = { ...DEFAULT_CALL_BUDGET, ...options.budget };
    this.#maxWaiting = options.maxWaiting ?? 10_000;
    this.#random = options.random ?? Math.random;
  }

  /**
   * Does a write at the leader. Tries again while an attempt is certain not to have been applied. With forwarding
   * `refuse`, and for calls that were forwarded already: here or not at all.
   * @throws ConnectError with an ErrorDetail, always: fit to be thrown out of a handler.
   */
  write<T>(context: HandlerContext, operation: LeaderOperation<T>): Promise<T> {
    const forwarded =
      leanPartsOf(context)?.hasRequestHeader(FORWARDED_HEADER) ?? context.requestHeader.has(FORWARDED_HEADER);
    return this.#serve("write", context, (budget) =>
      forwarded || this.#refuses
        ? this.#here(operation, budget)
        : this.#untilDone(
            budget,
            this.#writeAttempts(operation, budget, () => authorityOf(context)),
          ),
    );
  }

  /**
   * Resolves when the local state may be read at the level that is asked for. Linearizable, the default: it contains
   * every write that was acknowledged before this call. With forwarding `refuse`, only the leader serves these.
   */
  linearize(context: HandlerContext, level: ReadLevel = {}): Promise<void> {
    const { consistency = ReadConsistency.LINEARIZABLE, maxStalenessMs = 0 } = level;
    if (consistency === ReadConsistency.SERIALIZABLE && maxStalenessMs === 0) {
      return this.#serve("read", context, async () => undefined);
    }
    const kind =
      consistency === ReadConsistency.SERIALIZABLE
        ? { maxStalenessMs }
        : { lease: consistency === ReadConsistency.LEADER_LEASE };
    return this.#serve("read", context, async (budget) => {
      const attempt = async () => {
        this.#requireCluster();
        await this.#node.readIndex({ ...budget.leanOptions(), ...kind });
      };
      if (!this.#refuses || consistency === ReadConsistency.SERIALIZABLE) {
        await this.#untilDone(budget, attempt);
        return;
      }
      requireLeader(this.#node);
      await attempt();
    });
  }

  /**
   * Does a call on this node, whoever leads.
   * @param limits for work that takes longer than calls do.
   */
  own<T>(
    context: HandlerContext,
    run: (options: CallOptions) => Promise<T>,
    limits: CallBudgetLimits = this.#limits,
  ): Promise<T> {
    return this.#serve("write", context, (budget) => run(budget.options()), limits);
  }

  /**
   * Runs a stream of answers. It must end soon after `signal` fires, in any way; what it throws reaches the client as
   * from the other calls. Ended when the node drains.
   */
  async *stream<T>(
    context: HandlerContext,
    run: (signal: AbortSignal) => AsyncIterable<T>,
  ): AsyncGenerator<T> {
    const controller = new AbortController();
    const abort = () => controller.abort();
    context.signal.addEventListener("abort", abort, { once: true });
    this.#streams.add(controller);
    try {
      if (this.#draining) throw new ShuttingDown();
      yield* run(controller.signal);
      if (this.#draining || context.signal.aborted) throw endOfStream(context.signal);
    } catch (error) {
      throw this.#answer(controller.signal.aborted ? endOfStream(context.signal) : error, "read");
    } finally {
      this.#streams.delete(controller);
      context.signal.removeEventListener("abort", abort);
    }
  }

  /** Runs a handler's own part, so that what it throws reaches the client in the same form. */
  async local<T>(purpose: CallPurpose, run: () => T | Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw this.#answer(error, purpose);
    }
  }

  /**
   * Refuses every new call as not applied; resolves when those under way have ended, or `graceMs` has passed. For an
   * orderly stop: the listeners are closed afterwards, which ends what is left.
   */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    for (const controller of this.#streams) controller.abort();
    const untilMs = this.#clock.nowMs() + graceMs;
    while (this.#underWay > 0 && this.#clock.nowMs() < untilMs) {
      await new Promise<void>((resolve) => {
        this.#clock.after(DRAIN_POLL_MS, resolve);
      });
    }
  }

  #serve<T>(
    purpose: CallPurpose,
    context: HandlerContext,
    run: (budget: CallBudget) => Promise<T>,
    limits = this.#limits,
  ): Promise<T> {
    return this.local(purpose, async () => {
      if (this.#draining) throw new ShuttingDown();
      const budget = new CallBudget(context, this.#clock, limits);
      this.#underWay += 1;
      try {
        return await run(budget);
      } catch (error) {
        throw budget.explain(error);
      } finally {
        this.#underWay -= 1;
      }
    });
  }

  #answer(error: unknown, purpose: CallPurpose): unknown {
    const answer = toConnectError(error, purpose, this.#node);
    if (errorDetail(answer)?.reason === "internal") {
      this.#logger?.error({ error, purpose }, "a call failed in a way that nobody foresaw");
    }
    return answer;
  }

  async #here<T>(operation: LeaderOperation<T>, budget: CallBudget): Promise<T> {
    requireLeader(this.#node);
    return await operation.here(optionsFor(operation, budget));
  }

  /** One attempt per call of the returned function; remembers where the last one was told to go. */
  #writeAttempts<T>(
    operation: LeaderOperation<T>,
    budget: CallBudget,
    authority: () => ForwardOptions["headers"],
  ): () => Promise<T> {
    let hint: string | undefined;
    return async () => {
      if (this.#node.isLeader) return await operation.here(optionsFor(operation, budget));
      const address = hint ?? this.#node.leaderAddress;
      hint = undefined;
      if (address === undefined) {
        this.#requireCluster();
        throw new RaftNodeError("noLeader", "no leader is known");
      }
      try {
        return await this.#there(address, operation, budget, authority());
      } catch (error) {
        const told = errorDetail(error)?.leaderAddress;
        if (told !== undefined && told !== "" && told !== address) hint = told;
        throw error;
      }
    };
  }

  /** Without one, no time brings a leader: somebody has to add this node. */
  #requireCluster(): void {
    const { id, isMember = true, leaderId } = this.#node;
    if (isMember || leaderId !== undefined) return;
    throw new ServiceError(
      "notMember",
      `node ${id} is no member of a cluster: it waits to be added (\`member add\`), or was removed; use another node`,
    );
  }

  async #there<T>(
    address: string,
    operation: LeaderOperation<T>,
    budget: CallBudget,
    authority: ForwardOptions["headers"],
  ): Promise<T> {
    const { signal, deadlineMs } = budget.options();
    try {
      return await operation.there(this.#dialer.dial(address), {
        signal,
        timeoutMs: Math.max(1, Math.floor(deadlineMs)),
        headers: { ...authority, [FORWARDED_HEADER]: this.#node.id.toString() },
      });
    } catch (error) {
      if (errorDetail(error) !== undefined) throw error;
      if (this.#dialer.neverSent(error)) {
        throw new RaftNodeError("noLeader", `the leader at ${address} cannot be reached`, { cause: error });
      }
      if (signal.aborted) throw new RaftNodeError("aborted", "the call was given up", { cause: error });
      if (budget.remainingMs <= 0) throw this.#outOfTime(budget, error);
      throw new RaftNodeError("outcomeUnknown", `the call to the leader at ${address} broke off`, {
        cause: error,
      });
    }
  }

  #outOfTime(budget: CallBudget, cause: unknown): RaftNodeError {
    const message = `the leader did not answer within ${Math.round(budget.deadlineMs)} ms`;
    return new RaftNodeError("deadlineExceeded", message, { cause });
  }

  async #untilDone<T>(budget: CallBudget, attempt: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures += 1) {
      try {
        return await attempt();
      } catch (error) {
        if (!passesByItself(error)) throw error;
        const delayMs =
          Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures) * (0.5 + this.#random() / 2);
        if (delayMs >= budget.remainingMs) throw givenUp(budget, error);
        await this.#leaderChangeOr(delayMs, budget.signal);
        if (budget.remainingMs <= 0 || budget.signal.aborted) throw givenUp(budget, error);
      }
    }
  }

  /** Waits for the delay, or less if another leader becomes known or the client gives up. */
  async #leaderChangeOr(delayMs: number, signal: AbortSignal): Promise<void> {
    if (this.#waiting >= this.#maxWaiting) {
      throw new RaftNodeError(
        "inboxFull",
        `${this.#maxWaiting} calls wait for a leader already; retry later`,
      );
    }
    this.#waiting += 1;
    const undo: Cancel[] = [];
    await new Promise<void>((resolve) => {
      const wake = () => resolve();
      undo.push(this.#clock.after(delayMs, wake));
      undo.push(this.#node.on("leader", ({ leaderId }) => leaderId !== undefined && wake()));
      signal.addEventListener("abort", wake, { once: true });
      undo.push(() => signal.removeEventListener("abort", wake));
    });
    this.#waiting -= 1;
    for (const cancel of undo) cancel();
  }
}

function optionsFor({ lean }: { readonly lean?: boolean }, budget: CallBudget): CallOptions {
  return lean === true ? budget.leanOptions() : budget.options();
}

/** What a client showed goes with its call: the leader judges it again, and this node lends it nothing. */
function authorityOf({ requestHeader }: HandlerContext): ForwardOptions["headers"] {
  const authorization = requestHeader.get("authorization");
  return authorization === null ? {} : { authorization };
}

/** Why a stream ended before its client had enough. */
function endOfStream(signal: AbortSignal): Error {
  if (!signal.aborted) return new ShuttingDown();
  switch (ConnectError.from(signal.reason).code) {
    case Code.Unavailable:
      return new ShuttingDown();
    case Code.DeadlineExceeded:
      return new RaftNodeError("deadlineExceeded", "the client's deadline passed");
    default:
      return new RaftNodeError("aborted", "the client gave the call up");
  }
}

/** The deadline ran out between attempts, none of which was applied. */
function givenUp(budget: CallBudget, last: unknown): RaftNodeError {
  const why = last instanceof Error ? last.message : String(last);
  return new RaftNodeError(
    "noLeader",
    `no leader took the call within ${Math.round(budget.deadlineMs)} ms: ${why}`,
    {
      cause: last,
    },
  );
}
