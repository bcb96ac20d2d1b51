// KvService: the client's view of the key-value store. Writes go through the leader's log, wherever they were sent
// to; reads are answered from this node's own state, linearizable ones once the leader has confirmed an index.

import { create } from "@bufbuild/protobuf";
import { type ConnectRouter, createClient, type HandlerContext } from "@connectrpc/connect";
import type { LogIndex, NodeId } from "../../core/types.js";
import { type KvResult, SessionProblem } from "../../gen/records_pb.js";
import {
  DeleteResponseSchema,
  KvService,
  type RangeRequest,
  type SetRequest,
  SetResponseSchema,
  type TxnRequest,
  TxnResponseSchema,
  type WatchRequest,
  type WatchResponse,
} from "../../gen/service_pb.js";
import { RaftNodeError } from "../../node/errors.js";
import type { Clock } from "../../node/ports.js";
import type { ProposeOptions } from "../../node/proposals.js";
import { systemClock } from "../../node/system-clock.js";
import { ServiceError } from "../../services/connect-errors.js";
import type { LeaderCalls, ReadLevel } from "../../services/leader-calls.js";
import { decodeResult, encodeDelete, encodeSet, encodeTxn } from "./kv-command.js";
import { keyRangeProblem, keySpan } from "./kv-key-range.js";
import {
  DEFAULT_MAX_VALUE_BYTES,
  DEFAULT_RANGE_ENTRIES,
  keyProblem,
  MAX_RANGE_BYTES,
  MAX_RANGE_ENTRIES,
} from "./kv-limits.js";
import { decodePageToken, encodePageToken, spanAfter } from "./kv-page-token.js";
import type { KvStateMachine } from "./kv-state-machine.js";
import { txnProblem } from "./kv-transaction.js";
import { watchChanges } from "./kv-watch.js";

/** What is asked of the node here; a RaftNode fits. */
export interface ProposingNode {
  readonly leaderId: NodeId | undefined;
  propose(
    data: Uint8Array,
    options?: ProposeOptions,
  ): Promise<{ readonly index: LogIndex; readonly result: Uint8Array }>;
}

export interface KvRoutesOptions {
  readonly node: ProposingNode;
  readonly calls: LeaderCalls;
  readonly machine: Pick<KvStateMachine, "get" | "exists" | "range" | "revision" | "history">;
  /** Default 1 MiB. */
  readonly maxValueBytes?: number | undefined;
  /** Watches on this node at a time; more are refused with `inboxFull`. Default 10,000. */
  readonly maxWatches?: number | undefined;
  readonly clock?: Clock | undefined;
}

const DEFAULT_MAX_WATCHES = 10_000;
const DEFAULT_PROGRESS_MS = 10_000;
const LEAST_PROGRESS_MS = 100;
const MOST_PROGRESS_MS = 600_000;

/** Mounts KvService on a Connect router. */
export function kvRoutes(options: KvRoutesOptions): (router: ConnectRouter) => void {
  const { node, calls, machine } = options;
  const maxValueBytes = options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES;
  const watches = new Watches(options);

  const propose = async (command: Uint8Array, call: ProposeOptions): Promise<KvResult> => {
    const result = decodeResult((await node.propose(command, call)).result);
    if (result.rejected !== "") throw new RaftNodeError("invalidArgument", result.rejected);
    if (result.sessionProblem !== SessionProblem.NONE) throw sessionError(result.sessionProblem);
    return result;
  };
  const beforeRead = async (key: string, level: ReadLevel, context: HandlerContext) => {
    await calls.local("read", () => checkKey(key));
    await calls.linearize(context, level);
  };

  return (router) =>
    router.service(KvService, {
      set: async (request, context) => {
        await calls.local("write", () => {
          checkKey(request.key);
          checkValue(request.value, maxValueBytes);
        });
        return calls.write(context, {
          lean: true,
          here: async (call) => {
            const { key, value, writeId } = request;
            const command = encodeSet(key, value, { ifModRevision: ifModRevisionOf(request), writeId });
            const { revision, refused, modRevision } = await propose(command, call);
            return create(SetResponseSchema, { revision, refused, modRevision });
          },
          there: (transport, call) => createClient(KvService, transport).set(request, call),
        });
      },
      delete: async (request, context) => {
        await calls.local("write", () => checkKey(request.key));
        return calls.write(context, {
          lean: true,
          here: async (call) => {
            const command = encodeDelete(request.key, request);
            const { existed, revision, refused } = await propose(command, { ...call, essential: true });
            return create(DeleteResponseSchema, { deleted: existed, revision, refused });
          },
          there: (transport, call) => createClient(KvService, transport).delete(request, call),
        });
      },
      txn: async (request, context) => {
        await calls.local("write", () => checkTxn(request, maxValueBytes));
        return calls.write(context, {
          lean: true,
          here: async (call) => {
            const { txn } = await propose(encodeTxn(request), { ...call, essential: storesNothing(request) });
            return txn ?? create(TxnResponseSchema);
          },
          there: (transport, call) => createClient(KvService, transport).txn(request, call),
        });
      },
      get: async (request, context) => {
        await beforeRead(request.key, request, context);
        return calls.local("read", () => {
          const record = machine.get(request.key);
          const { revision } = machine;
          if (record === undefined) return { found: false, revision };
          const { value, createRevision, modRevision, version } = record;
          return { found: true, value, createRevision, modRevision, version, revision };
        });
      },
      exists: async (request, context) => {
        await beforeRead(request.key, request, context);
        return calls.local("read", () => ({
          exists: machine.exists(request.key),
          revision: machine.revision,
        }));
      },
      range: async (request, context) => {
        const { revision } = await calls.local("read", () => checkRange(request));
        // This node may not be as far as the one that gave the page before.
        const isBehind = revision !== undefined && revision > machine.revision;
        await calls.linearize(context, isBehind ? {} : request);
        return calls.local("read", () => range(machine, request));
      },
      watch: (request, context) => watches.watch(request, context),
    });
}

/** The watches of this node. */
class Watches {
  #count = 0;

  constructor(private readonly options: KvRoutesOptions) {}

  watch(request: WatchRequest, context: HandlerContext): AsyncIterable<WatchResponse> {
    return this.options.calls.stream(context, (signal) => this.#run(request, signal));
  }

  async *#run(request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchResponse> {
    const { machine, maxWatches = DEFAULT_MAX_WATCHES, clock = systemClock } = this.options;
    const progressIntervalMs = checkWatch(request);
    if (this.#count >= maxWatches) {
      throw new RaftNodeError("inboxFull", `${this.#count} watches are open on this node: use another one`);
    }
    this.#count += 1;
    try {
      yield* watchChanges({
        history: machine.history,
        span: keySpan(request.range),
        fromRevision: request.fromRevision,
        previousValues: request.previousValues,
        progressIntervalMs,
        clock,
        signal,
        hindrance: this.#isolation(),
      });
    } finally {
      this.#count -= 1;
    }
  }

  /** A node that is cut off would let its watches wait for ever: two marks in a row without a leader are enough. */
  #isolation(): () => Error | undefined {
    let wasLed = true;
    return () => {
      const isLed = this.options.node.leaderId !== undefined;
      const isIsolated = !wasLed && !isLed;
      wasLed = isLed;
      if (!isIsolated) return undefined;
      return new RaftNodeError("noLeader", "this node has had no leader for a while: watch another one");
    };
  }
}

function range(machine: KvRoutesOptions["machine"], request: RangeRequest) {
  const { revision: asked, after } = checkRange(request);
  const revision = asked ?? machine.revision;
  if (revision > machine.revision) {
    throw new RaftNodeError(
      "invalidArgument",
      `revision ${revision} is in the future: the store's is ${machine.revision}`,
    );
  }
  const whole = keySpan(request.range);
  const { entries, more } = machine.range({
    span: after === undefined ? whole : spanAfter(whole, after),
    revision,
    limit: request.limit === 0 ? DEFAULT_RANGE_ENTRIES : request.limit,
    maxBytes: MAX_RANGE_BYTES,
    keysOnly: request.keysOnly,
  });
  const last = entries.at(-1);
  const token =
    more && last !== undefined ? encodePageToken({ revision, after: last.key }) : new Uint8Array();
  return { entries: [...entries], revision, nextPageToken: token };
}

function checkRange(request: RangeRequest): {
  readonly revision: bigint | undefined;
  readonly after: string | undefined;
} {
  refuse(keyRangeProblem(request.range));
  if (request.limit > MAX_RANGE_ENTRIES) {
    refuse(`limit is ${request.limit}, at most ${MAX_RANGE_ENTRIES.toLocaleString("en")} is allowed`);
  }
  if (request.pageToken.length > 0) return decodePageToken(request.pageToken);
  return { revision: request.revision === 0n ? undefined : request.revision, after: undefined };
}

function checkWatch({ range: watched, progressIntervalMs }: WatchRequest): number {
  refuse(keyRangeProblem(watched));
  if (progressIntervalMs === 0) return DEFAULT_PROGRESS_MS;
  if (progressIntervalMs < LEAST_PROGRESS_MS || progressIntervalMs > MOST_PROGRESS_MS) {
    refuse(
      `progress_interval_ms is ${progressIntervalMs}: give ${LEAST_PROGRESS_MS} to ${MOST_PROGRESS_MS}, or 0 for ${DEFAULT_PROGRESS_MS}`,
    );
  }
  return progressIntervalMs;
}

function checkTxn(request: TxnRequest, maxValueBytes: number): void {
  refuse(txnProblem(request));
  for (const { operation } of [...request.success, ...request.failure]) {
    if (operation.case === "set") checkValue(operation.value.value, maxValueBytes);
  }
}

/** What only deletes is taken even when space is short. */
function storesNothing({ success, failure }: TxnRequest): boolean {
  return [...success, ...failure].every(({ operation }) => operation.case !== "set");
}

function checkKey(key: string): void {
  refuse(keyProblem(key));
}

function checkValue(value: Uint8Array, maxValueBytes: number): void {
  if (value.length <= maxValueBytes) return;
  const [size, limit] = [value.length, maxValueBytes].map((bytes) => bytes.toLocaleString("en"));
  throw new RaftNodeError(
    "tooLarge",
    `value has ${size} bytes, the limit is ${limit}: store something smaller`,
  );
}

function ifModRevisionOf({ condition }: SetRequest): bigint | undefined {
  switch (condition.case) {
    case "ifAbsent":
      return condition.value ? 0n : undefined;
    case "ifModRevision":
      return condition.value;
    case undefined:
      return undefined;
  }
}

function sessionError(problem: SessionProblem): ServiceError {
  if (problem === SessionProblem.ANSWER_LOST) {
    return new ServiceError(
      "answerLost",
      "this write was applied by an earlier attempt; its answer is not kept",
    );
  }
  return new ServiceError(
    "sessionExpired",
    "what is known of this client's earlier writes is forgotten, so this attempt was not applied: an earlier attempt may have been",
  );
}

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw new RaftNodeError("invalidArgument", problem);
}
