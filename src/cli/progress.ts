// How far a long command has come: one line that is redrawn on a terminal's standard error, and nothing elsewhere,
// so that results and logs stay clean.

export interface Progress {
  /** Replaces what was shown before. Cheap: most calls draw nothing. */
  show(text: string): void;
  /** Takes the line away. */
  clear(): void;
}

export interface ProgressScreen {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const REDRAW_MS = 100;
const ERASE_LINE = "\r\u001b[K";

/** @param nowMs of a clock that never goes back. */
export function progressOn(
  screen: ProgressScreen = process.stderr,
  nowMs: () => number = () => performance.now(),
): Progress {
  if (screen.isTTY !== true) return { show: () => {}, clear: () => {} };
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  let drawn = false;
  return {
    show(text) {
      if (nowMs() - drawnAtMs < REDRAW_MS) return;
      drawnAtMs = nowMs();
      drawn = true;
      screen.write(`${ERASE_LINE}${text}`);
    },
    clear() {
      if (drawn) screen.write(ERASE_LINE);
      drawn = false;
    },
  };
}
