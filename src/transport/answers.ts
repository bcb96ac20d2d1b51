// What a peer is told when its request was not taken in: errors of the transport and of the runtime as Connect codes.

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorDetailSchema } from "../gen/service_pb.js";
import { EnvelopeError, type EnvelopeErrorCode } from "./envelope.js";
import { BUSY_REASON, TransportError } from "./transport-errors.js";

const CODE_OF_ENVELOPE_ERROR: Readonly<Record<EnvelopeErrorCode, Code>> = {
  malformed: Code.InvalidArgument,
  unknownEnum: Code.InvalidArgument,
  termMissing: Code.InvalidArgument,
  wrongRecipient: Code.InvalidArgument,
  wrongSender: Code.InvalidArgument,
  localType: Code.InvalidArgument,
  tooLarge: Code.ResourceExhausted,
};

/** The answer to a request that ended with `error`; anything unknown is passed on as it is. */
export function answerFor(error: unknown): unknown {
  if (error instanceof EnvelopeError) {
    return new ConnectError(
      error.message,
      CODE_OF_ENVELOPE_ERROR[error.code],
      undefined,
      [detailOf(error.code)],
      error,
    );
  }
  if (error instanceof TransportError) {
    const code = error.failure === "busy" ? Code.ResourceExhausted : Code.Aborted;
    return new ConnectError(error.message, code, undefined, [detailOf(error.failure)], error);
  }
  // Errors of the storage and of the runtime are known by name and code: this floor takes only types from there.
  if (!(error instanceof Error) || !("code" in error)) return error;
  const details = [detailOf(String(error.code))];
  if (error.name === "StorageFault" && error.code === "noSpace") {
    return new ConnectError(error.message, Code.ResourceExhausted, undefined, details, error);
  }
  if (error.name !== "RaftNodeError") return error;
  switch (error.code) {
    case "inboxFull":
      return new ConnectError("the node's inbox is full: slow down", Code.ResourceExhausted, undefined, [
        detailOf(BUSY_REASON),
      ]);
    case "nodeStopped":
      return new ConnectError("the node is stopping", Code.Unavailable, undefined, details);
    default:
      return new ConnectError(error.message, Code.Internal, undefined, details);
  }
}

function detailOf(reason: string) {
  return { desc: ErrorDetailSchema, value: { reason } };
}
