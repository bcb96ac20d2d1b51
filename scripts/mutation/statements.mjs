// A mutant that Stryker does not know: a statement that is left out. Braces around a statement make it a block, and
// those Stryker empties.

import { Instrumenter } from "@stryker-mutator/instrumenter";

const OPENING = "{/*statement*/";
const CLOSING = "}";

/** @returns the contents with braces around each call and assignment that is not alone between braces already. */
export async function braceStatements(logger, sources) {
  const found = new Map(sources.map(({ name }) => [name, []]));
  for (const source of sources.filter(({ mutate }) => mutate)) {
    const places = found.get(source.name);
    // Ignores nothing, only looks; the mutants of this round are thrown away.
    const look = {
      shouldIgnore(path) {
        if (isOneOfSeveral(path)) places.push([path.node.start, path.node.end]);
        return undefined;
      },
    };
    const options = { plugins: null, excludedMutations: [], ignorers: [look], noHeader: true };
    await new Instrumenter(logger).instrument([source], options);
  }
  return sources.map((source) => ({
    ...source,
    content: withBraces(source.content, found.get(source.name)),
  }));
}

/** What a mutant changed, as it stands in the source, and what it is now. */
export function statementLeftOut({ mutatorName, original, replacement }) {
  if (mutatorName !== "BlockStatement" || !original.startsWith(OPENING)) {
    return {
      mutator: mutatorName,
      original: withoutBraces(original),
      replacement: withoutBraces(replacement),
    };
  }
  const statement = withoutBraces(original.slice(OPENING.length, -CLOSING.length));
  return { mutator: "Statement", original: statement, replacement: "nothing" };
}

function isOneOfSeveral(path) {
  if (!path.isExpressionStatement()) return false;
  const { parentPath } = path;
  if (parentPath.isBlockStatement()) return parentPath.node.body.length > 1;
  return parentPath.isSwitchCase() && parentPath.node.consequent.length > 1;
}

function withBraces(text, places) {
  let result = "";
  let from = 0;
  for (const [start, end] of places.sort(([a], [b]) => a - b)) {
    // One inside of another, as in a callback, goes without.
    if (start < from) continue;
    result += `${text.slice(from, start)}${OPENING}${text.slice(start, end)}${CLOSING}`;
    from = end;
  }
  return result + text.slice(from);
}

function withoutBraces(text) {
  return text
    .split(OPENING)
    .map((part, nth) => (nth === 0 ? part : part.replace(/;\}/, ";")))
    .join("");
}
