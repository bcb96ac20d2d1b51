// Which mutants no test can notice, and why: read from the page that explains them to people.

import { existsSync, readFileSync } from "node:fs";

const FILE = /^## `([^`]+)`$/;
const ITEM = /^- `([^`]+)`: (.*)$/;
/** What is changed, and all that it is changed into. */
const PAIR = /`([^`]+)` → ((?:`[^`]+`(?! →)(?:, )?)+)/g;

/**
 * The page has a heading for each file of src/core, and under it one item for each reason, with one or more mutants of
 * one function: "- `function`: `original` → `replacement`, `another`: the reason". `…` stands for any text.
 * @returns `{ file, within, original, replacement, matches(mutant) }` for each mutant.
 */
export function readExplanations(path) {
  const explanations = [];
  let file;
  for (const line of existsSync(path) ? itemsOf(readFileSync(path, "utf8")) : []) {
    file = FILE.exec(line)?.[1] ?? file;
    const [, within, rest] = ITEM.exec(line) ?? [];
    if (file === undefined || within === undefined) continue;
    for (const [, original, replacements] of rest.matchAll(PAIR)) {
      for (const [, replacement] of replacements.matchAll(/`([^`]+)`/g)) {
        explanations.push(explanation({ file: `src/core/${file}`, within, original, replacement }));
      }
    }
  }
  return explanations;
}

function explanation(explained) {
  const isOriginal = pattern(explained.original);
  const isReplacement = pattern(explained.replacement);
  return {
    ...explained,
    matches: ({ file, within, original, replacement }) =>
      file === explained.file &&
      within === explained.within &&
      isOriginal.test(inOneLine(original)) &&
      isReplacement.test(inOneLine(replacement)),
  };
}

/** Items and headings with their continuation lines joined. */
function itemsOf(markdown) {
  return markdown.replaceAll(/\n {2,}(?=\S)/g, " ").split("\n");
}

function pattern(text) {
  const parts = text.split("…").map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join(".*")}$`);
}

/** Code as it is written on the page. */
export function inOneLine(code) {
  return code.replaceAll(/\s+/g, " ").replaceAll("`", "'");
}
