// Where the settings of a node come from: file, environment, flags, in that order; what is not known is named with the
// nearest that is; --check-config shows the result with its origins; docs/configuration.md lists what the code knows.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { gatherSettings, settingValue, withoutSettings } from "../../src/cli/config/configuration.js";
import { nearestWord } from "../../src/cli/config/nearest.js";
import { environmentName, SETTING_NAMES, SETTINGS } from "../../src/cli/config/settings.js";
import { readText } from "../support/source-files.js";
import { type Ran, runInProcess } from "./recorded-output.js";

const COMPLETE = 'id = 1\ncluster-id = "c"\ndata = "d"\nmembers = "1=a:1"\n';
const NO_FLAGS = new Map<string, string>();

function configFile(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "placement-center-config-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "node.toml");
  writeFileSync(file, text);
  return file;
}

function withEnvironment(variables: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
}

function check(file: string, ...flags: readonly string[]): Promise<Ran> {
  return runInProcess("start", "--config", file, "--check-config", ...flags);
}

describe("a setting", () => {
  test("from a flag wins over the environment, and that over the file, and that over the default", async () => {
    const file = configFile(`${COMPLETE}tick-ms = 50\nlisten = "127.0.0.1:1"\nhttp = "127.0.0.1:2"\n`);
    withEnvironment({ PLACEMENT_LISTEN: "127.0.0.1:3", PLACEMENT_HTTP: "127.0.0.1:4" });
    const { status, lines } = await check(file, "--http", "127.0.0.1:5", "--json");
    expect(status).toBe(0);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      "tick-ms": { value: "50", origin: file },
      listen: { value: "127.0.0.1:3", origin: "PLACEMENT_LISTEN" },
      http: { value: "127.0.0.1:5", origin: "--http" },
      "log-level": { value: "info", origin: "default" },
      advertise: { value: null, origin: "default" },
    });
  });

  test("reads the same in all three places", () => {
    const texts: Readonly<Record<string, string>> = {
      id: "7",
      "tick-ms": "20",
      join: "true",
      members: "1=a:1,2=b:2",
    };
    const flags = new Map(Object.entries(texts));
    const variables = Object.fromEntries([...flags].map(([key, text]) => [environmentName(key), text]));
    const quoted = configFile([...flags].map(([key, text]) => `${key} = "${text}"`).join("\n"));
    const bare = configFile('id = 7\ntick-ms = 20\njoin = true\nmembers = { 1 = "a:1", 2 = "b:2" }');
    const sources = [
      gatherSettings(undefined, {}, flags),
      gatherSettings(undefined, variables, NO_FLAGS),
      gatherSettings(quoted, {}, NO_FLAGS),
      gatherSettings(bare, {}, NO_FLAGS),
      gatherSettings(undefined, { PLACEMENT_CONFIG: bare }, NO_FLAGS),
    ];
    for (const given of sources) {
      expect(settingValue(given, SETTINGS.id)).toBe(7n);
      expect(settingValue(given, SETTINGS.tickMs)).toBe(20);
      expect(settingValue(given, SETTINGS.join)).toBe(true);
      expect([...(settingValue(given, SETTINGS.members) ?? [])]).toEqual([
        [1n, "a:1"],
        [2n, "b:2"],
      ]);
    }
  });

  test("keeps an id of 64 bits to its last digit, also from a number in the file", () => {
    const given = gatherSettings(configFile("id = 9223372036854775807"), {}, NO_FLAGS);
    expect(settingValue(given, SETTINGS.id)).toBe(9_223_372_036_854_775_807n);
  });

  test("counts as not set when its variable is empty", () => {
    const given = gatherSettings(undefined, { PLACEMENT_HTTP: "", PLACEMENT_TICK_MS: "" }, NO_FLAGS);
    expect(settingValue(given, SETTINGS.http)).toBeUndefined();
    expect(settingValue(given, SETTINGS.tickMs)).toBe(100);
  });
});

describe("--check-config", () => {
  test("prints a file that gives the same configuration again", async () => {
    const first = await check(configFile(COMPLETE), "--log-level", "warn", "--id", "1");
    expect(first.status).toBe(0);
    expect(first.lines).toContainEqual(expect.stringMatching(/^id = 1 +# --id$/));
    expect(first.lines).toContainEqual(expect.stringMatching(/^listen = "127.0.0.1:7001" +# default$/));
    expect(first.lines).toContainEqual(expect.stringMatching(/^# http +# none$/));
    const again = await check(configFile(first.lines.join("\n")));
    const settings = (lines: readonly string[]): string[] => lines.map((line) => line.replace(/ +# .*$/, ""));
    expect(settings(again.lines)).toEqual(settings(first.lines));
  });

  test("needs no more than what a node needs, and takes it from flags alone", async () => {
    const flags = ["--id", "1", "--cluster-id", "c", "--data", "d", "--join"];
    expect((await runInProcess("start", "--check-config", ...flags)).status).toBe(0);
  });
});

describe("a mistake is named with the place where it stands:", () => {
  test.each([
    [
      "a key that nobody knows",
      `${COMPLETE}tick_ms = 5`,
      /node.toml: unknown key "tick_ms": did you mean tick-ms\?$/,
    ],
    ["a key like no other", `${COMPLETE}wonderful = 5`, /unknown key "wonderful": known are id, cluster-id/],
    ["a table", `${COMPLETE}[listen]\nport = 1`, /listen must be a text, a number, true or false$/],
    ["a list", `${COMPLETE}listen = ["a:1"]`, /listen must be a text/],
    [
      "a malformed value",
      `${COMPLETE}tick-ms = 0`,
      /node.toml: tick-ms "0" is not right. It must be a whole number from 1 to 60000/,
    ],
    ["a fraction", `${COMPLETE}tick-ms = 1.5`, /tick-ms "1.5" is not right/],
    ["what is no TOML", "id = \n", /node.toml, line 1, column \d+: /],
    [
      "members and join",
      `${COMPLETE}join = true`,
      /members \(.*node.toml\) cannot be used with join \(.*node.toml\)/,
    ],
    ["neither members nor join", 'id = 1\ncluster-id = "c"\ndata = "d"', /give --members .* or --join/],
    [
      "a missing id",
      'cluster-id = "c"',
      /id is missing .*--id, or PLACEMENT_ID in the environment, or id in the file/,
    ],
    [
      "members without this node",
      `${COMPLETE.replace("id = 1", "id = 4")}`,
      /members names 1 but not this node, 4/,
    ],
    [
      "a log that keeps more than it cuts",
      `${COMPLETE}compact-after-entries = 10\ncompact-keep-entries = 10`,
      /must be lower than/,
    ],
  ])("%s", async (_, text, said) => {
    const { status, lines, notes } = await check(configFile(text));
    expect({ status, lines }).toEqual({ status: 2, lines: [] });
    expect(notes).toMatch(said);
  });

  test("a file that is not there", async () => {
    expect((await check("no/such/file.toml")).notes).toMatch(/no\/such\/file.toml cannot be read/);
  });

  test("a variable that nobody knows", () => {
    expect(() => gatherSettings(undefined, { PLACEMENT_LISTN: "a:1" }, NO_FLAGS)).toThrow(
      "unknown variable PLACEMENT_LISTN in the environment: did you mean PLACEMENT_LISTEN?",
    );
  });

  test("but not the variables of other commands, nor those of Kubernetes for services of that name", () => {
    const variables = {
      PLACEMENT_ENDPOINTS: "a:1",
      PLACEMENT_CENTER_SERVICE_HOST: "10.0.0.1",
      PLACEMENT_CENTER_SERVICE_PORT_GRPC: "7001",
      PLACEMENT_CENTER_PORT: "tcp://10.0.0.1:7001",
      PLACEMENT_CENTER_PORT_7001_TCP_ADDR: "10.0.0.1",
    };
    expect(gatherSettings(undefined, variables, NO_FLAGS).size).toBe(0);
  });

  test("a malformed variable, by its name", async () => {
    withEnvironment({ PLACEMENT_TICK_MS: "soon" });
    expect((await check(configFile(COMPLETE))).notes).toMatch(
      /PLACEMENT_TICK_MS: tick-ms "soon" is not right/,
    );
  });

  test("a malformed flag, by its name", async () => {
    expect((await check(configFile(COMPLETE), "--tick-ms", "soon")).notes).toMatch(/--tick-ms.*whole number/);
  });
});

test("processes whose flags say everything inherit no settings of a node", () => {
  const kept = { PATH: "/bin", PLACEMENT_ENDPOINTS: "a:1" };
  expect(withoutSettings({ ...kept, PLACEMENT_ID: "3", PLACEMENT_CONFIG: "x.toml" })).toEqual(kept);
});

test.each([
  ["lisen", "listen"],
  ["cluster-Id", "cluster-id"],
  ["x", undefined],
  ["completely-different", undefined],
])("the known word nearest to %s is %s", (word, nearest) => {
  expect(nearestWord(word, ["id", "listen", "cluster-id"])).toBe(nearest);
});

test("docs/configuration.md lists every setting with its default and its meaning, and nothing else", () => {
  const [, table = ""] = readText("docs/configuration.md").split("## Settings\n");
  const rows = table
    .split("\n## ")[0]
    ?.split("\n")
    .filter((line) => line.startsWith("| `"));
  const expected = SETTING_NAMES.map((name) => {
    const { key, fallback, without, describe: meaning } = SETTINGS[name];
    return `| \`${key}\` | ${fallback === undefined ? without : `\`${fallback}\``} | ${meaning} |`;
  });
  expect(rows).toEqual(expected);
});
