// Holds the source tree to the house rules by reading it: who may import whom, what the core may not touch, how
// long a file may be, what must not be left behind. A failure lists every offender and says what to do.

import { describe, expect, test } from "vitest";
import {
  filesUnder,
  type ImportedModule,
  parse,
  readText,
  type SourceFile,
  sourceFiles,
} from "./support/source-files.js";

const MAX_LINES = 600;

/** What each part of src/ may import, besides itself. Everything else is a wrong direction. */
const FLOORS: Readonly<Record<string, readonly string[]>> = {
  gen: [],
  core: ["gen"],
  node: ["core", "gen"],
  storage: ["node", "core", "gen"],
  transport: ["node", "core", "gen"],
  services: ["node", "core", "gen"],
  embed: ["storage", "transport", "services", "node", "core", "gen"],
  placement: ["embed", "storage", "transport", "services", "node", "core", "gen"],
  cli: ["placement", "embed", "storage", "transport", "services", "node", "core", "gen"],
  testing: ["node", "core", "gen"],
  index: ["placement", "embed", "storage", "transport", "services", "node", "core", "gen"],
};

/** All that storage and transport know of the runtime, so that a simulator can run it on ports of its own. */
const PORTS = new Set(["src/node/ports.ts", "src/node/errors.ts"]);

/** Packages that only some parts may name. A package that is not listed is free for all above the core. */
const PACKAGE_HOMES: Readonly<Record<string, readonly string[]>> = {
  "@bufbuild/protobuf": Object.keys(FLOORS),
  "@connectrpc/connect": ["transport", "services", "embed", "placement", "cli"],
  "@connectrpc/connect-node": ["transport", "services", "embed", "placement", "cli"],
  lmdb: ["storage", "placement"],
  "p-queue": ["transport"],
  commander: ["cli"],
};

/** Where reading may begin: what package.json exports and runs. */
const ENTRY_POINTS = ["src/index.ts", "src/testing.ts", "src/cli/main.ts"];
/** Stands beside the code that it describes, and runs after every input of every test of the core. */
const FOR_TESTS = ["src/core/raft/invariants.ts"];

const src = sourceFiles("src");
const written = src.filter((file) => !file.path.startsWith("src/gen/"));
const ours = [...written, ...sourceFiles("test", "bench", "examples", "scripts")];

describe("imports", () => {
  test("go down the floors only, never up and never sideways", () => {
    const wrong = src.flatMap((file) =>
      file.imports.flatMap((imported) => {
        const from = partOf(file.path);
        const to = imported.file === undefined ? undefined : partOf(imported.file);
        if (to === undefined || to === from) return [];
        if (FLOORS[from]?.includes(to) === true) return [];
        return [`${file.path} imports ${imported.file}: ${from} may import ${list(FLOORS[from])}`];
      }),
    );
    expect(wrong, "move the code down, or take what you need as a parameter").toEqual([]);
  });

  test("of storage and transport know the runtime's ports and errors, as types", () => {
    const wrong = src
      .filter((file) => ["storage", "transport"].includes(partOf(file.path)))
      .flatMap((file) =>
        file.imports
          .filter((imported) => imported.file?.startsWith("src/node/"))
          .filter((imported) => imported.kind !== "type" || !PORTS.has(imported.file ?? ""))
          .map(
            (imported) =>
              `${file.path} imports ${imported.file}${imported.kind === "type" ? "" : " as a value"}`,
          ),
      );
    expect(wrong, `only \`import type\` of ${list([...PORTS])} is allowed`).toEqual([]);
  });

  test("name files that exist, with the extension that runs", () => {
    const files = new Set([...filesUnder("src"), ...filesUnder("test"), ...filesUnder("scripts")]);
    const wrong = src.flatMap((file) =>
      file.imports
        .filter((imported) => imported.file !== undefined)
        .filter((imported) => !imported.specifier.endsWith(".js") || !files.has(imported.file ?? ""))
        .map((imported) => `${file.path} imports ${imported.specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test("of packages are declared dependencies, used where they belong", () => {
    const manifest: unknown = JSON.parse(readText("package.json"));
    const declared = new Set(Object.keys(dependenciesOf(manifest)));
    const wrong = src.flatMap((file) =>
      packagesOf(file).flatMap((name) => {
        if (!declared.has(name)) return [`${file.path} needs ${name}, which package.json does not depend on`];
        const homes = PACKAGE_HOMES[name];
        if (homes === undefined || homes.includes(partOf(file.path))) return [];
        return [`${file.path} names ${name}, which belongs to ${list(homes)}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  // Type-only imports are left out here: they are gone when the code runs, so they can neither leave a module
  // half initialised nor tie two files together that could otherwise be loaded apart. Files that are started as a
  // process are loaded apart anyway. The direction of both counts above.
  test("form no cycle", () => {
    expect(findCycles(src), "move what both sides need into a file of its own").toEqual([]);
  });

  test("reach every file from what the package exports or runs", () => {
    const reached = reachableFrom([...ENTRY_POINTS, ...FOR_TESTS], src);
    const orphans = written.map((file) => file.path).filter((path) => !reached.has(path));
    expect(orphans, `nothing leads from ${list(ENTRY_POINTS)} to these files: use or remove them`).toEqual(
      [],
    );
  });

  test("reach every helper of the tests", () => {
    const tests = sourceFiles("test", "bench", "examples");
    const starts = tests.map((file) => file.path).filter((path) => !path.startsWith("test/support/"));
    const reached = reachableFrom(starts, tests);
    const orphans = tests.map((file) => file.path).filter((path) => !reached.has(path));
    expect(orphans, "no test uses these helpers: use or remove them").toEqual([]);
  });
});

describe("src/core", () => {
  const BANNED: readonly (readonly [RegExp, string])[] = [
    [/\b(async|await|Promise)\b/g, "waits: the core answers at once"],
    [/\b(setTimeout|setInterval|setImmediate|queueMicrotask)\b/g, "uses a timer: time is tick()"],
    [/\b(Date|performance)\b(?=\s*[.(])/g, "reads a clock: time is tick()"],
    [/\bMath\.random\b|\bcrypto\b/g, "draws chance: take config.randomInt"],
    [/(?<![.\w])(process|console|globalThis|Buffer|require|fetch)\s*[.([]/g, "reaches out of the core"],
  ];

  test("has no clock, no chance, no input or output, and never waits", () => {
    const wrong = src
      .filter((file) => file.path.startsWith("src/core/"))
      .flatMap((file) => [
        ...BANNED.flatMap(([pattern, why]) => hits(file, file.code, pattern).map((hit) => `${hit}: ${why}`)),
        ...packagesOf(file)
          .filter((name) => name !== "@bufbuild/protobuf")
          .map((name) => `${file.path} needs ${name}: the core runs in a browser`),
        ...file.imports
          .filter((imported) => imported.specifier.startsWith("node:"))
          .map((imported) => `${file.path} needs ${imported.specifier}: the core runs in a browser`),
      ]);
    expect(wrong).toEqual([]);
  });
});

describe("every file", () => {
  test(`has at most ${MAX_LINES} lines`, () => {
    const wrong = ours
      .map((file) => ({ path: file.path, lines: file.text.trimEnd().split("\n").length }))
      .filter(({ lines }) => lines > MAX_LINES)
      .map(({ path, lines }) => `${path} has ${lines} lines`);
    expect(wrong, "find the seam and split").toEqual([]);
  });

  test("opens with its duty in a comment", () => {
    const wrong = ours.filter((file) => !/^(#!.*\n)?\/[/*]/.test(file.text)).map((file) => file.path);
    expect(wrong, "say in one to three comment lines what the file is for").toEqual([]);
  });

  test("is finished: no reminders, nothing switched off", () => {
    // Joined here, so that this file does not find itself.
    const reminders = new RegExp(
      `\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|")})\\b`,
      "g",
    );
    const switchedOff = /\b(test|it|describe)\.(skip|only|todo)\(/g;
    const wrong = ours.flatMap((file) => [
      ...hits(file, file.text, reminders),
      ...hits(file, file.code, switchedOff),
    ]);
    expect(wrong).toEqual([]);
  });

  test("is typed without a way around the types", () => {
    const escapes = /:\s*any\b|\bas\s+any\b|<any\b|\bany\[\]|\bas\s+unknown\s+as\b/g;
    const pragmas = new RegExp(`${"@ts"}-(ignore|expect-error|nocheck)|${"biome"}-ignore`, "g");
    const wrong = ours.flatMap((file) => [
      ...hits(file, file.code, escapes),
      ...hits(file, file.text, pragmas),
    ]);
    expect(wrong, "narrow with a check, or describe the type").toEqual([]);
  });

  test("names no path of one machine", () => {
    const machinePath = new RegExp(
      `(?<![\\w.~-])/(${["wo" + "rk", "fa" + "rm", "ro" + "ot", "ho" + "me"].join("|")})/\\w`,
      "g",
    );
    const wrong = filesUnder("")
      .filter((path) => !/\.(png|jpg|mdb|bin)$/.test(path))
      .map((path) => ({ path, text: readText(path) }))
      .flatMap((file) => hits(file, file.text, machinePath));
    expect(wrong, "use a path relative to the project, or a temporary folder").toEqual([]);
  });
});

describe("package-lock.json", () => {
  const packages = lockedPackages(JSON.parse(readText("package-lock.json")));

  test("records no download address, so that it installs from any registry", () => {
    const wrong = packages.filter(([, entry]) => "resolved" in entry).map(([name]) => name);
    expect(wrong, "keep omit-lockfile-registry-resolved=true in .npmrc and run `npm install` again").toEqual(
      [],
    );
  });

  // A package for one platform may lack it: not every registry has those of all platforms, to take it from.
  test("records a checksum for every package that all platforms share", () => {
    const wrong = packages
      .filter(([, entry]) => !("integrity" in entry) && !("optional" in entry && "os" in entry))
      .map(([name]) => name);
    expect(wrong).toEqual([]);
  });

  test("names the packages for every platform, without which `npm ci` refuses it everywhere", () => {
    const locked = new Set(packages.map(([name]) => name));
    const wrong = packages.flatMap(([name, entry]) =>
      Object.keys("optionalDependencies" in entry ? (entry.optionalDependencies ?? {}) : {})
        .filter((optional) => !locked.has(`node_modules/${optional}`))
        .map((optional) => `${name} may need ${optional}`),
    );
    expect(wrong, "add the entries: version, os, cpu, optional").toEqual([]);
  });
});

describe("the reader of source files", () => {
  test("sees imports of every form, and none in comments or strings", () => {
    const text = [
      `import a from "./a.js"; // import no from "./no.js"`,
      `import type { B } from "./b.js";`,
      `import {\n  c,\n  type D,\n} from "./c.js";`,
      `import "./effect.js";`,
      `export * from "./e.js";`,
      `export type { F } from "./f.js";`,
      `const later = await import("./later.js");`,
      `const started = new URL("./worker.js", import.meta.url);`,
      `const text = 'import g from "./g.js"';`,
      `const slash = /[/"]/; const tpl = \`// \${later} import\`;`,
    ].join("\n");
    const seen = parse("src/x.ts", text).imports.map(({ specifier, kind }) => `${specifier} ${kind}`);
    expect(seen).toEqual([
      "./a.js value",
      "./b.js type",
      "./c.js value",
      "./effect.js value",
      "./e.js value",
      "./f.js type",
      "./later.js value",
      "./worker.js started",
    ]);
  });

  test("tells code from words", () => {
    const { code } = parse(
      "src/x.ts",
      `a(\`await \${b("await")} await\`); /* await */ c / d; e(/await/); // await\nf`,
    );
    expect(code).not.toContain("await");
    expect(code.replaceAll(/\s+/g, " ")).toBe(`a(\` \${b(" ")} \`); c / d; e(/ /); f`);
  });
});

/** The part of src/ that a file belongs to: the folder, or the name of a file that stands alone. */
function partOf(path: string): string {
  return path.replace(/^src\//, "").replace(/\/.*$|\.ts$/, "");
}

function packagesOf(file: SourceFile): string[] {
  return file.imports
    .filter(({ file: own, specifier }) => own === undefined && !specifier.startsWith("node:"))
    .map(({ specifier }) =>
      specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/"),
    );
}

function hits(file: { readonly path: string }, text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => {
    const line = text.slice(0, match.index).split("\n").length;
    return `${file.path}:${line} ${match[0].trim()}`;
  });
}

function list(names: readonly string[] | undefined): string {
  return names === undefined || names.length === 0 ? "nothing" : names.join(", ");
}

function reachableFrom(starts: readonly string[], files: readonly SourceFile[]): Set<string> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const pending = [...starts];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    for (const { file } of byPath.get(path)?.imports ?? []) if (file !== undefined) pending.push(file);
  }
  return reached;
}

/** Every cycle once, as `a -> b -> a`, found by depth-first search. */
function findCycles(files: readonly SourceFile[]): string[] {
  const edges = new Map(
    files.map((file) => [file.path, file.imports.filter(runs).map(({ file: to }) => to ?? "")]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      cycles.push([...trail.slice(start), path].join(" -> "));
      return;
    }
    if (done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return cycles;
}

function runs(imported: ImportedModule): boolean {
  return imported.file !== undefined && imported.kind === "value";
}

function dependenciesOf(manifest: unknown): object {
  if (!isRecord(manifest) || !isRecord(manifest["dependencies"]))
    throw new Error("package.json has no dependencies");
  return manifest["dependencies"];
}

function lockedPackages(lock: unknown): [string, object][] {
  if (!isRecord(lock) || !isRecord(lock["packages"])) throw new Error("package-lock.json has no packages");
  return Object.entries(lock["packages"]).flatMap(([name, entry]) =>
    name === "" || !isRecord(entry) ? [] : [[name, entry] satisfies [string, object]],
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
