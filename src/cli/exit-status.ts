// What the command's exit status says, and the one error that carries it. Scripts rely on these numbers.

export const ExitStatus = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  unavailable: 4,
  outcomeUnknown: 5,
  refused: 6,
} as const;

export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

/** For `--help`. */
export const EXIT_STATUS_HELP = `Exit status:
  0  done
  1  failed; the message says why
  2  wrong usage: unknown command or flag, malformed address, missing argument
  3  there is no such key (get, exists, delete)
  4  unavailable: no node answered, or there was no leader within --deadline-ms; nothing was changed
  5  outcome unknown: a change was sent and may or may not have taken effect
  6  a condition did not hold (put, delete, txn); nothing was changed but by txn --else`;

/** A failure that is explained in a sentence for the person at the keyboard; no stack trace is shown. */
export class CommandError extends Error {
  override readonly name = "CommandError";

  constructor(
    readonly exitStatus: ExitStatus,
    message: string,
    /** A stable word for scripts, shown with `--json`. */
    readonly reason: string = reasonOf(exitStatus),
  ) {
    super(message);
  }
}

function reasonOf(status: ExitStatus): string {
  const entry = Object.entries(ExitStatus).find(([, number]) => number === status);
  return entry?.[0] ?? "failed";
}
