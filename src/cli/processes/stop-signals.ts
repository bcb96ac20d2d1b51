// Ctrl-C and its relatives, as one request to stop that may be repeated more urgently.

/** What a terminal sends to every process in it: at Ctrl-C, and when its window is closed. */
export const TERMINAL_SIGNALS: readonly NodeJS.Signals[] = ["SIGINT", "SIGHUP"];
export const STOP_SIGNALS: readonly NodeJS.Signals[] = ["SIGTERM", ...TERMINAL_SIGNALS];

export interface StopSignals {
  /** Fires at the first signal. */
  readonly first: AbortSignal;
  /** Fires at the second. */
  readonly second: AbortSignal;
  /** Gives the signals back to Node, which ends the process at the next one. */
  release(): void;
}

/** @param ignored signals that are to do nothing at all. */
export function listenForStop(ignored: readonly NodeJS.Signals[] = []): StopSignals {
  const first = new AbortController();
  const second = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (ignored.includes(signal)) return;
    if (first.signal.aborted) second.abort(signal);
    else first.abort(signal);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return {
    first: first.signal,
    second: second.signal,
    release: () => {
      for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    },
  };
}
