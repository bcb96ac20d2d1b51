// Why a node could not start, as a sentence that says what to do.

import { PlacementConfigInvalid } from "../../placement/config.js";
import { StorageFault } from "../../storage/storage-fault.js";
import { CommandError, ExitStatus } from "../exit-status.js";

export function describeStartFailure(
  error: unknown,
  options: { readonly listen: string; readonly data: string },
): unknown {
  if (error instanceof PlacementConfigInvalid) return new CommandError(ExitStatus.usage, error.message);
  if (error instanceof StorageFault) return new CommandError(ExitStatus.failed, error.message, error.code);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const where = error instanceof Error && "port" in error ? `port ${String(error.port)}` : options.listen;
  switch (code) {
    case "EADDRINUSE":
      return new CommandError(
        ExitStatus.failed,
        `${where} is in use: stop the program that uses it, or choose another with --listen or --http`,
        "portInUse",
      );
    case "EADDRNOTAVAIL":
      return new CommandError(
        ExitStatus.failed,
        `${options.listen} is no address of this machine: choose one with --listen, and --advertise for the others`,
        "addressNotAvailable",
      );
    case "EACCES":
    case "EPERM":
      return new CommandError(
        ExitStatus.failed,
        `permission denied: ${error instanceof Error ? error.message : ""}`,
        "permissionDenied",
      );
    default:
      return error;
  }
}
