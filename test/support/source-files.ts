// Reads the project's own source files for tests that hold them to the house rules: text, code without comments
// and strings, imports.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

export const PROJECT_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** Folders that hold nothing written by hand. */
const NOT_OURS = new Set(["node_modules", "dist", "data", "coverage", "reports", ".git"]);

export interface ImportedModule {
  /** As written. */
  readonly specifier: string;
  /** Path of the imported file from the project's root, or undefined for a package or a built-in module. */
  readonly file: string | undefined;
  /** `type` vanishes when compiled: `import type`, `export type`. `started` is a file that runs as a thread or process. */
  readonly kind: "value" | "type" | "started";
}

export interface SourceFile {
  /** From the project's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** The text with comments, strings and regular expressions blanked out, line for line. */
  readonly code: string;
  readonly imports: readonly ImportedModule[];
}

/** Every file under a folder of the project, sorted, from the root with forward slashes. */
export function filesUnder(folder: string): string[] {
  const start = join(PROJECT_ROOT, folder);
  if (!existsSync(start)) return [];
  const found: string[] = [];
  for (const entry of readdirSync(start, { withFileTypes: true })) {
    if (NOT_OURS.has(entry.name)) continue;
    const path = relative(PROJECT_ROOT, join(start, entry.name)).split(sep).join("/");
    if (entry.isDirectory()) found.push(...filesUnder(path));
    else if (entry.isFile()) found.push(path);
  }
  return found.sort();
}

export function readText(path: string): string {
  return readFileSync(join(PROJECT_ROOT, path), "utf8");
}

/** Files of code under the folders, read and taken apart. */
export function sourceFiles(...folders: string[]): SourceFile[] {
  return folders
    .flatMap((folder) => filesUnder(folder))
    .filter((path) => /\.m?[tj]s$/.test(path) && !path.endsWith(".d.mts"))
    .map((path) => parse(path, readText(path)));
}

/** Exported for its own test. */
export function parse(path: string, text: string): SourceFile {
  const code = blankOut(text, { strings: true });
  return { path, text, code, imports: importsOf(path, blankOut(text, { strings: false })) };
}

function importsOf(path: string, textWithoutComments: string): ImportedModule[] {
  const found: ImportedModule[] = [];
  const add = (specifier: string, kind: ImportedModule["kind"]): void => {
    found.push({ specifier, file: fileOf(path, specifier), kind });
  };
  const statement = /^(?:import|export)\s+(type\s+(?!from\b))?(?:[\w*{][^;"']*?\s+from\s+)?"([^"]+)"/gm;
  for (const match of textWithoutComments.matchAll(statement))
    add(match[2] ?? "", match[1] === undefined ? "value" : "type");
  for (const match of textWithoutComments.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g))
    add(match[1] ?? "", "value");
  for (const match of textWithoutComments.matchAll(/new URL\(\s*"(\.[^"]+\.js)",\s*import\.meta\.url/g)) {
    add(match[1] ?? "", "started");
  }
  return found;
}

function fileOf(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const target = join(dirname(from), specifier).split(sep).join("/");
  const source = target.replace(/\.js$/, ".ts").replace(/\.mjs$/, ".mts");
  return existsSync(join(PROJECT_ROOT, source)) ? source : target;
}

type Mode = "code" | "line" | "block" | "string" | "regex";

/** Replaces comments, and strings and regular expressions if asked, by spaces; keeps line breaks. */
function blankOut(text: string, { strings }: { readonly strings: boolean }): string {
  let out = "";
  let mode: Mode = "code";
  let quote = "";
  let inClass = false;
  // How deep in braces each `${` of the template literals around us began.
  const templates: number[] = [];
  let braces = 0;
  const blank = (char: string): string => (char === "\n" ? "\n" : " ");
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? "";
    const next = text[at + 1] ?? "";
    if (mode === "code") {
      if (char === "/" && next === "/") mode = "line";
      else if (char === "/" && next === "*") mode = "block";
      else if (char === "/" && startsRegex(out)) mode = "regex";
      else if (char === '"' || char === "'" || char === "`") {
        mode = "string";
        quote = char;
      } else if (char === "{") braces++;
      else if (char === "}") {
        if (templates.at(-1) === braces) {
          templates.pop();
          mode = "string";
          quote = "`";
        }
        braces--;
      }
      out += mode === "line" || mode === "block" ? " " : char;
      continue;
    }
    if (mode === "line" || mode === "block") {
      out += blank(char);
      if (mode === "line" && char === "\n") mode = "code";
      if (mode === "block" && char === "*" && next === "/") {
        out += " ";
        at++;
        mode = "code";
      }
      continue;
    }
    if (char === "\\") {
      out += strings ? `  ` : char + next;
      at++;
      continue;
    }
    if (mode === "regex") {
      if (char === "[") inClass = true;
      else if (char === "]") inClass = false;
      const ends = (char === "/" && !inClass) || char === "\n";
      out += ends ? char : strings ? " " : char;
      if (ends) mode = "code";
      continue;
    }
    if (quote === "`" && char === "$" && next === "{") {
      braces++;
      templates.push(braces);
      out += "${";
      at++;
      mode = "code";
      continue;
    }
    if (char === quote) {
      out += char;
      mode = "code";
      continue;
    }
    out += strings ? blank(char) : char;
  }
  return out;
}

/** A slash begins a regular expression where a value may begin, and divides where one has just ended. */
function startsRegex(before: string): boolean {
  const trimmed = before.trimEnd();
  return (
    trimmed === "" ||
    /[([{,;:=!&|?+\-*%~^<>}]$/.test(trimmed) ||
    /\b(return|typeof|case|in|of)$/.test(trimmed)
  );
}
