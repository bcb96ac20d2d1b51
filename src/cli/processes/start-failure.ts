// Why a node could not start, as a sentence that says what to do. What is not known here is a bug, and keeps its stack.

import { TlsConfigInvalid } from "../../embed/tls.js";
import { NodeRemoved } from "../../node/errors.js";
import { PlacementConfigInvalid } from "../../placement/config.js";
import { AccessConfigInvalid } from "../../services/access-tokens.js";
import { StorageFault } from "../../storage/storage-fault.js";
import { ListenError } from "../../transport/listen.js";
import { CommandError, ExitStatus } from "../exit-status.js";

export function describeStartFailure(error: unknown): unknown {
  if (
    error instanceof PlacementConfigInvalid ||
    error instanceof TlsConfigInvalid ||
    error instanceof AccessConfigInvalid
  ) {
    return new CommandError(ExitStatus.usage, error.message);
  }
  if (error instanceof ListenError || error instanceof StorageFault) {
    return new CommandError(ExitStatus.failed, error.message, error.code);
  }
  if (error instanceof NodeRemoved) {
    return new CommandError(ExitStatus.failed, error.message, "nodeRemoved");
  }
  if (isFileError(error)) {
    return new CommandError(
      ExitStatus.failed,
      `the data folder cannot be used: ${error.message}`,
      error.code,
    );
  }
  return error;
}

const FILE_ERRORS = new Set(["EACCES", "EPERM", "ENOTDIR", "EEXIST", "EROFS", "ENOSPC", "EMFILE"]);

function isFileError(error: unknown): error is Error & { readonly code: string } {
  return (
    error instanceof Error && "code" in error && typeof error.code === "string" && FILE_ERRORS.has(error.code)
  );
}
