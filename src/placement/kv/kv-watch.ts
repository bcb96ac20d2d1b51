// A watch: changes of a span of keys from a revision on, in order, each once. It reads the history at its own pace, so
// that a slow one holds nothing but its place; when its place is about to be forgotten it is ended.

import { create } from "@bufbuild/protobuf";
import {
  type WatchEvent,
  WatchEvent_Kind,
  WatchEventSchema,
  type WatchResponse,
  WatchResponseSchema,
} from "../../gen/service_pb.js";
import { RaftNodeError } from "../../node/errors.js";
import type { Clock } from "../../node/ports.js";
import { ServiceError } from "../../services/connect-errors.js";
import type { KvEvent, KvHistory } from "./kv-history.js";
import type { KeySpan } from "./kv-key-range.js";
import { keyValue } from "./kv-record.js";

export interface WatchOptions {
  readonly history: KvHistory;
  readonly span: KeySpan;
  /** The first revision of interest; 0n: the one behind the newest. */
  readonly fromRevision: bigint;
  readonly previousValues: boolean;
  readonly progressIntervalMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Asked before every progress mark but the first: why the watch had better go on elsewhere. */
  readonly hindrance: () => Error | undefined;
}

/** A response is sent when it holds this much, and never cuts a revision in two. */
const RESPONSE_EVENTS = 1_000;
const RESPONSE_BYTES = 1024 * 1024;
/** Revisions that are looked at before others have their turn. */
const SCAN_REVISIONS = 4_096;
const MAX_PREVIOUS_BYTES = 8 * 1024 * 1024;

/**
 * Ends normally when `signal` fires.
 * @throws ServiceError `compacted`, `watcherTooSlow`, `shuttingDown`; what `hindrance` gives.
 */
export async function* watchChanges(options: WatchOptions): AsyncGenerator<WatchResponse> {
  const { history, clock, signal, progressIntervalMs } = options;
  const begunAt = history.head;
  let next = options.fromRevision === 0n ? begunAt + 1n : options.fromRevision;
  history.requireKept(next);
  yield create(WatchResponseSchema, { revision: next - 1n });
  let sentMs = clock.nowMs();
  while (!signal.aborted) {
    if (history.ended) throw new RaftNodeError("nodeStopped", "this node is stopping: watch another one");
    requirePace(history, next, begunAt);
    const part = collect(options, next);
    next = part.next;
    if (part.events.length > 0) {
      yield create(WatchResponseSchema, { revision: next - 1n, events: part.events });
      sentMs = clock.nowMs();
    } else if (next <= history.head) {
      await new Promise<void>((resolve) => clock.soon(resolve));
    } else if (clock.nowMs() - sentMs >= progressIntervalMs) {
      const hindrance = options.hindrance();
      if (hindrance !== undefined) throw hindrance;
      yield create(WatchResponseSchema, { revision: next - 1n });
      sentMs = clock.nowMs();
    } else {
      await changeOr(progressIntervalMs - (clock.nowMs() - sentMs), options);
    }
  }
}

/** One that began far back may catch up; one that fell back so far is ended while it can still go on elsewhere. */
function requirePace(history: KvHistory, next: bigint, begunAt: bigint): void {
  if (next > begunAt && next > history.floor && history.isAboutToForget(next) && next <= history.head) {
    throw new ServiceError(
      "watcherTooSlow",
      `this watch takes its events more slowly than they come: it has had all up to revision ${next - 1n}, the newest is ${history.head}; go on from ${next}`,
    );
  }
  history.requireKept(next);
}

function collect(
  { history, span, previousValues }: WatchOptions,
  from: bigint,
): { readonly next: bigint; readonly events: WatchEvent[] } {
  const events: WatchEvent[] = [];
  const last = from + BigInt(SCAN_REVISIONS);
  let next = from;
  let bytes = 0;
  while (next < last && events.length < RESPONSE_EVENTS && bytes < RESPONSE_BYTES) {
    const entry = history.at(next);
    if (entry === undefined) break;
    const wanted = entry.events.filter(({ key }) => span.includes(key));
    const previousBytes = wanted.reduce((sum, { previous }) => sum + (previous?.value.length ?? 0), 0);
    const previous = !previousValues ? "none" : previousBytes > MAX_PREVIOUS_BYTES ? "omitted" : "all";
    for (const event of wanted) events.push(watchEvent(event, next, previous));
    if (wanted.length > 0) bytes += entry.bytes;
    next += 1n;
  }
  return { next, events };
}

function watchEvent(
  { key, record, previous }: KvEvent,
  revision: bigint,
  wanted: "none" | "omitted" | "all",
): WatchEvent {
  const kind = record === undefined ? WatchEvent_Kind.DELETE : WatchEvent_Kind.SET;
  const entry = record === undefined ? { key, modRevision: revision } : keyValue(key, record);
  if (wanted === "none" || previous === undefined) return create(WatchEventSchema, { kind, entry });
  if (wanted === "omitted") return create(WatchEventSchema, { kind, entry, previousOmitted: true });
  return create(WatchEventSchema, { kind, entry, previous: keyValue(key, previous) });
}

async function changeOr(delayMs: number, { history, clock, signal }: WatchOptions): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      cancelTimer();
      cancelChange();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancelTimer = clock.after(delayMs, done);
    const cancelChange = history.onChange(done);
    signal.addEventListener("abort", done, { once: true });
  });
}
