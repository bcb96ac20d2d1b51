// Runs a command's work with a client, and says of every failure what a person may conclude from it.

import { PlacementClient } from "../placement/client.js";
import { PlacementError } from "../placement/client-error.js";
import { PlacementConfigInvalid } from "../placement/config.js";
import type { ClientOptions } from "./arguments.js";
import { CommandError, ExitStatus } from "./exit-status.js";

/** @throws CommandError with the exit status that the failure deserves. */
export async function withClient<Result>(
  options: Pick<ClientOptions, "endpoints" | "deadlineMs">,
  work: (client: PlacementClient) => Promise<Result>,
): Promise<Result> {
  const client = new PlacementClient({ endpoints: options.endpoints, deadlineMs: options.deadlineMs });
  try {
    return await work(client);
  } catch (error) {
    throw toCommandError(error);
  } finally {
    await client.close();
  }
}

/** Nobody is there, or nobody can do it for the moment. */
const UNAVAILABLE: ReadonlySet<string> = new Set([
  "unreachable",
  "connectionLost",
  "noLeader",
  "notLeader",
  "proposalDropped",
  "readDropped",
  "inboxFull",
  "nodeStopped",
  "deadlineExceeded",
  "outcomeUnknown",
]);

/** Anything that a client did not throw on purpose comes back as it is. */
export function toCommandError(error: unknown): unknown {
  if (error instanceof PlacementConfigInvalid) return new CommandError(ExitStatus.usage, error.message);
  if (!(error instanceof PlacementError)) return error;
  const { message, reason, outcome } = error;
  if (reason === "invalidArgument") return new CommandError(ExitStatus.usage, message, reason);
  if (outcome === "unknown") {
    const advice = "it may or may not have taken effect: look before you repeat it";
    return new CommandError(ExitStatus.outcomeUnknown, `${message}; ${advice}`, reason);
  }
  return new CommandError(
    UNAVAILABLE.has(reason) ? ExitStatus.unavailable : ExitStatus.failed,
    message,
    reason,
  );
}
