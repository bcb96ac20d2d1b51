// Every bound and every wait of the transport, with its default.

/** Sizes in bytes, times in milliseconds, the rest counts. */
export interface TransportLimits {
  /** The largest single encoded Message that is sent or taken. */
  readonly maxMessageBytes: number;
  /** An envelope is closed when it reaches this; a single larger message travels alone. */
  readonly maxEnvelopeBytes: number;
  readonly maxEnvelopeMessages: number;
  /** What may wait for one peer, appends and forwarded proposals; more is dropped and reported unreachable. */
  readonly maxQueuedAppendBytes: number;
  /** What may wait for one peer beside appends: heartbeats, votes, answers. The oldest are dropped. */
  readonly maxQueuedControlMessages: number;
  /** Heartbeats among them: a newer one says all that an older one says. */
  readonly maxQueuedHeartbeats: number;
  /** How long one envelope may take, answer included. */
  readonly envelopeDeadlineMs: number;
  /** TCP, TLS and HTTP/2 settings together. A frozen process accepts TCP but sends no settings. */
  readonly connectTimeoutMs: number;
  /** A session on which nothing was received for this long is asked for a sign of life. */
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  /** After a failed connect: fail at once for about this long, doubling up to the maximum, with jitter. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** HTTP/2 flow control: per stream, and per session. */
  readonly streamWindowBytes: number;
  readonly sessionWindowBytes: number;
  readonly maxConcurrentStreams: number;
  readonly snapshotChunkBytes: number;
  readonly maxSnapshotBytes: number;
  readonly maxSnapshotSends: number;
  readonly maxSnapshotReceives: number;
  /** A snapshot stream that moves nothing for this long is given up; what arrived is kept for a resume. */
  readonly snapshotStallMs: number;
  /** Pace of all snapshots that are being sent together. Infinity: as fast as the receiver takes it. */
  readonly maxSnapshotBytesPerSecond: number;
  /** Addresses remembered for nodes that the membership does not name (yet). */
  readonly maxLearnedAddresses: number;
  /** Per peer, the same kind of failure is logged at most this often. */
  readonly logIntervalMs: number;
  /** `close()` waits this long for what is under way. */
  readonly closeGraceMs: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;

export const DEFAULT_TRANSPORT_LIMITS: TransportLimits = Object.freeze({
  maxMessageBytes: 16 * MiB,
  maxEnvelopeBytes: 1 * MiB,
  maxEnvelopeMessages: 1024,
  maxQueuedAppendBytes: 32 * MiB,
  maxQueuedControlMessages: 4096,
  maxQueuedHeartbeats: 4,
  envelopeDeadlineMs: 5_000,
  connectTimeoutMs: 1_000,
  pingIntervalMs: 1_000,
  pingTimeoutMs: 1_500,
  backoffMinMs: 50,
  backoffMaxMs: 1_000,
  streamWindowBytes: 4 * MiB,
  sessionWindowBytes: 16 * MiB,
  maxConcurrentStreams: 1_000,
  snapshotChunkBytes: 256 * KiB,
  maxSnapshotBytes: 1024 * 1024 * MiB,
  maxSnapshotSends: 2,
  maxSnapshotReceives: 2,
  snapshotStallMs: 15_000,
  maxSnapshotBytesPerSecond: Number.POSITIVE_INFINITY,
  maxLearnedAddresses: 64,
  logIntervalMs: 10_000,
  closeGraceMs: 1_000,
});

/**
 * The defaults with some of them replaced.
 * @throws RangeError naming the limit that is no positive number, or two that contradict each other.
 */
export function transportLimits(changes: Partial<TransportLimits> = {}): TransportLimits {
  const limits: TransportLimits = { ...DEFAULT_TRANSPORT_LIMITS, ...changes };
  for (const [name, value] of Object.entries(limits)) {
    if (typeof value !== "number" || !(value > 0)) {
      throw new RangeError(`transport limit ${name} must be a number above 0, not ${String(value)}`);
    }
  }
  if (limits.maxEnvelopeBytes > limits.maxMessageBytes) {
    throw new RangeError(
      `transport limit maxEnvelopeBytes (${limits.maxEnvelopeBytes}) must not exceed maxMessageBytes (${limits.maxMessageBytes}): raise the latter`,
    );
  }
  return limits;
}

/** The largest request body that a peer may send: one largest message, or one full envelope, and its framing. */
export function maxRequestBytes(limits: TransportLimits): number {
  return limits.maxMessageBytes + limits.maxEnvelopeBytes + 16 * KiB;
}
