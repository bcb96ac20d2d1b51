// Plays every transcript of this folder and compares what happens with what is written. With REWRITE=1 (`npm run
// scenarios -- --rewrite`) it writes what happens instead: read the difference, commit only what you can explain.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseCases } from "../support/datadriven.js";
import { Stage } from "./stage.js";
import { runVerb } from "./verbs.js";

const FOLDER = import.meta.dirname;
const REWRITE = process.env["REWRITE"] === "1";

const transcripts = readdirSync(FOLDER).filter((name) => name.endsWith(".txt"));

test.each(transcripts)("%s happens as it is written", (name) => {
  const path = join(FOLDER, name);
  const written = readFileSync(path, "utf8");
  const played = play(written, name);
  if (REWRITE) writeFileSync(path, played);
  else expect(played).toBe(written);
});

/** The same text with the outputs that the commands have now. */
function play(written: string, name: string): string {
  const stage = new Stage();
  const lines = written.split("\n");
  const result: string[] = [];
  let next = 0;
  for (const current of parseCases(written, name)) {
    const separator = lines.indexOf("----", current.line - 1);
    result.push(...lines.slice(next, separator + 1), ...runVerb(stage, current).split("\n"));
    const outputLines = current.expected === "" ? 0 : current.expected.trimEnd().split("\n").length;
    next = separator + 1 + outputLines;
  }
  return [...result, ...lines.slice(next)].join("\n");
}
