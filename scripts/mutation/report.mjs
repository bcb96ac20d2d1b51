// Renders what became of the mutants for people.

const MAX_SHOWN = 160;

/** Every test passes with this mutant. */
export function isUnnoticed({ status }) {
  return status === "survived" || status === "not covered";
}

/** One mutant in two lines: where, and what it made of what. */
export function renderMutant({ file, line, column, mutator, status, original, replacement, tests }) {
  const shown = (text) => text.replaceAll(/\s+/g, " ").slice(0, MAX_SHOWN);
  return `${file}:${line}:${column} ${status} (${mutator}, ${tests} tests)\n  ${shown(original)}  →  ${shown(replacement)}`;
}

/** A Markdown table: a row for each folder, and one for all. */
export function renderSummary(results) {
  const groups = new Map();
  for (const result of results) {
    const folder = result.file.slice(0, result.file.lastIndexOf("/"));
    groups.set(folder, [...(groups.get(folder) ?? []), result]);
  }
  const rows = [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    "| | mutants | killed | timed out | survived | not covered | score |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...rows.map(([folder, group]) => row(folder, group)),
    row("all", results),
  ].join("\n");
}

function row(name, results) {
  const count = (status) => results.filter((result) => result.status === status).length;
  const detected = count("killed") + count("timeout");
  const score = results.length === 0 ? "–" : `${((100 * detected) / results.length).toFixed(1)} %`;
  const cells = [results.length, count("killed"), count("timeout"), count("survived"), count("not covered")];
  return `| ${name} | ${cells.join(" | ")} | ${score} |`;
}
