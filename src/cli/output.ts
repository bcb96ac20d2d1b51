// How results reach the terminal or a script: text for people, one JSON value a line with `--json`.

import { once } from "node:events";

/** Where a command writes. The tests pass their own. */
export interface Output {
  /** One line of a result, to standard output. */
  line(text: string): void;
  /** A value, byte for byte; a terminal gets a line break after it. */
  bytes(value: Uint8Array): void;
  /** One line about what is going on, to standard error: never part of a result. */
  note(text: string): void;
  /** Resolves when what was written so far has found room: for results of any length. Absent: there is always room. */
  drained?(): Promise<void>;
}

export const processOutput: Output = {
  line: (text) => void process.stdout.write(`${text}\n`),
  bytes: (value) => {
    process.stdout.write(value);
    if (process.stdout.isTTY) process.stdout.write("\n");
  },
  note: (text) => void process.stderr.write(`${text}\n`),
  drained: async () => {
    if (process.stdout.writableNeedDrain) await once(process.stdout, "drain");
  },
};

/** One line of JSON. A `bigint` becomes a string of digits, as in the services' own JSON: numbers lose digits. */
export function toJsonLine(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "bigint" ? inner.toString() : inner,
  );
}

/** Columns under a heading, two spaces apart. Columns named in `right` are aligned to the right. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  right: ReadonlySet<string> = new Set(),
): string[] {
  const widths = heading.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  return [heading, ...rows].map((row) =>
    heading
      .map((name, column) => {
        const cell = row[column] ?? "";
        const width = widths[column] ?? 0;
        return right.has(name) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd(),
  );
}
