// docs/storage.md says what the program does: every fault code is explained, every key is listed, the defaults are right.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DEFAULT_COMPACT_FILE_BYTES } from "../../src/storage/file-compaction.js";
import { RECORD_KEYS } from "../../src/storage/keys.js";
import { DEFAULT_SPACE_LIMITS } from "../../src/storage/space-guard.js";
import { STORAGE_FAULT_CODES } from "../../src/storage/storage-fault.js";

const TEXT = readFileSync(new URL("../../docs/storage.md", import.meta.url), "utf8");

/** The rows of the table below this heading, as cells. */
function rowsOf(heading: string): string[][] {
  const [, section = ""] = TEXT.split(`\n## ${heading}\n`);
  return section
    .split("\n## ", 1)
    .join("")
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) => line.split("|").map((cell) => cell.trim()));
}

test("every fault code is listed once, with its meaning and what to do", () => {
  const rows = rowsOf("Faults");
  expect(rows.map(([, code]) => code)).toEqual(STORAGE_FAULT_CODES.map((code) => `\`${code}\``));
  for (const [, code, meaning, remedy] of rows) {
    expect(meaning?.length, code).toBeGreaterThan(10);
    expect(remedy?.length, code).toBeGreaterThan(10);
  }
});

test("every key of a single record is listed", () => {
  const listed = rowsOf("Keys").map(([, key]) => key);
  for (const key of Object.values(RECORD_KEYS)) expect(listed).toContain(`\`${key}\``);
  expect(listed).toHaveLength(Object.values(RECORD_KEYS).length + 1);
});

test("the defaults of the space options are those of the program", () => {
  const mib = (bytes: number): string =>
    bytes >= 1024 ** 3 ? `${bytes / 1024 ** 3} GiB` : `${bytes / 1024 ** 2} MiB`;
  const { quotaBytes, minFreeBytes, reserveBytes } = DEFAULT_SPACE_LIMITS;
  const defaults = [quotaBytes, minFreeBytes, reserveBytes, DEFAULT_COMPACT_FILE_BYTES].map(mib);
  expect(rowsOf("Space").map((cells) => cells[2])).toEqual(defaults);
});
