// Runs a command's work with a client, and says of every failure what a person may conclude from it.

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorDetail_Outcome, ErrorDetailSchema } from "../gen/service_pb.js";
import { PlacementClient } from "../placement/client.js";
import type { ClientOptions } from "./arguments.js";
import { CommandError, ExitStatus } from "./exit-status.js";

/**
 * @param effect `change`: the work may alter the cluster, so a failure that leaves that open is reported as such.
 * @throws CommandError with the exit status that the failure deserves.
 */
export async function withClient<Result>(
  options: Pick<ClientOptions, "endpoints" | "deadlineMs">,
  effect: "read" | "change",
  work: (client: PlacementClient) => Promise<Result>,
): Promise<Result> {
  const client = new PlacementClient({ endpoints: options.endpoints, deadlineMs: options.deadlineMs });
  try {
    return await work(client);
  } catch (error) {
    throw toCommandError(error, effect, options.endpoints);
  } finally {
    await client.close();
  }
}

/** Exported for its test. */
export function toCommandError(
  error: unknown,
  effect: "read" | "change",
  endpoints: readonly string[],
): unknown {
  if (!(error instanceof ConnectError)) return error;
  const [detail] = error.findDetails(ErrorDetailSchema);
  const reason = detail?.reason || Code[error.code];
  const fail = (status: ExitStatus, advice = ""): CommandError =>
    new CommandError(status, `${error.rawMessage}${advice}`, reason);
  if (error.code === Code.InvalidArgument) return fail(ExitStatus.usage);
  if (error.code === Code.NotFound) return fail(ExitStatus.notFound);
  const isOpen = detail?.outcome === ErrorDetail_Outcome.UNKNOWN;
  const isClosed = detail?.outcome === ErrorDetail_Outcome.NOT_APPLIED;
  if (effect === "change" && isOpen) {
    return fail(
      ExitStatus.outcomeUnknown,
      " (it may or may not have taken effect: look before you repeat it)",
    );
  }
  switch (error.code) {
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Canceled:
    case Code.Aborted: {
      const asked = ` (asked ${endpoints.join(", ")})`;
      if (effect === "read" || isClosed || error.code === Code.Unavailable)
        return fail(ExitStatus.unavailable, asked);
      return fail(
        ExitStatus.outcomeUnknown,
        " (it may or may not have taken effect: look before you repeat it)",
      );
    }
    default:
      return fail(ExitStatus.failed);
  }
}
