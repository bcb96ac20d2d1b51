// What a PlacementClient throws: one class, whose fields say what may be concluded.

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorDetail_Outcome } from "../gen/service_pb.js";
import { type ErrorReason, errorDetail, isKnownReason } from "../services/connect-errors.js";

/**
 * - `notApplied`: nothing was changed and nothing will be: safe to send again.
 * - `unknown`: a change was sent, and may or may not take effect, now or later.
 * - `applied`: it took effect, once; only its answer is lost.
 */
export type WriteOutcome = "notApplied" | "unknown" | "applied";

export class PlacementError extends Error {
  override readonly name = "PlacementError";

  constructor(
    message: string,
    /** A stable word: those of docs/errors.md, or `unreachable` when no endpoint could be connected to. */
    readonly reason: string,
    /** Of a read: always `notApplied`. */
    readonly outcome: WriteOutcome,
    /** The node that answered or failed last. */
    readonly endpoint: string | undefined,
    cause: unknown,
  ) {
    super(message, { cause });
  }
}

/** What one failed attempt tells. */
export interface Failure {
  readonly endpoint: string;
  readonly reason: string;
  readonly message: string;
  /** The attempt certainly changed nothing. */
  readonly notApplied: boolean;
  /** An attempt, this or an earlier one, has certainly been applied. */
  readonly applied: boolean;
  /** Asking again, there or elsewhere, may help. */
  readonly mayPass: boolean;
  /** Who leads, if the answer said so. */
  readonly leaderAddress: string | undefined;
  /** Not to be asked again before this long has passed. */
  readonly retryAfterMs: number;
  readonly cause: unknown;
}

/** Reasons that would be the same on every node and at any time. */
const FINAL_REASONS: ReadonlySet<string> = new Set<ErrorReason>([
  "invalidArgument",
  "tooLarge",
  "membershipRefused",
  "compacted",
  "sessionExpired",
  "answerLost",
  "unsupported",
  "unauthenticated",
  "permissionDenied",
]);

export function failureOf(
  error: unknown,
  endpoint: string,
  changes: boolean,
  neverSent: (error: unknown) => boolean,
): Failure {
  const detail = errorDetail(error);
  const cause = error;
  const message = error instanceof ConnectError ? error.rawMessage : String(error);
  if (detail !== undefined) {
    const notApplied = !changes || detail.outcome === ErrorDetail_Outcome.NOT_APPLIED;
    return {
      endpoint,
      reason: detail.reason,
      message,
      notApplied,
      applied: detail.outcome === ErrorDetail_Outcome.APPLIED,
      mayPass: isKnownReason(detail.reason) && !FINAL_REASONS.has(detail.reason),
      leaderAddress: detail.leaderAddress === "" ? undefined : detail.leaderAddress,
      retryAfterMs: detail.retryAfterMs,
      cause,
    };
  }
  const common = {
    endpoint,
    message: `${endpoint}: ${message}`,
    applied: false,
    leaderAddress: undefined,
    retryAfterMs: 0,
    cause,
  };
  if (neverSent(error)) return { ...common, reason: "unreachable", notApplied: true, mayPass: true };
  const code = error instanceof ConnectError ? error.code : Code.Unknown;
  if (REFUSING_CODES.has(code)) {
    return { ...common, reason: Code[code].toLowerCase(), notApplied: true, mayPass: false };
  }
  const reason = code === Code.DeadlineExceeded ? "deadlineExceeded" : "connectionLost";
  return { ...common, reason, notApplied: !changes, mayPass: true };
}

/** Answers that mean "not in this form", from whatever listens there. */
const REFUSING_CODES: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.Unimplemented,
  Code.ResourceExhausted,
]);
