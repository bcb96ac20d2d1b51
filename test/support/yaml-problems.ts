// A look at YAML that needs no parser: the mistakes that people make with indentation, in the plain style that the
// project's own files keep to. It accepts less than YAML does, and builds nothing.

const ENTRY = /^(?<dashes>(?:- )*)(?<key>"[^"]*"|[\w<][\w.</-]*):(?: +(?<value>\S.*))?$/;
const OPENS_BLOCK = /^[|>][+-]?$/;

interface Level {
  readonly indent: number;
  readonly keys: Set<string>;
}

/** Sentences with line numbers; none when all is well. */
export function yamlProblems(text: string): string[] {
  const problems: string[] = [];
  let levels: Level[] = [];
  /** The indentation of the key whose text block is being read. */
  let block: number | undefined;
  let mayDeepen = true;
  for (const [at, line] of text.split("\n").entries()) {
    const say = (problem: string) => problems.push(`line ${at + 1}: ${problem}`);
    const indent = line.length - line.trimStart().length;
    const content = line.trim();
    if (content === "") continue;
    if (block !== undefined && indent > block) continue;
    block = undefined;
    if (line.includes("\t")) say("has a tab");
    if (content.startsWith("#")) continue;
    if (content === "---") {
      levels = [];
      mayDeepen = true;
      continue;
    }
    if (indent % 2 !== 0) say(`is indented by ${indent}, not by steps of two`);
    const found = ENTRY.exec(content)?.groups;
    if (found === undefined) {
      if (!content.startsWith("- ")) say("is neither a key nor an item of a list");
      mayDeepen = false;
      continue;
    }
    const { dashes = "", key = "", value } = found;
    const column = indent + dashes.length;
    const deepest = levels.at(-1)?.indent ?? -1;
    if (column > deepest && !mayDeepen && dashes === "") say("is deeper than the line above allows");
    // An item begins a mapping of its own.
    levels = levels.filter((level) => level.indent <= (dashes === "" ? column : indent));
    let level = levels.find((known) => known.indent === column);
    if (level === undefined) {
      level = { indent: column, keys: new Set() };
      levels.push(level);
    }
    if (level.keys.has(key)) say(`has the key ${key} a second time`);
    level.keys.add(key);
    if (value !== undefined && !isClosed(value)) say(`does not close what ${value} opens`);
    if (value !== undefined && OPENS_BLOCK.test(value)) block = column;
    // After a text nothing can be nested; after an anchor or nothing, something may.
    mayDeepen = value === undefined || value.startsWith("&");
  }
  return problems;
}

/** Quotes, brackets and braces of a value that stands on one line. */
function isClosed(value: string): boolean {
  const [first = ""] = value;
  if (first === '"') return /^"(?:[^"\\]|\\.)*"$/.test(value);
  if (first === "[") return value.endsWith("]");
  if (first === "{") return value.endsWith("}");
  return !/: |\s#/.test(value);
}
