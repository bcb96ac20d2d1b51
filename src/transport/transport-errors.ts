// Every way in which a call to a peer fails, as one table. Codes of connect-node are no use here: a killed peer
// shows up as Canceled, a closing one as Internal.
//
// | class | what is seen on the socket | taken in by the peer? | what follows |
// | --- | --- | --- | --- |
// | `refused` | ECONNREFUSED, name or route not found, no HTTP/2 there, or still backing off from that | no | back off |
// | `closing` | GOAWAY or REFUSED_STREAM: the peer is shutting down | no | repeated once on a new session |
// | `killed` | the session ended while the call was open | unknown | back off |
// | `reset` | ECONNRESET, EPIPE, or the stream was reset | unknown | back off if the session is gone |
// | `frozen` | no PING answer, no HTTP/2 settings after connecting | unknown | session destroyed, back off |
// | `deadline` | no answer in time on a session that is alive | unknown | session kept |
// | `tooLarge` | larger than a limit, here or there | no | logged: limits differ between nodes |
// | `busy` | the peer's inbox, or its snapshot slots, are full | no | Raft repeats |
// | `rejected` | the peer answered with another error | no | logged with its words |
// | `stopped` | this transport is closing, or the peer left the membership | unknown | nothing |

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorDetailSchema } from "../gen/service_pb.js";

export type FailureClass =
  | "refused"
  | "closing"
  | "killed"
  | "reset"
  | "frozen"
  | "deadline"
  | "tooLarge"
  | "busy"
  | "rejected"
  | "stopped";

/** `ErrorDetail.reason` of an answer that means "not now": the inbox, or every snapshot slot, is taken. */
export const BUSY_REASON = "busy";

/** A call that failed, classified where it was seen. */
export class TransportError extends Error {
  override readonly name = "TransportError";
  constructor(
    readonly failure: FailureClass,
    message: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
  }
}

const BY_NODE_CODE: ReadonlyMap<string, FailureClass> = new Map([
  ["ECONNREFUSED", "refused"],
  ["ENOTFOUND", "refused"],
  ["EAI_AGAIN", "refused"],
  ["EHOSTUNREACH", "refused"],
  ["ENETUNREACH", "refused"],
  ["EADDRNOTAVAIL", "refused"],
  ["ECONNRESET", "reset"],
  ["EPIPE", "reset"],
  ["ETIMEDOUT", "frozen"],
  ["ERR_HTTP2_STREAM_CANCEL", "killed"],
  ["ERR_HTTP2_GOAWAY_SESSION", "closing"],
  ["ERR_HTTP2_INVALID_SESSION", "closing"],
  ["ERR_HTTP2_SESSION_ERROR", "killed"],
  ["ERR_STREAM_PREMATURE_CLOSE", "killed"],
]);

const NGHTTP2_REFUSED_STREAM = 7;
const NGHTTP2_CANCEL = 8;

/** For a stream that was closed without a complete answer. */
export function classifyReset(resetCode: number): FailureClass {
  if (resetCode === NGHTTP2_REFUSED_STREAM) return "closing";
  // Node closes the streams of a session that ended with CANCEL; a peer that means it answers with an error.
  if (resetCode === NGHTTP2_CANCEL || resetCode === 0) return "killed";
  return "reset";
}

/** Finds the class of anything that a call threw, by its causes first and by its Connect code last. */
export function classifyFailure(error: unknown): FailureClass {
  const chain = causesOf(error);
  for (const cause of chain) {
    if (cause instanceof TransportError) return cause.failure;
  }
  for (const cause of chain) {
    if (/REFUSED_STREAM/.test(cause.message)) return "closing";
    const code = "code" in cause && typeof cause.code === "string" ? cause.code : undefined;
    const known = code === undefined ? undefined : BY_NODE_CODE.get(code);
    if (known !== undefined) return known;
    if (code === "ERR_HTTP2_STREAM_ERROR") return /CANCEL/.test(cause.message) ? "killed" : "reset";
  }
  const connectError = chain.find((cause) => cause instanceof ConnectError);
  return connectError === undefined ? "reset" : classifyConnectError(connectError);
}

function classifyConnectError(error: ConnectError): FailureClass {
  switch (error.code) {
    case Code.ResourceExhausted:
      return error.findDetails(ErrorDetailSchema).some((detail) => detail.reason === BUSY_REASON)
        ? "busy"
        : "tooLarge";
    case Code.DeadlineExceeded:
      return "deadline";
    case Code.Canceled:
      return "killed";
    case Code.Unavailable:
      return "closing";
    case Code.Aborted:
      return "reset";
    default:
      return "rejected";
  }
}

function causesOf(error: unknown): Error[] {
  const chain: Error[] = [];
  let cause = error;
  while (cause instanceof Error && !chain.includes(cause)) {
    chain.push(cause);
    cause = cause.cause;
  }
  return chain;
}

const NO_TLS_THERE = "it does not speak TLS: all nodes of a cluster have certificates, or none";
const CERTIFICATE_WANTED = "it asks for a certificate: show one that its authority has signed";
const UNKNOWN_AUTHORITY = "its certificate is signed by an authority that is not among those trusted here";

/** What TLS failed of, in words that say what to do: OpenSSL's own name a line of its source. */
const TLS_SENTENCES: ReadonlyMap<string, string> = new Map([
  ["ERR_SSL_WRONG_VERSION_NUMBER", NO_TLS_THERE],
  ["ERR_SSL_PACKET_LENGTH_TOO_LONG", NO_TLS_THERE],
  ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", CERTIFICATE_WANTED],
  ["ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE", CERTIFICATE_WANTED],
  [
    "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
    "it does not know the authority that signed the certificate shown to it",
  ],
  ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED", "the certificate shown to it has expired"],
  ["SELF_SIGNED_CERT_IN_CHAIN", UNKNOWN_AUTHORITY],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", UNKNOWN_AUTHORITY],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", UNKNOWN_AUTHORITY],
  ["UNABLE_TO_GET_ISSUER_CERT", UNKNOWN_AUTHORITY],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", UNKNOWN_AUTHORITY],
  ["CERT_SIGNATURE_FAILURE", UNKNOWN_AUTHORITY],
  ["CERT_HAS_EXPIRED", "its certificate has expired"],
]);

/** One line about anything that was thrown. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  return TLS_SENTENCES.get(code) ?? error.message;
}
