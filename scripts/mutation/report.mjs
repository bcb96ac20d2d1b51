// Renders what became of the mutants for people.

import { inOneLine } from "./explanations.mjs";

const MAX_SHOWN = 160;

/** Every test passes with this mutant. */
export function isUnnoticed({ status }) {
  return status === "survived" || status === "not covered";
}

/** One mutant in two lines: where, and what it made of what. */
export function renderMutant({ file, within, line, column, mutator, status, original, replacement, tests }) {
  const shown = (text) => inOneLine(text).slice(0, MAX_SHOWN);
  return [
    `${file}:${line}:${column} ${within} ${status} (${mutator}, ${tests} tests)`,
    `  ${shown(original)}  →  ${shown(replacement)}`,
  ].join("\n");
}

/**
 * A Markdown table, with a row for each folder and one for all, and below it the mutants that nobody has noticed or
 * explained, and the explanations that explain nothing any more.
 */
export function renderSummary(results, explanations) {
  const groups = new Map();
  for (const result of results) {
    const folder = result.file.slice(0, result.file.lastIndexOf("/"));
    groups.set(folder, [...(groups.get(folder) ?? []), result]);
  }
  const rows = [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
  const table = [
    "| folder | mutants | noticed | explained | score |",
    "| --- | ---: | ---: | ---: | ---: |",
    ...rows.map(([folder, group]) => row(`\`${folder}\``, group, explanations)),
    row("all", results, explanations),
  ];
  const open = unexplained(results, explanations).map(renderMutant);
  const idle = idleExplanations(results, explanations).map(
    ({ file, within, original, replacement }) => `${file} ${within}: ${original}  →  ${replacement}`,
  );
  if (open.length > 0) table.push("", `neither noticed nor explained, ${open.length}:`, ...open);
  if (idle.length > 0) table.push("", `explained, but no survivor, ${idle.length}:`, ...idle);
  return table.join("\n");
}

/** The survivors that no explanation fits. */
export function unexplained(results, explanations) {
  return results.filter(isUnnoticed).filter((result) => !isExplained(result, explanations));
}

function isExplained(result, explanations) {
  return explanations.some(({ matches }) => matches(result));
}

function idleExplanations(results, explanations) {
  const files = new Set(results.map(({ file }) => file));
  const survivors = results.filter(isUnnoticed);
  return explanations.filter(({ file, matches }) => files.has(file) && !survivors.some(matches));
}

function row(name, results, explanations) {
  const survivors = results.filter(isUnnoticed);
  const noticed = results.length - survivors.length;
  const explained = survivors.filter((result) => isExplained(result, explanations)).length;
  const score = results.length === 0 ? "–" : `${((100 * noticed) / results.length).toFixed(1)} %`;
  return `| ${[name, results.length, noticed, explained, score].join(" | ")} |`;
}
