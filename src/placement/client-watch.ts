// A watch that outlives nodes: it goes on from the last revision it was given, on another node if need be, so that
// every event comes once and in order.

import { type CallOptions, createClient } from "@connectrpc/connect";
import type { ConnectDialer } from "../embed/peer-dialer.js";
import { KvService, type WatchEvent, WatchEvent_Kind, type WatchResponse } from "../gen/service_pb.js";
import { delay } from "./client-calls.js";
import { type Failure, failureOf, PlacementError } from "./client-error.js";
import { type KeyedEntry, type KeySelection, keyedEntry, keyRange } from "./client-kv.js";

export interface WatchClientOptions {
  /** The first revision of interest. Default: from now on, as the node that is asked first sees it. */
  readonly fromRevision?: bigint | undefined;
  /** With every event, what the key had before. */
  readonly previousValues?: boolean | undefined;
  /** After this long without an event, a progress mark. In [100, 600,000]; default 10,000. */
  readonly progressIntervalMs?: number | undefined;
  /** Ends the watch. */
  readonly signal?: AbortSignal | undefined;
}

export type WatchedChange =
  | { readonly kind: "set"; readonly entry: KeyedEntry; readonly previous: KeyedEntry | undefined }
  | {
      readonly kind: "delete";
      readonly key: string;
      /** Of the deletion. */
      readonly modRevision: bigint;
      readonly previous: KeyedEntry | undefined;
    };

export interface WatchUpdate {
  /** Everything up to and including this revision has been delivered. */
  readonly revision: bigint;
  /** In order; none: a progress mark. */
  readonly changes: readonly WatchedChange[];
}

export interface WatchContext {
  /** May change while the watch goes on. */
  readonly endpoints: () => readonly string[];
  readonly dialer: ConnectDialer;
  readonly random: () => number;
  readonly isClosed: () => boolean;
  /** This node answers: it may know of others. */
  readonly reached: (endpoint: string) => void;
}

const DEFAULT_PROGRESS_MS = 10_000;
/** A node that has been silent for this many progress intervals is left. */
const SILENT_INTERVALS = 2;
const LEAST_SILENCE_MS = 2_000;
const FIRST_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 1_000;
/** Nodes that cannot be asked may still keep what the others do not; for so many rounds they get the chance to say so. */
const ROUNDS_FOR_THE_REST = 4;
/** Besides failures that may pass: what another node may do better. */
const RESUMABLE: ReadonlySet<string> = new Set(["compacted", "watcherTooSlow"]);

/**
 * Ends when the signal fires or the client is closed.
 * @throws PlacementError: `compacted` when no node that can be asked keeps the changes from the revision on; `invalidArgument` and the
 *   like when going on elsewhere would not help.
 */
export async function* watchKeys(
  context: WatchContext,
  keys: KeySelection,
  options: WatchClientOptions,
): AsyncGenerator<WatchUpdate> {
  const { signal } = options;
  const { random } = context;
  let next = options.fromRevision ?? 0n;
  let at = Math.floor(random() * context.endpoints().length);
  /** Since something came: which nodes have said that the revision is too long ago, and how often there was no success. */
  const compactedAt = new Set<string>();
  let failures = 0;
  const isOver = () => signal?.aborted === true || context.isClosed();
  while (!isOver()) {
    const endpoints = context.endpoints();
    const endpoint = endpoints[at % endpoints.length] ?? "";
    const link = new WatchLink(options);
    let isReached = false;
    let failure: Failure;
    try {
      const call = createClient(KvService, context.dialer.dial(endpoint));
      const request = {
        range: keyRange(keys),
        fromRevision: next,
        previousValues: options.previousValues ?? false,
        progressIntervalMs: options.progressIntervalMs ?? 0,
      };
      for await (const response of call.watch(request, link.callOptions)) {
        // The time that the caller takes is not the node's silence.
        link.rest();
        if (!isReached) context.reached(endpoint);
        isReached = true;
        failures = 0;
        compactedAt.clear();
        next = response.revision + 1n;
        yield watchUpdate(response);
        link.listen();
      }
      failure = failureOf(new Error("the node ended the watch"), endpoint, false, () => true);
    } catch (error) {
      failure = failureOf(error, endpoint, false, (failed) => context.dialer.neverSent(failed));
    } finally {
      link.close();
    }
    if (isOver()) return;
    at += 1;
    failures += 1;
    if (failure.reason === "compacted") compactedAt.add(endpoint);
    const isCompacted =
      endpoints.every((known) => compactedAt.has(known)) ||
      (failure.reason === "compacted" && failures >= ROUNDS_FOR_THE_REST * endpoints.length);
    const isResumable = RESUMABLE.has(failure.reason) || failure.mayPass;
    if (!isResumable || isCompacted) {
      throw new PlacementError(failure.message, failure.reason, "notApplied", endpoint, failure.cause);
    }
    // Every node is asked once before any is asked again.
    if (failures % endpoints.length === 0) {
      const ceiling = Math.min(
        LONGEST_BACKOFF_MS,
        FIRST_BACKOFF_MS * 2 ** Math.min(failures / endpoints.length, 10),
      );
      await delay(ceiling * (0.5 + random() / 2), signal);
    }
  }
}

/** One stream: ended by the caller's signal, or when the node has been silent for too long. */
class WatchLink {
  readonly callOptions: CallOptions;
  readonly #controller = new AbortController();
  readonly #signal: AbortSignal | undefined;
  readonly #silenceMs: number;
  readonly #abort = () => this.#controller.abort();
  #timer: NodeJS.Timeout | undefined;

  constructor({ signal, progressIntervalMs }: WatchClientOptions) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort, { once: true });
    this.#silenceMs = Math.max(
      (progressIntervalMs ?? DEFAULT_PROGRESS_MS) * SILENT_INTERVALS,
      LEAST_SILENCE_MS,
    );
    this.listen();
    // Watches have no deadline: 0 stands for none.
    this.callOptions = { signal: this.#controller.signal, timeoutMs: 0 };
  }

  /** From now on the node has to say something within its time. */
  listen(): void {
    this.#timer = setTimeout(this.#abort, this.#silenceMs);
  }

  rest(): void {
    clearTimeout(this.#timer);
  }

  close(): void {
    this.rest();
    this.#signal?.removeEventListener("abort", this.#abort);
    // A stream that its caller left in the middle would stay open.
    this.#controller.abort();
  }
}

function watchUpdate({ revision, events }: WatchResponse): WatchUpdate {
  return { revision, changes: events.flatMap(watchedChange) };
}

function watchedChange({ kind, entry, previous }: WatchEvent): WatchedChange[] {
  if (entry === undefined) return [];
  const before = previous && keyedEntry(previous);
  switch (kind) {
    case WatchEvent_Kind.SET:
      return [{ kind: "set", entry: keyedEntry(entry), previous: before }];
    case WatchEvent_Kind.DELETE:
      return [{ kind: "delete", key: entry.key, modRevision: entry.modRevision, previous: before }];
    case WatchEvent_Kind.UNSPECIFIED:
      return [];
  }
}
