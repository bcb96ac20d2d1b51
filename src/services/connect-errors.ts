// Every error that the services answer on purpose: its Connect code, and what a caller may conclude. The only file
// that knows both RaftNodeError and ConnectError. docs/errors.md lists the same table for people.

import { Code, ConnectError } from "@connectrpc/connect";
import type { NodeId } from "../core/types.js";
import { type ErrorDetail, ErrorDetail_Outcome, ErrorDetailSchema } from "../gen/service_pb.js";
import { RaftNodeError, type RaftNodeErrorCode } from "../node/errors.js";

/**
 * Reasons that the services know and the runtime does not.
 * - `compacted`: what was asked about is too long ago.
 * - `watcherTooSlow`: the stream was ended; it may be resumed.
 * - `sessionExpired`: whether an earlier attempt of this write was applied is forgotten; this one was not.
 * - `answerLost`: the write was applied by an earlier attempt, whose answer was too large to be kept.
 * - `unsupported`: the state machine here answers no queries.
 * - `shuttingDown`: the call came while the services were being closed: nothing was done about it.
 * - `notMember`: the asked node belongs to no cluster that could do it.
 * - `unauthenticated`: nobody knows who calls. `permissionDenied`: the caller is known, and may not do this.
 */
export const SERVICE_REASONS = [
  "compacted",
  "watcherTooSlow",
  "sessionExpired",
  "answerLost",
  "unsupported",
  "shuttingDown",
  "notMember",
  "unauthenticated",
  "permissionDenied",
] as const;

export type ServiceReason = (typeof SERVICE_REASONS)[number];

/** `ErrorDetail.reason`. `internal` is whatever nobody foresaw. */
export type ErrorReason = RaftNodeErrorCode | ServiceReason | "internal";

export class ServiceError extends Error {
  override readonly name: string = "ServiceError";
  constructor(
    readonly reason: ServiceReason,
    message: string,
  ) {
    super(message);
  }
}

export class ShuttingDown extends ServiceError {
  override readonly name = "ShuttingDown";
  constructor() {
    super("shuttingDown", "this node is shutting down: use another one");
  }
}

export interface ErrorRow {
  readonly code: Code;
  /** For a write. A read changes nothing, so its errors say nothing here. */
  readonly outcome: ErrorDetail_Outcome;
  /** Whether the same call may succeed shortly, on the leader, without being changed. */
  readonly passes: boolean;
}

/**
 * Milliseconds that a client should let pass before it tries again; not listed: it may do so at once, or should not at
 * all. Long enough that what stands in the way may be gone: an election takes some hundred, making room some thousand.
 */
export const RETRY_ADVICE: Readonly<Partial<Record<ErrorReason, number>>> = {
  proposalDropped: 50,
  readDropped: 50,
  inboxFull: 100,
  noLeader: 250,
  noSpace: 5_000,
};

/** An election is under way. */
export const NO_LEADER_ADVICE_MS = 250;

const { APPLIED, NOT_APPLIED, UNKNOWN, UNSPECIFIED } = ErrorDetail_Outcome;

export const ERROR_TABLE: Readonly<Record<ErrorReason, ErrorRow>> = {
  notLeader: { code: Code.FailedPrecondition, outcome: NOT_APPLIED, passes: true },
  proposalDropped: { code: Code.Unavailable, outcome: NOT_APPLIED, passes: true },
  outcomeUnknown: { code: Code.Aborted, outcome: UNKNOWN, passes: false },
  deadlineExceeded: { code: Code.DeadlineExceeded, outcome: UNKNOWN, passes: false },
  aborted: { code: Code.Canceled, outcome: UNKNOWN, passes: false },
  nodeStopped: { code: Code.Unavailable, outcome: UNKNOWN, passes: false },
  inboxFull: { code: Code.ResourceExhausted, outcome: NOT_APPLIED, passes: false },
  noSpace: { code: Code.ResourceExhausted, outcome: NOT_APPLIED, passes: false },
  tooLarge: { code: Code.ResourceExhausted, outcome: NOT_APPLIED, passes: false },
  invalidArgument: { code: Code.InvalidArgument, outcome: NOT_APPLIED, passes: false },
  membershipRefused: { code: Code.FailedPrecondition, outcome: NOT_APPLIED, passes: false },
  noLeader: { code: Code.Unavailable, outcome: NOT_APPLIED, passes: true },
  readDropped: { code: Code.Unavailable, outcome: NOT_APPLIED, passes: true },
  compacted: { code: Code.OutOfRange, outcome: NOT_APPLIED, passes: false },
  watcherTooSlow: { code: Code.Aborted, outcome: NOT_APPLIED, passes: false },
  sessionExpired: { code: Code.FailedPrecondition, outcome: UNKNOWN, passes: false },
  answerLost: { code: Code.FailedPrecondition, outcome: APPLIED, passes: false },
  unsupported: { code: Code.Unimplemented, outcome: NOT_APPLIED, passes: false },
  shuttingDown: { code: Code.Unavailable, outcome: NOT_APPLIED, passes: true },
  notMember: { code: Code.FailedPrecondition, outcome: NOT_APPLIED, passes: false },
  unauthenticated: { code: Code.Unauthenticated, outcome: NOT_APPLIED, passes: false },
  permissionDenied: { code: Code.PermissionDenied, outcome: NOT_APPLIED, passes: false },
  internal: { code: Code.Internal, outcome: UNKNOWN, passes: false },
};

/** What was being done when the error came up. */
export type CallPurpose = "read" | "write";

/** Who leads, as far as the answering node knows. */
export interface LeaderView {
  readonly leaderId: NodeId | undefined;
  readonly leaderAddress: string | undefined;
}

/** What a client gets for anything that was thrown while its call was being served. */
export function toConnectError(error: unknown, purpose: CallPurpose, leader: LeaderView): ConnectError {
  if (error instanceof ConnectError) return answerOfPeer(error);
  const reason = reasonOf(error);
  const row = ERROR_TABLE[reason];
  return new ConnectError(messageOf(error), row.code, undefined, [
    {
      desc: ErrorDetailSchema,
      value: {
        reason,
        leaderId: leader.leaderId ?? 0n,
        leaderAddress: leader.leaderAddress ?? "",
        outcome: purpose === "write" ? row.outcome : UNSPECIFIED,
        retryAfterMs: retryAdvice(reason, leader),
      },
    },
  ]);
}

function retryAdvice(reason: ErrorReason, { leaderId }: LeaderView): number {
  if (reason === "notLeader") return leaderId === undefined ? NO_LEADER_ADVICE_MS : 0;
  return RETRY_ADVICE[reason] ?? 0;
}

/** The detail that one of these services attached; undefined for errors that came about elsewhere. */
export function errorDetail(error: unknown): ErrorDetail | undefined {
  return error instanceof ConnectError ? error.findDetails(ErrorDetailSchema)[0] : undefined;
}

/** Whether the call was certainly not applied and may succeed shortly, here or on the leader. */
export function passesByItself(error: unknown): boolean {
  if (error instanceof RaftNodeError) return ERROR_TABLE[error.code].passes && !isPushBack(error);
  const detail = errorDetail(error);
  return detail !== undefined && isKnownReason(detail.reason) && ERROR_TABLE[detail.reason].passes;
}

export function isKnownReason(reason: string): reason is ErrorReason {
  return Object.hasOwn(ERROR_TABLE, reason);
}

/** The group cannot keep up: the client should hear it rather than have its call tried again and again. */
function isPushBack(error: RaftNodeError): boolean {
  return error.reason === "uncommittedLimit";
}

/** Made anew, because a received error carries the headers of the answer that it came in. */
function answerOfPeer(error: ConnectError): ConnectError {
  const details = error.findDetails(ErrorDetailSchema);
  return new ConnectError(
    error.rawMessage,
    error.code,
    undefined,
    details.map((value) => ({ desc: ErrorDetailSchema, value })),
  );
}

function reasonOf(error: unknown): ErrorReason {
  if (error instanceof RaftNodeError) return error.code;
  return error instanceof ServiceError ? error.reason : "internal";
}

function messageOf(error: unknown): string {
  if (reasonOf(error) !== "internal" && error instanceof Error) return error.message;
  return `internal error: ${error instanceof Error ? error.message : String(error)}`;
}
